/* For the programs that measure VSOA: clock, samples, sockets of the loopback, and the little of the wire that a
 * program without the library needs. What cannot go on ends the program. */
#ifndef MEASURE_H
#define MEASURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { kRequest = 92, kReply = 84, kPublished = 88, kData = 64 }; /* bytes: packets and their data */

enum { kLeast = 100 }; /* messages of a publisher, however busy the machine is */

static inline int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static inline void fail(const char* what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static inline void check(bool good, const char* what) {
    if (!good) fail(what);
}

static inline int64_t ms_argument(const char* text) { return atoll(text) * 1000000ll; }

/* Latencies in nanoseconds; those before `from` are the warm-up and do not count. */
struct samples {
    uint32_t* at;
    size_t count, room;
    int64_t from, until, first, last;
};

static inline void samples_begin(struct samples* s, int64_t warm_ns, int64_t measured_ns) {
    s->room = 4000000;
    s->count = 0;
    s->at = malloc(s->room * sizeof *s->at);
    check(s->at != NULL, "malloc");
    s->from = now_ns() + warm_ns;
    s->until = s->from + measured_ns;
    s->first = s->last = 0;
}

static inline void samples_add(struct samples* s, int64_t began, int64_t ended) {
    if (began < s->from || s->count == s->room) return;
    if (s->count == 0) s->first = began;
    s->last = ended;
    s->at[s->count++] = (uint32_t)(ended - began);
}

static inline int samples_order(const void* a, const void* b) {
    const uint32_t x = *(const uint32_t*)a, y = *(const uint32_t*)b;
    return (x > y) - (x < y);
}

/* One line of JSON; times in microseconds. */
static inline void samples_say(struct samples* s, long lost) {
    if (s->count == 0) {
        fprintf(stderr, "nothing was measured\n");
        exit(1);
    }
    qsort(s->at, s->count, sizeof *s->at, samples_order);
    printf("{\"rate\": %.1f, \"p50\": %.2f, \"p99\": %.2f, \"count\": %zu, \"lost\": %ld}\n",
           (double)s->count * 1e9 / (double)(s->last - s->first), s->at[s->count / 2] / 1e3,
           s->at[s->count * 99 / 100] / 1e3, s->count, lost);
    fflush(stdout);
}

static inline struct sockaddr_in loopback(const char* port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static inline void no_delay(int fd) {
    const int on = 1;
    check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0, "TCP_NODELAY");
}

static inline int dial(const char* port) {
    const struct sockaddr_in address = loopback(port);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(fd >= 0 && connect(fd, (const struct sockaddr*)&address, sizeof address) == 0, "connect");
    no_delay(fd);
    return fd;
}

static inline void say_port(uint16_t port) {
    printf("port %u\n", port);
    fflush(stdout);
}

static inline int listen_on_any(void) {
    struct sockaddr_in address = loopback("0");
    socklen_t length = sizeof address;
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(fd >= 0 && bind(fd, (struct sockaddr*)&address, length) == 0 && listen(fd, 64) == 0, "listen");
    check(getsockname(fd, (struct sockaddr*)&address, &length) == 0, "getsockname");
    say_port(ntohs(address.sin_port));
    return fd;
}

static inline void all_of(ssize_t (*move)(int, void*, size_t, int), int fd, void* bytes, size_t length) {
    for (size_t done = 0; done < length;) {
        const ssize_t got = move(fd, (char*)bytes + done, length - done, MSG_NOSIGNAL);
        if (got == 0) exit(0); /* the peer is done */
        check(got > 0, "send or recv");
        done += (size_t)got;
    }
}

static inline ssize_t sending(int fd, void* bytes, size_t length, int flags) { return send(fd, bytes, length, flags); }
static inline void send_all(int fd, void* bytes, size_t length) { all_of(sending, fd, bytes, length); }
static inline void recv_all(int fd, void* bytes, size_t length) { all_of(recv, fd, bytes, length); }

/* As many descriptors as are allowed. */
static inline void many_descriptors(void) {
    struct rlimit limit;
    check(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    check(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
}

/* A packet whose lengths fit into a byte each. Returns its length. */
static inline size_t put_packet(uint8_t* out, uint8_t type, uint8_t seqno, const char* url, const char* param,
                                const void* data, size_t data_length) {
    const size_t url_length = strlen(url), param_length = strlen(param);
    const size_t length = 20 + url_length + param_length + data_length, pad = (4 - length % 4) % 4;
    memset(out, 0, length + pad);
    out[0] = 0x29;
    out[1] = type;
    out[2] = (uint8_t)(pad << 6);
    out[7] = seqno;
    out[11] = (uint8_t)url_length;
    out[15] = (uint8_t)param_length;
    out[19] = (uint8_t)data_length;
    memcpy(out + 20, url, url_length);
    memcpy(out + 20 + url_length, param, param_length);
    if (data_length > 0) memcpy(out + 20 + url_length + param_length, data, data_length);
    return length + pad;
}

static inline size_t packet_length(const uint8_t* header) {
    return 20u + (size_t)(header[10] << 8 | header[11]) + (size_t)(header[14] << 8 | header[15]) +
           (size_t)(header[18] << 8 | header[19]) + (header[2] >> 6);
}

/* What the publishers put in front of the data. */
struct stamp {
    uint64_t number; /* from 1, for each publisher run */
    int64_t at_ns;
    uint64_t total; /* in the last one: how many there were before */
};

#endif
