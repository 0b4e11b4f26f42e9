// SPDX-License-Identifier: Apache-2.0
//
// transport/vsoa: which connections there are, and what the kernel hears about them.
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <gantry/transport.hpp>
#include <map>
#include <memory>
#include <optional>

#include "plugins/transport/vsoa/link.hpp"
#include "plugins/transport/vsoa/listener.hpp"

namespace vsoa_transport {
namespace {

using gantry::Code;
using gantry::Down;
using gantry::Duration;
using gantry::Failure;
using gantry::Instant;
using gantry::PeerId;

constexpr std::size_t kShakingMax = 64;                             // inbound connections that are not up yet
constexpr Duration kCrowdedLimit = std::chrono::milliseconds(500);  // for each of them when there are so many
constexpr Duration kCrowdedCheck = std::chrono::milliseconds(100);
constexpr Duration kStopFlush = std::chrono::milliseconds(500);     // all peers together
constexpr Duration kAnswerMargin = std::chrono::milliseconds(100);  // our answer must come before the host's own
constexpr Instant kNever = Instant::max();

class VsoaTransport final : public gantry::Transport, public LinkEvents {
  public:
    void init(const gantry::Config& config) override {
        limits_ = {config.duration("connect_timeout"), config.duration("handshake_timeout"),
                   config.duration("peer_timeout"), static_cast<std::size_t>(config.size("queue_max"))};
        tls_.emplace(Key::from_file(config.string("secret_file"), kKeyLabel));
        // Not the same numbers again after a restart: what is still under way to an old one must not find a new one.
        host().random(&next_id_, sizeof next_id_);
        next_id_ = (next_id_ & 0xffffff) << 16 | 1;
    }

    void stop(Instant deadline) override {
        listeners_.clear();
        host().cancel(std::exchange(crowd_timer_, 0));
        const Instant until = std::min(deadline, host().now() + kStopFlush);
        for (auto& [id, link] : links_) link->stop_now(until);
        links_.clear();
        dials_.clear();
    }

    gantry::TransportFacts facts() const override {
        return {true, kMessageMax, static_cast<std::int64_t>(limits_.queue_max)};
    }

    void listen(gantry::Operation<gantry::Listening> op, std::string address) override {
        op.answer([&] {
            // What it has already would be inherited.
            for (const auto& other : listeners_) {
                if (other->address() != address) continue;
                throw gantry::Failure(gantry::Code::kUnavailable,
                                      "cannot listen on " + address + ": this plugin listens there already");
            }
            auto listener = std::make_unique<Listener>(host(), address);
            listener->begin([this](gantry::Fd fd, std::string from) { accepted(std::move(fd), std::move(from)); });
            listener->pause(crowded_);
            listeners_.push_back(std::move(listener));
            return gantry::Listening{listeners_.back()->address()};
        });
    }

