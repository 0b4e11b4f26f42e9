/* Peers that mean harm. They use no library, so that they can do what it would not.
 *
 *   robust_attack KIND PORT COUNT
 *
 * Says "under way" once the pressure is on, "done" after COUNT, goes on until its input ends, and then says how many
 * there were.
 *
 *   churn      connections that log in, or do not, and reset themselves (linger 0)
 *   silent     connections that never log in
 *   slow       connections whose login comes byte by byte, one byte a round
 *   half       clients that send half of a packet of 200 KiB and wait
 *   lengths    clients that announce more than 32 bits can count
 *   subscribe  clients that subscribe without end
 *   deaf       clients that subscribe, ask for much and never read
 *   forged     quick datagrams with the numbers of others, out of foreign ports
 *   tls-*      see tls_attack.c */
#include "attack.h"

#include <poll.h>

enum { kHalf = 100 * 1024 };

const char* port;
static long count, done;
static bool told;

bool over(void) {
    struct pollfd input = {.fd = 0, .events = POLLIN};
    return poll(&input, 1, 0) != 0;
}

static void say(const char* word) {
    printf("%s\n", word);
    fflush(stdout);
}

void step(void) {
    if (++done == count) say("done");
}

void under_way(void) {
    if (!told) say("under way");
    told = true;
}

int dial_reset(void) {
    const int fd = dial(port);
    const struct linger none = {1, 0};
    check(setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none) == 0, "SO_LINGER");
    return fd;
}

bool put(int fd, const void* bytes, size_t length) { return send(fd, bytes, length, MSG_NOSIGNAL) == (ssize_t)length; }

static size_t login_packet(uint8_t* out) { return put_packet(out, 0, 0, "", "", NULL, 0); }

static bool get(int fd, uint8_t* bytes, size_t length) {
    for (size_t got = 0; got < length;) {
        const ssize_t part = recv(fd, bytes + got, length - got, 0);
        if (part <= 0) return false;
        got += (size_t)part;
    }
    return true;
}

/* An answer, its header in bytes, which have room for 512. */
static bool answer(int fd, uint8_t* bytes) {
    return get(fd, bytes, 20) && get(fd, bytes + 20, packet_length(bytes) - 20);
}

static int logged_in(void) {
    uint8_t bytes[512];
    const int fd = dial_reset();
    const size_t length = login_packet(bytes);
    check(put(fd, bytes, length) && answer(fd, bytes) && bytes[3] == 0, "login");
    return fd;
}

/* What the server's backlog can hold is between two of these. */
static void in_step(int pacer) {
    uint8_t bytes[512];
    const size_t length = put_packet(bytes, 0xff, 1, "", "", NULL, 0);
    check(put(pacer, bytes, length) && answer(pacer, bytes), "ping");
}

static void churn(void) {
    uint8_t bytes[512];
    while (!over()) {
        for (int i = 0; i < 16; ++i) {
            const int fd = i % 4 == 0 ? dial_reset() : logged_in();
            if (i % 4 == 1) put(fd, bytes, put_packet(bytes, 2, 1, "/churn", "", NULL, 0));
            if (i % 4 == 2) put(fd, bytes, put_packet(bytes, 1, 1, "/echo", "{}", NULL, 0) / 2);
            close(fd);
            step();
        }
        under_way();
    }
}

/* Keeps up to `most` connections, the oldest of which it gives up; `each` does something with a new one. */
static void keep(int most, void (*each)(int fd, long number), int round_ms) {
    int* open = calloc((size_t)most, sizeof *open);
    const int pacer = logged_in();
    long number = 0;
    while (!over()) {
        for (int i = 0; i < 8; ++i, ++number) {
            int* place = &open[number % most];
            if (number >= most) close(*place);
            *place = dial_reset();
            each(*place, number);
            step();
        }
        in_step(pacer);
        if (number >= most || number >= 128) under_way();
        if (round_ms > 0) poll(NULL, 0, round_ms);
    }
}

static void nothing(int fd, long number) { (void)fd, (void)number; }

