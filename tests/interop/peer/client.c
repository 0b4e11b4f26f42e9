#include "tests/interop/peer/peer.h"
#include "vsoa_cliauto.h"

static const struct timespec kPatience = {5, 0}, kImpatience = {0, 300000000};

static void on_connect(void* arg, vsoa_client_auto_t* cliauto, bool connect, const char* info) {
    (void)arg, (void)cliauto;
    if (connect) {
        say("up\t%s", info);
    } else {
        say("down");
    }
}

static void on_message(void* arg, vsoa_client_t* client, vsoa_url_t* url, vsoa_payload_t* payload, bool quick) {
    (void)arg, (void)client;
    say_message(quick ? "message\tquick" : "message\ttcp", url, payload);
}

static void on_datagram(void* arg, vsoa_client_t* client, vsoa_url_t* url, vsoa_payload_t* payload, bool quick) {
    (void)arg, (void)client;
    say_message(quick ? "datagram\tquick" : "datagram\ttcp", url, payload);
}

static void on_reply(void* arg, vsoa_client_t* client, vsoa_header_t* header, vsoa_payload_t* payload) {
    (void)arg, (void)client;
    char head[16];
    if (header == NULL) {
        say("reply\tnone");
        return;
    }
    snprintf(head, sizeof head, "reply\t%d", vsoa_parser_get_status(header));
    say_message(head, NULL, payload);
}

static void on_result(void* arg, vsoa_client_t* client, bool success) {
    (void)client;
    say("%s\t%s", (const char*)arg, success ? "true" : "false");
}

struct Accepted {
    vsoa_client_t* client;
    uint16_t tunnel;
    struct Streaming plan;
};

/* In a thread of its own: connecting waits, and so does the exchange. */
static void* run_stream(void* arg) {
    struct Accepted* accepted = arg;
    const int fd =
        vsoa_client_stream_create(accepted->client, accepted->tunnel, &kPatience, VSOA_CLIENT_KEEPALIVE_TIMEOUT);
    const bool good = fd >= 0 && exchange(fd, accepted->plan.up, accepted->plan.down, accepted->plan.client_ends);
    if (fd >= 0) vsoa_client_stream_close(fd);
    free(accepted);
    say("stream\t%s", good ? "true" : "false");
    return NULL;
}

static void on_offer(void* arg, vsoa_client_t* client, vsoa_header_t* header, vsoa_payload_t* payload) {
    (void)client, (void)payload;
    struct Accepted* accepted = arg;
    if (header == NULL || (vsoa_parser_get_flags(header) & VSOA_FLAG_TUNNEL) == 0) {
        free(accepted);
        say("stream\tfalse");
        return;
    }
    accepted->tunnel = vsoa_parser_get_tunid(header);
    detach(run_stream, accepted);
}

static bool ask_stream(vsoa_client_t* client, const vsoa_url_t* url) {
    struct Accepted* accepted = malloc(sizeof *accepted);
    if (accepted == NULL || !read_streaming(url->url, url->url_len, &accepted->plan)) die("stream");
    accepted->client = client;
    return vsoa_client_call(client, VSOA_CLIENT_RPC_METHOD_GET, url, NULL, on_offer, accepted, &kPatience);
}

static bool tell_topics(vsoa_client_t* client, struct Command* command) {
    const bool subscribe = command->words[0][0] == 's';
    char* result = subscribe ? "subscribed" : "unsubscribed";
    const int count = command->count - 1;
    if (told(command, "subscribe-all")) {
        return vsoa_client_multi_subscribe(client, command->words + 1, count, on_result, result, &kPatience);
    }
    if (told(command, "unsubscribe-all")) {
        return vsoa_client_multi_unsubscribe(client, command->words + 1, count, on_result, result, &kPatience);
    }
    const vsoa_url_t url = {command->words[1], strlen(command->words[1])};
    if (subscribe) return vsoa_client_subscribe(client, &url, on_result, result, &kPatience);
    return vsoa_client_unsubscribe(client, &url, on_result, result, &kPatience);
}

