// SPDX-License-Identifier: Apache-2.0
//
// Link: one connection, from connect or accept to its end: TCP, TLS, VSOA login, then messages both ways.
//
// Threads: the loop; stop_now() on the thread that stops the instance, while the loop stands. Events are called from
// the loop's own turns, never from inside send() or close().
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <gantry/address.hpp>
#include <gantry/transport.hpp>
#include <memory>
#include <string>

#include "plugins/transport/vsoa/tls.hpp"
#include "plugins/transport/vsoa/wire.hpp"

namespace vsoa_transport {

class Link;

class LinkEvents {
  public:
    virtual void link_up(Link& link) = 0;
    virtual void link_message(Link& link, gantry::Channel channel, std::string_view data) = 0;
    virtual void link_writable(Link& link) = 0;
    // The last call about this link. link.was_up() says whether link_up was called.
    virtual void link_ended(Link& link, gantry::Down reason, const std::string& text) = 0;

  protected:
    ~LinkEvents() = default;
};

struct LinkLimits {
    gantry::Duration connect{}, handshake{}, peer{};
    std::size_t queue_max = 0;
};

class Link final : public std::enable_shared_from_this<Link>, private WireEvents {
  public:
    // fd: connecting (then `remote` is where to) or accepted; it does not block. deadline: of the time until up.
    Link(gantry::Host& host, const TlsContext& tls, LinkEvents& events, const LinkLimits& limits, gantry::PeerId id,
         gantry::Fd fd, bool inbound, std::string remote, gantry::Instant deadline);
    ~Link();

    void begin();
    // kOk, kFull, kNotFound (not up), kInvalid (too long).
    gantry::Code send(gantry::Channel channel, std::string_view data);
    // Flush for at most a second, then end.
    void close();
    // Ends at once.
    void end(gantry::Down reason, const std::string& text);
    // Flush until then, say goodbye and close, without events.
    void stop_now(gantry::Instant until);

    gantry::PeerId id() const { return id_; }
    bool inbound() const { return inbound_; }
    bool was_up() const { return was_up_; }
    // The other side said something, if only nonsense.
    bool heard() const { return tls_.heard(); }
    const std::string& remote() const { return remote_; }
    std::string local() const { return gantry::SocketAddress::local(fd_.get()).text(); }
    gantry::Instant begun() const { return begun_; }

  private:
    enum class Phase { kConnecting, kHandshake, kHello, kUp, kFlushing, kDraining, kEnded };

    void on_ready();
    void connected();
    void shake();
    void read();
    void flush();
    bool refill();
    void flush_later();
    void goodbye();
    void become_up();
    void broken(Step step);
    void limit(gantry::Duration within, const char* what);
    void wait_for(std::uint32_t events);
    void tell_writable();

    bool wire_login(std::uint32_t seqno, bool protocol_fits) override;
    bool wire_welcome(std::uint8_t status, bool protocol_fits) override;
    bool wire_ping(std::uint32_t seqno) override;
    bool wire_message(gantry::Channel channel, std::string_view data) override;

    gantry::Host& host_;
    LinkEvents& events_;
    const LinkLimits& limits_;
    const gantry::PeerId id_;
    const gantry::Fd fd_;
    const bool inbound_;
    const std::string remote_;
    const gantry::Instant begun_, deadline_;
    TlsStream tls_;
    Receiver receiver_;

    Phase phase_;
    bool was_up_ = false, want_writable_ = false, flush_posted_ = false, read_posted_ = false, blocked_ = false;
    gantry::WatchId watch_ = 0;
    std::uint32_t waits_for_ = 0;
    gantry::TimerId timer_ = 0;

    std::array<std::deque<std::string>, kChannels> queues_;  // packets
    std::string out_;                                        // being written, from out_at_ on
    std::size_t out_at_ = 0, queued_ = 0;                    // queued_: bytes in queues_ and left in out_
    gantry::Down end_reason_ = gantry::Down::kClosed;
    std::string end_text_;
};

}  // namespace vsoa_transport