static void slow(void) {
    uint8_t bytes[512];
    const size_t length = login_packet(bytes);
    enum { kMost = 48 };
    int open[kMost];
    size_t sent[kMost];
    for (int i = 0; i < kMost; ++i) open[i] = dial_reset(), sent[i] = 0;
    while (!over()) {
        for (int i = 0; i < kMost; ++i) {
            /* Never the last byte. */
            if (sent[i] + 1 < length && put(open[i], bytes + sent[i], 1)) {
                ++sent[i];
                continue;
            }
            close(open[i]);
            open[i] = dial_reset();
            sent[i] = 0;
            step();
        }
        under_way();
        poll(NULL, 0, 2);
    }
}

static void half_packet(int fd, long number) {
    static uint8_t bytes[kHalf];
    (void)number;
    size_t length = login_packet(bytes);
    check(put(fd, bytes, length) && answer(fd, bytes), "login");
    length = put_packet(bytes, 1, 1, "/echo", "", NULL, 0);
    bytes[17] = 3; /* of data_len: 196,608 */
    put(fd, bytes, length + 50000);
}

static void lengths(void) {
    uint8_t bytes[512];
    while (!over()) {
        for (int i = 0; i < 16; ++i) {
            const int fd = logged_in();
            const size_t length = put_packet(bytes, 1, 1, "/echo", "", NULL, 0);
            memset(bytes + (i % 2 == 0 ? 16 : 12), 0xff, 4);
            check(put(fd, bytes, length), "send");
            check(recv(fd, bytes, sizeof bytes, 0) <= 0, "the server ends what is too long");
            close(fd);
            step();
        }
        under_way();
    }
}

static void subscribe(void) {
    uint8_t bytes[512];
    char url[200];
    int fd = logged_in();
    for (long number = 0; !over(); ++number) {
        snprintf(url, sizeof url, "/%0100ld", number);
        check(put(fd, bytes, put_packet(bytes, 2, 1, url, "", NULL, 0)) && answer(fd, bytes), "subscribe");
        step();
        if (bytes[3] == 0) continue;
        check(bytes[3] == 6, "status NO_MEMORY");
        under_way();
        /* Another that does the same; the old one stays for a while. */
        if (number % 10 == 0) close(fd), fd = logged_in();
    }
}

static void deaf_client(int fd, long number) {
    uint8_t bytes[512], calls[64 * 32];
    size_t length = login_packet(bytes);
    check(put(fd, bytes, length) && answer(fd, bytes), "login");
    put(fd, bytes, put_packet(bytes, 2, 1, "/flood", "", NULL, 0));
    length = 0;
    for (int i = 0; i < 64; ++i) length += put_packet(calls + length, 1, (uint8_t)i, "/wide", "", NULL, 0);
    for (int i = 0; i < 4; ++i) send(fd, calls, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)number;
}

static void forged(void) {
    uint8_t bytes[512];
    const struct sockaddr_in address = loopback(port);
    while (!over()) {
        const int fd = socket(AF_INET, SOCK_DGRAM, 0);
        check(connect(fd, (const struct sockaddr*)&address, sizeof address) == 0, "connect");
        const size_t length = put_packet(bytes, 5, 0, "/forged", "", "data", 4);
        for (int i = 0; i < 256; ++i) {
            bytes[7] = (uint8_t)i; /* the first clients' numbers */
            send(fd, bytes, length, MSG_DONTWAIT);
            step();
        }
        close(fd);
        under_way();
    }
}

int main(int argc, char** argv) {
    if (argc != 4) return fprintf(stderr, "see attack.c\n"), 64;
    const char* kind = argv[1];
    port = argv[2];
    count = atol(argv[3]);
    many_descriptors();
    if (strcmp(kind, "churn") == 0) churn();
    if (strcmp(kind, "silent") == 0) keep(count < 10000 ? (int)count : 10000, nothing, 0);
    if (strcmp(kind, "slow") == 0) slow();
    if (strcmp(kind, "half") == 0) keep(100, half_packet, 0);
    if (strcmp(kind, "lengths") == 0) lengths();
    if (strcmp(kind, "subscribe") == 0) subscribe();
    if (strcmp(kind, "deaf") == 0) keep(16, deaf_client, 20);
    if (strcmp(kind, "forged") == 0) forged();
    if (strncmp(kind, "tls-", 4) == 0) tls_attack(kind);
    printf("%ld\n", done);
    return 0;
}
