/* The server that the tests of the vsoa command call: server [PASSWORD]. Says "port N"; ends with its standard input.
 *   /echo         answers the payload
 *   /status/N     answers status N
 *   /silent       never answers
 *   /stream       offers a stream
 *   /drop         closes the caller's connection
 *   /news/...     published as it was called, then answered
 *   /quick/...    the same over UDP
 *   /subscribed/URL  answers success when somebody is subscribed to /URL
 *   /datagram     sent back as a datagram, then answered */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vsoa_server.h"

static vsoa_server_stream_t* offered;

static bool begins(const vsoa_url_t* url, const char* with) {
    return url->url_len >= strlen(with) && memcmp(url->url, with, strlen(with)) == 0;
}

static void called(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                   vsoa_payload_t* payload) {
    (void)arg;
    const uint32_t number = vsoa_parser_get_seqno(header);
    uint8_t status = VSOA_STATUS_SUCCESS;
    uint16_t tunid = 0;
    if (begins(url, "/silent")) return;
    if (begins(url, "/status/")) {
        char text[8] = "";
        memcpy(text, url->url + 8, url->url_len - 8 < 4 ? url->url_len - 8 : 4);
        status = (uint8_t)atoi(text);
    } else if (begins(url, "/stream")) {
        offered = vsoa_server_stream_create(server);
        tunid = vsoa_server_stream_tunid(offered);
    } else if (begins(url, "/drop")) {
        vsoa_server_cli_close(server, id);
        return;
    } else if (begins(url, "/subscribed/")) {
        const vsoa_url_t wanted = {url->url + 11, url->url_len - 11};
        if (!vsoa_server_is_subscribed(server, &wanted)) status = VSOA_STATUS_INVALID_URL;
    } else if (begins(url, "/news/")) {
        vsoa_server_publish(server, url, payload);
    } else if (begins(url, "/quick/")) {
        vsoa_server_quick_publish(server, url, payload);
    } else if (begins(url, "/datagram")) {
        vsoa_cli_id_t all[64];
        const int count = vsoa_server_cli_array(server, all, 64);
        for (int i = 0; i < count; ++i) vsoa_server_cli_datagram(server, all[i], url, payload);
    } else if (!begins(url, "/echo")) {
        status = VSOA_STATUS_INVALID_URL;
    }
    vsoa_server_cli_reply(server, id, status, number, tunid, payload);
}

static int die(const char* what) {
    fprintf(stderr, "server: %s: %s\n", what, strerror(errno));
    return 1;
}

int main(int argc, char** argv) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    char everything[] = "/";
    vsoa_url_t url = {everything, 1};
    vsoa_server_t* server = vsoa_server_create("{\"name\": \"test\"}");
    if (server == NULL) return die("create");
    if (argc > 1) vsoa_server_passwd(server, argv[1]);
    vsoa_server_add_listener(server, &url, called, NULL);
    if (!vsoa_server_start(server, (struct sockaddr*)&address, length)) return die("start");
    vsoa_server_address(server, (struct sockaddr*)&address, &length);
    printf("port %u\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        fd_set set;
        FD_ZERO(&set);
        FD_SET(STDIN_FILENO, &set);
        const int highest = vsoa_server_fds(server, &set);
        if (select(highest + 1, &set, NULL, NULL, NULL) < 0) return die("select");
        vsoa_server_input_fds(server, &set);
        char byte;
        if (FD_ISSET(STDIN_FILENO, &set) && read(STDIN_FILENO, &byte, 1) <= 0) break;
    }
    if (offered != NULL) vsoa_server_stream_close(offered);
    vsoa_server_close(server);
    return 0;
}
