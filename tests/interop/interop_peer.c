/*
 * libvsoa behind a line protocol, so that one set of tests drives it and the vendor's package (vendor.js) alike.
 *
 *   server PORT [PASSWORD]             says "port N", "client up", "client down", "datagram tcp|quick URL PARAM";
 *                                      told "publish URL PARAM", "quick URL PARAM", "datagram URL PARAM"
 *   client WHERE PASSWORD|- URL...     says "up INFO", "down", "message tcp|quick URL PARAM", "datagram URL PARAM";
 *                                      told "get URL PARAM", "set URL PARAM" (says "reply STATUS PARAM"), "ping" ("pong
 *                                      true"), "datagram URL PARAM", "quick URL PARAM", "unsubscribe URL"
 *   connect WHERE PASSWORD|-           says "connected INFO" or "refused STATUS"
 *   position PORT                      says "port N"; told "place NAME IP PORT", "remove NAME"
 *   lookup NAME                        says "found IP PORT" or "not found"
 *
 * Every mode ends with its standard input.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "vsoa_cliauto.h"
#include "vsoa_platform.h"
#include "vsoa_position.h"
#include "vsoa_server.h"

enum { kMaxLine = 4096, kMaxWords = 4 };

static void say(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    flockfile(stdout);
    vprintf(format, arguments);
    putchar('\n');
    fflush(stdout);
    funlockfile(stdout);
    va_end(arguments);
}

static int die(const char* what) {
    fprintf(stderr, "interop_peer: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* One line of standard input: name, then up to two words more and the rest. False at the end. */
struct Command {
    char line[kMaxLine];
    char* words[kMaxWords];
};

static bool next_command(struct Command* command) {
    size_t used = 0;
    /* Unbuffered: what select does not see must not be in a buffer. */
    for (;;) {
        const ssize_t got = read(STDIN_FILENO, command->line + used, 1);
        if (got <= 0) return false;
        if (command->line[used] == '\n') break;
        if (++used == kMaxLine) return false;
    }
    command->line[used] = '\0';
    char* rest = command->line;
    for (int i = 0; i < kMaxWords; ++i) {
        command->words[i] = rest;
        char* blank = i + 1 < kMaxWords ? strchr(rest, ' ') : NULL;
        rest = blank != NULL ? blank + 1 : rest + strlen(rest);
        if (blank != NULL) *blank = '\0';
    }
    return true;
}

/* "name URL PARAM": the parameter may hold blanks, so it is put together again. */
static void to_message(struct Command* command, vsoa_url_t* url, vsoa_payload_t* payload) {
    char* param = command->words[2];
    if (*command->words[3] != '\0') command->words[3][-1] = ' ';
    VSOA_URL_SET(url, command->words[1], strlen(command->words[1]));
    VSOA_PAYLOAD_SET(payload, param, strlen(param), NULL, 0);
}

static struct sockaddr_in address_of(const char* ip, const char* port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    if (inet_pton(AF_INET, ip, &address.sin_addr) != 1) die(ip);
    return address;
}

static void wait_readable(fd_set* fds, int highest) {
    FD_SET(STDIN_FILENO, fds);
    if (select(highest + 1, fds, NULL, NULL, NULL) < 0) die("select");
}

/* ---- server ---- */

static void on_client(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, bool connect) {
    (void)arg, (void)server, (void)id;
    say(connect ? "client up" : "client down");
}

static void on_server_datagram(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_url_t* url,
                               vsoa_payload_t* payload, bool quick) {
    (void)arg, (void)server, (void)id;
    say("datagram %s %.*s %.*s", quick ? "quick" : "tcp", (int)url->url_len, url->url, (int)payload->param_len,
        payload->param);
}

static void on_call(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                    vsoa_payload_t* payload) {
    const char* kind = arg;
    char text[256];
    uint8_t status = 0;
    vsoa_payload_t answer = VSOA_PAYLOAD_INITIALIZER;
    if (strcmp(kind, "/echo") == 0) {
        answer = *payload;
    } else if (strcmp(kind, "/method") == 0) {
        snprintf(text, sizeof text, "{\"method\":%d}", (vsoa_parser_get_flags(header) & VSOA_FLAG_SET) != 0);
        answer.param = text;
    } else if (strcmp(kind, "/status") == 0) {
        status = 200;
        answer.param = "{\"why\":\"asked\"}";
    } else {
        snprintf(text, sizeof text, "{\"url\":\"%.*s\"}", (int)url->url_len, url->url);
        answer.param = text;
    }
    if (answer.param != NULL && answer.param_len == 0 && answer.param != payload->param) {
        answer.param_len = strlen(answer.param);
    }
    vsoa_server_cli_reply(server, id, status, vsoa_parser_get_seqno(header), 0, &answer);
}

