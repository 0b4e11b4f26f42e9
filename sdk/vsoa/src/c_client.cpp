// The C functions of vsoa_client.h.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "sdk/vsoa/include/vsoa_loop.h"
#include "sdk/vsoa/src/client.hpp"
#include "sdk/vsoa/src/json.hpp"
#include "sdk/vsoa/src/shell.hpp"

using vsoa::Call;
using vsoa::Frame;
using vsoa::guarded;
using vsoa::invalid;

namespace {

constexpr int64_t kStreamTimeout_ms = 10000;

int64_t deadline_of(const timespec* timeout) {
    return vsoa::now_ns() + vsoa::span_ns(timeout, VSOA_CLIENT_DEF_TIMEOUT);
}

Call result_call(uint8_t type, vsoa_client_res_func_t callback, void* arg, const timespec* timeout) {
    Call call;
    call.type = type;
    call.deadline = deadline_of(timeout);
    call.on_result = callback;
    call.arg = arg;
    return call;
}

bool one_url(uint8_t type, vsoa_client_t* client, const vsoa_url_t* url, vsoa_client_res_func_t callback, void* arg,
             const timespec* timeout) {
    return guarded(false, client, [&] {
        Frame frame(type);
        return vsoa::sendable(url) && frame.body(url, nullptr) &&
               client->core.request(frame, result_call(type, callback, arg, timeout));
    });
}

bool many_urls(uint8_t type, vsoa_client_t* client, char* const urls[], int cnt, vsoa_client_res_func_t callback,
               void* arg, const timespec* timeout) {
    if (urls == nullptr || cnt <= 0) return invalid();
    return guarded(false, client, [&] {
        std::string param = "[";
        for (int i = 0; i < cnt; ++i) {
            if (urls[i] == nullptr || !vsoa::is_url(urls[i])) return invalid();
            if (i > 0) param += ',';
            vsoa::json::append_string(param, urls[i]);
        }
        param += ']';
        const vsoa_payload_t payload = {param.data(), param.size(), nullptr, 0};
        Frame frame(type);
        return frame.body(nullptr, &payload) && client->core.request(frame, result_call(type, callback, arg, timeout));
    });
}

uint8_t method_flag(int method) { return method == VSOA_CLIENT_RPC_METHOD_SET ? VSOA_FLAG_SET : 0; }

bool is_method(int method) { return method == VSOA_CLIENT_RPC_METHOD_GET || method == VSOA_CLIENT_RPC_METHOD_SET; }

}  // namespace

