/* The floor: what C does with bare blocking sockets.
 *
 *   bare echo-server                    answers requests of 92 bytes with 84
 *   bare echo-client PORT WARM MS       one after the other
 *   bare fan COUNT ROUNDS PERIOD_MS     takes COUNT connections and sends a stamped packet to each, ROUNDS times */
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

static int fan(int count, int rounds, int period_ms) {
    many_descriptors();
    const int listener = listen_on_any();
    int* fds = calloc((size_t)count, sizeof *fds);
    uint8_t bytes[256];
    for (int i = 0; i < count; ++i) {
        fds[i] = accept(listener, NULL, NULL);
        check(fds[i] >= 0, "accept");
        no_delay(fds[i]);
        /* The receiver logs in and subscribes, as with a server. */
        for (uint8_t type = 0; type <= 2; type += 2) {
            recv_all(fds[i], bytes, 20);
            const size_t length = packet_length(bytes);
            recv_all(fds[i], bytes + 20, length - 20);
            const size_t answer = put_packet(bytes, type, bytes[7], "", "", "1234", type == 0 ? 4 : 0);
            bytes[2] |= 1;
            send_all(fds[i], bytes, answer);
        }
    }
    char data[kData] = {0};
    for (int round = 1; round <= rounds; ++round) {
        usleep((unsigned)period_ms * 1000);
        const struct stamp stamp = {(uint64_t)round, now_ns(), round == rounds ? (uint64_t)rounds : 0};
        memcpy(data, &stamp, sizeof stamp);
        const size_t length = put_packet(bytes, 4, 0, "/t", "", data, sizeof data);
        for (int i = 0; i < count; ++i) send_all(fds[i], bytes, length);
    }
    recv_all(fds[0], bytes, 1); /* until the receiver leaves */
    return 0;
}

int main(int argc, char** argv) {
    signal(SIGCHLD, SIG_IGN);
    if (argc == 2 && strcmp(argv[1], "echo-server") == 0) echo_server();
    if (argc == 5 && strcmp(argv[1], "echo-client") == 0) {
        return echo_client(argv[2], ms_argument(argv[3]), ms_argument(argv[4]));
    }
    if (argc == 5 && strcmp(argv[1], "fan") == 0) return fan(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    fprintf(stderr, "see bare.c\n");
    return 64;
}
