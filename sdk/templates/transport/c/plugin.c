/* Messages over TCP in TLS 1.3, keyed by a secret that all nodes have: whoever does not know it never comes up. On the
 * wire a message is its length (4 bytes), its channel (1 byte) and itself. Everything happens on the loop. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <gantry/abi/transport.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "plugin.h"

#define MESSAGE_MAX (1u << 20) /* bytes */
#define QUEUE_MAX (4u << 20)   /* bytes that may wait for one peer */
#define WIRE_MAX (256u << 10)  /* bytes that are encrypted ahead of the socket */
#define PEERS_MAX 1024
#define LISTENERS_MAX 8
#define STALLED_MS 5000 /* a peer that takes nothing for so long is given up */
#define HANDSHAKE_LIMIT_NS 5000000000
#define CLOSE_LIMIT_NS 1000000000
#define HEADER 5
#define KEY_BYTES 32
#define ADDRESS_MAX (INET6_ADDRSTRLEN + 16)

struct text {
    char* bytes;
    size_t length;
};

struct message {
    struct message* next;
    size_t length;
    char bytes[]; /* framed */
};

struct queue {
    struct message *first, **last;
};

struct peer {
    struct peer* next;
    struct transport* of;
    uint64_t id, watch, timer, dialling;      /* dialling: the operation, 0 once it was answered */
    int fd, inbound, up, closing, full, over; /* over: ended, and freed once nothing refers to it */
    SSL* ssl;
    char address[ADDRESS_MAX];
    struct queue waiting[2]; /* by channel */
    size_t waiting_bytes;
    struct text wire, in; /* encrypted and not sent yet; decrypted and no whole message yet */
};

struct listener {
    struct transport* of;
    int fd;
    uint64_t watch;
};

struct transport {
    struct services host;
    const gantry_transport_sink* sink;
    unsigned char key[KEY_BYTES];
    SSL_CTX* tls;
    uint64_t last;
    struct listener listeners[LISTENERS_MAX];
    struct peer* peers;
    size_t peer_count;
    int depth; /* of calls in which a peer may end */
};

static const gantry_transport_facts facts = {sizeof facts, 1, MESSAGE_MAX, QUEUE_MAX};

static int append(struct text* text, const void* bytes, size_t length) {
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

/* ---- addresses -------------------------------------------------------------------------------------------------- */

/* "10.0.0.1:80", "[fd00::1]:80"; its length, 0 if it is not of that form. */
static socklen_t parse(gantry_str text, struct sockaddr_storage* out) {
    char copy[ADDRESS_MAX], *end = NULL;
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

/* Of one end of a socket: ask is getsockname or getpeername. */
static void spell(int fd, int (*ask)(int, struct sockaddr*, socklen_t*), char* out) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char ip[INET6_ADDRSTRLEN] = "";
    out[0] = '\0';
    if (ask(fd, (struct sockaddr*)&address, &length) != 0) return;
    const struct sockaddr_in* v4 = (const void*)&address;
    const struct sockaddr_in6* v6 = (const void*)&address;
    if (address.ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, ip, sizeof ip);
        snprintf(out, ADDRESS_MAX, "[%s]:%u", ip, ntohs(v6->sin6_port));
    } else {
        inet_ntop(AF_INET, &v4->sin_addr, ip, sizeof ip);
        snprintf(out, ADDRESS_MAX, "%s:%u", ip, ntohs(v4->sin_port));
    }
}

/* ---- the secret ------------------------------------------------------------------------------------------------- */

static unsigned give_key(SSL* ssl, unsigned char* out, unsigned room) {
    const struct transport* me = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    if (room < KEY_BYTES) return 0;
    memcpy(out, me->key, KEY_BYTES);
    return KEY_BYTES;
}

static unsigned as_client(SSL* ssl, const char* hint, char* identity, unsigned identity_room, unsigned char* out,
                          unsigned room) {
    (void)hint;
    snprintf(identity, identity_room, "gantry");
    return give_key(ssl, out, room);
}

