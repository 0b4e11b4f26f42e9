/* SPDX-License-Identifier: Apache-2.0
 *
 * A container is well when its port answers HTTP: GET of a path gives a status from 200 to 399. In C11, with nothing
 * but the headers of the border. Nothing here blocks: a connect that does not wait, a watch for what comes, a timer for
 * the deadline; everything but stop happens on the host's loop.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <gantry/abi/entry.h>
#include <gantry/abi/host.h>
#include <gantry/abi/probe.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATH_MAX_BYTES 255

struct check {
    struct check *next, **link; /* of the instance's list */
    struct probe* probe;
    uint64_t op, watch, timer;
    int64_t started_ns;
    int fd;
    char request[PATH_MAX_BYTES + 160], answer[64];
    size_t length, sent, got;
};

struct probe {
    uint64_t host;
    const gantry_host_clock* clock;
    const gantry_host_io* io;
    const gantry_host_ops* ops;
    char path[PATH_MAX_BYTES + 1];
    struct check* checks;
};

static int equal(gantry_str a, const char* b) { return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0; }

static gantry_str str(const char* text) { return (gantry_str){text, strlen(text)}; }

static gantry_status refuse(gantry_error* error, const char* text) {
    const size_t length = strlen(text);
    if (error == NULL || error->text == NULL) return GANTRY_INVALID;
    error->text_len = (uint32_t)(length < error->text_cap ? length : error->text_cap);
    memcpy(error->text, text, error->text_len);
    return GANTRY_INVALID;
}

/* ---- one check ------------------------------------------------------------------------------------------------- */

static void answer(struct probe* probe, uint64_t op, uint32_t verdict, int64_t latency_ns, const char* detail) {
    const gantry_probe_result result = {sizeof result, verdict, latency_ns, str(detail)};
    probe->ops->complete(probe->host, op, GANTRY_OK, str(""), &result);
}

static void finish(struct check* check, uint32_t verdict, const char* detail) {
    struct probe* probe = check->probe;
    if (check->watch != 0) probe->io->unwatch(probe->host, check->watch);
    if (check->timer != 0) probe->clock->cancel(probe->host, check->timer);
    close(check->fd);
    answer(probe, check->op, verdict, probe->clock->now(probe->host) - check->started_ns, detail);
    *check->link = check->next;
    if (check->next != NULL) check->next->link = check->link;
    free(check);
}

static void on_deadline(void* arg, uint64_t timer) {
    (void)timer;
    finish(arg, GANTRY_UNHEALTHY, "no answer in time");
}

