/* SPDX-License-Identifier: Apache-2.0
 *
 * A probe of TCP ports: a connect that does not block, a watch for its end, a timer for the deadline.
 */
#ifndef GANTRY_BROKEN_PROBE_H
#define GANTRY_BROKEN_PROBE_H

#include <arpa/inet.h>
#include <errno.h>
#include <gantry/abi/probe.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/conformance/broken/plugin.h"

#define ROLE_ID GANTRY_ROLE_PROBE

struct asked {
    struct instance* of;
    gantry_op op;
    int fd;
    uint64_t watch, timer;
    struct asked *next, *before; /* of those under way; the first is of->more */
};

static inline void answer(struct instance* me, uint64_t op, uint32_t verdict, const char* detail) {
    const gantry_probe_result result = {sizeof(result), verdict, 0, {detail, strlen(detail)}};
    me->ops->complete(me->host, op, GANTRY_OK, text_of(""), &result);
}

static inline void forget(struct asked* a) {
    if (a->watch != 0) a->of->io->unwatch(a->of->host, a->watch);
    if (a->timer != 0) a->of->clock->cancel(a->of->host, a->timer);
    close(a->fd);
    if (a->next != NULL) a->next->before = a->before;
    if (a->before != NULL) {
        a->before->next = a->next;
    } else {
        a->of->more = a->next;
    }
    free(a);
}

static inline void on_timer(void* arg, uint64_t timer) {
    struct asked* a = arg;
    (void)timer;
    a->timer = 0;
    answer(a->of, a->op.id, GANTRY_UNHEALTHY, "no answer");
    forget(a);
}

static inline void on_ready(void* arg, int32_t fd, uint32_t events) {
    struct asked* a = arg;
    int error = 0;
    socklen_t size = sizeof(error);
    (void)events;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    answer(a->of, a->op.id, error == 0 ? GANTRY_HEALTHY : GANTRY_UNHEALTHY, error == 0 ? "connected" : "refused");
    forget(a);
}

static inline gantry_status good_check(void* self, gantry_op op, const gantry_probe_request* request) {
    struct instance* me = self;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)request->port)};
    char ip[64] = "";
    if (request->address.len < sizeof(ip) && request->address.len > 0) {
        memcpy(ip, request->address.ptr, request->address.len);
    }
    struct asked* a = calloc(1, sizeof(*a));
    if (a == NULL) return GANTRY_FULL;
    if (inet_pton(AF_INET, ip, &address.sin_addr) != 1) {
        free(a);
        answer(me, op.id, GANTRY_HEALTH_UNKNOWN, "no IP address");
        return GANTRY_OK;
    }
    a->of = me;
    a->op = op;
    a->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    a->next = me->more;
    if (a->next != NULL) a->next->before = a;
    me->more = a;
    const int64_t left = op.deadline_ns - me->clock->now(me->host);
    if (connect(a->fd, (const struct sockaddr*)&address, sizeof(address)) != 0 && errno != EINPROGRESS) {
        answer(me, op.id, GANTRY_UNHEALTHY, "refused");
        forget(a);
    } else if (me->clock->timer(me->host, left * 3 / 4, 0, on_timer, a, &a->timer) != GANTRY_OK ||
               me->io->watch(me->host, a->fd, GANTRY_IO_WRITE, on_ready, a, &a->watch) != GANTRY_OK) {
        answer(me, op.id, GANTRY_HEALTH_UNKNOWN, "the host gives no timer or watch");
        forget(a);
    }
    return GANTRY_OK;
}

static inline gantry_status probe_stop(void* self, int64_t deadline_ns, gantry_error* error) {
    struct instance* me = self;
    (void)deadline_ns, (void)error;
    while (me->more != NULL) forget(me->more);
    return GANTRY_OK;
}

#define ROLE(...) \
    static const gantry_probe role_table = {.struct_size = sizeof(role_table), .check = good_check, __VA_ARGS__};

#endif