static unsigned as_server(SSL* ssl, const char* identity, unsigned char* out, unsigned room) {
    (void)identity;
    return give_key(ssl, out, room);
}

static gantry_status read_key(struct transport* me, gantry_str path, gantry_error* error) {
    char* name = copy_of(path);
    char secret[4096];
    FILE* file = name == NULL ? NULL : fopen(name, "rbe");
    size_t length = file == NULL ? 0 : fread(secret, 1, sizeof secret, file);
    if (file != NULL) fclose(file);
    free(name);
    while (length > 0 && secret[length - 1] == '\n') --length;
    if (length < 16 || length == sizeof secret || EVP_Digest(secret, length, me->key, NULL, EVP_sha256(), NULL) != 1)
        return refuse(
            error, GANTRY_INVALID,
            "secret_file: expected a file of 16 to 4,095 bytes, for example from 'openssl rand -hex 32', got %.*s",
            (int)(path.len < 200 ? path.len : 200), path.len > 0 ? path.ptr : "\"\"");
    return GANTRY_OK;
}

/* ---- peers ------------------------------------------------------------------------------------------------------ */

static struct peer* find(struct transport* me, uint64_t id) {
    struct peer* peer = me->peers;
    while (peer != NULL && (peer->id != id || peer->over)) peer = peer->next;
    return peer;
}

static void free_peer(struct peer* peer) {
    for (int channel = 0; channel < 2; ++channel) {
        while (peer->waiting[channel].first != NULL) {
            struct message* message = peer->waiting[channel].first;
            peer->waiting[channel].first = message->next;
            free(message);
        }
    }
    unwatch(&peer->of->host, &peer->watch);
    cancel(&peer->of->host, &peer->timer);
    SSL_free(peer->ssl);
    if (peer->fd >= 0) close(peer->fd);
    free(peer->wire.bytes), free(peer->in.bytes), free(peer);
}

/* Every call from outside is between enter and leave, so that a peer that ends on the way is not freed under it. */
static void enter(struct transport* me) { ++me->depth; }

static void leave(struct transport* me) {
    if (--me->depth > 0) return;
    for (struct peer** at = &me->peers; *at != NULL;) {
        struct peer* peer = *at;
        if (!peer->over) {
            at = &peer->next;
            continue;
        }
        *at = peer->next;
        --me->peer_count;
        free_peer(peer);
    }
}

static void end(struct peer* peer, uint32_t reason, const char* why) {
    struct transport* me = peer->of;
    if (peer->over) return;
    peer->over = 1;
    unwatch(&me->host, &peer->watch);
    cancel(&me->host, &peer->timer);
    if (peer->up) {
        me->sink->down(me->host.handle, peer->id, reason, str(why));
    } else if (peer->inbound) {
        me->sink->refused(me->host.handle, str(peer->address), reason, str(why));
    } else {
        const gantry_status status = reason == GANTRY_DOWN_REFUSED   ? GANTRY_DENIED
                                     : reason == GANTRY_DOWN_TIMEOUT ? GANTRY_DEADLINE
                                                                     : GANTRY_UNAVAILABLE;
        complete(&me->host, peer->dialling, status, why, NULL);
    }
}

static void take_wire(struct peer* peer) {
    BIO* bio = SSL_get_wbio(peer->ssl);
    char buffer[16 << 10];
    for (int got = 0; (got = BIO_read(bio, buffer, sizeof buffer)) > 0;) {
        if (!append(&peer->wire, buffer, (size_t)got)) end(peer, GANTRY_DOWN_RESET, "no memory");
    }
}

static void flush(struct peer* peer) {
    take_wire(peer);
    while (peer->wire.length > 0 && !peer->over) {
        const ssize_t sent = send(peer->fd, peer->wire.bytes, peer->wire.length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) break;
        if (sent < 0) {
            const int why = errno;
            end(peer, why == ETIMEDOUT ? GANTRY_DOWN_TIMEOUT : GANTRY_DOWN_RESET, strerror(why));
            return;
        }
        cut_front(&peer->wire, (size_t)sent);
    }
    if (peer->over) return;
    const uint32_t wanted = GANTRY_IO_READ | (peer->wire.length == 0 ? 0 : GANTRY_IO_WRITE);
    peer->of->host.io->change(peer->of->host.handle, peer->watch, wanted);
}

