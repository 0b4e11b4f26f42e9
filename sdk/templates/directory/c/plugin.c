/* Answers names over UDP, in text: a datagram "NAME" is answered with "ADDRESS PORT", or "ADDRESS PORT tls", or
 * "not found". */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <gantry/abi/directory.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "plugin.h"

#define QUESTION_MAX 256 /* bytes of a name */

struct record {
    char *name, address[INET6_ADDRSTRLEN];
    uint32_t port, secure, local;
};

struct table {
    struct record* all; /* by name, of each name this node's own first */
    size_t count;
};

struct directory {
    struct services host;
    gantry_directory_facts facts;
    gantry_directory role;
    int fd;
    uint64_t watch, table_no;
    size_t turn; /* equals are answered in turn */
    struct table table;
};

/* ---- the table -------------------------------------------------------------------------------------------------- */

static void drop(struct table* table) {
    for (size_t i = 0; i < table->count; ++i) free(table->all[i].name);
    free(table->all);
    *table = (struct table){NULL, 0};
}

static int in_order(const void* a, const void* b) {
    const struct record *left = a, *right = b;
    const int names = strcasecmp(left->name, right->name);
    return names != 0 ? names : (int)right->local - (int)left->local;
}

/* 0 for a record that cannot be answered. */
static int take(struct record* into, const gantry_name_record* from) {
    unsigned char room[sizeof(struct in6_addr)];
    if (from->address.len == 0 || from->address.len >= sizeof into->address) return 0;
    memcpy(into->address, from->address.ptr, from->address.len);
    into->address[from->address.len] = '\0';
    const int ip = inet_pton(AF_INET, into->address, room) == 1 || inet_pton(AF_INET6, into->address, room) == 1;
    if (!ip || from->port == 0 || from->port > 65535) return 0;
    into->name = copy_of(from->name);
    into->port = from->port;
    into->secure = from->secure;
    into->local = from->local != 0;
    return into->name != NULL;
}

/* The new table is built whole, then it takes the place of the one before. */
static gantry_status replace(void* self, uint64_t table_no, const gantry_name_record* records, size_t record_size,
                             size_t count) {
    struct directory* me = self;
    if (table_no < me->table_no) return GANTRY_OK;
    struct table fresh = {calloc(count + 1, sizeof(struct record)), 0};
    if (fresh.all == NULL) return GANTRY_FAILED;
    for (size_t i = 0; i < count; ++i) {
        const gantry_name_record* record = (const void*)((const char*)records + i * record_size);
        if (take(&fresh.all[fresh.count], record)) {
            ++fresh.count;
        } else {
            say(&me->host, GANTRY_LOG_WARN, "a name that cannot be answered is left out: %.*s", (int)record->name.len,
                record->name.len > 0 ? record->name.ptr : "");
        }
    }
    qsort(fresh.all, fresh.count, sizeof(struct record), in_order);
    drop(&me->table);
    me->table = fresh;
    me->table_no = table_no;
    return GANTRY_OK;
}

static const struct record* find(struct directory* me, const char* name) {
    size_t first = 0, equals = 0;
    while (first < me->table.count && strcasecmp(me->table.all[first].name, name) != 0) ++first;
    if (first == me->table.count) return NULL;
    const struct record* best = &me->table.all[first];
    while (first + equals < me->table.count && strcasecmp(best[equals].name, name) == 0 &&
           best[equals].local == best->local)
        ++equals;
    return &best[me->turn++ % equals];
}

/* ---- the wire --------------------------------------------------------------------------------------------------- */

/* One question a call: the watch calls again while more wait. */
static void answer(void* arg, int32_t fd, uint32_t events) {
    struct directory* me = arg;
    char question[QUESTION_MAX + 1], text[QUESTION_MAX] = "not found\n";
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    (void)events;
    const ssize_t got = recvfrom(fd, question, sizeof question, 0, (struct sockaddr*)&from, &length);
    if (got < 0) return;
    const int whole_name = (size_t)got <= QUESTION_MAX;
    question[whole_name ? got : QUESTION_MAX] = '\0';
    question[strcspn(question, "\r\n")] = '\0';
    const struct record* record = whole_name ? find(me, question) : NULL;
    if (record != NULL)
        snprintf(text, sizeof text, "%s %u%s\n", record->address, record->port, record->secure ? " tls" : "");
    sendto(fd, text, strlen(text), 0, (struct sockaddr*)&from, length);
}

