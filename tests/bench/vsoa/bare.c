/* The floor: what C does with bare blocking sockets.
 *
 *   bare echo-server                    answers requests of 92 bytes with 84
 *   bare echo-client PORT WARM MS       one after the other
 *   bare fan COUNT ROUNDS PERIOD_MS     takes COUNT connections and sends a stamped packet to each, ROUNDS times
 *   bare flood COUNT MS                 the same for MS without a pause
 *   bare pace COUNT RATE MS             the same for MS, RATE times a second */
#include "measure.h"

static _Noreturn void echo_server(void) {
    const int listener = listen_on_any();
    for (;;) {
        const int fd = accept(listener, NULL, NULL);
        check(fd >= 0, "accept");
        if (fork() != 0) {
            close(fd);
            continue;
        }
        no_delay(fd);
        uint8_t bytes[kRequest];
        for (;;) {
            recv_all(fd, bytes, kRequest);
            send_all(fd, bytes, kReply);
        }
    }
}

static int echo_client(const char* port, int64_t warm, int64_t measured) {
    const int fd = dial(port);
    struct samples times;
    samples_begin(&times, warm, measured);
    uint8_t bytes[kRequest] = {0};
    for (int64_t began = now_ns(); began < times.until;) {
        send_all(fd, bytes, kRequest);
        recv_all(fd, bytes, kReply);
        const int64_t ended = now_ns();
        samples_add(&times, began, ended);
        began = ended;
    }
    samples_say(&times, 0);
    return 0;
}

/* Takes connections whose clients log in and subscribe, as with a server. */
static int* take(int count) {
    many_descriptors();
    const int listener = listen_on_any();
    int* fds = calloc((size_t)count, sizeof *fds);
    uint8_t bytes[256];
    for (int i = 0; i < count; ++i) {
        fds[i] = accept(listener, NULL, NULL);
        check(fds[i] >= 0, "accept");
        no_delay(fds[i]);
        for (uint8_t type = 0; type <= 2; type += 2) {
            recv_all(fds[i], bytes, 20);
            const uint8_t number[2] = {bytes[6], bytes[7]};
            recv_all(fds[i], bytes + 20, packet_length(bytes) - 20);
            const size_t answer = put_packet(bytes, type, number[1], "", "", "1234", type == 0 ? 4 : 0);
            bytes[2] |= 1;
            send_all(fds[i], bytes, answer);
        }
    }
    return fds;
}

static void to_all(const int* fds, int count, uint64_t number, uint64_t total) {
    const struct stamp stamp = {number, now_ns(), total};
    char data[kData] = {0};
    uint8_t bytes[256];
    memcpy(data, &stamp, sizeof stamp);
    const size_t length = put_packet(bytes, 4, 0, "/t", "", data, sizeof data);
    for (int i = 0; i < count; ++i) send_all(fds[i], bytes, length);
}

static int until_they_leave(int fd) {
    uint8_t byte;
    recv_all(fd, &byte, 1);
    return 0;
}

static int fan(int count, int rounds, int period_ms) {
    const int* fds = take(count);
    for (int round = 1; round <= rounds; ++round) {
        usleep((unsigned)period_ms * 1000);
        to_all(fds, count, (uint64_t)round, round == rounds ? (uint64_t)rounds : 0);
    }
    return until_they_leave(fds[0]);
}

/* rate 0: as fast as it goes. */
static int flood(int count, int64_t rate, int64_t duration) {
    const int* fds = take(count);
    const int64_t began = now_ns();
    uint64_t number = 0;
    for (int64_t now = began; now < began + duration || number < kLeast; now = now_ns()) {
        const int64_t due = rate > 0 ? began + (int64_t)number * 1000000000 / rate : now;
        if (due > now) {
            const struct timespec time = {(due - now) / 1000000000, (due - now) % 1000000000};
            nanosleep(&time, NULL);
        }
        to_all(fds, count, ++number, 0);
    }
    to_all(fds, count, number + 1, number);
    return until_they_leave(fds[0]);
}

int main(int argc, char** argv) {
    signal(SIGCHLD, SIG_IGN);
    if (argc == 2 && strcmp(argv[1], "echo-server") == 0) echo_server();
    if (argc == 5 && strcmp(argv[1], "echo-client") == 0) {
        return echo_client(argv[2], ms_argument(argv[3]), ms_argument(argv[4]));
    }
    if (argc == 5 && strcmp(argv[1], "fan") == 0) return fan(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    if (argc == 4 && strcmp(argv[1], "flood") == 0) return flood(atoi(argv[2]), 0, ms_argument(argv[3]));
    if (argc == 5 && strcmp(argv[1], "pace") == 0) return flood(atoi(argv[2]), atoi(argv[3]), ms_argument(argv[4]));
    fprintf(stderr, "see bare.c\n");
    return 64;
}