/* Encrypts what waits, the control channel first, and sends what the socket takes. */
static void write_waiting(struct peer* peer) {
    do {
        while (peer->wire.length < WIRE_MAX && peer->waiting_bytes > 0 && !peer->over) {
            struct queue* queue = &peer->waiting[peer->waiting[0].first == NULL ? 1 : 0];
            struct message* message = queue->first;
            SSL_write(peer->ssl, message->bytes, (int)message->length);
            peer->waiting_bytes -= message->length;
            queue->first = message->next;
            if (queue->first == NULL) queue->last = &queue->first;
            free(message);
            take_wire(peer);
        }
        if (!peer->over) flush(peer);
    } while (!peer->over && peer->wire.length == 0 && peer->waiting_bytes > 0);
    if (peer->over) return;
    if (peer->full && peer->waiting_bytes < QUEUE_MAX / 2) {
        peer->full = 0;
        peer->of->sink->writable(peer->of->host.handle, peer->id);
    }
    /* All is sent: the other side closes when it has read it. */
    if (!peer->closing || peer->wire.length > 0 || SSL_get_shutdown(peer->ssl) != 0) return;
    SSL_shutdown(peer->ssl);
    flush(peer);
    if (!peer->over) shutdown(peer->fd, SHUT_WR);
}

static int take_messages(struct peer* peer) {
    size_t at = 0;
    while (!peer->over && peer->in.length - at >= HEADER) {
        const char* bytes = peer->in.bytes + at;
        uint32_t size = 0;
        memcpy(&size, bytes, sizeof size);
        if (size > MESSAGE_MAX) return 0;
        if (peer->in.length - at - HEADER < size) break;
        const gantry_bytes data = {(const uint8_t*)bytes + HEADER, size};
        const uint32_t channel = bytes[4] == 0 ? GANTRY_CHANNEL_CONTROL : GANTRY_CHANNEL_BULK;
        peer->of->sink->message(peer->of->host.handle, peer->id, channel, data);
        at += HEADER + size;
    }
    cut_front(&peer->in, at);
    return 1;
}

static void read_waiting(struct peer* peer) {
    char buffer[16 << 10];
    while (!peer->over) {
        ERR_clear_error();
        const int got = SSL_read(peer->ssl, buffer, sizeof buffer);
        if (got > 0) {
            if (!append(&peer->in, buffer, (size_t)got)) end(peer, GANTRY_DOWN_RESET, "no memory");
            continue;
        }
        const int why = SSL_get_error(peer->ssl, got);
        if (peer->in.length > 0 && !take_messages(peer))
            return end(peer, GANTRY_DOWN_RESET, "a message that is too long");
        if (why == SSL_ERROR_WANT_READ) return;
        const int ordered = why == SSL_ERROR_ZERO_RETURN;
        return end(peer, ordered ? GANTRY_DOWN_CLOSED : GANTRY_DOWN_RESET, ordered ? "closed" : "broken TLS");
    }
}

static void shake_hands(struct peer* peer) {
    struct transport* me = peer->of;
    ERR_clear_error();
    const int done = SSL_do_handshake(peer->ssl);
    const int why = done == 1 ? SSL_ERROR_NONE : SSL_get_error(peer->ssl, done);
    flush(peer); /* the other side hears why, too */
    if (why == SSL_ERROR_WANT_READ || peer->over) return;
    if (why != SSL_ERROR_NONE) return end(peer, GANTRY_DOWN_REFUSED, "the other side does not know the secret");
    char local[ADDRESS_MAX];
    cancel(&me->host, &peer->timer);
    peer->up = 1;
    spell(peer->fd, getsockname, local);
    me->sink->up(me->host.handle, peer->id, (uint32_t)peer->inbound, str(peer->address), str(local));
    if (peer->dialling == 0) return;
    const gantry_dial_result result = {sizeof result, 0, peer->id};
    complete(&me->host, peer->dialling, GANTRY_OK, "", &result);
    peer->dialling = 0;
}

