/* Attacks on a server that speaks TLS, with OpenSSL where a stranger needs it.
 *
 *   tls-silent   connections that never say anything
 *   tls-garbage  what is no ClientHello, or half of one
 *   tls-half     handshakes that go no further once the server has signed
 *   tls-flood    whole handshakes, some of them with a login, one after the other
 *   tls-rekey    clients that change their keys, or want a new handshake, without end
 *   tls-deaf     clients that have logged in, ask for much and never read */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>

#include "attack.h"

enum { kHello = 2048, kMostSilent = 10000, kMostHalf = 256, kMostRekeying = 16, kMostDeaf = 16 };

struct peer {
    int fd;
    SSL* ssl;
};

static SSL_CTX* context;

static struct peer begin(int newest) {
    struct peer peer = {dial_reset(), SSL_new(context)};
    check(peer.ssl != NULL && SSL_set_fd(peer.ssl, peer.fd) == 1, "SSL_new");
    SSL_set_max_proto_version(peer.ssl, newest);
    return peer;
}

static void finish(struct peer* peer) {
    if (peer->ssl == NULL) return;
    SSL_free(peer->ssl);
    close(peer->fd);
    peer->ssl = NULL;
}

/* False: the server has ended it. */
static bool ask(SSL* ssl, uint8_t type, const char* url) {
    uint8_t bytes[512];
    const size_t length = put_packet(bytes, type, 1, url, "", NULL, 0);
    if (SSL_write(ssl, bytes, (int)length) != (int)length || SSL_read(ssl, bytes, 20) != 20) return false;
    const int rest = (int)packet_length(bytes) - 20;
    check(bytes[1] == type && bytes[3] == 0, "the server's answer");
    return rest == 0 || SSL_read(ssl, bytes, rest) == rest;
}

static struct peer logged_in(int newest) {
    for (;;) {
        struct peer peer = begin(newest);
        if (SSL_connect(peer.ssl) == 1 && ask(peer.ssl, 0, "")) return peer;
        finish(&peer); /* it had to give way */
    }
}

/* The first message of a client, as it goes over the wire. */
static size_t client_hello(uint8_t* out) {
    SSL* ssl = SSL_new(context);
    BIO *from = BIO_new(BIO_s_mem()), *to = BIO_new(BIO_s_mem());
    check(ssl != NULL && from != NULL && to != NULL, "SSL_new");
    SSL_set_bio(ssl, from, to);
    SSL_connect(ssl);
    const int length = BIO_read(to, out, kHello);
    check(length > 0, "a ClientHello");
    SSL_free(ssl);
    return (size_t)length;
}

/* Keeps up to `most` connections that `each` has done something with, the oldest of which it gives up. */
static void keep(long most, void (*each)(int fd, long number)) {
    int* open = calloc((size_t)most, sizeof *open);
    struct peer pacer = logged_in(TLS1_3_VERSION);
    for (long number = 0; !over(); ++number) {
        int* place = &open[number % most];
        if (number >= most) close(*place);
        *place = dial_reset();
        each(*place, number);
        step();
        /* What the server's backlog can hold is between two of these. */
        if (number % 8 == 7) check(ask(pacer.ssl, 0xff, ""), "ping");
        if (number >= most || number >= 128) under_way();
    }
}

static void nothing(int fd, long number) { (void)fd, (void)number; }

static void garbage(int fd, long number) {
    static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    uint8_t bytes[kHello];
    const size_t length = client_hello(bytes);
    if (number % 4 == 0) put(fd, request, sizeof request - 1);
    if (number % 4 == 1) put(fd, bytes, length / 2);
    if (number % 4 == 2) {
        for (size_t i = 5; i < length; ++i) bytes[i] = (uint8_t)(bytes[i] * 31u + (unsigned)number + i);
        put(fd, bytes, length);
    }
    if (number % 4 == 3) {
        const size_t login = put_packet(bytes, 0, 0, "", "", NULL, 0);
        put(fd, bytes, login);
    }
}

static void half(int fd, long number) {
    uint8_t bytes[kHello];
    (void)number;
    put(fd, bytes, client_hello(bytes));
}

static void flood(void) {
    for (long number = 0; !over(); ++number) {
        struct peer peer = begin(number % 2 == 0 ? TLS1_3_VERSION : TLS1_2_VERSION);
        if (SSL_connect(peer.ssl) == 1 && number % 4 == 0) ask(peer.ssl, 0, "");
        finish(&peer);
        step();
        if (number >= 64) under_way();
    }
}

/* Whether the server still listens to one that wants new keys, over and over. */
static bool rekey(SSL* ssl) {
    for (int i = 0; i < 64; ++i) {
        const bool asked = SSL_version(ssl) == TLS1_3_VERSION ? SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1
                                                              : SSL_renegotiate(ssl) == 1;
        if (!asked || (SSL_do_handshake(ssl) != 1 && SSL_get_error(ssl, -1) != SSL_ERROR_WANT_READ)) return false;
        step();
    }
    return true;
}

static void rekey_all(void) {
    struct peer all[kMostRekeying] = {0};
    for (long number = 0; !over(); ++number) {
        struct peer* peer = &all[number % kMostRekeying];
        if (peer->ssl == NULL) {
            *peer = logged_in(number % 2 == 0 ? TLS1_3_VERSION : TLS1_2_VERSION);
            /* A refusal is not waited for. */
            const struct timeval moment = {0, 1000};
            check(setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof moment) == 0, "SO_RCVTIMEO");
        }
        if (!rekey(peer->ssl)) finish(peer);
        step();
        under_way();
    }
}

static void deaf(void) {
    struct peer all[kMostDeaf] = {0};
    for (long number = 0; !over(); ++number) {
        struct peer* peer = &all[number % kMostDeaf];
        uint8_t calls[64 * 32];
        size_t length = 0;
        finish(peer);
        *peer = logged_in(TLS1_3_VERSION);
        ask(peer->ssl, 2, "/flood");
        for (int i = 0; i < 64; ++i) length += put_packet(calls + length, 1, (uint8_t)i, "/wide", "", NULL, 0);
        for (int i = 0; i < 4; ++i) SSL_write(peer->ssl, calls, (int)length);
        step();
        if (number >= kMostDeaf) under_way();
        poll(NULL, 0, 5);
    }
}

void tls_attack(const char* kind) {
    context = SSL_CTX_new(TLS_client_method());
    check(context != NULL, "SSL_CTX_new");
    signal(SIGPIPE, SIG_IGN);
    if (strcmp(kind, "tls-silent") == 0) keep(kMostSilent, nothing);
    if (strcmp(kind, "tls-garbage") == 0) keep(kMostHalf, garbage);
    if (strcmp(kind, "tls-half") == 0) keep(kMostHalf, half);
    if (strcmp(kind, "tls-flood") == 0) flood();
    if (strcmp(kind, "tls-rekey") == 0) rekey_all();
    if (strcmp(kind, "tls-deaf") == 0) deaf();
}
