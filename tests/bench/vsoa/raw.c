/* Subscribers and idle clients without the library, so that thousands cost this side little.
 *
 *   raw idle PORT COUNT           logs in COUNT connections, says "ready", waits for the end of its input
 *   raw fan PORT COUNT WARM       logs in and subscribes COUNT connections; for each publish, the time from its stamp
 * until every connection has it; the first WARM publishes do not count */
#include <sys/epoll.h>

#include "measure.h"

enum { kMostRounds = 1000 };

static void ask(int fd, uint8_t type, const char* url) {
    uint8_t bytes[512];
    send_all(fd, bytes, put_packet(bytes, type, 1, url, "", NULL, 0));
    recv_all(fd, bytes, 20);
    check(bytes[1] == type && (bytes[2] & 1) != 0 && bytes[3] == 0, "the server's answer");
    recv_all(fd, bytes + 20, packet_length(bytes) - 20);
}

static int idle(const char* port, int count) {
    many_descriptors();
    for (int i = 0; i < count; ++i) ask(dial(port), 0, "");
    printf("ready\n");
    fflush(stdout);
    while (getchar() != EOF) continue;
    return 0;
}

static int fan(const char* port, int count, uint64_t warm) {
    many_descriptors();
    const int poller = epoll_create1(0);
    for (int i = 0; i < count; ++i) {
        const int fd = dial(port);
        ask(fd, 0, "");
        ask(fd, 2, "/t");
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        check(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl");
    }
    struct samples times;
    samples_begin(&times, 0, 0);
    struct epoll_event events[256];
    int have[kMostRounds] = {0};
    for (;;) {
        const int ready = epoll_wait(poller, events, 256, 20000);
        check(ready > 0, "epoll_wait");
        for (int i = 0; i < ready; ++i) {
            uint8_t bytes[16 * kPublished]; /* on a busy machine the next publish may be there as well */
            const ssize_t got = recv(events[i].data.fd, bytes, sizeof bytes, 0);
            check(got > 0 && got % kPublished == 0, "whole packets");
            for (const uint8_t* packet = bytes; packet < bytes + got; packet += kPublished) {
                struct stamp stamp;
                memcpy(&stamp, packet + 22, sizeof stamp);
                check(stamp.number < kMostRounds, "fewer rounds");
                if (++have[stamp.number] < count) continue;
                if (stamp.number > warm) samples_add(&times, stamp.at_ns, now_ns());
                if (stamp.total == 0) continue;
                samples_say(&times, 0);
                return 0;
            }
        }
    }
}

int main(int argc, char** argv) {
    if (argc == 4 && strcmp(argv[1], "idle") == 0) return idle(argv[2], atoi(argv[3]));
    if (argc == 5 && strcmp(argv[1], "fan") == 0) return fan(argv[2], atoi(argv[3]), (uint64_t)atoi(argv[4]));
    fprintf(stderr, "see raw.c\n");
    return 64;
}