/* What came from the socket goes to OpenSSL. */
static void receive(struct peer* peer) {
    char buffer[64 << 10];
    const ssize_t got = recv(peer->fd, buffer, sizeof buffer, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got < 0) return end(peer, errno == ETIMEDOUT ? GANTRY_DOWN_TIMEOUT : GANTRY_DOWN_RESET, strerror(errno));
    if (got == 0) return end(peer, peer->closing ? GANTRY_DOWN_CLOSED : GANTRY_DOWN_RESET, "the connection ended");
    BIO_write(SSL_get_rbio(peer->ssl), buffer, (int)got);
}

static void on_peer(void* arg, int32_t fd, uint32_t event) {
    struct peer* peer = arg;
    struct transport* me = peer->of;
    (void)fd;
    enter(me);
    if (event == GANTRY_IO_READ) receive(peer);
    if (!peer->over && !peer->up) shake_hands(peer);
    if (!peer->over && peer->up) read_waiting(peer);
    if (!peer->over && peer->up) write_waiting(peer);
    leave(me);
}

static void on_limit(void* arg, uint64_t timer) {
    struct peer* peer = arg;
    struct transport* me = peer->of;
    (void)timer;
    peer->timer = 0; /* it is over */
    enter(me);
    if (peer->closing) {
        end(peer, GANTRY_DOWN_CLOSED, "closed");
    } else {
        end(peer, GANTRY_DOWN_TIMEOUT, "no answer in time");
    }
    leave(me);
}

/* Takes the descriptor over; NULL: there is no room for it. `op` is 0 for one that came in. */
static struct peer* add(struct transport* me, int fd, uint64_t op, int64_t limit_ns) {
    struct peer* peer = me->peer_count < PEERS_MAX ? calloc(1, sizeof *peer) : NULL;
    if (peer == NULL) return close(fd), NULL;
    const int yes = 1;
    const unsigned stalled_ms = STALLED_MS;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &stalled_ms, sizeof stalled_ms);
    *peer = (struct peer){.next = me->peers, .of = me, .id = ++me->last, .fd = fd, .dialling = op, .inbound = op == 0};
    for (int channel = 0; channel < 2; ++channel) peer->waiting[channel].last = &peer->waiting[channel].first;
    peer->ssl = SSL_new(me->tls);
    BIO *from = BIO_new(BIO_s_mem()), *to = BIO_new(BIO_s_mem());
    if (peer->ssl == NULL || from == NULL || to == NULL) {
        BIO_free(from), BIO_free(to);
        free_peer(peer);
        return NULL;
    }
    SSL_set_bio(peer->ssl, from, to);
    if (op == 0) {
        SSL_set_accept_state(peer->ssl); /* there is no certificate: who has not the key gets nowhere */
    } else {
        SSL_set_connect_state(peer->ssl);
        SSL_set_verify(peer->ssl, SSL_VERIFY_PEER, NULL); /* and no certificate will do instead of it */
    }
    /* A dialled one begins when it is connected, which the socket says by being writable. */
    const uint32_t events = GANTRY_IO_READ | (op == 0 ? 0 : GANTRY_IO_WRITE);
    if (me->host.io->watch(me->host.handle, fd, events, on_peer, peer, &peer->watch) != GANTRY_OK ||
        me->host.clock->timer(me->host.handle, limit_ns, 0, on_limit, peer, &peer->timer) != GANTRY_OK) {
        free_peer(peer);
        return NULL;
    }
    me->peers = peer;
    ++me->peer_count;
    return peer;
}

