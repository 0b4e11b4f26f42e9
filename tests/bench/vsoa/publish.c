/* Publishing with our library.
 *
 *   publish server SUBSCRIBERS RATE MS   when all are there: publishes 64 bytes for MS, RATE times a second (0: as fast
 * as it goes) from a thread of its own, then once more with the count; then ends publish client PORT SUBSCRIBERS WARM
 * so many clients in one process; deliveries a second and latencies, after WARM ms publish fan SUBSCRIBERS ROUNDS
 * PERIOD_MS   publishes ROUNDS times, then ends */
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/select.h>

#include "measure.h"
#include "vsoa_client.h"
#include "vsoa_server.h"

static vsoa_url_t url = {"/t", 2};
static char data[kData];

static vsoa_server_t* start(void) {
    many_descriptors();
    vsoa_server_t* server = vsoa_server_create("{\"name\":\"bench\"}");
    struct sockaddr_in address = loopback("0");
    socklen_t length = sizeof address;
    /* Subscribers fall behind a publisher that never rests by more than the 100 ms after which they would be given up.
     */
    const struct timespec patience = {10, 0};
    check(server != NULL && vsoa_server_start(server, (struct sockaddr*)&address, length), "start");
    check(vsoa_server_send_timeout(server, true, &patience), "send_timeout");
    check(vsoa_server_address(server, (struct sockaddr*)&address, &length), "address");
    say_port(ntohs(address.sin_port));
    return server;
}

static void* looping(void* server) {
    for (;;) {
        fd_set set;
        FD_ZERO(&set);
        const int highest = vsoa_server_fds(server, &set);
        if (pselect(highest + 1, &set, NULL, NULL, NULL, NULL) > 0) vsoa_server_input_fds(server, &set);
    }
    return NULL;
}

static void rest(int64_t ns) {
    const struct timespec time = {ns / 1000000000, ns % 1000000000};
    nanosleep(&time, NULL);
}

/* Until so many have subscribed. */
static void wait_for_subscribers(vsoa_server_t* server, int wanted) {
    vsoa_cli_id_t* ids = calloc((size_t)wanted, sizeof *ids);
    for (;;) {
        const int count = vsoa_server_cli_array(server, ids, wanted);
        int ready = 0;
        for (int i = 0; i < count; ++i) ready += vsoa_server_cli_is_subscribed(server, ids[i], &url);
        if (ready == wanted) break;
        rest(1000000);
    }
    free(ids);
}

static void publish(vsoa_server_t* server, uint64_t number, int64_t at, uint64_t total) {
    const struct stamp stamp = {number, at, total};
    memcpy(data, &stamp, sizeof stamp);
    const vsoa_payload_t payload = {NULL, 0, data, sizeof data};
    check(vsoa_server_publish(server, &url, &payload), "publish");
}

static void leave(vsoa_server_t* server) {
    while (vsoa_server_count(server) > 0) rest(1000000);
    _exit(0); /* the other thread is in the server */
}

static int serve(int subscribers, int64_t rate, int64_t duration) {
    vsoa_server_t* server = start();
    pthread_t thread;
    check(pthread_create(&thread, NULL, looping, server) == 0, "pthread_create");
    wait_for_subscribers(server, subscribers);
    const int64_t began = now_ns();
    uint64_t number = 0;
    for (int64_t now = began; now < began + duration || number < kLeast; now = now_ns()) {
        if (rate > 0) {
            const int64_t due = began + (int64_t)number * 1000000000 / rate;
            if (due > now) rest(due - now);
            now = now_ns();
        }
        publish(server, ++number, now, 0);
    }
    publish(server, number + 1, now_ns(), number);
    leave(server);
    return 0;
}

static int fan(int subscribers, int rounds, int period_ms) {
    vsoa_server_t* server = start();
    pthread_t thread;
    check(pthread_create(&thread, NULL, looping, server) == 0, "pthread_create");
    wait_for_subscribers(server, subscribers);
    for (int round = 1; round <= rounds; ++round) {
        rest(period_ms * 1000000ll);
        publish(server, (uint64_t)round, now_ns(), round == rounds ? (uint64_t)rounds : 0);
    }
    leave(server);
    return 0;
}

struct subscriber {
    uint64_t last;
    long lost;
    bool ready, ended;
};

static struct samples times;

static void received(void* arg, vsoa_client_t* client, vsoa_url_t* from, vsoa_payload_t* payload, bool quick) {
    (void)client, (void)from, (void)quick;
    struct subscriber* s = arg;
    struct stamp stamp;
    memcpy(&stamp, payload->data, sizeof stamp);
    s->lost += (long)(stamp.number - s->last - 1);
    s->last = stamp.number;
    if (stamp.total != 0) {
        s->ended = true;
        return;
    }
    samples_add(&times, stamp.at_ns, now_ns());
}

static void subscribed(void* arg, vsoa_client_t* client, bool success) {
    (void)client;
    check(success, "subscribe");
    ((struct subscriber*)arg)->ready = true;
}

static int subscribe(const char* port, int count, int64_t warm) {
    const struct sockaddr_in address = loopback(port);
    const struct timespec limit = {10, 0};
    const int poller = epoll_create1(0);
    struct subscriber* all = calloc((size_t)count, sizeof *all);
    vsoa_client_t** clients = calloc((size_t)count, sizeof *clients);
    samples_begin(&times, warm, 0);
    for (int i = 0; i < count; ++i) {
        clients[i] = vsoa_client_create(received, &all[i]);
        check(clients[i] != NULL && vsoa_client_connect(clients[i], (const struct sockaddr*)&address, sizeof address,
                                                        &limit, NULL, NULL, 0),
              "connect");
        check(vsoa_client_subscribe(clients[i], &url, subscribed, &all[i], &limit), "subscribe");
        fd_set set;
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        FD_ZERO(&set);
        check(epoll_ctl(poller, EPOLL_CTL_ADD, vsoa_client_fds(clients[i], &set), &event) == 0, "epoll_ctl");
    }
    for (int open = count; open > 0;) {
        struct epoll_event events[64];
        const int ready = epoll_wait(poller, events, 64, 20000);
        check(ready > 0, "epoll_wait");
        open = 0;
        for (int i = 0; i < ready; ++i) {
            check(vsoa_client_input_fds(clients[events[i].data.u32], NULL), "input");
        }
        for (int i = 0; i < count; ++i) open += !all[i].ended;
    }
    long lost = 0;
    for (int i = 0; i < count; ++i) {
        lost += all[i].lost;
        vsoa_client_close(clients[i]);
    }
    samples_say(&times, lost);
    return 0;
}

int main(int argc, char** argv) {
    if (argc == 5 && strcmp(argv[1], "server") == 0) return serve(atoi(argv[2]), atoi(argv[3]), ms_argument(argv[4]));
    if (argc == 5 && strcmp(argv[1], "client") == 0) return subscribe(argv[2], atoi(argv[3]), ms_argument(argv[4]));
    if (argc == 5 && strcmp(argv[1], "fan") == 0) return fan(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    fprintf(stderr, "see publish.c\n");
    return 64;
}
