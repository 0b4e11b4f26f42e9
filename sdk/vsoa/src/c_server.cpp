// The C functions of vsoa_server.h.
#include <netinet/in.h>
#include <unistd.h>

#include <cstring>
#include <memory>

#include "sdk/vsoa/include/vsoa_loop.h"
#include "sdk/vsoa/src/server.hpp"
#include "sdk/vsoa/src/shell.hpp"

using vsoa::Frame;
using vsoa::guarded;
using vsoa::invalid;
using vsoa::Link;

namespace {

constexpr int kMaxPriority = 5;
constexpr int64_t kHandshake_ns = VSOA_SERVER_DEF_HANDSHAKE_TIMEOUT * vsoa::kNanosPerMs;
constexpr size_t kMaxInfo = VSOA_MAX_DATA_LENGTH - 8;  // the login's answer carries up to 6 bytes more

/// What vsoa_server_stream_create really makes.
struct OfferedStream : vsoa_server_stream_t {
    vsoa::tls::SetupPtr setup;  // null: plain
};

/// The descriptor that a program reads and writes instead of fd; -1 with errno.
int encrypt(int fd, const vsoa::tls::Setup& setup) {
    const auto peer = vsoa::Address::peer(fd);
    if (peer) return setup.stream(fd, *peer, vsoa::now_ns() + kHandshake_ns);
    const int error = errno;
    ::close(fd);
    errno = error;
    return -1;
}

/// Runs use(link) for a client of the server.
template <typename Use>
bool with_client(vsoa_server_t* server, vsoa_cli_id_t id, Use use) {
    return guarded(false, server, [&] { return server->core.with_client(id, use); });
}

/// For functions without a result.
template <typename Function>
void run(const vsoa_server_t* server, Function function) {
    guarded(false, server, [&] {
        function();
        return true;
    });
}

}  // namespace

