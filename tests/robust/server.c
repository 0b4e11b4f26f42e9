/* The server that is attacked: answers /echo, /stats and /wide, counts datagrams, and publishes /flood while somebody
 * has subscribed it.
 *
 *   robust_server [CERTIFICATE KEY]     says "port N"; ends with its input; with a certificate it speaks TLS */
#include <pthread.h>
#include <stdatomic.h>

#include "tests/bench/vsoa/measure.h"
#include "vsoa_loop.h"
#include "vsoa_server.h"
#include "vsoa_tls.h"

static atomic_ulong datagrams, quick_datagrams;
static char wide[32 * 1024];

static void called(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                   vsoa_payload_t* payload) {
    (void)arg;
    char text[128];
    vsoa_payload_t answer = *payload;
    if (url->url_len == 6) {
        answer.param = text;
        answer.param_len = (size_t)snprintf(text, sizeof text, "{\"clients\":%d,\"datagrams\":%lu,\"quick\":%lu}",
                                            vsoa_server_count(server), datagrams, quick_datagrams);
    } else if (url->url[1] == 'w') {
        answer.data = wide;
        answer.data_len = sizeof wide;
    }
    vsoa_server_cli_reply(server, id, 0, vsoa_parser_get_seqno(header), 0, &answer);
}

static void datagram(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_url_t* url, vsoa_payload_t* payload,
                     bool quick) {
    (void)arg, (void)server, (void)id, (void)url, (void)payload;
    ++*(quick ? &quick_datagrams : &datagrams);
}

static void* publish(void* server) {
    const vsoa_url_t url = {"/flood", 6};
    const vsoa_payload_t payload = {NULL, 0, wide, 4096};
    for (;;) {
        const struct timespec pause = {0, 1000000};
        nanosleep(&pause, NULL);
        if (vsoa_server_is_subscribed(server, &url)) vsoa_server_publish(server, &url, &payload);
    }
    return NULL;
}

static void* until_end_of_input(void* unused) {
    while (getchar() != EOF) continue;
    _exit(0);
    return unused;
}

int main(int argc, char** argv) {
    many_descriptors();
    vsoa_server_t* server = vsoa_server_create("{\"name\":\"robust\"}");
    vsoa_tls_t tls = VSOA_TLS_INITIALIZER;
    if (argc == 3) {
        tls.cert_file = argv[1];
        tls.key_file = argv[2];
        check(vsoa_server_tls(server, &tls), "tls");
    }
    struct sockaddr_in address = loopback("0");
    socklen_t length = sizeof address;
    check(server != NULL && vsoa_server_start(server, (struct sockaddr*)&address, length), "start");
    check(vsoa_server_address(server, (struct sockaddr*)&address, &length), "address");
    const char* urls[] = {"/echo", "/stats", "/wide"};
    for (size_t i = 0; i < 3; ++i) {
        const vsoa_url_t url = {(char*)urls[i], strlen(urls[i])};
        check(vsoa_server_add_listener(server, &url, called, NULL), "add_listener");
    }
    vsoa_server_on_datagram(server, datagram, NULL);
    pthread_t threads[2];
    check(pthread_create(&threads[0], NULL, publish, server) == 0, "pthread_create");
    check(pthread_create(&threads[1], NULL, until_end_of_input, NULL) == 0, "pthread_create");
    say_port(ntohs(address.sin_port));
    while (vsoa_server_wait(server, NULL)) continue;
    fail("wait");
}