extern "C" {

vsoa_client_t* vsoa_client_create(vsoa_client_msg_func_t onmsg, void* arg) {
    return guarded<vsoa_client_t*>(nullptr, [&]() -> vsoa_client_t* {
        auto client = std::make_unique<vsoa_client>(onmsg, arg);
        return client->core.open() ? client.release() : nullptr;
    });
}

void vsoa_client_close(vsoa_client_t* client) {
    if (client != nullptr && client->core.in_loop()) {
        errno = EDEADLK;
        return;
    }
    delete client;
}

bool vsoa_client_linger(vsoa_client_t* client, int time) {
    return guarded(false, client, [&] { return client->core.linger(time); });
}

bool vsoa_client_connect(vsoa_client_t* client, const struct sockaddr* server, socklen_t namelen,
                         const struct timespec* timeout, const char* passwd, char* info, size_t sz_info) {
    return guarded(false, client, [&] {
        const auto address = vsoa::Address::from(server, namelen);
        if (!address) return false;
        std::string text;
        if (!client->core.connect(*address, deadline_of(timeout), passwd != nullptr ? passwd : "", text)) return false;
        if (info != nullptr && sz_info > 0) {
            const size_t length = std::min(text.size(), sz_info - 1);
            std::memcpy(info, text.data(), length);
            info[length] = '\0';
        }
        return true;
    });
}

bool vsoa_client_disconnect(vsoa_client_t* client) {
    return guarded(false, client, [&] {
        const bool was = client->core.connected();
        client->core.disconnect();
        if (!was) errno = ENOTCONN;
        return was;
    });
}

bool vsoa_client_is_connect(vsoa_client_t* client) {
    return guarded(false, client, [&] { return client->core.connected(); });
}

char* vsoa_client_path_token(vsoa_client_t* client, vsoa_url_t* url, size_t* len) {
    (void)client;
    if (url == nullptr || url->url == nullptr) return nullptr;
    char* begin = url->url;
    char* const end = begin + url->url_len;
    while (begin < end && *begin == '/') ++begin;
    char* const stop = std::find(begin, end, '/');
    url->url = stop;
    url->url_len = static_cast<size_t>(end - stop);
    if (len != nullptr) *len = static_cast<size_t>(stop - begin);
    return begin < stop ? begin : nullptr;
}

bool vsoa_client_send_timeout(vsoa_client_t* client, const struct timespec* timeout) {
    return guarded(false, client, [&] {
        client->core.send_timeout(vsoa::span_ns(timeout, VSOA_CLIENT_DEF_SEND_TIMEOUT));
        return true;
    });
}

int vsoa_client_fds(vsoa_client_t* client, fd_set* rfds) {
    return guarded(-1, client, [&] { return client->core.poller().add_to(rfds); });
}

bool vsoa_client_input_fds(vsoa_client_t* client, const fd_set* rfds) {
    return guarded(false, client,
                   [&] { return client->core.poller().in(rfds) ? client->core.input() : client->core.connected(); });
}

bool vsoa_client_wait(vsoa_client_t* client, const struct timespec* timeout) {
    return guarded(false, client, [&] { return client->core.input(vsoa::limit_ms(timeout)); });
}

bool vsoa_client_ping(vsoa_client_t* client, vsoa_client_res_func_t callback, void* arg,
                      const struct timespec* timeout) {
    return guarded(false, client, [&] {
        const uint8_t type = callback != nullptr ? VSOA_TYPE_PINGECHO : VSOA_TYPE_NOOP;
        Frame frame(type);
        return client->core.request(frame, result_call(type, callback, arg, timeout));
    });
}

bool vsoa_client_subscribe(vsoa_client_t* client, const vsoa_url_t* url, vsoa_client_res_func_t callback, void* arg,
                           const struct timespec* timeout) {
    return one_url(VSOA_TYPE_SUBSCRIBE, client, url, callback, arg, timeout);
}

bool vsoa_client_unsubscribe(vsoa_client_t* client, const vsoa_url_t* url, vsoa_client_res_func_t callback, void* arg,
                             const struct timespec* timeout) {
    return one_url(VSOA_TYPE_UNSUBSCRIBE, client, url, callback, arg, timeout);
}

bool vsoa_client_multi_subscribe(vsoa_client_t* client, char* const urls[], int cnt, vsoa_client_res_func_t callback,
                                 void* arg, const struct timespec* timeout) {
    return many_urls(VSOA_TYPE_SUBSCRIBE, client, urls, cnt, callback, arg, timeout);
}

bool vsoa_client_multi_unsubscribe(vsoa_client_t* client, char* const urls[], int cnt, vsoa_client_res_func_t callback,
                                   void* arg, const struct timespec* timeout) {
    return many_urls(VSOA_TYPE_UNSUBSCRIBE, client, urls, cnt, callback, arg, timeout);
}

bool vsoa_client_call(vsoa_client_t* client, int method, const vsoa_url_t* url, const vsoa_payload_t* payload,
                      vsoa_client_rpc_func_t callback, void* arg, const struct timespec* timeout) {
    if (!is_method(method)) return invalid();
    return guarded(false, client, [&] {
        Frame frame(VSOA_TYPE_RPC, method_flag(method));
        Call call;
        call.deadline = deadline_of(timeout);
        call.on_reply = callback;
        call.arg = arg;
        return vsoa::sendable(url) && frame.body(url, payload) && client->core.request(frame, call);
    });
}

bool vsoa_client_datagram(vsoa_client_t* client, const vsoa_url_t* url, const vsoa_payload_t* payload) {
    return guarded(false, client, [&] {
        Frame frame(VSOA_TYPE_DATAGRAM);
        return vsoa::sendable(url) && frame.body(url, payload) && client->core.send(frame);
    });
}

bool vsoa_client_quick_datagram(vsoa_client_t* client, const vsoa_url_t* url, const vsoa_payload_t* payload) {
    return guarded(false, client, [&] {
        Frame frame(VSOA_TYPE_DATAGRAM);
        return vsoa::sendable(url) && frame.body(url, payload, VSOA_MAX_QPACKET_LENGTH) &&
               client->core.send_quick(frame);
    });
}

void vsoa_client_on_datagram(vsoa_client_t* client, vsoa_client_dat_func_t callback, void* arg) {
    guarded(false, client, [&] {
        client->core.on_datagram(callback, arg);
        return true;
    });
}

void vsoa_client_set_custom(vsoa_client_t* client, void* custom) {
    guarded(false, client, [&] {
        client->core.custom = custom;
        return true;
    });
}

void* vsoa_client_custom(vsoa_client_t* client) {
    return guarded<void*>(nullptr, client, [&] { return client->core.custom.load(); });
}

int vsoa_client_stream_create(vsoa_client_t* client, uint16_t tunid, const struct timespec* timeout, int keepalive) {
    if (keepalive < 0 || tunid == 0) return invalid() ? 0 : -1;
    return guarded(-1, client, [&] {
        auto to = client->core.stream_target();
        if (!to) return -1;
        to->address.port(ntohs(tunid));
        const int64_t deadline = vsoa::now_ns() + vsoa::span_ns(timeout, kStreamTimeout_ms);
        vsoa::Fd fd = vsoa::open_socket(to->address.family(), SOCK_STREAM);
        if (!fd || !vsoa::connect_until(fd.get(), to->address, deadline)) return -1;
        vsoa::set_nodelay(fd.get());
        vsoa::set_keepalive(fd.get(), keepalive);
        if (to->setup) return to->setup->stream(fd.release(), to->address, deadline, to->name);
        const int flags = fcntl(fd.get(), F_GETFL);
        if (flags < 0 || fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK) != 0) return -1;
        return fd.release();
    });
}

