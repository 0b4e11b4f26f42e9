/* SPDX-License-Identifier: Apache-2.0
 *
 * A sound plugin in C11. Each file beside it takes a role's header (probe.h ...), breaks one promise, and ends with
 * ROLE, INSTANCE and ENTRY: what it does otherwise stands in their arguments. table.txt says what must catch it.
 */
#ifndef GANTRY_BROKEN_PLUGIN_H
#define GANTRY_BROKEN_PLUGIN_H

#include <gantry/abi/entry.h>
#include <gantry/abi/host.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(literal) \
    { literal, sizeof(literal) - 1 }

struct instance {
    uint64_t host;
    const gantry_host_log* log;
    const gantry_host_clock* clock;
    const gantry_host_io* io;
    const gantry_host_ops* ops;
    const gantry_host_control* control;
    const void* sink; /* of roles that have one */
    void* more;       /* of the role; freed with the instance */
    char path[256];   /* of the configuration, "" if it was not written */
    int64_t count;    /* for what a broken one counts */
};

static inline int same_text(gantry_str a, const char* b) {
    return a.len == strlen(b) && memcmp(a.len > 0 ? a.ptr : "", b, a.len) == 0;
}

static inline gantry_str text_of(const char* s) {
    const gantry_str out = {s, strlen(s)};
    return out;
}

static inline const void* service(const gantry_host* host, const char* id) {
    return host->query(host->handle, text_of(id));
}

static inline gantry_status refuse(gantry_error* error, gantry_status status, const char* why) {
    const size_t n = strlen(why) < error->text_cap ? strlen(why) : error->text_cap;
    memcpy(error->text, why, n);
    error->text_len = (uint32_t)n;
    return status;
}

static inline const gantry_config_value* config_value(const gantry_config* config, const char* key) {
    for (size_t i = 0; i < config->count; ++i) {
        const gantry_config_value* v =
            (const gantry_config_value*)(const void*)((const char*)config->values + i * config->value_size);
        if (same_text(v->key, key)) return v;
    }
    return NULL;
}

static inline gantry_status good_init(void* self, const gantry_config* config, gantry_error* error) {
    struct instance* me = self;
    const gantry_config_value* path = config_value(config, "path");
    if (path == NULL || path->type != GANTRY_CONFIG_STRING) return GANTRY_OK;
    if (path->string.len >= sizeof(me->path)) return refuse(error, GANTRY_INVALID, "path: longer than 255 bytes");
    if (path->string.len > 0) memcpy(me->path, path->string.ptr, path->string.len);
    return GANTRY_OK;
}
static inline gantry_status good_start(void* self, gantry_error* error) {
    (void)self, (void)error;
    return GANTRY_OK;
}
static inline gantry_status good_stop(void* self, int64_t deadline_ns, gantry_error* error) {
    (void)self, (void)deadline_ns, (void)error;
    return GANTRY_OK;
}
static inline void good_destroy(void* self) {
    struct instance* me = self;
    free(me->more);
    free(me);
}

static inline struct instance* new_instance(const gantry_host* host) {
    struct instance* me = calloc(1, sizeof(*me));
    if (me == NULL) return NULL;
    me->host = host->handle;
    me->log = service(host, GANTRY_HOST_LOG);
    me->clock = service(host, GANTRY_HOST_CLOCK);
    me->io = service(host, GANTRY_HOST_IO);
    me->ops = service(host, GANTRY_HOST_OPS);
    me->control = service(host, GANTRY_HOST_CONTROL);
    return me;
}

/* The functions of an instance; arguments: members of gantry_plugin that differ, ".stop = stops_late". */
#define INSTANCE(...)                                                                                \
    static const void* good_query(void* self, gantry_str id) {                                       \
        (void)self;                                                                                  \
        return same_text(id, ROLE_ID) ? &role_table : NULL;                                          \
    }                                                                                                \
    static gantry_status good_create(const gantry_host* host, gantry_plugin* out, gantry_error* e) { \
        struct instance* me = new_instance(host);                                                    \
        if (me == NULL) return refuse(e, GANTRY_FAILED, "out of memory");                            \
        const gantry_plugin table = {.struct_size = sizeof(table),                                   \
                                     .self = me,                                                     \
                                     .init = good_init,                                              \
                                     .start = good_start,                                            \
                                     .stop = good_stop,                                              \
                                     .destroy = good_destroy,                                        \
                                     .query = good_query,                                            \
                                     __VA_ARGS__};                                                   \
        *out = table;                                                                                \
        return GANTRY_OK;                                                                            \
    }

/* The entry; arguments: members of gantry_entry that differ. */
#define ENTRY(...)                                                                        \
    extern __attribute__((visibility("default"))) const gantry_entry gantry_plugin_entry; \
    const gantry_entry gantry_plugin_entry = {.struct_size = sizeof(gantry_entry),        \
                                              .magic = GANTRY_ENTRY_MAGIC,                \
                                              .abi_major = GANTRY_ABI_MAJOR,              \
                                              .abi_minor = GANTRY_ABI_MINOR,              \
                                              .id = GANTRY_PLUGIN_ID,                     \
                                              .version = GANTRY_PLUGIN_VERSION,           \
                                              .role = GANTRY_PLUGIN_ROLE,                 \
                                              .create = good_create,                      \
                                              __VA_ARGS__};

/* A note of one's own instead of that of the manifest (CMakeLists.txt leaves that out). */
#define OWN_NOTE(literal)                                                                 \
    __attribute__((section(GANTRY_NOTE_SECTION), used, aligned(4))) static const struct { \
        uint32_t name_size, text_size, type;                                              \
        char name[8];                                                                     \
        char text[(sizeof(literal) + 3) / 4 * 4];                                         \
    } own_note = {sizeof(GANTRY_NOTE_NAME), sizeof(literal) - 1, GANTRY_NOTE_TYPE, GANTRY_NOTE_NAME, literal};

#endif
