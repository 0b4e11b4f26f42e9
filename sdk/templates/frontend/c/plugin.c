/* A door for shells: a Unix socket that takes lines "METHOD PATH [BODY]" and answers each with "CODE BODY". */
#define _GNU_SOURCE
#include <errno.h>
#include <gantry/abi/frontend.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "plugin.h"

#define CLIENTS_MAX 32
#define LINE_MAX_BYTES (256 << 10) /* of a question */
#define UNSENT_MAX_BYTES (4 << 20) /* of answers that a client may leave lying */

struct text {
    char* bytes;
    size_t length;
};

struct client {
    struct frontend* of;
    int used, gone; /* gone: it hung up while it was asking; its place is free once the answer came */
    int fd;
    uint64_t watch;
    gantry_principal who;
    char name[24];
    struct text in, out;
    int asking; /* one question at a time: answers come in order */
};

struct frontend {
    struct services host;
    char *path, address[128];
    int door;
    uint64_t watch;
    struct client clients[CLIENTS_MAX];
};

/* ---- texts that grow -------------------------------------------------------------------------------------------- */

static int append(struct text* text, const char* bytes, size_t length) {
    char* grown = realloc(text->bytes, text->length + length + 1);
    if (grown == NULL) return 0;
    if (length > 0) memcpy(grown + text->length, bytes, length);
    text->bytes = grown;
    text->length += length;
    return 1;
}

static void cut_front(struct text* text, size_t length) {
    memmove(text->bytes, text->bytes + length, text->length - length);
    text->length -= length;
}

/* ---- one client ------------------------------------------------------------------------------------------------- */

static void ask(struct client* client);

static void hang_up(struct client* client) {
    if (!client->used || client->gone) return;
    unwatch(&client->of->host, &client->watch);
    close(client->fd);
    free(client->in.bytes), free(client->out.bytes);
    *client = (struct client){.of = client->of, .used = client->asking, .gone = client->asking, .fd = -1};
}

/* 0 if it is gone. */
static int flush(struct client* client) {
    const ssize_t sent = client->out.length == 0
                             ? 0
                             : send(client->fd, client->out.bytes, client->out.length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return hang_up(client), 0;
    if (sent > 0) cut_front(&client->out, (size_t)sent);
    const uint32_t wanted = GANTRY_IO_READ | (client->out.length == 0 ? 0 : GANTRY_IO_WRITE);
    client->of->host.io->change(client->of->host.handle, client->watch, wanted);
    return 1;
}

/* 0 if it is gone. */
static int answer(struct client* client, int code, gantry_str body) {
    char head[16];
    const int length = snprintf(head, sizeof head, "%d ", code);
    client->asking = 0;
    if (!append(&client->out, head, (size_t)length) || !append(&client->out, body.ptr, body.len) ||
        !append(&client->out, "\n", 1) || client->out.length > UNSENT_MAX_BYTES)
        return hang_up(client), 0;
    return flush(client);
}

static void on_response(void* arg, const gantry_control_response* response) {
    struct client* client = arg;
    if (client->gone) {
        *client = (struct client){.of = client->of, .fd = -1};
    } else if (answer(client, response->code, response->body)) {
        ask(client);
    }
}

static gantry_str next_word(gantry_str* rest) {
    const char* space = rest->len == 0 ? NULL : memchr(rest->ptr, ' ', rest->len);
    const gantry_str word = {rest->ptr, space == NULL ? rest->len : (size_t)(space - rest->ptr)};
    const size_t used = word.len + (space != NULL);
    rest->ptr += used;
    rest->len -= used;
    return word;
}

static void ask(struct client* client) {
    struct frontend* me = client->of;
    const char* end = client->in.length == 0 ? NULL : memchr(client->in.bytes, '\n', client->in.length);
    if (client->asking || end == NULL) return;
    gantry_str rest = {client->in.bytes, (size_t)(end - client->in.bytes)};
    const size_t line = rest.len + 1;
    gantry_control_request request = {.struct_size = sizeof request, .principal = &client->who};
    request.method = next_word(&rest);
    request.path = next_word(&rest);
    request.body = rest;
    client->asking = 1;
    const gantry_status status = me->host.control->request(me->host.handle, &request, on_response, client);
    cut_front(&client->in, line); /* the host has copied what it needs */
    if (status == GANTRY_OK) return;
    answer(client, 503, str("{\"error\": {\"message\": \"gantryd takes no more requests\"}}"));
}

static void on_client(void* arg, int32_t fd, uint32_t event) {
    struct client* client = arg;
    char buffer[16 << 10];
    if (event == GANTRY_IO_WRITE) {
        flush(client);
        return;
    }
    const ssize_t got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0 || client->in.length > LINE_MAX_BYTES || !append(&client->in, buffer, (size_t)got)) {
        hang_up(client);
        return;
    }
    ask(client);
}

