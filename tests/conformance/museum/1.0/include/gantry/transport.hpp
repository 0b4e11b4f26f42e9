// SPDX-License-Identifier: Apache-2.0
//
// Transport: carries messages between agents and controllers. Messages of one peer and channel arrive in order,
// whole, at most once; the control channel goes first where both wait; nothing is delivered after down. Every peer
// has proved that it knows the cluster secret before up, and everything on the wire is encrypted.
#pragma once

#include <gantry/abi/transport.h>

#include <gantry/operation.hpp>
#include <gantry/plugin.hpp>

namespace gantry::inline v1 {

using PeerId = std::uint64_t;

enum class Channel : std::uint32_t { kControl = GANTRY_CHANNEL_CONTROL, kBulk = GANTRY_CHANNEL_BULK };

// Why a peer went down, or a connection did not come up.
enum class Down : std::uint32_t {
    kClosed = GANTRY_DOWN_CLOSED,    // in order, by either side
    kReset = GANTRY_DOWN_RESET,      // the connection broke
    kRefused = GANTRY_DOWN_REFUSED,  // the other side could not prove that it knows the secret
    kTimeout = GANTRY_DOWN_TIMEOUT,  // no progress for the transport's own limit
};

struct TransportFacts {
    bool encrypted = true;
    std::int64_t message_max_bytes = 0;  // longest message that send takes
    std::int64_t queue_max_bytes = 0;    // per peer; above it send answers kFull until writable
};

// Result of listen: the address with the real port where 0 was asked for.
struct Listening {
    std::string address;
};

// Result of dial.
struct Dialled {
    PeerId peer = 0;
};

// Where a transport reports to. [any], in order per peer
class TransportEvents {
  public:
    // peer can be sent to. local_address: ours on that connection.
    void up(PeerId peer, bool inbound, std::string_view address, std::string_view local_address) const {
        if (GANTRY_HAS(sink, up)) sink->up(host, peer, inbound ? 1 : 0, str(address), str(local_address));
    }
    void message(PeerId peer, Channel channel, std::string_view data) const {
        if (GANTRY_HAS(sink, message)) sink->message(host, peer, static_cast<std::uint32_t>(channel), bytes(data));
    }
    // The last word about peer.
    void down(PeerId peer, Down reason, std::string_view why) const {
        if (GANTRY_HAS(sink, down)) sink->down(host, peer, static_cast<std::uint32_t>(reason), str(why));
    }
    // After send answered kFull: there is room again.
    void writable(PeerId peer) const {
        if (GANTRY_HAS(sink, writable)) sink->writable(host, peer);
    }
    // An incoming connection was turned away before up.
    void refused(std::string_view address, Down reason, std::string_view why) const {
        if (GANTRY_HAS(sink, refused)) sink->refused(host, str(address), static_cast<std::uint32_t>(reason), str(why));
    }
    // The peer opened a stream.
    void stream(PeerId peer, std::string_view name, Fd fd) const {
        if (GANTRY_HAS(sink, stream)) sink->stream(host, peer, str(name), fd.release());
    }

  private:
    friend class Transport;
    const gantry_transport_sink* sink = nullptr;
    std::uint64_t host = 0;
};

namespace detail {
template <>
struct Lowered<Listening> {
    explicit Lowered(const Listening& r) : raw{sizeof(raw), 0, str(r.address)} {}
    const void* get() const noexcept { return &raw; }
    gantry_listen_result raw;
};
template <>
struct Lowered<Dialled> {
    explicit Lowered(const Dialled& r) : raw{sizeof(raw), 0, r.peer} {}
    const void* get() const noexcept { return &raw; }
    gantry_dial_result raw;
};
}  // namespace detail

class Transport : public Plugin {
  public:
    static constexpr std::string_view kRole = "transport/1";
    static constexpr std::string_view kInterface = GANTRY_ROLE_TRANSPORT;

    // Asked once, after init.
    virtual TransportFacts facts() const = 0;
    // address "ip:port". kUnavailable: in use, not ours. [loop]
    virtual void listen(Operation<Listening> op, std::string address) = 0;
    // up comes first, then the answer. kUnavailable, kDenied (the secrets differ), kDeadline. [loop]
    virtual void dial(Operation<Dialled> op, std::string address) = 0;
    // kOk took the bytes over; kFull (wait for writable), kNotFound (peer is down), kInvalid (too long). `data` lives
    // until this returns. [loop]
    virtual Code send(PeerId peer, Channel channel, std::string_view data) = 0;
    // Flush what is queued for at most a second, then close; down follows. [loop]
    virtual void close(PeerId peer) = 0;
    // Connects fd (a socket) to a stream at the peer. [loop]
    virtual void open_stream(Operation<> op, PeerId peer, std::string name, Fd fd) {
        (void)peer, (void)name, (void)fd;
        op.fail(Code::kUnsupported, "this transport has no streams");
    }

  protected:
    Transport() = default;
    const TransportEvents& events() const noexcept { return events_; }

  private:
    const void* role_table() const noexcept override { return &table_; }
    void publish_facts() override {
        const TransportFacts f = facts();
        facts_ = {sizeof(facts_), f.encrypted ? 1u : 0u, f.message_max_bytes, f.queue_max_bytes};
    }
    static Transport& of(void* self) noexcept { return *static_cast<Transport*>(static_cast<Plugin*>(self)); }
    static gantry_status on_bind(void* self, const gantry_transport_sink* sink) noexcept {
        of(self).events_.sink = sink;
        of(self).events_.host = of(self).host().handle();
        return GANTRY_OK;
    }
    static gantry_status on_listen(void* self, gantry_op op, gantry_str address) noexcept {
        return detail::operate<Listening>(
            of(self).host(), op, [&](Operation<Listening> o) { of(self).listen(std::move(o), text(address)); });
    }
    static gantry_status on_dial(void* self, gantry_op op, gantry_str address) noexcept {
        return detail::operate<Dialled>(of(self).host(), op,
                                        [&](Operation<Dialled> o) { of(self).dial(std::move(o), text(address)); });
    }
    static gantry_status on_send(void* self, std::uint64_t peer, std::uint32_t channel, gantry_bytes data) noexcept {
        Code code = Code::kFailed;
        const gantry_status status = detail::notified(
            of(self).host(), "send", [&] { code = of(self).send(peer, static_cast<Channel>(channel), view(data)); });
        return status == GANTRY_OK ? static_cast<gantry_status>(code) : status;
    }
    static gantry_status on_close(void* self, std::uint64_t peer) noexcept {
        return detail::notified(of(self).host(), "close", [&] { of(self).close(peer); });
    }
    static gantry_status on_open_stream(void* self, gantry_op op, std::uint64_t peer, gantry_str name,
                                        std::int32_t fd) noexcept {
        return detail::operate<void>(of(self).host(), op, [&](Operation<> o) {
            Fd owned(fd);
            of(self).open_stream(std::move(o), peer, text(name), std::move(owned));
        });
    }

    gantry_transport_facts facts_{};
    gantry_transport table_{sizeof(gantry_transport), 0, &facts_, &on_bind, &on_listen, &on_dial, &on_send, &on_close,
                            &on_open_stream};
    TransportEvents events_;
};

}  // namespace gantry::inline v1
