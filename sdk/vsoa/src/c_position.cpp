// The C functions of vsoa_position.h.
#include "sdk/vsoa/src/position.hpp"
#include "sdk/vsoa/src/shell.hpp"

using vsoa::guarded;
using vsoa::invalid;

struct vsoa_position_server {
    vsoa::position::Server core;
};

namespace {

constexpr int64_t kDefaultTimeout_ms = 2000;

}  // namespace

extern "C" {

vsoa_position_server_t* vsoa_position_server_create(vsoa_position_query_func_t query, void* arg) {
    if (query == nullptr) {
        errno = EINVAL;
        return nullptr;
    }
    return guarded<vsoa_position_server_t*>(nullptr, [&] { return new vsoa_position_server{{query, arg}}; });
}

void vsoa_position_server_close(vsoa_position_server_t* server) {
    if (server != nullptr && server->core.inside()) {
        errno = EDEADLK;
        return;
    }
    delete server;
}

bool vsoa_position_server_start(vsoa_position_server_t* server, const struct sockaddr* pos_addr, socklen_t addr_len) {
    return guarded(false, server, [&] {
        const auto address = vsoa::Address::from(pos_addr, addr_len);
        return address && server->core.start(*address);
    });
}

bool vsoa_position_server_start_fd(vsoa_position_server_t* server, int fd) {
    return guarded(false, server, [&] { return server->core.take(fd); });
}

int vsoa_position_server_fd(vsoa_position_server_t* server) {
    return guarded(-1, server, [&] { return server->core.fd(); });
}

void vsoa_position_server_input(vsoa_position_server_t* server) {
    guarded(false, server, [&] {
        server->core.input();
        return true;
    });
}

void vsoa_position_server_response(vsoa_position_server_t* server, vsoa_position_response_t* response,
                                   const struct sockaddr* vsoa_serv, socklen_t addr_len, bool sec) {
    guarded(false, server, [&] {
        server->core.respond(response, vsoa::Address::from(vsoa_serv, addr_len), sec);
        return true;
    });
}

void vsoa_position_server_set_custom(vsoa_position_server_t* server, void* custom) {
    server != nullptr ? void(server->core.custom = custom) : void(invalid());
}

void* vsoa_position_server_custom(vsoa_position_server_t* server) {
    return guarded(static_cast<void*>(nullptr), server, [&] { return static_cast<void*>(server->core.custom); });
}

bool vsoa_position_lookup_server(const struct sockaddr* pos_addr, socklen_t addr_len) {
    std::optional<vsoa::Address> address;
    if (pos_addr != nullptr && !(address = vsoa::Address::from(pos_addr, addr_len))) return false;
    vsoa::position::fix_server(address);
    return true;
}

bool vsoa_position_lookup(int domain, const char* serv_name, struct sockaddr* serv_addr, socklen_t* addr_len, bool* sec,
                          const struct timespec* timeout) {
    if (serv_name == nullptr || serv_addr == nullptr || addr_len == nullptr ||
        (domain != -1 && domain != AF_INET && domain != AF_INET6)) {
        errno = EINVAL;
        return false;
    }
    return guarded(false, [&] {
        const auto answer = vsoa::position::look_up(vsoa::position::servers(), {serv_name, domain},
                                                    vsoa::span_ns(timeout, kDefaultTimeout_ms));
        if (!answer || !answer->address->copy_to(serv_addr, addr_len)) return false;
        if (sec != nullptr) *sec = answer->secure;
        return true;
    });
}
}