/* "0.0.0.0:0", "[::]:53"; its length, 0 if it is not of that form. */
static socklen_t parse(gantry_str text, struct sockaddr_storage* out) {
    char copy[INET6_ADDRSTRLEN + 16], *end = NULL;
    memset(out, 0, sizeof *out);
    if (text.len >= sizeof copy) return 0;
    snprintf(copy, sizeof copy, "%.*s", (int)text.len, text.len > 0 ? text.ptr : "");
    char* colon = strrchr(copy, ':');
    if (colon == NULL) return 0;
    const long port = strtol(colon + 1, &end, 10);
    if (*end != '\0' || end == colon + 1 || port < 0 || port > 65535) return 0;
    *colon = '\0';
    struct sockaddr_in* v4 = (void*)out;
    struct sockaddr_in6* v6 = (void*)out;
    if (copy[0] == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        return inet_pton(AF_INET6, copy + 1, &v6->sin6_addr) == 1 ? sizeof *v6 : 0;
    }
    v4->sin_family = AF_INET;
    v4->sin_port = htons((uint16_t)port);
    return inet_pton(AF_INET, copy, &v4->sin_addr) == 1 ? sizeof *v4 : 0;
}

/* ---- the instance ---------------------------------------------------------------------------------------------- */

/* The port is taken here, because the facts that follow name it. Containers find the directory in GANTRY_NAMES. */
static gantry_status init(void* self, const gantry_config* config, gantry_error* error) {
    struct directory* me = self;
    const gantry_config_value* listen = setting(config, "listen", GANTRY_CONFIG_STRING);
    const gantry_str text = listen == NULL ? str("0.0.0.0:0") : listen->string;
    struct sockaddr_storage address;
    socklen_t length = parse(text, &address);
    if (length == 0) {
        return refuse(error, GANTRY_INVALID, "listen: expected IP:PORT (\"0.0.0.0:0\"), got \"%.*s\"",
                      (int)(text.len < 64 ? text.len : 64), text.len > 0 ? text.ptr : "");
    }
    me->fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (me->fd < 0 || bind(me->fd, (struct sockaddr*)&address, length) != 0 ||
        getsockname(me->fd, (struct sockaddr*)&address, &length) != 0)
        return refuse(error, GANTRY_UNAVAILABLE, "cannot answer names on UDP %.*s: %s", (int)text.len, text.ptr,
                      strerror(errno));
    const int v6 = address.ss_family == AF_INET6;
    const uint16_t port = v6 ? ((struct sockaddr_in6*)&address)->sin6_port : ((struct sockaddr_in*)&address)->sin_port;
    me->facts = (gantry_directory_facts){sizeof me->facts, ntohs(port), str("GANTRY_NAMES")};
    me->role.facts = &me->facts;
    return GANTRY_OK;
}

static gantry_status start(void* self, gantry_error* error) {
    struct directory* me = self;
    const gantry_status status = whole(&me->host, error);
    if (status != GANTRY_OK) return status;
    if (me->host.io->watch(me->host.handle, me->fd, GANTRY_IO_READ, answer, me, &me->watch) == GANTRY_OK)
        return GANTRY_OK;
    return refuse(error, GANTRY_UNAVAILABLE, "the host watches no more descriptors");
}

static gantry_status stop(void* self, int64_t deadline_ns, gantry_error* error) {
    struct directory* me = self;
    (void)deadline_ns, (void)error;
    unwatch(&me->host, &me->watch);
    return GANTRY_OK;
}

static void destroy(void* self) {
    struct directory* me = self;
    if (me->fd >= 0) close(me->fd);
    drop(&me->table);
    free(me);
}

static const void* query(void* self, gantry_str id) {
    return equal(id, GANTRY_ROLE_DIRECTORY) ? &((struct directory*)self)->role : NULL;
}

static gantry_status create(const gantry_host* host, gantry_plugin* out, gantry_error* error) {
    if (out->struct_size < sizeof *out) return refuse(error, GANTRY_INVALID, "the host's plugin table is too small");
    struct directory* me = calloc(1, sizeof *me);
    if (me == NULL) return GANTRY_FAILED;
    me->host = services_of(host);
    me->fd = -1;
    me->role = (gantry_directory){.struct_size = sizeof me->role, .replace = replace};
    *out = (gantry_plugin){sizeof *out, 0, me, init, start, stop, destroy, query};
    return GANTRY_OK;
}

PLUGIN_ENTRY(create)