static bool tell(vsoa_client_t* client, struct Command* command) {
    const struct Outgoing* message = outgoing(command);
    const vsoa_url_t* url = &message->url;
    const vsoa_payload_t* payload = &message->payload;
    if (told(command, "get")) return vsoa_client_call(client, 0, url, payload, on_reply, NULL, &kPatience);
    if (told(command, "set")) return vsoa_client_call(client, 1, url, payload, on_reply, NULL, &kPatience);
    if (told(command, "impatient")) return vsoa_client_call(client, 0, url, payload, on_reply, NULL, &kImpatience);
    if (told(command, "ping")) return vsoa_client_ping(client, on_result, "pong", &kPatience);
    if (told(command, "noop")) return vsoa_client_ping(client, NULL, NULL, NULL);
    if (told(command, "datagram")) return vsoa_client_datagram(client, url, payload);
    if (told(command, "quick-datagram")) {
        const bool good = vsoa_client_quick_datagram(client, url, payload);
        if (!good && errno == EOPNOTSUPP) say("unsupported\tquick-datagram");
        return good || errno == EOPNOTSUPP;
    }
    if (told(command, "stream")) return ask_stream(client, url);
    return tell_topics(client, command);
}

int run_client(const char* where, const char* password, char** urls, int count) {
    enum { kConnect_ms = 2000, kRetry_ms = 100 };
    const char* keepalive = getenv("INTEROP_KEEPALIVE");
    const unsigned keepalive_ms = (unsigned)atoi(keepalive != NULL ? keepalive : "500");
    struct Command command;
    vsoa_client_auto_t* cliauto = vsoa_client_auto_create(on_message, NULL);
    if (cliauto == NULL || !vsoa_client_auto_setup(cliauto, on_connect, NULL)) die("create");
    if (!vsoa_client_auto_tls(cliauto, wanted_tls())) die("tls");
    vsoa_client_t* client = vsoa_client_auto_handle(cliauto);
    vsoa_client_on_datagram(client, on_datagram, NULL);
    if (!vsoa_client_auto_start(cliauto, where, password, urls, count, keepalive_ms, kConnect_ms, kRetry_ms)) {
        die("start");
    }
    while (next_command(&command)) {
        if (!tell(client, &command)) die(command.words[0]);
    }
    vsoa_client_auto_delete(cliauto);
    return 0;
}

/* Connected, with the server's info; NULL with errno. */
static vsoa_client_t* open_client(const char* where, const char* password, char* info, size_t room) {
    struct Place place;
    if (!read_place(where, &place)) die(where);
    vsoa_client_t* client = vsoa_client_create(on_message, NULL);
    if (client == NULL || !vsoa_client_tls(client, wanted_tls())) die("create");
    const struct sockaddr* address = (const struct sockaddr*)&place.address;
    if (vsoa_client_connect(client, address, place.length, &kPatience, password, info, room)) return client;
    const int error = errno;
    vsoa_client_close(client);
    errno = error;
    return NULL;
}

int run_connect(const char* where, const char* password) {
    char info[256];
    vsoa_client_t* client = open_client(where, password, info, sizeof info);
    if (client != NULL) {
        say("connected\t%s", info);
        vsoa_client_close(client);
    } else if (wanted_tls() != NULL && errno != EACCES) {
        say("refused\ttls");
    } else {
        say("refused\t%d", errno == EACCES ? VSOA_STATUS_PASSWORD : -1);
    }
    return 0;
}

/* All subscriptions made: says "up". */
static void on_last_topic(void* arg, vsoa_client_t* client, bool success) {
    (void)client;
    if (!success) die("subscribe");
    say("up\t%s", (const char*)arg);
}

int run_plain(const char* where, const char* password, char** urls, int count) {
    char info[256];
    struct Command command;
    vsoa_client_t* client = open_client(where, password, info, sizeof info);
    if (client == NULL) die("connect");
    vsoa_client_on_datagram(client, on_datagram, NULL);
    if (count == 0) say("up\t%s", info);
    for (int i = 0; i < count; ++i) {
        const vsoa_url_t url = {urls[i], strlen(urls[i])};
        if (!vsoa_client_subscribe(client, &url, i + 1 == count ? on_last_topic : NULL, info, &kPatience)) die(urls[i]);
    }
    for (bool connected = true; connected;) {
        fd_set fds;
        FD_ZERO(&fds);
        wait_readable(&fds, vsoa_client_fds(client, &fds));
        connected = vsoa_client_input_fds(client, &fds);
        if (!connected) say("down");
        if (!FD_ISSET(STDIN_FILENO, &fds)) continue;
        if (!next_command(&command)) break;
        if (!tell(client, &command)) die(command.words[0]);
    }
    vsoa_client_close(client);
    return 0;
}
