/* RPC with our library. LOOP is "own" (the library waits: vsoa_loop.h) or "pselect" (the program waits: vsoa_*_fds).
 *
 *   rpc server LOOP                          answers /echo
 *   rpc client LOOP PORT WINDOW WARM MS [CA] asynchronous calls, WINDOW at a time; CA: with TLS, whose authority is
 * this rpc sync LOOP PORT WARM MS               vsoa_client_sync_call, one after the other; the loop has its own thread
 */
#include <pthread.h>
#include <sys/select.h>

#include "measure.h"
#include "vsoa_client.h"
#include "vsoa_loop.h"
#include "vsoa_server.h"
#include "vsoa_tls.h"

static bool own_loop;
static const char* authority;
static char data[kData];
static vsoa_url_t url = {"/echo", 5};
static const struct timespec second = {10, 0};

static void echo(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* asked,
                 vsoa_payload_t* payload) {
    (void)arg, (void)asked;
    vsoa_server_cli_reply(server, id, 0, vsoa_parser_get_seqno(header), 0, payload);
}

static _Noreturn void serve(void) {
    many_descriptors();
    vsoa_server_t* server = vsoa_server_create("{\"name\":\"bench\"}");
    struct sockaddr_in address = loopback("0");
    socklen_t length = sizeof address;
    check(server != NULL && vsoa_server_start(server, (struct sockaddr*)&address, length), "start");
    check(vsoa_server_address(server, (struct sockaddr*)&address, &length), "address");
    vsoa_server_add_listener(server, &url, echo, NULL);
    say_port(ntohs(address.sin_port));
    while (own_loop) check(vsoa_server_wait(server, NULL), "wait");
    for (;;) {
        fd_set set;
        FD_ZERO(&set);
        const int highest = vsoa_server_fds(server, &set);
        if (pselect(highest + 1, &set, NULL, NULL, NULL, NULL) > 0) vsoa_server_input_fds(server, &set);
    }
}

static vsoa_client_t* connect_client(const char* port) {
    const struct sockaddr_in address = loopback(port);
    vsoa_client_t* client = vsoa_client_create(NULL, NULL);
    vsoa_tls_t tls = VSOA_TLS_INITIALIZER;
    tls.ca_file = authority;
    check(client != NULL && (authority == NULL || vsoa_client_tls(client, &tls)) &&
              vsoa_client_connect(client, (const struct sockaddr*)&address, sizeof address, &second, NULL, NULL, 0),
          "connect");
    return client;
}

static void turn(vsoa_client_t* client) {
    if (own_loop) {
        check(vsoa_client_wait(client, NULL), "wait");
        return;
    }
    fd_set set;
    FD_ZERO(&set);
    const int highest = vsoa_client_fds(client, &set);
    if (pselect(highest + 1, &set, NULL, NULL, NULL, NULL) > 0) check(vsoa_client_input_fds(client, &set), "input");
}

/* One place of the window: the call that it waits for. */
struct place {
    struct samples* times;
    int* open;
    int64_t began;
};

static void call(vsoa_client_t* client, struct place* place);

static void answered(void* arg, vsoa_client_t* client, vsoa_header_t* header, vsoa_payload_t* payload) {
    struct place* place = arg;
    check(header != NULL && header->status == 0 && payload->data_len == kData, "the answer");
    const int64_t now = now_ns();
    samples_add(place->times, place->began, now);
    --*place->open;
    if (now < place->times->until) call(client, place);
}

static void call(vsoa_client_t* client, struct place* place) {
    const vsoa_payload_t payload = {NULL, 0, data, sizeof data};
    ++*place->open;
    place->began = now_ns();
    check(vsoa_client_call(client, VSOA_CLIENT_RPC_METHOD_GET, &url, &payload, answered, place, &second), "call");
}

static int calls(const char* port, int window, int64_t warm, int64_t measured) {
    vsoa_client_t* client = connect_client(port);
    struct samples times;
    samples_begin(&times, warm, measured);
    struct place* places = calloc((size_t)window, sizeof *places);
    int open = 0;
    for (int i = 0; i < window; ++i) {
        places[i] = (struct place){&times, &open, 0};
        call(client, &places[i]);
    }
    while (open > 0) turn(client);
    samples_say(&times, 0);
    vsoa_client_close(client);
    free(places);
    return 0;
}

static void* looping(void* client) {
    for (;;) turn(client);
    return NULL;
}

static int sync_calls(const char* port, int64_t warm, int64_t measured) {
    vsoa_client_t* client = connect_client(port);
    pthread_t thread;
    check(pthread_create(&thread, NULL, looping, client) == 0, "pthread_create");
    vsoa_client_sync_call_t* sync = vsoa_client_sync_create(false);
    const vsoa_payload_t payload = {NULL, 0, data, sizeof data};
    struct samples times;
    samples_begin(&times, warm, measured);
    for (int64_t began = now_ns(); began < times.until;) {
        vsoa_header_t* reply = NULL;
        check(vsoa_client_sync_call(client, VSOA_CLIENT_RPC_METHOD_GET, &url, &payload, sync, &reply, &second) &&
                  reply != NULL && reply->status == 0,
              "sync_call");
        const int64_t ended = now_ns();
        samples_add(&times, began, ended);
        began = ended;
    }
    samples_say(&times, 0);
    _exit(0); /* the other thread is in the client */
}

int main(int argc, char** argv) {
    own_loop = argc > 2 && strcmp(argv[2], "own") == 0;
    if (argc == 3 && strcmp(argv[1], "server") == 0) serve();
    if ((argc == 7 || argc == 8) && strcmp(argv[1], "client") == 0) {
        authority = argv[7];
        return calls(argv[3], atoi(argv[4]), ms_argument(argv[5]), ms_argument(argv[6]));
    }
    if (argc == 6 && strcmp(argv[1], "sync") == 0) {
        return sync_calls(argv[3], ms_argument(argv[4]), ms_argument(argv[5]));
    }
    fprintf(stderr, "see rpc.c\n");
    return 64;
}
