#include "tests/interop/peer/peer.h"

#include <poll.h>
#include <stdarg.h>

int die(const char* what) {
    fprintf(stderr, "interop_peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* ---- lines ---- */

void say(const char* format, ...) {
    char line[2 * kMaxLine];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof line) length = sizeof line - 1;
    while (length > 0 && line[length - 1] == '\t') --length;
    flockfile(stdout);
    printf("%.*s\n", length, line);
    fflush(stdout);
    funlockfile(stdout);
}

static unsigned char pattern(size_t i) { return (unsigned char)(i * 7 + i / 256); }

void say_message(const char* head, const vsoa_url_t* url, const vsoa_payload_t* payload) {
    char data[32] = "";
    const unsigned char* bytes = payload->data;
    size_t good = 0;
    while (good < payload->data_len && bytes[good] == pattern(good)) ++good;
    if (payload->data_len > 0) {
        snprintf(data, sizeof data, "%s%zu", good < payload->data_len ? "broken " : "", payload->data_len);
    }
    say("%s%s%.*s\t%.*s\t%s", head, url != NULL ? "\t" : "", url != NULL ? (int)url->url_len : 0,
        url != NULL ? url->url : "", (int)payload->param_len, payload->param, data);
}

bool next_command(struct Command* command) {
    size_t used = 0;
    /* Unbuffered: what select does not see must not be in a buffer. */
    for (;;) {
        const ssize_t got = read(STDIN_FILENO, command->line + used, 1);
        if (got <= 0) return false;
        if (command->line[used] == '\n') break;
        if (++used == kMaxLine) die("a line is too long");
    }
    command->line[used] = '\0';
    char* rest = command->line;
    command->count = 0;
    for (int i = 0; i < kMaxWords; ++i) {
        char* word = strsep(&rest, "\t");
        if (word != NULL) command->count = i + 1;
        command->words[i] = word != NULL ? word : command->line + used;
    }
    return true;
}

bool told(const struct Command* command, const char* name) { return strcmp(command->words[0], name) == 0; }

struct Outgoing* outgoing(const struct Command* command) {
    static struct Outgoing out;
    const size_t count = strtoul(command->words[3], NULL, 10);
    if (count > sizeof out.data) die("more data than fits into a packet");
    for (size_t i = 0; i < count; ++i) out.data[i] = pattern(i);
    VSOA_URL_SET(&out.url, command->words[1], strlen(command->words[1]));
    VSOA_PAYLOAD_SET(&out.payload, command->words[2], strlen(command->words[2]), out.data, count);
    return &out;
}

/* ---- addresses ---- */

bool read_place(const char* where, struct Place* out) {
    char host[kMaxWhere];
    struct sockaddr_in* v4 = (struct sockaddr_in*)&out->address;
    struct sockaddr_in6* v6 = (struct sockaddr_in6*)&out->address;
    const char* colon = strrchr(where, ':');
    if (colon == NULL || (size_t)(colon - where) >= sizeof host) return false;
    const uint16_t port = htons((uint16_t)atoi(colon + 1));
    memset(out, 0, sizeof *out);
    snprintf(host, sizeof host, "%.*s", (int)(colon - where), where);
    if (host[0] == '[') {
        host[strcspn(host, "]")] = '\0';
        v6->sin6_family = AF_INET6;
        v6->sin6_port = port;
        out->length = sizeof *v6;
        return inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1;
    }
    v4->sin_family = AF_INET;
    v4->sin_port = port;
    out->length = sizeof *v4;
    return inet_pton(AF_INET, host, &v4->sin_addr) == 1;
}

int port_of(const struct sockaddr* address) {
    return ntohs(address->sa_family == AF_INET6 ? ((const struct sockaddr_in6*)address)->sin6_port
                                                : ((const struct sockaddr_in*)address)->sin_port);
}

const char* write_place(const struct sockaddr* address, char text[kMaxWhere]) {
    const bool v6 = address->sa_family == AF_INET6;
    const void* from = v6 ? (const void*)&((const struct sockaddr_in6*)address)->sin6_addr
                          : (const void*)&((const struct sockaddr_in*)address)->sin_addr;
    char host[INET6_ADDRSTRLEN];
    if (inet_ntop(address->sa_family, from, host, sizeof host) == NULL) die("an address");
    snprintf(text, kMaxWhere, v6 ? "[%s]:%d" : "%s:%d", host, port_of(address));
    return text;
}

void wait_readable(fd_set* fds, int highest) {
    FD_SET(STDIN_FILENO, fds);
    if (select(highest + 1, fds, NULL, NULL, NULL) < 0) die("select");
}

/* ---- streams ---- */

bool read_streaming(const char* url, size_t length, struct Streaming* out) {
    char text[64], side[8];
    if (length >= sizeof text) return false;
    memcpy(text, url, length);
    text[length] = '\0';
    if (sscanf(text, "/stream/%zu/%zu/%7s", &out->up, &out->down, side) != 3) return false;
    out->client_ends = strcmp(side, "client") == 0;
    return true;
}

/* The next bytes of the pattern go out; how many, or negative when the peer does not take them any more. */
static ssize_t send_pattern(int fd, size_t from, size_t count) {
    unsigned char buffer[16384];
    if (count > sizeof buffer) count = sizeof buffer;
    for (size_t i = 0; i < count; ++i) buffer[i] = pattern(from + i);
    const ssize_t put = send(fd, buffer, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    return put < 0 && errno == EAGAIN ? 0 : put;
}

bool exchange(int fd, size_t send_count, size_t receive_count, bool ends) {
    enum { kSilence_ms = 10000 };
    unsigned char buffer[16384];
    size_t sent = 0, received = 0;
    for (;;) {
        if (ends && sent == send_count && received == receive_count) return true;
        struct pollfd entry = {fd, (short)(sent < send_count ? POLLIN | POLLOUT : POLLIN), 0};
        if (poll(&entry, 1, kSilence_ms) <= 0) return false;
        if ((entry.revents & POLLOUT) != 0) {
            const ssize_t put = send_pattern(fd, sent, send_count - sent);
            if (put < 0) return false;
            sent += (size_t)put;
        }
        if ((entry.revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
        const ssize_t got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT);
        if (got == 0) return !ends && sent == send_count && received == receive_count;
        if (got < 0 && errno != EAGAIN) return false;
        for (ssize_t i = 0; i < got; ++i) {
            if (buffer[i] != pattern(received++)) return false;
        }
    }
}

const vsoa_tls_t* wanted_tls(void) {
    static vsoa_tls_t tls = VSOA_TLS_INITIALIZER;
    static char certificate[1024], key[1024];
    const char* own = getenv("INTEROP_CERT");
    tls.ca_file = getenv("INTEROP_CA");
    tls.psk_file = getenv("INTEROP_KEYS");
    if (own != NULL) {
        snprintf(certificate, sizeof certificate, "%s.pem", own);
        snprintf(key, sizeof key, "%s.key", own);
        tls.cert_file = certificate;
        tls.key_file = key;
    }
    return own != NULL || tls.ca_file != NULL || tls.psk_file != NULL ? &tls : NULL;
}

void detach(void* (*run)(void*), void* arg) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, arg) != 0 || pthread_detach(thread) != 0) die("start a thread");
}

int main(int argc, char** argv) {
    const char* mode = argc > 2 ? argv[1] : "";
    const char* password = argc > 3 && strcmp(argv[3], "-") != 0 ? argv[3] : NULL;
    const int urls = argc > 4 ? argc - 4 : 0;
    if (strcmp(mode, "server") == 0) return run_server(argv[2], password);
    if (strcmp(mode, "client") == 0) return run_client(argv[2], password, argv + 4, urls);
    if (strcmp(mode, "plain") == 0) return run_plain(argv[2], password, argv + 4, urls);
    if (strcmp(mode, "connect") == 0) return run_connect(argv[2], password);
    if (strcmp(mode, "position") == 0) return run_position(argv[2]);
    if (strcmp(mode, "lookup") == 0) return run_lookup(argv[2], argc > 3 ? argv[3] : "-1");
    fprintf(stderr, "usage: interop_peer server|client|plain|connect|position|lookup ...; see peer.h\n");
    return 64;
}