static void tell_server(vsoa_server_t* server, struct Command* command) {
    vsoa_url_t url;
    vsoa_payload_t payload;
    to_message(command, &url, &payload);
    if (strcmp(command->words[0], "publish") == 0) {
        vsoa_server_publish(server, &url, &payload);
    } else if (strcmp(command->words[0], "quick") == 0) {
        vsoa_server_quick_publish(server, &url, &payload);
    } else {
        vsoa_cli_id_t ids[16];
        const int count = vsoa_server_cli_array(server, ids, 16);
        for (int i = 0; i < count; ++i) vsoa_server_cli_datagram(server, ids[i], &url, &payload);
    }
}

static int run_server(const char* port, const char* password) {
    static char* urls[] = {"/echo", "/method", "/status", "/below/"};
    struct sockaddr_in address = address_of("127.0.0.1", port);
    socklen_t length = sizeof address;
    struct Command command;
    vsoa_server_t* server = vsoa_server_create("{\"name\":\"interop\"}");
    if (server == NULL || !vsoa_server_passwd(server, password)) die("create");
    vsoa_server_on_cli(server, on_client, NULL);
    vsoa_server_on_datagram(server, on_server_datagram, NULL);
    for (size_t i = 0; i < sizeof urls / sizeof *urls; ++i) {
        const vsoa_url_t url = {urls[i], strlen(urls[i])};
        vsoa_server_add_listener(server, &url, on_call, urls[i]);
    }
    if (!vsoa_server_start(server, (struct sockaddr*)&address, sizeof address)) die("start");
    vsoa_server_address(server, (struct sockaddr*)&address, &length);
    say("port %d", ntohs(address.sin_port));
    for (;;) {
        fd_set fds;
        FD_ZERO(&fds);
        wait_readable(&fds, vsoa_server_fds(server, &fds));
        vsoa_server_input_fds(server, &fds);
        if (!FD_ISSET(STDIN_FILENO, &fds)) continue;
        if (!next_command(&command)) break;
        tell_server(server, &command);
    }
    vsoa_server_close(server);
    return 0;
}

/* ---- client ---- */

static void on_connect(void* arg, vsoa_client_auto_t* cliauto, bool connect, const char* info) {
    (void)arg, (void)cliauto;
    if (connect) {
        say("up %s", info);
    } else {
        say("down");
    }
}

static void on_message(void* arg, vsoa_client_t* client, vsoa_url_t* url, vsoa_payload_t* payload, bool quick) {
    (void)arg, (void)client;
    say("message %s %.*s %.*s", quick ? "quick" : "tcp", (int)url->url_len, url->url, (int)payload->param_len,
        payload->param);
}

static void on_datagram(void* arg, vsoa_client_t* client, vsoa_url_t* url, vsoa_payload_t* payload, bool quick) {
    (void)arg, (void)client, (void)quick;
    say("datagram %.*s %.*s", (int)url->url_len, url->url, (int)payload->param_len, payload->param);
}

static void on_reply(void* arg, vsoa_client_t* client, vsoa_header_t* header, vsoa_payload_t* payload) {
    (void)arg, (void)client;
    if (header == NULL) {
        say("reply none");
    } else {
        say("reply %d %.*s", vsoa_parser_get_status(header), (int)payload->param_len, payload->param);
    }
}

static void on_result(void* arg, vsoa_client_t* client, bool success) {
    (void)client;
    say("%s %s", (const char*)arg, success ? "true" : "false");
}

static void tell_client(vsoa_client_t* client, struct Command* command) {
    const char* name = command->words[0];
    vsoa_url_t url;
    vsoa_payload_t payload;
    to_message(command, &url, &payload);
    bool good = true;
    if (strcmp(name, "get") == 0 || strcmp(name, "set") == 0) {
        good = vsoa_client_call(client, *name == 's', &url, &payload, on_reply, NULL, NULL);
    } else if (strcmp(name, "ping") == 0) {
        good = vsoa_client_ping(client, on_result, "pong", NULL);
    } else if (strcmp(name, "datagram") == 0) {
        good = vsoa_client_datagram(client, &url, &payload);
    } else if (strcmp(name, "quick") == 0) {
        good = vsoa_client_quick_datagram(client, &url, &payload);
    } else if (strcmp(name, "unsubscribe") == 0) {
        good = vsoa_client_unsubscribe(client, &url, on_result, "unsubscribed", NULL);
    }
    if (!good) die(name);
}

