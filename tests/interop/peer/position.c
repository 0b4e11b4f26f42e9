#include "vsoa_position.h"

#include "tests/interop/peer/peer.h"

enum { kMaxPlaces = 8 };

static struct {
    char name[64];
    struct Place place;
} places[kMaxPlaces];

static int find(const char* name) {
    for (int i = 0; i < kMaxPlaces; ++i) {
        if (strcasecmp(places[i].name, name) == 0) return i;
    }
    return -1;
}

static void on_query(void* arg, int domain, const char* name, vsoa_position_response_t* response) {
    vsoa_position_server_t** server = arg;
    const int i = find(name);
    const struct sockaddr* address = i >= 0 ? (struct sockaddr*)&places[i].place.address : NULL;
    if (address != NULL && domain != -1 && domain != address->sa_family) address = NULL;
    vsoa_position_server_response(*server, response, address, i >= 0 ? places[i].place.length : 0, false);
}

static void tell(const struct Command* command) {
    int i = find(command->words[1]);
    if (told(command, "remove")) {
        if (i >= 0) places[i].name[0] = '\0';
        say("removed");
        return;
    }
    if (i < 0) i = find("");
    if (i < 0 || !read_place(command->words[2], &places[i].place)) die("place");
    snprintf(places[i].name, sizeof places[i].name, "%s", command->words[1]);
    say("placed");
}

int run_position(const char* where) {
    static vsoa_position_server_t* server;
    struct Place place;
    struct Command command;
    if (!read_place(where, &place)) die(where);
    server = vsoa_position_server_create(on_query, &server);
    if (server == NULL) die("create");
    if (!vsoa_position_server_start(server, (const struct sockaddr*)&place.address, place.length)) die("start");
    const int fd = vsoa_position_server_fd(server);
    if (getsockname(fd, (struct sockaddr*)&place.address, &place.length) != 0) die("address");
    say("port\t%d", port_of((struct sockaddr*)&place.address));
    for (;;) {
        fd_set fds;
        FD_ZERO(&fds);
        FD_SET(fd, &fds);
        wait_readable(&fds, fd);
        vsoa_position_server_input(server);
        if (!FD_ISSET(STDIN_FILENO, &fds)) continue;
        if (!next_command(&command)) break;
        tell(&command);
    }
    vsoa_position_server_close(server);
    return 0;
}

int run_lookup(const char* name, const char* domain) {
    struct Place place = {.length = sizeof place.address};
    const struct timespec timeout = {3, 0};
    char text[kMaxWhere];
    struct sockaddr* address = (struct sockaddr*)&place.address;
    if (!vsoa_position_lookup(atoi(domain), name, address, &place.length, NULL, &timeout)) {
        say("not found");
    } else {
        say("found\t%s", write_place(address, text));
    }
    return 0;
}