    void dial(gantry::Operation<gantry::Dialled> op, std::string address) override {
        const auto where = gantry::SocketAddress::parse(address);
        if (!where) {
            return op.fail(Code::kInvalid, "cannot dial '" + address +
                                               "': expected IP:PORT, for example 10.0.0.1:3900 or [fd00::1]:3900");
        }
        gantry::Fd fd(::socket(where->family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!fd) return op.fail(Code::kUnavailable, std::string("no socket: ") + std::strerror(errno));
        if (::connect(fd.get(), where->raw(), where->length) != 0 && errno != EINPROGRESS) {
            return op.fail(Code::kUnavailable, "cannot dial " + address + ": " + std::strerror(errno));
        }
        const PeerId id = next_id_++;
        const Instant deadline = op.deadline() - std::min(kAnswerMargin, Duration(op.deadline() - host().now()) / 10);
        dials_[id] = {std::move(op), address};
        try {
            add(id, std::move(fd), false, address, deadline);
        } catch (const Failure& failure) {
            Dial dial = std::move(dials_.extract(id).mapped());
            dial.op.fail(failure.code(), "cannot dial " + address + ": " + failure.what());
        }
    }

    Code send(PeerId peer, gantry::Channel channel, std::string_view data) override {
        const auto found = links_.find(peer);
        return found == links_.end() ? Code::kNotFound : found->second->send(channel, data);
    }

    void close(PeerId peer) override {
        const auto found = links_.find(peer);
        if (found != links_.end() && found->second->was_up()) found->second->close();
    }

  private:
    struct Dial {
        gantry::Operation<gantry::Dialled> op;
        std::string address;
    };

    void add(PeerId id, gantry::Fd fd, bool inbound, std::string remote, Instant deadline) {
        auto link = std::make_shared<Link>(host(), *tls_, *this, limits_, id, std::move(fd), inbound, std::move(remote),
                                           deadline);
        links_[id] = link;
        try {
            link->begin();
        } catch (const Failure&) {
            links_.erase(id);
            throw;
        }
    }

    void accepted(gantry::Fd fd, std::string from) {
        const PeerId id = next_id_++;
        add(id, std::move(fd), true, std::move(from), kNever);
        ++shaking_;
        crowd();
    }

    // Connections that prove nothing must not keep those out that can: when there are many, they get less time.
    void crowd() {
        crowded_ = shaking_ >= kShakingMax;
        for (auto& listener : listeners_) listener->pause(crowded_);
        if (crowded_ && crowd_timer_ == 0) {
            crowd_timer_ = host().timer(kCrowdedCheck, [this] {
                crowd_timer_ = 0;
                thin_out();
                crowd();
            });
        }
    }

    void thin_out() {
        std::vector<std::shared_ptr<Link>> late;
        for (const auto& [id, link] : links_) {
            if (link->inbound() && !link->was_up() && host().now() - link->begun() > kCrowdedLimit) {
                late.push_back(link);
            }
        }
        for (const auto& link : late) {
            link->end(Down::kTimeout, "no handshake within 500 ms while 64 connections waited for theirs");
        }
    }

    void settled(const Link& link) {
        if (!link.inbound()) return;
        --shaking_;
        if (crowded_) crowd();
    }

    void link_up(Link& link) override {
        settled(link);
        const auto dial = dials_.find(link.id());
        if (dial == dials_.end()) {
            events().up(link.id(), true, link.remote(), link.local());
            return;
        }
        auto op = std::move(dial->second.op);
        dials_.erase(dial);
        if (op.cancelled()) {
            // Nobody waits for it any more, so nobody would ever close it.
            links_.erase(link.id());
            return link.end(Down::kClosed, "");
        }
        events().up(link.id(), false, link.remote(), link.local());
        op.done({link.id()});
    }

    void link_message(Link& link, gantry::Channel channel, std::string_view data) override {
        events().message(link.id(), channel, data);
    }

    void link_writable(Link& link) override { events().writable(link.id()); }

    void link_ended(Link& link, Down reason, const std::string& text) override {
        const PeerId id = link.id();
        if (links_.erase(id) == 0) return;
        if (link.was_up()) return events().down(id, reason, text);
        settled(link);
        const auto dial = dials_.find(id);
        if (dial == dials_.end()) {
            // Somebody who only looked whether the port is open is no news.
            if (link.heard() || reason == Down::kTimeout) events().refused(link.remote(), reason, text);
            return;
        }
        auto op = std::move(dial->second.op);
        const std::string what = "cannot dial " + dial->second.address + ": " + text;
        dials_.erase(dial);
        op.fail(reason == Down::kRefused   ? Code::kDenied
                : reason == Down::kTimeout ? Code::kDeadline
                                           : Code::kUnavailable,
                what);
    }

    LinkLimits limits_;
    std::optional<TlsContext> tls_;
    std::vector<std::unique_ptr<Listener>> listeners_;
    std::map<PeerId, std::shared_ptr<Link>> links_;
    std::map<PeerId, Dial> dials_;
    PeerId next_id_ = 1;
    std::size_t shaking_ = 0;  // inbound connections that are not up
    bool crowded_ = false;
    gantry::TimerId crowd_timer_ = 0;
};

}  // namespace
}  // namespace vsoa_transport

GANTRY_PLUGIN(vsoa_transport::VsoaTransport)
