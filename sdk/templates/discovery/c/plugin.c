/* Controllers and expected nodes from a file that is looked at again and again: lines "controller IP:PORT" and
 * "node NAME", and comments behind '#'. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <gantry/abi/discovery.h>

#include "plugin.h"

#define ENDPOINTS_MAX 256
#define TEXT_MAX 255

struct endpoint {
    uint32_t kind; /* GANTRY_DISCOVERED_... */
    char text[TEXT_MAX + 1];
};

struct list {
    struct endpoint* all; /* room for ENDPOINTS_MAX */
    size_t count;
};

struct discovery {
    struct services host;
    const gantry_discovery_sink* sink;
    char *path, trouble[TEXT_MAX + 512];
    int64_t interval_ns;
    uint64_t timer;
    struct list known, fresh;
};

/* "10.0.0.1:3900", "[fd00::1]:3900" */
static int is_address(const char* text) {
    char ip[TEXT_MAX + 1], *end = NULL;
    const char* colon = strrchr(text, ':');
    if (colon == NULL) return 0;
    const long port = strtol(colon + 1, &end, 10);
    if (*end != '\0' || end == colon + 1 || port < 1 || port > 65535) return 0;
    const int v6 = text[0] == '[' && colon[-1] == ']';
    snprintf(ip, sizeof ip, "%.*s", (int)(colon - text - 2 * v6), text + v6);
    unsigned char room[sizeof(struct in6_addr)];
    return inet_pton(v6 ? AF_INET6 : AF_INET, ip, room) == 1;
}

static int holds(const struct list* list, const struct endpoint* wanted) {
    for (size_t i = 0; i < list->count; ++i) {
        if (list->all[i].kind == wanted->kind && strcmp(list->all[i].text, wanted->text) == 0) return 1;
    }
    return 0;
}

/* One line of the file; 0 if it is wrong. */
static int take_line(struct list* into, char* line) {
    char *rest = NULL, *comment = strchr(line, '#');
    if (comment != NULL) *comment = '\0';
    const char* kind = strtok_r(line, " \t\r\n", &rest);
    if (kind == NULL) return 1;
    const char* what = strtok_r(NULL, " \t\r\n", &rest);
    if (what == NULL || strtok_r(NULL, " \t\r\n", &rest) != NULL || strlen(what) > TEXT_MAX) return 0;
    struct endpoint endpoint = {strcmp(kind, "controller") == 0 ? GANTRY_DISCOVERED_CONTROLLER : GANTRY_DISCOVERED_NODE,
                                ""};
    if (endpoint.kind == GANTRY_DISCOVERED_NODE && strcmp(kind, "node") != 0) return 0;
    if (endpoint.kind == GANTRY_DISCOVERED_CONTROLLER && !is_address(what)) return 0;
    strcpy(endpoint.text, what);
    if (into->count < ENDPOINTS_MAX && !holds(into, &endpoint)) into->all[into->count++] = endpoint;
    return 1;
}

/* 0 if the file cannot be read or is wrong, which `trouble` then says. */
static int read_file(struct discovery* me, char* trouble, size_t room) {
    char line[2 * TEXT_MAX];
    int number = 0, good = 1;
    me->fresh.count = 0;
    FILE* file = fopen(me->path, "re");
    if (file == NULL) {
        snprintf(trouble, room, "%s cannot be read: %s", me->path, strerror(errno));
        return 0;
    }
    while (good && fgets(line, sizeof line, file) != NULL) {
        ++number;
        good = take_line(&me->fresh, line);
    }
    fclose(file);
    if (!good) snprintf(trouble, room, "%s:%d: expected \"controller IP:PORT\" or \"node NAME\"", me->path, number);
    return good;
}

static gantry_discovered told(const struct endpoint* endpoint) {
    const int controller = endpoint->kind == GANTRY_DISCOVERED_CONTROLLER;
    return (gantry_discovered){sizeof(gantry_discovered), endpoint->kind, str(controller ? "" : endpoint->text),
                               str(controller ? endpoint->text : ""), 0};
}

