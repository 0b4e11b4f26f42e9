/* What every plugin in C has: texts, failures, settings, the services of its host, and its entry. */
#ifndef PLUGIN_H
#define PLUGIN_H

#include <gantry/abi/entry.h>
#include <gantry/abi/host.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline gantry_str str(const char* text) { return (gantry_str){text, strlen(text)}; }

static inline int equal(gantry_str a, const char* b) {
    return a.len == strlen(b) && (a.len == 0 || memcmp(a.ptr, b, a.len) == 0);
}

/* A copy that ends with a zero; NULL without memory, or for a text with a zero in it. To be freed. */
static inline char* copy_of(gantry_str text) {
    if (text.len > 0 && memchr(text.ptr, '\0', text.len) != NULL) return NULL;
    char* copy = malloc(text.len + 1);
    if (copy == NULL) return NULL;
    if (text.len > 0) memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return copy;
}

/* Says why; the answer of init, start or stop. */
__attribute__((format(printf, 3, 4))) static inline gantry_status refuse(gantry_error* error, gantry_status status,
                                                                         const char* format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (error == NULL || error->text == NULL) return status;
    const size_t length = strlen(text);
    error->text_len = (uint32_t)(length < error->text_cap ? length : error->text_cap);
    memcpy(error->text, text, error->text_len);
    return status;
}

/* The setting of that name; NULL: the operator wrote none and the schema has no default. */
static inline const gantry_config_value* setting(const gantry_config* config, const char* key, uint32_t type) {
    for (size_t i = 0; i < config->count; ++i) {
        const gantry_config_value* value = (const void*)((const char*)config->values + i * (size_t)config->value_size);
        if (equal(value->key, key)) return value->type == type ? value : NULL;
    }
    return NULL;
}

/* An absolute path: the setting of that name, or if it is empty a file in the instance's own folder. NULL: refused. */
static inline char* path_setting(const gantry_config* config, const char* key, const char* usual, size_t most,
                                 gantry_error* error) {
    const gantry_config_value* value = setting(config, key, GANTRY_CONFIG_STRING);
    char* path = NULL;
    if (value != NULL && value->string.len > 0) {
        path = copy_of(value->string);
    } else {
        const size_t room = config->state_dir.len + strlen(usual) + 2;
        path = malloc(room);
        if (path != NULL) snprintf(path, room, "%.*s/%s", (int)config->state_dir.len, config->state_dir.ptr, usual);
    }
    if (path != NULL && path[0] == '/' && strlen(path) <= most) return path;
    refuse(error, GANTRY_INVALID, "%s: expected an absolute path of at most %zu bytes, got \"%s\"", key, most,
           path == NULL ? "a text with a zero" : path);
    free(path);
    return NULL;
}

/* ---- the host -------------------------------------------------------------------------------------------------- */

struct services {
    uint64_t handle;
    const gantry_host_log* log;
    const gantry_host_clock* clock;
    const gantry_host_io* io;
    const gantry_host_ops* ops;
    const gantry_host_control* control;
};

static inline struct services services_of(const gantry_host* host) {
    return (struct services){.handle = host->handle,
                             .log = host->query(host->handle, str(GANTRY_HOST_LOG)),
                             .clock = host->query(host->handle, str(GANTRY_HOST_CLOCK)),
                             .io = host->query(host->handle, str(GANTRY_HOST_IO)),
                             .ops = host->query(host->handle, str(GANTRY_HOST_OPS)),
                             .control = host->query(host->handle, str(GANTRY_HOST_CONTROL))};
}

/* What a plugin in C uses is there: asked in start, since create may have a host without services. */
static inline gantry_status whole(const struct services* host, gantry_error* error) {
    if (GANTRY_HAS(host->log, log) && GANTRY_HAS(host->clock, cancel) && GANTRY_HAS(host->io, post) &&
        GANTRY_HAS(host->ops, complete))
        return GANTRY_OK;
    return refuse(error, GANTRY_UNSUPPORTED, "this host has no log, clock, io or ops");
}

__attribute__((format(printf, 3, 4))) static inline void say(const struct services* host, uint32_t level,
                                                             const char* format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    host->log->log(host->handle, level, str(text), NULL, 0);
}

/* Ends an operation; result is what the slot's comment names, or NULL. */
static inline void complete(const struct services* host, uint64_t op, gantry_status status, const char* text,
                            const void* result) {
    host->ops->complete(host->handle, op, status, str(text), result);
}

static inline void unwatch(const struct services* host, uint64_t* watch) {
    if (*watch != 0) host->io->unwatch(host->handle, *watch);
    *watch = 0;
}

static inline void cancel(const struct services* host, uint64_t* timer) {
    if (*timer != 0) host->clock->cancel(host->handle, *timer);
    *timer = 0;
}

/* ---- the entry ------------------------------------------------------------------------------------------------- */

/* The one exported symbol; id, version and role come from plugin.toml. */
#define PLUGIN_ENTRY(create)                                                               \
    __attribute__((visibility("default"))) const gantry_entry gantry_plugin_entry = {      \
        sizeof(gantry_entry), GANTRY_ENTRY_MAGIC,    GANTRY_ABI_MAJOR,   GANTRY_ABI_MINOR, \
        GANTRY_PLUGIN_ID,     GANTRY_PLUGIN_VERSION, GANTRY_PLUGIN_ROLE, create};

#endif
