// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include "kernel/host/adapter.hpp"

namespace gantry::host {
namespace {

constexpr Duration kListenLimit = seconds(10);

class TransportAdapter final : public Transport {
  public:
    explicit TransportAdapter(Site<gantry_transport> site) : site_(std::move(site)) {
        site_.context->sink_target = this;
        site_.call("bind", &gantry_transport::bind, &kSink);
        if (site_.has(&gantry_transport::facts)) {
            message_max_bytes_ = result<gantry_transport_facts>(site_.table->facts).message_max_bytes;
        }
    }

    std::int64_t message_max_bytes() const override { return message_max_bytes_; }
    void begin(TransportEvents events) override { events_ = std::move(events); }

    void listen(const std::string& address, Done<std::string> bound) override {
        site_.ask<std::string>(
            "listen", kListenLimit, std::move(bound),
            [](const void* raw) { return line(result<gantry_listen_result>(raw).address); }, &gantry_transport::listen,
            str(address));
    }
    void dial(const std::string& address, Duration limit, Done<PeerId> done) override {
        site_.ask<PeerId>(
            "dial", limit, std::move(done), [](const void* raw) { return result<gantry_dial_result>(raw).peer; },
            &gantry_transport::dial, str(address));
    }
    Sent send(PeerId peer, Channel channel, std::string_view data) override {
        const gantry_status status =
            site_.call("send", &gantry_transport::send, peer, static_cast<std::uint32_t>(channel), bytes(data));
        switch (status) {
            case GANTRY_OK:
                return Sent::kOk;
            case GANTRY_FULL:
                return Sent::kFull;
            case GANTRY_INVALID:
                return Sent::kTooLong;
            default:
                return Sent::kGone;
        }
    }
    void close(PeerId peer) override { site_.call("close", &gantry_transport::close, peer); }

  private:
    static Down down_of(std::uint32_t reason) {
        const bool known = reason >= GANTRY_DOWN_CLOSED && reason <= GANTRY_DOWN_TIMEOUT;
        return known ? static_cast<Down>(reason) : Down::kReset;
    }
    static gantry_status on_up(std::uint64_t host, std::uint64_t peer, std::uint32_t inbound, gantry_str address,
                               gantry_str local) noexcept {
        return report<TransportAdapter>(
            host, [peer, inbound, address = line(address), local = line(local)](TransportAdapter& a) {
                if (a.events_.up) a.events_.up(peer, inbound != 0, address, local);
            });
    }
    static gantry_status on_message(std::uint64_t host, std::uint64_t peer, std::uint32_t channel,
                                    gantry_bytes data) noexcept {
        return report<TransportAdapter>(host, [peer, channel, data = copy(data)](TransportAdapter& a) mutable {
            const Channel on = channel == GANTRY_CHANNEL_BULK ? Channel::kBulk : Channel::kControl;
            if (a.events_.message) a.events_.message(peer, on, std::move(data));
        });
    }
    static gantry_status on_down(std::uint64_t host, std::uint64_t peer, std::uint32_t reason,
                                 gantry_str text) noexcept {
        return report<TransportAdapter>(host, [peer, reason, text = line(text)](TransportAdapter& a) {
            if (a.events_.down) a.events_.down(peer, down_of(reason), text);
        });
    }
    static gantry_status on_writable(std::uint64_t host, std::uint64_t peer) noexcept {
        return report<TransportAdapter>(host, [peer](TransportAdapter& a) {
            if (a.events_.writable) a.events_.writable(peer);
        });
    }
    static gantry_status on_refused(std::uint64_t host, gantry_str address, std::uint32_t reason,
                                    gantry_str text) noexcept {
        return report<TransportAdapter>(host,
                                        [address = line(address), reason, text = line(text)](TransportAdapter& a) {
                                            if (a.events_.refused) a.events_.refused(address, down_of(reason), text);
                                        });
    }
    // The kernel opens no streams yet, so it takes none.
    static gantry_status on_stream(std::uint64_t, std::uint64_t, gantry_str, std::int32_t fd) noexcept {
        ::close(fd);
        return GANTRY_UNSUPPORTED;
    }

    static constexpr gantry_transport_sink kSink{
        sizeof(gantry_transport_sink), 0, &on_up, &on_message, &on_down, &on_writable, &on_refused, &on_stream};
    Site<gantry_transport> site_;
    std::int64_t message_max_bytes_ = 0;
    TransportEvents events_;
};

}  // namespace

std::unique_ptr<Transport> adapt(Site<gantry_transport> site) {
    return std::make_unique<TransportAdapter>(std::move(site));
}

}  // namespace gantry::host
