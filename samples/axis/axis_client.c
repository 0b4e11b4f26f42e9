/*
 * Follows the gyroscope wherever it runs: finds it by name, prints what it says, one line for each message.
 *
 *   axis_client [--timestamps] [--retry MS] [SERVER]
 *
 * SERVER is a service name, "address:port" or either behind vsoa://; default vsoa://axis_server. A name is asked from
 * the position servers in VSOA_POS_SERVER ("ip:port,ip:port"), else from those in /etc/vsoa.pos. --timestamps puts the
 * seconds since 1970, with milliseconds, before each line. --retry is the pause after a failed attempt, default 1000.
 * AXIS_PASSWORD is the password, default 123456.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vsoa_cliauto.h"
#include "vsoa_platform.h"

enum { kKeepaliveMs = 1000, kConnectMs = 1000, kRetryMs = 1000, kMinRetryMs = 20, kMaxRetryMs = 600000 };

static bool timestamps;

static void begin_line(void) {
    struct timespec now;
    if (!timestamps) return;
    clock_gettime(CLOCK_REALTIME, &now);
    printf("%lld.%03ld ", (long long)now.tv_sec, now.tv_nsec / 1000000);
}

static void on_connect(void* arg, vsoa_client_auto_t* cliauto, bool connect, const char* info) {
    (void)arg;
    (void)cliauto;
    begin_line();
    if (connect) {
        printf("connected %s\n", info);
    } else {
        printf("disconnected\n");
    }
}

static void on_message(void* arg, vsoa_client_t* client, vsoa_url_t* url, vsoa_payload_t* payload, bool quick) {
    (void)arg;
    (void)client;
    (void)quick;
    begin_line();
    printf("%.*s %.*s\n", (int)url->url_len, url->url, (int)payload->param_len, payload->param);
}

static int usage(void) {
    fprintf(stderr, "usage: axis_client [--timestamps] [--retry MS] [SERVER]\n");
    return 64;
}

int main(int argc, char** argv) {
    static const struct option options[] = {
        {"timestamps", no_argument, NULL, 't'}, {"retry", required_argument, NULL, 'r'}, {NULL, 0, NULL, 0}};
    static char* urls[] = {"/axis"};
    long retry_ms = kRetryMs;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 't') {
            timestamps = true;
        } else if (option == 'r') {
            char* end;
            retry_ms = strtol(optarg, &end, 10);
            if (end == optarg || *end != '\0' || retry_ms < kMinRetryMs || retry_ms > kMaxRetryMs) return usage();
        } else {
            return usage();
        }
    }
    if (argc - optind > 1) return usage();
    const char* server = optind < argc ? argv[optind] : "vsoa://axis_server";
    const char* password = getenv("AXIS_PASSWORD");
    setvbuf(stdout, NULL, _IOLBF, 0); /* whoever reads the pipe sees every line at once */

    vsoa_client_auto_t* cliauto = vsoa_client_auto_create(on_message, NULL);
    if (cliauto == NULL || !vsoa_client_auto_setup(cliauto, on_connect, NULL) ||
        !vsoa_client_auto_start(cliauto, server, password != NULL ? password : "123456", urls, 1, kKeepaliveMs,
                                kConnectMs, (unsigned)retry_ms)) {
        fprintf(stderr, "axis_client: cannot start for \"%s\": %s\n", server, strerror(errno));
        return 1;
    }
    for (;;) pause();
}