/* 1 to go on, 0 when the answer was judged. */
static int receive(struct check* check) {
    const ssize_t n = recv(check->fd, check->answer + check->got, sizeof check->answer - 1 - check->got, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 1;
    if (n < 0) return finish(check, GANTRY_UNHEALTHY, strerror(errno)), 0;
    check->got += (size_t)n;
    check->answer[check->got] = '\0';
    if (n > 0 && check->got < strlen("HTTP/1.1 200")) return 1;
    int status = 0;
    if (sscanf(check->answer, "HTTP/%*1[0-9].%*1[0-9] %3d", &status) != 1) {
        return finish(check, GANTRY_UNHEALTHY, "not an answer of HTTP"), 0;
    }
    char detail[32];
    snprintf(detail, sizeof detail, "status %d", status);
    return finish(check, status >= 200 && status < 400 ? GANTRY_HEALTHY : GANTRY_UNHEALTHY, detail), 0;
}

static void on_ready(void* arg, int32_t fd, uint32_t events) {
    struct check* check = arg;
    if ((events & GANTRY_IO_WRITE) == 0) {
        receive(check);
        return;
    }
    const ssize_t n = send(fd, check->request + check->sent, check->length - check->sent, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) {
        finish(check, GANTRY_UNHEALTHY, strerror(errno));
        return;
    }
    check->sent += (size_t)n;
    if (check->sent == check->length) check->probe->io->change(check->probe->host, check->watch, GANTRY_IO_READ);
}

/* A connection under way, or -1. */
static int begin_connection(const char* address, uint32_t port) {
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
    const int is_v4 = inet_pton(AF_INET, address, &v4.sin_addr) == 1;
    if (!is_v4 && inet_pton(AF_INET6, address, &v6.sin6_addr) != 1) return errno = EINVAL, -1;
    const int fd = socket(is_v4 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const struct sockaddr* to = is_v4 ? (const void*)&v4 : (const void*)&v6;
    if (fd >= 0 && connect(fd, to, is_v4 ? sizeof v4 : sizeof v6) != 0 && errno != EINPROGRESS) {
        const int why = errno;
        close(fd);
        return errno = why, -1;
    }
    return fd;
}

static gantry_str path_of(const struct probe* probe, const gantry_probe_request* request) {
    for (size_t i = 0; i < request->param_count; ++i) {
        if (equal(request->params[i].key, "path")) return request->params[i].value;
    }
    return str(probe->path);
}

static gantry_status check(void* self, gantry_op op, const gantry_probe_request* request) {
    struct probe* probe = self;
    const gantry_str path = path_of(probe, request);
    char address[INET6_ADDRSTRLEN];
    if (path.len == 0 || path.ptr[0] != '/' || path.len > PATH_MAX_BYTES || request->address.len >= sizeof address) {
        return GANTRY_INVALID;
    }
    snprintf(address, sizeof address, "%.*s", (int)request->address.len, request->address.ptr);
    const int fd = begin_connection(address, request->port);
    if (fd < 0) {
        const int ours = errno == EINVAL || errno == EMFILE || errno == ENFILE;
        answer(probe, op.id, ours ? GANTRY_HEALTH_UNKNOWN : GANTRY_UNHEALTHY, 0, strerror(errno));
        return GANTRY_OK;
    }
    struct check* made = calloc(1, sizeof *made);
    if (made == NULL) {
        close(fd);
        return GANTRY_FAILED;
    }
    made->probe = probe;
    made->op = op.id;
    made->fd = fd;
    made->started_ns = probe->clock->now(probe->host);
    made->length = (size_t)snprintf(made->request, sizeof made->request,
                                    "GET %.*s HTTP/1.1\r\nHost: %s\r\nUser-Agent: gantry\r\nConnection: close\r\n\r\n",
                                    (int)path.len, path.ptr, address);
    made->next = probe->checks;
    made->link = &probe->checks;
    if (made->next != NULL) made->next->link = &made->next;
    probe->checks = made;
    /* Before the deadline, so that the answer still counts. */
    const int64_t limit_ns = (op.deadline_ns - made->started_ns) / 10 * 9;
    if (probe->clock->timer(probe->host, limit_ns, 0, on_deadline, made, &made->timer) != GANTRY_OK ||
        probe->io->watch(probe->host, fd, GANTRY_IO_WRITE, on_ready, made, &made->watch) != GANTRY_OK) {
        finish(made, GANTRY_HEALTH_UNKNOWN, "the host watches no more");
    }
    return GANTRY_OK;
}

/* ---- the instance ---------------------------------------------------------------------------------------------- */

static gantry_status init(void* self, const gantry_config* config, gantry_error* error) {
    struct probe* probe = self;
    for (size_t i = 0; i < config->count; ++i) {
        const gantry_config_value* value = (const void*)((const char*)config->values + i * (size_t)config->value_size);
        if (!equal(value->key, "path")) continue;
        const gantry_str path = value->string;
        if (path.len == 0 || path.len > PATH_MAX_BYTES || path.ptr[0] != '/') {
            return refuse(error, "path: expected '/' and at most 254 bytes more");
        }
        memcpy(probe->path, path.ptr, path.len);
        probe->path[path.len] = '\0';
    }
    return GANTRY_OK;
}

static gantry_status start(void* self, gantry_error* error) {
    const struct probe* probe = self;
    if (GANTRY_HAS(probe->clock, cancel) && GANTRY_HAS(probe->io, unwatch) && GANTRY_HAS(probe->ops, complete)) {
        return GANTRY_OK;
    }
    refuse(error, "this host has no clock, io or ops");
    return GANTRY_UNSUPPORTED;
}

static gantry_status stop(void* self, int64_t deadline_ns, gantry_error* error) {
    struct probe* probe = self;
    (void)deadline_ns, (void)error;
    while (probe->checks != NULL) finish(probe->checks, GANTRY_HEALTH_UNKNOWN, "the probe is stopping");
    return GANTRY_OK;
}

static void destroy(void* self) { free(self); }

static const void* query(void* self, gantry_str id) {
    static const gantry_probe table = {sizeof table, 0, check};
    (void)self;
    return equal(id, GANTRY_ROLE_PROBE) ? &table : NULL;
}

static gantry_status create(const gantry_host* host, gantry_plugin* out, gantry_error* error) {
    if (out->struct_size < sizeof *out) return refuse(error, "the host's plugin table is too small");
    struct probe* probe = calloc(1, sizeof *probe);
    if (probe == NULL) return GANTRY_FAILED;
    probe->host = host->handle;
    probe->clock = host->query(host->handle, str(GANTRY_HOST_CLOCK));
    probe->io = host->query(host->handle, str(GANTRY_HOST_IO));
    probe->ops = host->query(host->handle, str(GANTRY_HOST_OPS));
    *out = (gantry_plugin){sizeof *out, 0, probe, init, start, stop, destroy, query};
    return GANTRY_OK;
}

/* The three names come from plugin.toml. */
__attribute__((visibility("default"))) const gantry_entry gantry_plugin_entry = {
    sizeof(gantry_entry), GANTRY_ENTRY_MAGIC,    GANTRY_ABI_MAJOR,   GANTRY_ABI_MINOR,
    GANTRY_PLUGIN_ID,     GANTRY_PLUGIN_VERSION, GANTRY_PLUGIN_ROLE, create};
