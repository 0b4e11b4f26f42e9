/* SPDX-License-Identifier: Apache-2.0
 *
 * A frontend that answers one line on a Unix socket with what the tree says.
 */
#ifndef GANTRY_BROKEN_FRONTEND_H
#define GANTRY_BROKEN_FRONTEND_H

#include <gantry/abi/frontend.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/conformance/broken/plugin.h"

#define ROLE_ID GANTRY_ROLE_FRONTEND

struct door {
    int listener, client;
    uint64_t watch, client_watch;
    char address[300];
};

static inline void hang_up(struct instance* me) {
    struct door* door = me->more;
    if (door->client_watch != 0) me->io->unwatch(me->host, door->client_watch);
    if (door->client >= 0) close(door->client);
    door->client = -1;
    door->client_watch = 0;
}

static inline void on_response(void* arg, const gantry_control_response* response) {
    struct instance* me = arg;
    struct door* door = me->more;
    if (door->client >= 0) send(door->client, response->body.ptr, response->body.len, MSG_NOSIGNAL);
    hang_up(me);
}

static inline void ask_tree(struct instance* me, const gantry_principal* who) {
    const gantry_control_request request = {sizeof(request), 0, who, TEXT("GET"), TEXT("/v1/nodes"), {NULL, 0}};
    if (me->control->request(me->host, &request, on_response, me) != GANTRY_OK) hang_up(me);
}

/* The peer of a socket as the kernel knows it. */
static inline gantry_principal peer_of(int fd) {
    struct ucred who = {0, 0, 0};
    socklen_t size = sizeof(who);
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size);
    const gantry_principal out = {sizeof(out), 0, TEXT("unix"), {NULL, 0}, who.uid, who.gid};
    return out;
}

#ifndef PRINCIPAL
#define PRINCIPAL(fd) peer_of(fd)
#endif

static inline void on_line(void* arg, int32_t fd, uint32_t events) {
    struct instance* me = arg;
    char line[4096];
    (void)events;
    if (recv(fd, line, sizeof(line), 0) <= 0) {
        hang_up(me);
        return;
    }
    const gantry_principal who = PRINCIPAL(fd);
    ask_tree(me, &who);
}

static inline void on_knock(void* arg, int32_t fd, uint32_t events) {
    struct instance* me = arg;
    struct door* door = me->more;
    (void)events;
    hang_up(me);
    door->client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (door->client < 0) return;
    if (me->io->watch(me->host, door->client, GANTRY_IO_READ, on_line, me, &door->client_watch) != GANTRY_OK)
        hang_up(me);
}

static inline gantry_status door_init(void* self, const gantry_config* config, gantry_error* error) {
    struct instance* me = self;
    const gantry_status status = good_init(self, config, error);
    if (status != GANTRY_OK) return status;
    struct door* door = calloc(1, sizeof(*door));
    if (door == NULL) return refuse(error, GANTRY_FAILED, "out of memory");
    door->listener = door->client = -1;
    snprintf(door->address, sizeof(door->address), "unix:%s", me->path);
    me->more = door;
    return GANTRY_OK;
}

static inline gantry_status door_start(void* self, gantry_error* error) {
    struct instance* me = self;
    struct door* door = me->more;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(me->path) >= sizeof(address.sun_path)) return refuse(error, GANTRY_INVALID, "path: too long");
    strcpy(address.sun_path, me->path);
    unlink(me->path);
    door->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (bind(door->listener, (struct sockaddr*)&address, sizeof(address)) != 0 || listen(door->listener, 8) != 0) {
        return refuse(error, GANTRY_UNAVAILABLE, "path: no socket can be made there");
    }
    if (me->io->watch(me->host, door->listener, GANTRY_IO_READ, on_knock, me, &door->watch) != GANTRY_OK) {
        return refuse(error, GANTRY_UNAVAILABLE, "the host gives no watch");
    }
    return GANTRY_OK;
}

static inline gantry_status door_stop(void* self, int64_t deadline_ns, gantry_error* error) {
    struct instance* me = self;
    struct door* door = me->more;
    (void)deadline_ns, (void)error;
    hang_up(me);
    if (door->watch != 0) me->io->unwatch(me->host, door->watch);
    if (door->listener >= 0) {
        close(door->listener);
        unlink(me->path);
    }
    door->listener = -1;
    door->watch = 0;
    return GANTRY_OK;
}

static inline gantry_str good_address(void* self) {
    struct instance* me = self;
    return text_of(((struct door*)me->more)->address);
}

#define ROLE(...) \
    static const gantry_frontend role_table = {.struct_size = sizeof(role_table), .address = good_address, __VA_ARGS__};

#endif