static void on_door(void* arg, int32_t door, uint32_t events) {
    const struct listener* listener = arg;
    (void)events;
    const int fd = accept4(door, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    struct peer* peer = fd < 0 ? NULL : add(listener->of, fd, 0, HANDSHAKE_LIMIT_NS);
    if (peer != NULL) spell(fd, getpeername, peer->address);
}

/* ---- the role's slots ------------------------------------------------------------------------------------------- */

static gantry_status bind_sink(void* self, const gantry_transport_sink* sink) {
    ((struct transport*)self)->sink = sink;
    return GANTRY_OK;
}

static gantry_status listen_on(void* self, gantry_op op, gantry_str text) {
    struct transport* me = self;
    struct sockaddr_storage address;
    const socklen_t length = parse(text, &address);
    struct listener* listener = NULL;
    for (size_t i = 0; i < LISTENERS_MAX && listener == NULL; ++i) {
        if (me->listeners[i].fd < 0) listener = &me->listeners[i];
    }
    if (length == 0) return complete(&me->host, op.id, GANTRY_INVALID, "expected IP:PORT", NULL), GANTRY_OK;
    if (listener == NULL) return GANTRY_FULL;
    const int yes = 1, fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, (struct sockaddr*)&address, length) != 0 || listen(fd, 64) != 0) {
        complete(&me->host, op.id, GANTRY_UNAVAILABLE, strerror(errno), NULL);
        if (fd >= 0) close(fd);
        return GANTRY_OK;
    }
    *listener = (struct listener){me, fd, 0};
    if (me->host.io->watch(me->host.handle, fd, GANTRY_IO_READ, on_door, listener, &listener->watch) != GANTRY_OK) {
        close(fd);
        listener->fd = -1;
        return GANTRY_FULL;
    }
    char bound[ADDRESS_MAX];
    spell(fd, getsockname, bound);
    const gantry_listen_result result = {sizeof result, 0, str(bound)};
    complete(&me->host, op.id, GANTRY_OK, "", &result);
    return GANTRY_OK;
}

static gantry_status dial(void* self, gantry_op op, gantry_str text) {
    struct transport* me = self;
    struct sockaddr_storage address;
    const socklen_t length = parse(text, &address);
    if (length == 0) return complete(&me->host, op.id, GANTRY_INVALID, "expected IP:PORT", NULL), GANTRY_OK;
    const int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || (connect(fd, (struct sockaddr*)&address, length) != 0 && errno != EINPROGRESS)) {
        complete(&me->host, op.id, GANTRY_UNAVAILABLE, strerror(errno), NULL);
        if (fd >= 0) close(fd);
        return GANTRY_OK;
    }
    /* Before the deadline, so that the answer still counts. */
    const int64_t limit_ns = (op.deadline_ns - me->host.clock->now(me->host.handle)) / 10 * 9;
    struct peer* peer = add(me, fd, op.id, limit_ns < 0 ? 0 : limit_ns);
    if (peer == NULL) return GANTRY_FULL;
    snprintf(peer->address, sizeof peer->address, "%.*s", (int)text.len, text.ptr);
    return GANTRY_OK;
}

static gantry_status send_message(void* self, uint64_t id, uint32_t channel, gantry_bytes bytes) {
    struct transport* me = self;
    struct peer* peer = find(me, id);
    if (peer == NULL || !peer->up || peer->closing) return GANTRY_NOT_FOUND;
    if (bytes.len > MESSAGE_MAX) return GANTRY_INVALID;
    if (peer->waiting_bytes + bytes.len > QUEUE_MAX) {
        peer->full = 1;
        return GANTRY_FULL;
    }
    struct message* message = malloc(sizeof *message + HEADER + bytes.len);
    if (message == NULL) {
        peer->full = 1;
        return GANTRY_FULL;
    }
    const uint32_t size = (uint32_t)bytes.len;
    message->next = NULL;
    message->length = HEADER + bytes.len;
    memcpy(message->bytes, &size, sizeof size);
    message->bytes[4] = channel == GANTRY_CHANNEL_CONTROL ? 0 : 1;
    if (bytes.len > 0) memcpy(message->bytes + HEADER, bytes.ptr, bytes.len);
    struct queue* queue = &peer->waiting[channel == GANTRY_CHANNEL_CONTROL ? 0 : 1];
    *queue->last = message;
    queue->last = &message->next;
    peer->waiting_bytes += message->length;
    enter(me);
    write_waiting(peer);
    leave(me);
    return GANTRY_OK;
}