extern "C" {

vsoa_server_t* vsoa_server_create(const char* info_json) {
    return guarded<vsoa_server_t*>(nullptr, [&]() -> vsoa_server_t* {
        if (info_json != nullptr && std::strlen(info_json) > kMaxInfo) {
            errno = EMSGSIZE;
            return nullptr;
        }
        auto server = std::make_unique<vsoa_server>(info_json);
        return server->core.open() ? server.release() : nullptr;
    });
}

void vsoa_server_close(vsoa_server_t* server) {
    if (server != nullptr && server->core.inside()) {
        errno = EDEADLK;
        return;
    }
    delete server;
}

bool vsoa_server_passwd(vsoa_server_t* server, const char* passwd) {
    return guarded(false, server, [&] { return server->core.password(passwd); });
}

bool vsoa_server_start(vsoa_server_t* server, const struct sockaddr* addr, socklen_t namelen) {
    return guarded(false, server, [&] {
        const auto address = vsoa::Address::from(addr, namelen);
        return address && server->core.start(*address);
    });
}

bool vsoa_server_address(vsoa_server_t* server, struct sockaddr* addr, socklen_t* namelen) {
    return guarded(false, server, [&] {
        const auto address = server->core.address();
        return address && address->copy_to(addr, namelen);
    });
}

bool vsoa_server_bind_if(vsoa_server_t* server, const char* ifname) {
    if (ifname == nullptr || *ifname == '\0') return invalid();
    return guarded(false, server, [&] { return server->core.bind_interface(ifname); });
}

void vsoa_server_on_cli(vsoa_server_t* server, vsoa_server_cli_func_t oncli, void* arg) {
    run(server, [&] { server->core.on_client(oncli, arg); });
}

int vsoa_server_count(vsoa_server_t* server) {
    return guarded(-1, server, [&] { return server->core.count(); });
}

bool vsoa_server_send_timeout(vsoa_server_t* server, bool cur_clis, const struct timespec* timeout) {
    return guarded(false, server, [&] {
        server->core.send_timeout(cur_clis, vsoa::span_ns(timeout, VSOA_SERVER_DEF_SEND_TIMEOUT));
        return true;
    });
}

bool vsoa_server_is_subscribed(vsoa_server_t* server, const vsoa_url_t* url) {
    return guarded(false, server, [&] {
        const auto text = vsoa::sendable(url);
        return text && server->core.is_subscribed(*text);
    });
}

bool vsoa_server_publish(vsoa_server_t* server, const vsoa_url_t* url, const vsoa_payload_t* payload) {
    return guarded(false, server, [&] {
        Frame frame(VSOA_TYPE_PUBLISH);
        const auto text = vsoa::sendable(url);
        return text && frame.body(url, payload) && server->core.publish(*text, frame);
    });
}

bool vsoa_server_quick_publish(vsoa_server_t* server, const vsoa_url_t* url, const vsoa_payload_t* payload) {
    return guarded(false, server, [&] {
        Frame frame(VSOA_TYPE_PUBLISH);
        const auto text = vsoa::sendable(url);
        return text && frame.body(url, payload, VSOA_MAX_QPACKET_LENGTH) && server->core.quick_publish(*text, frame);
    });
}

bool vsoa_server_add_listener(vsoa_server_t* server, const vsoa_url_t* url, vsoa_server_cmd_func_t callback,
                              void* arg) {
    return guarded(false, server, [&] {
        const auto text = vsoa::sendable(url);
        if (!text || callback == nullptr) return invalid();
        server->core.listener(*text, callback, arg);
        return true;
    });
}

void vsoa_server_remove_listener(vsoa_server_t* server, const vsoa_url_t* url) {
    run(server, [&] {
        if (const auto text = vsoa::sendable(url)) server->core.remove_listener(*text);
    });
}

bool vsoa_server_cli_close(vsoa_server_t* server, vsoa_cli_id_t id) {
    return guarded(false, server, [&] { return server->core.drop_client(id); });
}

bool vsoa_server_cli_linger(vsoa_server_t* server, vsoa_cli_id_t id, int time) {
    return with_client(server, id, [&](Link& link) { return vsoa::set_linger(link.fd.get(), time); });
}

bool vsoa_server_cli_is_subscribed(vsoa_server_t* server, vsoa_cli_id_t id, const vsoa_url_t* url) {
    return guarded(false, server, [&] {
        const auto text = vsoa::sendable(url);
        return text && server->core.is_subscribed(id, *text);
    });
}

bool vsoa_server_cli_address(vsoa_server_t* server, vsoa_cli_id_t id, struct sockaddr* addr, socklen_t* namelen) {
    return with_client(server, id, [&](Link& link) { return link.peer.copy_to(addr, namelen); });
}

bool vsoa_server_cli_reply(vsoa_server_t* server, vsoa_cli_id_t id, uint8_t status, uint32_t seqno, uint16_t tunid,
                           const vsoa_payload_t* payload) {
    return guarded(false, server, [&] {
        Frame frame(VSOA_TYPE_RPC, VSOA_FLAG_REPLY, status, seqno);
        frame.tunid(tunid);
        return frame.body(nullptr, payload) && server->core.send_to(id, frame);
    });
}

bool vsoa_server_cli_priority(vsoa_server_t* server, vsoa_cli_id_t id, int new_prio) {
    if (new_prio < 0 || new_prio > kMaxPriority) return invalid();
    return guarded(false, server, [&] { return server->core.priority(id, new_prio); });
}

bool vsoa_server_cli_keepalive(vsoa_server_t* server, vsoa_cli_id_t id, int keepalive) {
    if (keepalive < 0) return invalid();
    return with_client(server, id, [&](Link& link) {
        return vsoa::set_keepalive(link.fd.get(), keepalive) && vsoa::set_silence_limit(link.fd.get(), keepalive);
    });
}

int vsoa_server_cli_array(vsoa_server_t* server, vsoa_cli_id_t ids[], int max_cnt) {
    if (ids == nullptr || max_cnt < 0) return invalid() ? 0 : -1;
    return guarded(-1, server, [&] { return server->core.ids(ids, max_cnt); });
}

bool vsoa_server_cli_send_timeout(vsoa_server_t* server, vsoa_cli_id_t id, const struct timespec* timeout) {
    if (server == nullptr) return invalid();
    const int64_t value = timeout != nullptr ? vsoa::span_ns(timeout, 0) : server->core.send_timeout();
    return with_client(server, id, [&](Link& link) {
        link.send_timeout_ns = value;
        return true;
    });
}

bool vsoa_server_cli_set_authed(vsoa_server_t* server, vsoa_cli_id_t id, bool authed) {
    return with_client(server, id, [&](Link& link) {
        link.authed = authed;
        return true;
    });
}

bool vsoa_server_cli_authed(vsoa_server_t* server, vsoa_cli_id_t id) {
    return with_client(server, id, [](Link& link) { return link.authed; });
}

bool vsoa_server_cli_set_custom(vsoa_server_t* server, vsoa_cli_id_t id, void* custom) {
    return with_client(server, id, [&](Link& link) {
        link.custom = custom;
        return true;
    });
}

void* vsoa_server_cli_custom(vsoa_server_t* server, vsoa_cli_id_t id) {
    void* custom = nullptr;
    with_client(server, id, [&](Link& link) {
        custom = link.custom;
        return true;
    });
    return custom;
}

bool vsoa_server_cli_datagram(vsoa_server_t* server, vsoa_cli_id_t id, const vsoa_url_t* url,
                              const vsoa_payload_t* payload) {
    return guarded(false, server, [&] {
        Frame frame(VSOA_TYPE_DATAGRAM);
        return vsoa::sendable(url) && frame.body(url, payload) && server->core.send_to(id, frame);
    });
}

bool vsoa_server_cli_quick_datagram(vsoa_server_t* server, vsoa_cli_id_t id, const vsoa_url_t* url,
                                    const vsoa_payload_t* payload) {
    return guarded(false, server, [&] {
        Frame frame(VSOA_TYPE_DATAGRAM);
        return vsoa::sendable(url) && frame.body(url, payload, VSOA_MAX_QPACKET_LENGTH) &&
               server->core.quick_datagram(id, frame);
    });
}

void vsoa_server_on_datagram(vsoa_server_t* server, vsoa_server_dat_func_t callback, void* arg) {
    run(server, [&] { server->core.on_datagram(callback, arg); });
}

int vsoa_server_fds(vsoa_server_t* server, fd_set* rfds) {
    return guarded(-1, server, [&] {
        if (!server->core.started()) errno = ENOTCONN;
        return server->core.add_to(rfds);
    });
}

void vsoa_server_input_fds(vsoa_server_t* server, const fd_set* rfds) {
    run(server, [&] {
        if (server->core.in(rfds)) server->core.input();
    });
}

bool vsoa_server_wait(vsoa_server_t* server, const struct timespec* timeout) {
    return guarded(false, server, [&] {
        if (!server->core.started()) {
            errno = ENOTCONN;
            return false;
        }
        server->core.input(vsoa::limit_ms(timeout));
        return true;
    });
}

void vsoa_server_set_custom(vsoa_server_t* server, void* custom) {
    run(server, [&] { server->core.custom = custom; });
}

void* vsoa_server_custom(vsoa_server_t* server) {
    return guarded<void*>(nullptr, server, [&] { return server->core.custom.load(); });
}

vsoa_server_stream_t* vsoa_server_stream_create(vsoa_server_t* server) {
    return guarded<vsoa_server_stream_t*>(nullptr, server, [&]() -> vsoa_server_stream_t* {
        auto stream = std::make_unique<OfferedStream>();
        vsoa::Fd listener = server->core.stream_listener(stream->tunid, stream->setup);
        if (!listener) return nullptr;
        stream->valid = true;
        stream->listenfd = listener.release();
        stream->clifd = -1;
        return stream.release();
    });
}

int vsoa_server_stream_accept(vsoa_server_stream_t* stream, struct sockaddr* addr, socklen_t* namelen, int keepalive) {
    if (stream == nullptr || !stream->valid || stream->listenfd < 0 || keepalive < 0) {
        errno = EINVAL;
        return -1;
    }
    int fd;
    do {
        fd = accept4(stream->listenfd, addr, namelen, SOCK_CLOEXEC);
    } while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
    if (fd < 0) return -1;
    vsoa::set_nodelay(fd);
    vsoa::set_keepalive(fd, keepalive);
    const vsoa::tls::SetupPtr& setup = static_cast<OfferedStream*>(stream)->setup;
    // Who cannot prove itself is not the stream's peer: it may be accepted again.
    if (setup && (fd = encrypt(fd, *setup)) < 0) return -1;
    // A stream has two ends: who connects next is not let in.
    ::close(stream->listenfd);
    stream->listenfd = -1;
    return stream->clifd = fd;
}

void vsoa_server_stream_close(vsoa_server_stream_t* stream) {
    if (stream == nullptr) return;
    if (stream->listenfd >= 0) ::close(stream->listenfd);
    if (stream->clifd >= 0) ::close(stream->clifd);
    delete static_cast<OfferedStream*>(stream);
}
}
