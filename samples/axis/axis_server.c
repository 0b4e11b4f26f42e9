/*
 * A gyroscope: publishes its position on /axis as long as somebody listens. The counters begin at 1, so a client sees
 * when the service was started anew somewhere else.
 *
 *   axis_server [PERIOD_MS]
 *
 * VSOA_AUTO_PORT   TCP and UDP port; else PORT, which Gantry sets; else 3002
 * AXIS_ADDRESS     address to listen on, default 0.0.0.0
 * AXIS_PASSWORD    password of clients, default 123456
 * AXIS_PERIOD_MS   milliseconds between messages, default 1000; the argument goes before
 */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vsoa_platform.h"
#include "vsoa_server.h"

static volatile sig_atomic_t stopped;

static void stop(int number) {
    (void)number;
    stopped = 1;
}

/* A number between 1 and max, or the end of the program. */
static long number(const char* what, const char* text, long max) {
    char* end;
    errno = 0;
    const long value = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 1 || value > max) {
        fprintf(stderr, "axis_server: %s: expected a number from 1 to %ld, got \"%s\"\n", what, max, text);
        exit(64);
    }
    return value;
}

static const char* setting(const char* name, const char* otherwise) {
    const char* value = getenv(name);
    return value != NULL && *value != '\0' ? value : otherwise;
}

static long long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void publish(vsoa_server_t* server) {
    static int roll = 1, pitch = 1, yaw = 1;
    char name[] = "/axis", param[100];
    vsoa_url_t url = {name, strlen(name)};
    if (!vsoa_server_is_subscribed(server, &url)) return;

    const int length =
        snprintf(param, sizeof param, "{\"roll\": %d, \"pitch\": %d, \"yaw\": %d}", roll++, pitch++, yaw++);
    vsoa_payload_t payload = {param, (size_t)length, NULL, 0};
    vsoa_server_publish(server, &url, &payload);
}

/* Taken only while waiting: a signal cannot slip in between the test and the wait. Returns the mask for the wait. */
static sigset_t take_signals(void) {
    struct sigaction action = {.sa_handler = stop};
    sigset_t blocked, during_wait;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    sigprocmask(SIG_BLOCK, &blocked, &during_wait);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    return during_wait;
}

static void run(vsoa_server_t* server, long period_ms, const sigset_t* during_wait) {
    long long next = now_ms() + period_ms;
    while (!stopped) {
        const long long left = next - now_ms();
        const struct timespec wait = {left > 0 ? left / 1000 : 0, left > 0 ? left % 1000 * 1000000 : 0};
        fd_set fds;
        FD_ZERO(&fds);
        const int max_fd = vsoa_server_fds(server, &fds);
        if (pselect(max_fd + 1, &fds, NULL, NULL, &wait, during_wait) > 0) vsoa_server_input_fds(server, &fds);
        const long long now = now_ms();
        if (now >= next) {
            next += period_ms;
            if (next <= now) next = now + period_ms; /* what was missed is not made up for */
            publish(server);
        }
    }
}

int main(int argc, char** argv) {
    /* First of all: as the first process of a container it would ignore a signal that it does not handle yet. */
    const sigset_t during_wait = take_signals();
    const char* period = argc > 1 ? argv[1] : setting("AXIS_PERIOD_MS", "1000");
    const long period_ms = number("period in ms", period, INT_MAX);
    const long port = number("port", setting("VSOA_AUTO_PORT", setting("PORT", "3002")), 65535);
    const char* host = setting("AXIS_ADDRESS", "0.0.0.0");
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fprintf(stderr, "axis_server: AXIS_ADDRESS: expected an IPv4 address, got \"%s\"\n", host);
        return 64;
    }

    vsoa_server_t* server = vsoa_server_create("{\"name\":\"axis_server\"}");
    if (server == NULL) {
        perror("axis_server: cannot create the server");
        return 1;
    }
    vsoa_server_passwd(server, setting("AXIS_PASSWORD", "123456"));
    if (!vsoa_server_start(server, (struct sockaddr*)&address, sizeof address)) {
        fprintf(stderr, "axis_server: cannot listen on %s:%ld: %s\n", host, port, strerror(errno));
        vsoa_server_close(server);
        return 1;
    }
    printf("axis_server listens on %s:%ld, a message every %ld ms\n", host, port, period_ms);
    fflush(stdout);
    run(server, period_ms, &during_wait);
    vsoa_server_close(server);
    return 0;
}