static gantry_status close_peer(void* self, uint64_t id) {
    struct transport* me = self;
    struct peer* peer = find(me, id);
    if (peer == NULL || peer->closing) return GANTRY_OK;
    enter(me);
    peer->closing = 1;
    if (me->host.clock->timer(me->host.handle, CLOSE_LIMIT_NS, 0, on_limit, peer, &peer->timer) == GANTRY_OK) {
        write_waiting(peer);
    } else {
        end(peer, GANTRY_DOWN_CLOSED, "closed");
    }
    leave(me);
    return GANTRY_OK;
}

/* ---- the instance ---------------------------------------------------------------------------------------------- */

static gantry_status init(void* self, const gantry_config* config, gantry_error* error) {
    struct transport* me = self;
    const gantry_config_value* file = setting(config, "secret_file", GANTRY_CONFIG_STRING);
    const gantry_status status = read_key(me, file == NULL ? str("") : file->string, error);
    if (status != GANTRY_OK) return status;
    me->tls = SSL_CTX_new(TLS_method());
    if (me->tls == NULL || SSL_CTX_set_min_proto_version(me->tls, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_ciphersuites(me->tls, "TLS_AES_128_GCM_SHA256") != 1)
        return refuse(error, GANTRY_FAILED, "this OpenSSL has no TLS 1.3 with TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_app_data(me->tls, me);
    SSL_CTX_set_num_tickets(me->tls, 0);
    SSL_CTX_set_psk_client_callback(me->tls, as_client);
    SSL_CTX_set_psk_server_callback(me->tls, as_server);
    return GANTRY_OK;
}

static gantry_status start(void* self, gantry_error* error) { return whole(&((struct transport*)self)->host, error); }

static gantry_status stop(void* self, int64_t deadline_ns, gantry_error* error) {
    struct transport* me = self;
    (void)deadline_ns, (void)error;
    for (size_t i = 0; i < LISTENERS_MAX; ++i) {
        if (me->listeners[i].fd < 0) continue;
        unwatch(&me->host, &me->listeners[i].watch);
        close(me->listeners[i].fd);
        me->listeners[i].fd = -1;
    }
    while (me->peers != NULL) {
        struct peer* peer = me->peers;
        me->peers = peer->next;
        free_peer(peer);
    }
    me->peer_count = 0;
    return GANTRY_OK;
}

static void destroy(void* self) {
    struct transport* me = self;
    stop(me, 0, NULL);
    SSL_CTX_free(me->tls);
    free(me);
}

static const void* query(void* self, gantry_str id) {
    /* It has no streams: a slot that is not there answers GANTRY_UNSUPPORTED. */
    static const gantry_transport table = {.struct_size = sizeof table,
                                           .facts = &facts,
                                           .bind = bind_sink,
                                           .listen = listen_on,
                                           .dial = dial,
                                           .send = send_message,
                                           .close = close_peer};
    (void)self;
    return equal(id, GANTRY_ROLE_TRANSPORT) ? &table : NULL;
}

static gantry_status create(const gantry_host* host, gantry_plugin* out, gantry_error* error) {
    if (out->struct_size < sizeof *out) return refuse(error, GANTRY_INVALID, "the host's plugin table is too small");
    struct transport* me = calloc(1, sizeof *me);
    if (me == NULL) return GANTRY_FAILED;
    me->host = services_of(host);
    for (size_t i = 0; i < LISTENERS_MAX; ++i) me->listeners[i].fd = -1;
    *out = (gantry_plugin){sizeof *out, 0, me, init, start, stop, destroy, query};
    return GANTRY_OK;
}

PLUGIN_ENTRY(create)
