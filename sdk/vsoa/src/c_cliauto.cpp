// The C functions of vsoa_cliauto.h, and of vsoa_stats.h what is about automatic clients.
#include <memory>

#include "sdk/vsoa/src/robot.hpp"
#include "sdk/vsoa/src/shell.hpp"

using vsoa::guarded;
using vsoa::kNanosPerMs;

struct vsoa_client_auto {
    vsoa_client_auto(vsoa_client_msg_func_t on_message, void* arg)
        : client(on_message, arg), core(this, &client, on_message, arg) {}
    vsoa_client client;
    vsoa::Robot core;  // after client: its thread ends first
    unsigned turbo_ms = 0;
};

namespace {

constexpr unsigned kMinKeepalive_ms = 50, kMinTimeout_ms = 20, kMinTurbo_ms = 25, kMinTurboCount = 3;

bool fail(int error) {
    errno = error;
    return false;
}

bool copy_urls(const void* urls, int count, std::vector<std::string>& out) {
    if (count < 0 || (count > 0 && urls == nullptr)) return fail(EINVAL);
    const auto* texts = static_cast<const char* const*>(urls);
    for (int i = 0; i < count; ++i) {
        if (texts[i] == nullptr || !vsoa::is_url(texts[i])) return fail(EINVAL);
        out.emplace_back(texts[i]);
    }
    return true;
}

}  // namespace

extern "C" {

vsoa_client_auto_t* vsoa_client_auto_create(vsoa_client_msg_func_t onmsg, void* arg) {
    return guarded<vsoa_client_auto_t*>(nullptr, [&]() -> vsoa_client_auto_t* {
        auto robot = std::make_unique<vsoa_client_auto>(onmsg, arg);
        return robot->client.core.open() && robot->core.open() ? robot.release() : nullptr;
    });
}

void vsoa_client_auto_delete(vsoa_client_auto_t* cliauto) {
    if (cliauto != nullptr && cliauto->core.in_own_thread()) {
        errno = EDEADLK;
        return;
    }
    delete cliauto;
}

bool vsoa_client_auto_setup(vsoa_client_auto_t* cliauto, vsoa_client_conn_func_t onconn, void* arg) {
    if (cliauto == nullptr) return fail(EINVAL);
    if (cliauto->core.started()) return fail(EALREADY);
    cliauto->core.on_connect(onconn, arg);
    return true;
}

bool vsoa_client_auto_on_fail(vsoa_client_auto_t* cliauto, vsoa_client_auto_fail_func_t onfail, void* arg) {
    if (cliauto == nullptr) return fail(EINVAL);
    if (cliauto->core.started()) return fail(EALREADY);
    cliauto->core.on_fail(onfail, arg);
    return true;
}

bool vsoa_client_auto_consistent(vsoa_client_auto_t* cliauto, char* const urls[], int url_cnt,
                                 unsigned int rpc_timeout) {
    if (cliauto == nullptr) return fail(EINVAL);
    if (cliauto->core.started()) return fail(EALREADY);
    return guarded(false, [&] {
        std::vector<std::string> copies;
        if (!copy_urls(urls, url_cnt, copies)) return false;
        cliauto->core.consistent(std::move(copies), rpc_timeout * kNanosPerMs);
        return true;
    });
}

bool vsoa_client_auto_ping_turbo(vsoa_client_auto_t* cliauto, unsigned int turbo, unsigned int max_cnt) {
    if (cliauto == nullptr) return fail(EINVAL);
    if (cliauto->core.started()) return fail(EALREADY);
    if (turbo != 0 && (turbo < kMinTurbo_ms || max_cnt < kMinTurboCount)) return fail(EINVAL);
    cliauto->turbo_ms = turbo;
    cliauto->core.turbo(turbo * kNanosPerMs, max_cnt);
    return true;
}

bool vsoa_client_auto_start(vsoa_client_auto_t* cliauto, const char* server, const char* passwd, const void* urls,
                            int url_cnt, unsigned int keepalive, unsigned int conn_timeout, unsigned int reconn_delay) {
    if (cliauto == nullptr) return fail(EINVAL);
    if (cliauto->core.started()) return fail(EALREADY);
    if (server == nullptr || keepalive < kMinKeepalive_ms || conn_timeout < kMinTimeout_ms ||
        reconn_delay < kMinTimeout_ms || cliauto->turbo_ms > keepalive) {
        return fail(EINVAL);
    }
    return guarded(false, [&] {
        vsoa::Robot::Settings settings;
        if (!vsoa::Robot::read_server(server, settings)) return fail(EINVAL);
        if (!copy_urls(urls, url_cnt, settings.urls)) return false;
        settings.password = passwd != nullptr ? passwd : "";
        settings.keepalive_ns = keepalive * kNanosPerMs;
        settings.connect_timeout_ns = conn_timeout * kNanosPerMs;
        settings.retry_delay_ns = reconn_delay * kNanosPerMs;
        return cliauto->core.start(std::move(settings));
    });
}

bool vsoa_client_auto_stop(vsoa_client_auto_t* cliauto) {
    if (cliauto == nullptr) return fail(EINVAL);
    return cliauto->core.stop();
}

vsoa_client_t* vsoa_client_auto_handle(vsoa_client_auto_t* cliauto) {
    if (cliauto != nullptr) return &cliauto->client;
    errno = EINVAL;
    return nullptr;
}

bool vsoa_client_auto_server_address(vsoa_client_auto_t* cliauto, struct sockaddr* addr, socklen_t* namelen) {
    if (cliauto == nullptr) return fail(EINVAL);
    const auto address = cliauto->client.core.server();
    return address && address->copy_to(addr, namelen);
}
}