static int run_client(const char* where, const char* password, char** urls, int count) {
    struct Command command;
    vsoa_client_auto_t* cliauto = vsoa_client_auto_create(on_message, NULL);
    if (cliauto == NULL || !vsoa_client_auto_setup(cliauto, on_connect, NULL)) die("create");
    vsoa_client_t* client = vsoa_client_auto_handle(cliauto);
    vsoa_client_on_datagram(client, on_datagram, NULL);
    if (!vsoa_client_auto_start(cliauto, where, password, urls, count, 200, 1000, 100)) die("start");
    while (next_command(&command)) tell_client(client, &command);
    vsoa_client_auto_delete(cliauto);
    return 0;
}

static int run_connect(char* where, const char* password) {
    char info[256];
    char* colon = strchr(where, ':');
    if (colon == NULL) die(where);
    *colon = '\0';
    const struct sockaddr_in address = address_of(where, colon + 1);
    const struct timespec timeout = {5, 0};
    vsoa_client_t* client = vsoa_client_create(NULL, NULL);
    if (vsoa_client_connect(client, (const struct sockaddr*)&address, sizeof address, &timeout, password, info,
                            sizeof info)) {
        say("connected %s", info);
    } else {
        say("refused %d", errno == EACCES ? VSOA_STATUS_PASSWORD : -1);
    }
    vsoa_client_close(client);
    return 0;
}

/* ---- position ---- */

enum { kMaxPlaces = 8 };
static struct {
    char name[64];
    struct sockaddr_in address;
} places[kMaxPlaces];

static int place_of(const char* name) {
    for (int i = 0; i < kMaxPlaces; ++i) {
        if (strcasecmp(places[i].name, name) == 0) return i;
    }
    return -1;
}

static void on_query(void* arg, int domain, const char* name, vsoa_position_response_t* response) {
    vsoa_position_server_t** server = arg;
    const int i = domain == AF_INET6 ? -1 : place_of(name);
    vsoa_position_server_response(*server, response, i >= 0 ? (struct sockaddr*)&places[i].address : NULL,
                                  sizeof places[0].address, false);
}

static void tell_position(struct Command* command) {
    int i = place_of(command->words[1]);
    if (strcmp(command->words[0], "remove") == 0) {
        if (i >= 0) places[i].name[0] = '\0';
        say("removed");
        return;
    }
    if (i < 0) i = place_of("");
    if (i < 0) die("too many places");
    snprintf(places[i].name, sizeof places[i].name, "%s", command->words[1]);
    places[i].address = address_of(command->words[2], command->words[3]);
    say("placed");
}

static int run_position(const char* port) {
    static vsoa_position_server_t* server;
    const struct sockaddr_in address = address_of("127.0.0.1", port);
    struct sockaddr_in bound;
    socklen_t length = sizeof bound;
    struct Command command;
    server = vsoa_position_server_create(on_query, &server);
    if (server == NULL) die("create");
    if (!vsoa_position_server_start(server, (const struct sockaddr*)&address, sizeof address)) die("start");
    getsockname(vsoa_position_server_fd(server), (struct sockaddr*)&bound, &length);
    say("port %d", ntohs(bound.sin_port));
    for (;;) {
        fd_set fds;
        FD_ZERO(&fds);
        FD_SET(vsoa_position_server_fd(server), &fds);
        wait_readable(&fds, vsoa_position_server_fd(server));
        vsoa_position_server_input(server);
        if (!FD_ISSET(STDIN_FILENO, &fds)) continue;
        if (!next_command(&command)) break;
        tell_position(&command);
    }
    vsoa_position_server_close(server);
    return 0;
}

static int run_lookup(const char* name) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    const struct timespec timeout = {3, 0};
    char ip[INET_ADDRSTRLEN];
    if (!vsoa_position_lookup(AF_INET, name, (struct sockaddr*)&address, &length, NULL, &timeout)) {
        say("not found");
    } else {
        say("found %s %d", inet_ntop(AF_INET, &address.sin_addr, ip, sizeof ip), ntohs(address.sin_port));
    }
    return 0;
}

int main(int argc, char** argv) {
    const char* mode = argc > 2 ? argv[1] : "";
    const char* password = argc > 3 && strcmp(argv[3], "-") != 0 ? argv[3] : NULL;
    if (strcmp(mode, "server") == 0) return run_server(argv[2], password);
    if (strcmp(mode, "client") == 0) return run_client(argv[2], password, argv + 4, argc > 4 ? argc - 4 : 0);
    if (strcmp(mode, "connect") == 0) return run_connect(argv[2], password);
    if (strcmp(mode, "position") == 0) return run_position(argv[2]);
    if (strcmp(mode, "lookup") == 0) return run_lookup(argv[2]);
    fprintf(stderr, "usage: interop_peer server|client|connect|position|lookup ...\n");
    return 64;
}