/* What was known stays known while the file is wrong. */
static void look(struct discovery* me) {
    char trouble[sizeof me->trouble] = "";
    const int good = read_file(me, trouble, sizeof trouble);
    if (!good && strcmp(trouble, me->trouble) != 0) say(&me->host, GANTRY_LOG_WARN, "%s", trouble);
    strcpy(me->trouble, trouble);
    if (!good) return;
    for (size_t i = 0; i < me->known.count; ++i) {
        const gantry_discovered endpoint = told(&me->known.all[i]);
        if (!holds(&me->fresh, &me->known.all[i])) me->sink->gone(me->host.handle, &endpoint);
    }
    for (size_t i = 0; i < me->fresh.count; ++i) {
        const gantry_discovered endpoint = told(&me->fresh.all[i]);
        me->sink->found(me->host.handle, &endpoint);
    }
    const struct list before = me->known;
    me->known = me->fresh;
    me->fresh = before;
}

/* ---- the role's slots ------------------------------------------------------------------------------------------- */

static void on_timer(void* arg, uint64_t timer) {
    (void)timer;
    look(arg);
}

static gantry_status begin_search(void* self, const gantry_discovery_sink* sink) {
    struct discovery* me = self;
    me->sink = sink;
    look(me);
    return me->host.clock->timer(me->host.handle, me->interval_ns, me->interval_ns, on_timer, me, &me->timer);
}

static gantry_status end_search(void* self) {
    struct discovery* me = self;
    cancel(&me->host, &me->timer);
    me->sink = NULL;
    return GANTRY_OK;
}

static gantry_status refresh(void* self) {
    struct discovery* me = self;
    if (me->sink != NULL) look(me);
    return GANTRY_OK;
}

/* ---- the instance ---------------------------------------------------------------------------------------------- */

static gantry_status init(void* self, const gantry_config* config, gantry_error* error) {
    struct discovery* me = self;
    const gantry_config_value* interval = setting(config, "interval", GANTRY_CONFIG_DURATION);
    me->interval_ns = interval == NULL ? 5000000000 : interval->integer;
    me->path = path_setting(config, "file", "endpoints", 4095, error);
    return me->path == NULL ? GANTRY_INVALID : GANTRY_OK;
}

static gantry_status start(void* self, gantry_error* error) { return whole(&((struct discovery*)self)->host, error); }

static gantry_status stop(void* self, int64_t deadline_ns, gantry_error* error) {
    (void)self, (void)deadline_ns, (void)error;
    return GANTRY_OK;
}

static void destroy(void* self) {
    struct discovery* me = self;
    free(me->known.all), free(me->fresh.all), free(me->path), free(me);
}

static const void* query(void* self, gantry_str id) {
    static const gantry_discovery table = {sizeof table, 0, begin_search, end_search, refresh};
    (void)self;
    return equal(id, GANTRY_ROLE_DISCOVERY) ? &table : NULL;
}

static gantry_status create(const gantry_host* host, gantry_plugin* out, gantry_error* error) {
    if (out->struct_size < sizeof *out) return refuse(error, GANTRY_INVALID, "the host's plugin table is too small");
    struct discovery* me = calloc(1, sizeof *me);
    if (me == NULL) return GANTRY_FAILED;
    *out = (gantry_plugin){sizeof *out, 0, me, init, start, stop, destroy, query};
    me->host = services_of(host);
    me->known.all = calloc(ENDPOINTS_MAX, sizeof(struct endpoint));
    me->fresh.all = calloc(ENDPOINTS_MAX, sizeof(struct endpoint));
    if (me->known.all != NULL && me->fresh.all != NULL) return GANTRY_OK;
    destroy(me);
    return GANTRY_FAILED;
}

PLUGIN_ENTRY(create)