void vsoa_client_stream_close(int stream) {
    if (stream >= 0) ::close(stream);
}

vsoa_client_sync_call_t* vsoa_client_sync_create(bool dynamic) {
    return guarded<vsoa_client_sync_call_t*>(nullptr, [&] {
        auto sync = std::make_unique<vsoa_client_sync_call_t>();
        sync->dynamic = dynamic;
        if (!dynamic) sync->reply.resize(VSOA_MAX_PACKET_LENGTH / sizeof(uint32_t));
        return sync.release();
    });
}

bool vsoa_client_sync_delete(vsoa_client_sync_call_t* sync) {
    if (sync == nullptr) return invalid();
    delete sync;
    return true;
}

bool vsoa_client_sync_call(vsoa_client_t* client, int method, const vsoa_url_t* url, const vsoa_payload_t* payload,
                           vsoa_client_sync_call_t* sync, vsoa_header_t** vsoa_hdr_reply,
                           const struct timespec* timeout) {
    if (!is_method(method) || sync == nullptr || vsoa_hdr_reply == nullptr) return invalid();
    *vsoa_hdr_reply = nullptr;
    return guarded(false, client, [&] {
        Frame frame(VSOA_TYPE_RPC, method_flag(method));
        if (!vsoa::sendable(url) || !frame.body(url, payload)) return false;
        if (!client->core.request_and_wait(frame, *sync, deadline_of(timeout))) return false;
        if (sync->answered) *vsoa_hdr_reply = reinterpret_cast<vsoa_header_t*>(sync->reply.data());
        return true;
    });
}
}