static void on_door(void* arg, int32_t door, uint32_t events) {
    struct frontend* me = arg;
    struct ucred peer;
    socklen_t size = sizeof peer;
    (void)events;
    const int fd = accept4(door, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct client* client = NULL;
    for (size_t i = 0; i < CLIENTS_MAX && client == NULL; ++i) {
        if (!me->clients[i].used) client = &me->clients[i];
    }
    if (fd < 0 || client == NULL || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
        if (fd >= 0) close(fd);
        return;
    }
    client->used = 1;
    client->fd = fd;
    /* Who asks is said with every request; the resource tree decides what that one may do. */
    snprintf(client->name, sizeof client->name, "%u", (unsigned)peer.uid);
    client->who = (gantry_principal){sizeof client->who, 0, str("unix"), str(client->name), peer.uid, peer.gid};
    if (me->host.io->watch(me->host.handle, fd, GANTRY_IO_READ, on_client, client, &client->watch) != GANTRY_OK)
        hang_up(client);
}

/* ---- the instance ---------------------------------------------------------------------------------------------- */

static gantry_str address(void* self) { return str(((struct frontend*)self)->address); }

static gantry_status init(void* self, const gantry_config* config, gantry_error* error) {
    struct frontend* me = self;
    me->path = path_setting(config, "socket", "door", sizeof(((struct sockaddr_un*)0)->sun_path) - 1, error);
    if (me->path == NULL) return GANTRY_INVALID;
    snprintf(me->address, sizeof me->address, "unix:%s", me->path);
    return GANTRY_OK;
}

static gantry_status start(void* self, gantry_error* error) {
    struct frontend* me = self;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const gantry_status status = whole(&me->host, error);
    if (status != GANTRY_OK) return status;
    if (!GANTRY_HAS(me->host.control, request)) return refuse(error, GANTRY_UNSUPPORTED, "this host has no tree");
    strcpy(name.sun_path, me->path);
    unlink(me->path); /* of the gantryd before; two that run have different folders */
    me->door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (me->door < 0 || bind(me->door, (struct sockaddr*)&name, sizeof name) != 0 || chmod(me->path, 0600) != 0 ||
        listen(me->door, 16) != 0)
        return refuse(error, GANTRY_UNAVAILABLE, "%s: %s", me->path, strerror(errno));
    if (me->host.io->watch(me->host.handle, me->door, GANTRY_IO_READ, on_door, me, &me->watch) == GANTRY_OK)
        return GANTRY_OK;
    return refuse(error, GANTRY_UNAVAILABLE, "the host watches no more descriptors");
}

static gantry_status stop(void* self, int64_t deadline_ns, gantry_error* error) {
    struct frontend* me = self;
    (void)deadline_ns, (void)error;
    for (size_t i = 0; i < CLIENTS_MAX; ++i) hang_up(&me->clients[i]);
    unwatch(&me->host, &me->watch);
    if (me->door < 0) return GANTRY_OK;
    unlink(me->path);
    close(me->door);
    me->door = -1;
    return GANTRY_OK;
}

static void destroy(void* self) {
    struct frontend* me = self;
    free(me->path), free(me);
}

static const void* query(void* self, gantry_str id) {
    static const gantry_frontend table = {sizeof table, 0, address};
    (void)self;
    return equal(id, GANTRY_ROLE_FRONTEND) ? &table : NULL;
}

static gantry_status create(const gantry_host* host, gantry_plugin* out, gantry_error* error) {
    if (out->struct_size < sizeof *out) return refuse(error, GANTRY_INVALID, "the host's plugin table is too small");
    struct frontend* me = calloc(1, sizeof *me);
    if (me == NULL) return GANTRY_FAILED;
    me->host = services_of(host);
    me->door = -1;
    for (size_t i = 0; i < CLIENTS_MAX; ++i) me->clients[i] = (struct client){.of = me, .fd = -1};
    *out = (gantry_plugin){sizeof *out, 0, me, init, start, stop, destroy, query};
    return GANTRY_OK;
}

PLUGIN_ENTRY(create)
