#include "tests/interop/peer/peer.h"
#include "vsoa_server.h"

enum { kMaxHeld = 16, kMaxClients = 16, kKeepalive_s = 1 };

/* Calls of /hold that wait for their answer. */
static struct {
    vsoa_cli_id_t client;
    uint32_t seqno;
} held[kMaxHeld];
static int held_count;

static void on_client(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, bool connect) {
    (void)arg;
    if (connect) vsoa_server_cli_keepalive(server, id, kKeepalive_s);
    say(connect ? "client up" : "client down");
}

static void on_datagram(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_url_t* url, vsoa_payload_t* payload,
                        bool quick) {
    (void)arg, (void)server, (void)id;
    say_message(quick ? "datagram\tquick" : "datagram\ttcp", url, payload);
}

static void answer(vsoa_server_t* server, vsoa_cli_id_t id, uint32_t seqno, uint8_t status, char* param) {
    vsoa_payload_t payload;
    VSOA_PAYLOAD_SET(&payload, param, strlen(param), NULL, 0);
    vsoa_server_cli_reply(server, id, status, seqno, 0, &payload);
}

static void on_echo(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                    vsoa_payload_t* payload) {
    (void)arg, (void)url;
    vsoa_server_cli_reply(server, id, 0, vsoa_parser_get_seqno(header), 0, payload);
}

static void on_method(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                      vsoa_payload_t* payload) {
    (void)arg, (void)url, (void)payload;
    char* text = (vsoa_parser_get_flags(header) & VSOA_FLAG_SET) != 0 ? "{\"method\":1}" : "{\"method\":0}";
    answer(server, id, vsoa_parser_get_seqno(header), 0, text);
}

static void on_status(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                      vsoa_payload_t* payload) {
    (void)arg, (void)url, (void)payload;
    answer(server, id, vsoa_parser_get_seqno(header), 200, "{\"why\":\"asked\"}");
}

static void on_below(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                     vsoa_payload_t* payload) {
    (void)payload;
    char text[512];
    snprintf(text, sizeof text, "{\"url\":\"%.*s\",\"by\":\"%s\"}", (int)url->url_len, url->url, (const char*)arg);
    answer(server, id, vsoa_parser_get_seqno(header), 0, text);
}

static void on_hold(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                    vsoa_payload_t* payload) {
    (void)arg, (void)server, (void)url, (void)payload;
    if (held_count == kMaxHeld) die("too many calls are held");
    held[held_count].client = id;
    held[held_count++].seqno = vsoa_parser_get_seqno(header);
}

/* Answers may come from any thread. */
static void* release(void* server) {
    while (held_count > 0) {
        char text[32];
        --held_count;
        snprintf(text, sizeof text, "{\"held\":%d}", held_count);
        answer(server, held[held_count].client, held[held_count].seqno, 0, text);
    }
    return NULL;
}

struct Offer {
    vsoa_server_stream_t* stream;
    struct Streaming plan;
};

static void* serve_stream(void* arg) {
    struct Offer* offer = arg;
    const int fd = vsoa_server_stream_accept(offer->stream, NULL, NULL, VSOA_SERVER_KEEPALIVE_TIMEOUT);
    const bool good = fd >= 0 && exchange(fd, offer->plan.down, offer->plan.up, !offer->plan.client_ends);
    vsoa_server_stream_close(offer->stream);
    free(offer);
    say("stream\t%s", good ? "true" : "false");
    return NULL;
}

static void on_stream(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                      vsoa_payload_t* payload) {
    (void)arg, (void)payload;
    struct Offer* offer = malloc(sizeof *offer);
    if (offer == NULL || !read_streaming(url->url, url->url_len, &offer->plan)) die("stream");
    offer->stream = vsoa_server_stream_create(server);
    if (offer->stream == NULL) die("stream");
    say("offered\t%d", ntohs(vsoa_server_stream_tunid(offer->stream)));
    vsoa_server_cli_reply(server, id, 0, vsoa_parser_get_seqno(header), vsoa_server_stream_tunid(offer->stream), NULL);
    detach(serve_stream, offer);
}

static void tell_clients(vsoa_server_t* server, const struct Command* command) {
    const struct Outgoing* message = outgoing(command);
    vsoa_cli_id_t ids[kMaxClients];
    const int count = vsoa_server_cli_array(server, ids, kMaxClients);
    bool good = true;
    for (int i = 0; i < count; ++i) {
        if (told(command, "priority")) {
            good &= vsoa_server_cli_priority(server, ids[i], atoi(command->words[1]));
        } else if (told(command, "datagram")) {
            good &= vsoa_server_cli_datagram(server, ids[i], &message->url, &message->payload);
        } else {
            good &= vsoa_server_cli_quick_datagram(server, ids[i], &message->url, &message->payload);
        }
    }
    if (!good) die(command->words[0]);
}

static void tell(vsoa_server_t* server, const struct Command* command) {
    const struct Outgoing* message = outgoing(command);
    pthread_t thread;
    if (told(command, "publish")) {
        if (!vsoa_server_publish(server, &message->url, &message->payload)) die("publish");
    } else if (told(command, "quick-publish")) {
        const bool good = vsoa_server_quick_publish(server, &message->url, &message->payload);
        if (!good && errno != EOPNOTSUPP) die("quick-publish");
        if (!good) say("unsupported\tquick-publish");
    } else if (told(command, "release")) {
        if (pthread_create(&thread, NULL, release, server) != 0 || pthread_join(thread, NULL) != 0) die("release");
    } else {
        tell_clients(server, command);
    }
}

static void listen_to(vsoa_server_t* server, char* text, vsoa_server_cmd_func_t callback) {
    const vsoa_url_t url = {text, strlen(text)};
    if (!vsoa_server_add_listener(server, &url, callback, text)) die(text);
}

int run_server(const char* where, const char* password) {
    struct Place place;
    struct Command command;
    vsoa_server_t* server = vsoa_server_create("{\"name\":\"interop\"}");
    if (server == NULL || !vsoa_server_passwd(server, password)) die("create");
    if (!read_place(where, &place)) die(where);
    if (!vsoa_server_tls(server, wanted_tls())) die("tls");
    vsoa_server_on_cli(server, on_client, NULL);
    vsoa_server_on_datagram(server, on_datagram, NULL);
    listen_to(server, "/echo", on_echo);
    listen_to(server, "/method", on_method);
    listen_to(server, "/status", on_status);
    listen_to(server, "/below/", on_below);
    listen_to(server, "/below/deeper/", on_below);
    listen_to(server, "/hold", on_hold);
    listen_to(server, "/stream/", on_stream);
    if (!vsoa_server_start(server, (struct sockaddr*)&place.address, place.length)) die("start");
    if (!vsoa_server_address(server, (struct sockaddr*)&place.address, &place.length)) die("address");
    say("port\t%d", port_of((struct sockaddr*)&place.address));
    for (;;) {
        fd_set fds;
        FD_ZERO(&fds);
        wait_readable(&fds, vsoa_server_fds(server, &fds));
        vsoa_server_input_fds(server, &fds);
        if (!FD_ISSET(STDIN_FILENO, &fds)) continue;
        if (!next_command(&command)) break;
        tell(server, &command);
    }
    vsoa_server_close(server);
    return 0;
}
