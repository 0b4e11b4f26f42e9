/* library_test plain | ERROR [CERTIFICATES]: a program that publishes to itself without TLS ("plain") and then looks at
   what the process has loaded; or one that asks for TLS and expects this errno, 0: it is there and OpenSSL loaded. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vsoa_platform.h"
#include "vsoa_tls.h"

static bool has(const char* library) {
    FILE* maps = fopen("/proc/self/maps", "r");
    char line[4096];
    bool found = false;
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) found = found || strstr(line, library) != NULL;
    if (maps != NULL) fclose(maps);
    return found;
}

static int fail(const char* what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    return 1;
}

static bool got;
static void on_message(void* arg, vsoa_client_t* client, vsoa_url_t* url, vsoa_payload_t* payload, bool quick) {
    (void)arg, (void)client, (void)url, (void)payload, (void)quick;
    got = true;
}

static void* serve(void* server) {
    while (vsoa_server_custom(server) == NULL) {
        fd_set fds;
        FD_ZERO(&fds);
        const struct timespec step = {0, 10000000};
        const int highest = vsoa_server_fds(server, &fds);
        if (pselect(highest + 1, &fds, NULL, NULL, &step, NULL) > 0) vsoa_server_input_fds(server, &fds);
    }
    return NULL;
}

static int plain(void) {
    vsoa_server_t* server = vsoa_server_create("{}");
    vsoa_client_t* client = vsoa_client_create(on_message, NULL);
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof any;
    if (!vsoa_server_start(server, (struct sockaddr*)&any, length)) return fail("start");
    vsoa_server_address(server, (struct sockaddr*)&any, &length);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve, server) != 0) return fail("thread");
    if (!vsoa_client_connect(client, (struct sockaddr*)&any, length, NULL, NULL, NULL, 0)) return fail("connect");
    const vsoa_url_t url = {"/t", 2};
    if (!vsoa_client_subscribe(client, &url, NULL, NULL, NULL)) return fail("subscribe");
    for (int i = 0; i < 1000 && !got; ++i) {
        vsoa_server_publish(server, &url, NULL);
        fd_set fds;
        FD_ZERO(&fds);
        const struct timespec step = {0, 10000000};
        const int highest = vsoa_client_fds(client, &fds);
        if (pselect(highest + 1, &fds, NULL, NULL, &step, NULL) > 0) vsoa_client_input_fds(client, &fds);
    }
    vsoa_server_set_custom(server, server);
    pthread_join(thread, NULL);
    vsoa_client_close(client);
    vsoa_server_close(server);
    if (!got) return fail("no message");
    if (has("libssl") || has("libcrypto") || has("libvsoa-tls"))
        return fail("TLS was loaded, though nobody asked for it");
    return 0;
}

int main(int argc, char** argv) {
    if (argc > 1 && strcmp(argv[1], "plain") == 0) return plain();
    const int expected = argc > 1 ? atoi(argv[1]) : -1;
    char cert[1024], key[1024];
    snprintf(cert, sizeof cert, "%s/server.pem", argc > 2 ? argv[2] : ".");
    snprintf(key, sizeof key, "%s/server.key", argc > 2 ? argv[2] : ".");
    vsoa_tls_t tls = VSOA_TLS_INITIALIZER;
    tls.cert_file = cert;
    tls.key_file = key;
    vsoa_server_t* server = vsoa_server_create("{}");
    errno = 0;
    const bool good = vsoa_server_tls(server, &tls);
    const int error = good ? 0 : errno;
    vsoa_server_close(server);
    if (error != expected) {
        fprintf(stderr, "expected errno %d, got %d (%s)\n", expected, error, strerror(error));
        return 1;
    }
    if (has("libssl") != (expected == 0)) return fail("libssl is loaded, or missing, though it should not be");
    return 0;
}
