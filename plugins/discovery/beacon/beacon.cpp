// SPDX-License-Identifier: Apache-2.0
//
// discovery/beacon: asks the local network for controllers, or answers for the one on this host. packet.hpp says what
// is sent, README.md how often.
#include <openssl/crypto.h>

#include <cerrno>
#include <cstring>
#include <gantry/discovery.hpp>
#include <map>
#include <memory>

#include "plugins/discovery/beacon/links.hpp"
#include "plugins/discovery/beacon/packet.hpp"
#include "plugins/discovery/beacon/socket.hpp"
#include "plugins/transport/secret/secret.hpp"

namespace beacon {
namespace {

using namespace std::chrono_literals;
using cluster_secret::Key;
using gantry::Duration;
using gantry::Instant;

constexpr Duration kLonely = 1s;    // between queries while no controller is known
constexpr Duration kSettled = 10s;  // and while one is
constexpr Duration kLeast = 200ms;  // at least, however often a link changes
constexpr Duration kTtl = 35s;      // three queries may be lost
constexpr Duration kCookieEra = 10s;
constexpr Duration kWindow = 100ms;
constexpr int kPerWindow = 1000;       // datagrams; the others wait in the kernel, or are dropped there
constexpr int kPerTurn = 32;           // so that the loop goes on
constexpr std::size_t kKnownMax = 64;  // controllers
constexpr Duration kQuiet = 60s;       // between two warnings of one kind

class Beacon final : public gantry::Discovery {
  public:
    void init(const gantry::Config& config) override {
        port_ = static_cast<std::uint16_t>(config.integer("port"));
        announce_ = static_cast<std::uint16_t>(config.integer("announce"));
        only_ = config.list("interfaces");
        if (only_.size() > kLinksMax) {
            throw gantry::Failure(gantry::Code::kInvalid,
                                  "interfaces: expected at most 16 names, got " + std::to_string(only_.size()));
        }
        if (config.has("node")) {
            Packet hello{Kind::kHello, {}, {}, {}, {}, 0, config.string("node")};
            if (!decode(encode_or_refuse(hello))) refuse_name();
            node_ = hello.name;
        }
        key_.reset(new Key(Key::from_file(config.string("secret_file"), kKeyLabel)));
        host().random(sender_.data(), sender_.size());
        for (Token& nonce : nonces_) host().random(nonce.data(), nonce.size());
        host().random(cookie_key_.data(), cookie_key_.size());
    }

    void begin_search() override {
        for (const int family : {AF_INET, AF_INET6}) {
            try {
                auto made = std::make_unique<Channel>(family, port_);
                made->watch = host().watch(made->socket.fd(), gantry::kReadable,
                                           [this, channel = made.get()](std::uint32_t) { read(*channel); });
                channels_.push_back(std::move(made));
            } catch (const gantry::Failure& failure) {
                // A host without IPv6 is usual, without both nothing can be found.
                if (family == AF_INET6 && channels_.empty()) throw;
                host().info(std::string(family == AF_INET ? "IPv4" : "IPv6") + " is not used: " + failure.what());
            }
        }
        changes_ = watch_changes();
        changes_watch_ = host().watch(changes_.get(), gantry::kReadable, [this](std::uint32_t) {
            forget_changes(changes_.get());
            changed_ = true;
            refresh();
        });
        changed_ = true;
        ask();
    }

    void end_search() override {
        host().unwatch(changes_watch_);
        for (const auto& channel : channels_) host().unwatch(channel->watch);
        host().cancel(std::exchange(timer_, 0));
        host().cancel(std::exchange(rest_, 0));
        changes_watch_ = 0;
        channels_.clear();
        changes_.reset();
    }
    void stop(Instant) override { end_search(); }

    // At once, or when the last query is long enough ago.
    void refresh() override {
        if (channels_.empty()) return;
        const Duration since = host().now() - asked_;
        if (since >= kLeast) return ask();
        ask_in(kLeast - since);
    }

  private:
    struct Channel {
        Channel(int family, std::uint16_t port) : socket(family, port) {}
        Socket socket;
        gantry::WatchId watch = 0;
    };
    struct Known {
        Token nonce;  // of the query that it answered last
        Instant heard;
    };

    static Raw encode_or_refuse(const Packet& hello) {
        try {
            return encode(hello);
        } catch (const gantry::Failure&) {
            refuse_name();
        }
    }
    [[noreturn]] static void refuse_name() {
        throw gantry::Failure(gantry::Code::kInvalid,
                              "node: expected a name of 1 to 63 bytes without control characters");
    }

    // ---- asking
    void ask_in(Duration delay) {
        host().cancel(timer_);
        timer_ = host().timer(delay, [this] {
            timer_ = 0;
            ask();
        });
    }

    void ask() {
        if (std::exchange(changed_, false)) look_at_links();
        asked_ = host().now();
        if (announce_ != 0) {  // a controller asks nobody; it looks again at links that it could not use yet
            if (changed_) ask_in(kLonely);
            return;
        }
        nonces_[1] = nonces_[0];
        host().random(nonces_[0].data(), nonces_[0].size());
        const Raw query = seal(*key_, {Kind::kQuery, sender_, nonces_[0], {}, {}, 0, {}});
        for (const auto& channel : channels_) {
            for (const Link& link : links_) {
                // A link that is just coming up refuses; the kernel tells when it has come.
                if (channel->socket.address_on(link)) (void)channel->socket.ask(link, query);
            }
        }
        std::erase_if(known_, [&](const auto& item) { return asked_ - item.second.heard > kTtl; });
        const Duration pause = known_.empty() ? kLonely : kSettled;
        ask_in(pause + pause * (sender_[0] % 16) / 128);  // hosts that were switched on together drift apart
    }

    void look_at_links() {
        try {
            links_ = usable_links(only_);
        } catch (const gantry::Failure& failure) {
            changed_ = true;  // again with the next query
            return warn(links_warned_, failure.what());
        }
        if (announce_ == 0) return;
        for (const auto& channel : channels_) {
            if (channel->socket.join(links_)) continue;
            changed_ = true;
            warn(links_warned_, std::string("cannot hear queries on every link: ") + std::strerror(errno));
        }
    }

    // ---- hearing
    void read(Channel& channel) {
        std::array<std::uint8_t, kPacketSize + 1> buffer;
        for (int i = 0; i < kPerTurn; ++i) {
            const auto got = channel.socket.receive(buffer);
            if (!got) return;
            if (!within_budget()) return rest();
            hear(channel, *got);
        }
    }

    // A flood costs what the budget allows: the rest is left to the kernel, which drops it.
    bool within_budget() {
        const Instant now = host().now();
        if (now - window_ >= kWindow) {
            window_ = now;
            heard_in_window_ = 0;
        }
        return ++heard_in_window_ <= kPerWindow;
    }

    void rest() {
        warn(flood_warned_, "more than 10000 datagrams a second come to UDP port " + std::to_string(port_) +
                                "; some are dropped, which may hide a controller for a while");
        for (const auto& channel : channels_) host().change(channel->watch, 0);
        if (rest_ != 0) return;
        rest_ = host().timer(kWindow, [this] {
            rest_ = 0;
            for (const auto& channel : channels_) host().change(channel->watch, gantry::kReadable);
        });
    }

    void hear(const Channel& channel, const Datagram& datagram) {
        const auto packet = open(*key_, datagram.bytes);
        if (!packet) {
            if (plausible(datagram.bytes)) {
                warn(stranger_warned_,
                     "a beacon from " + datagram.from.text() +
                         " is not signed with this cluster's secret: another cluster's, or a host with "
                         "a wrong secret_file; it is not answered");
            }
            return;
        }
        if (packet->sender == sender_) return;
        switch (packet->kind) {
            case Kind::kQuery:
                return answer(channel, datagram, *packet);
            case Kind::kAnswer:
                return answered(channel, datagram, *packet);
            case Kind::kHello:
                return greeted(datagram, *packet);
        }
    }

    const Link* link_of(const Datagram& datagram) const {
        for (const Link& link : links_) {
            if (link.index == datagram.link) return &link;
        }
        return nullptr;
    }

    void answer(const Channel& channel, const Datagram& datagram, const Packet& query) {
        const Link* link = announce_ == 0 ? nullptr : link_of(datagram);
        if (link == nullptr) return;
        const auto& address = channel.socket.address_on(*link);
        if (!address) return;
        const Token cookie = cookie_for(datagram.from, query.sender, 0);
        const Packet packet{Kind::kAnswer, sender_, query.nonce, cookie, *address, announce_, {}};
        (void)channel.socket.reply(*link, datagram.from, seal(*key_, packet));
    }

    void answered(const Channel& channel, const Datagram& datagram, const Packet& answer) {
        if (answer.nonce != nonces_[0] && answer.nonce != nonces_[1]) return;  // not to us, or recorded
        const std::string address = endpoint(answer);
        const auto known = known_.find(address);
        if (known == known_.end() && known_.size() >= kKnownMax) return;
        // By another way, once more, or older than what was heard.
        if (known != known_.end() && (known->second.nonce == answer.nonce || known->second.nonce == nonces_[0])) return;
        known_[address] = {answer.nonce, host().now()};
        events().found({true, {}, address, kTtl});
        const Link* link = node_.empty() ? nullptr : link_of(datagram);
        if (link == nullptr) return;
        const Packet hello{Kind::kHello, sender_, {}, answer.cookie, {}, 0, node_};
        (void)channel.socket.reply(*link, datagram.from, seal(*key_, hello));
    }

    void greeted(const Datagram& datagram, const Packet& hello) {
        if (announce_ == 0) return;
        for (const int ago : {0, 1}) {
            const Token cookie = cookie_for(datagram.from, hello.sender, ago);
            if (CRYPTO_memcmp(cookie.data(), hello.cookie.data(), cookie.size()) != 0) continue;
            return events().found({false, hello.name, {}, kTtl});
        }
    }

    // Nothing is kept for who asked: this instance recognises what it gave in this era or the one before it.
    Token cookie_for(const gantry::SocketAddress& to, const Id& sender, int eras_ago) const {
        const std::int64_t era = host().now() / kCookieEra - eras_ago;
        std::string text = std::to_string(era) + ' ' + to.text() + ' ';
        text.append(sender.begin(), sender.end());
        const auto mac = hmac(cookie_key_, {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
        Token out;
        std::copy_n(mac.begin(), out.size(), out.begin());
        return out;
    }

    void warn(Instant& last, const std::string& text) {
        const Instant now = host().now();
        if (last != Instant::zero() && now - last < kQuiet) return;
        last = now;
        host().warn(text);
    }

    std::uint16_t port_ = 0, announce_ = 0;
    std::vector<std::string> only_;
    std::string node_;
    std::unique_ptr<Key> key_;
    std::array<std::uint8_t, 32> cookie_key_{};
    Id sender_{};

    std::vector<std::unique_ptr<Channel>> channels_;
    gantry::Fd changes_;
    gantry::WatchId changes_watch_ = 0;
    bool changed_ = false;  // links, since they were last looked at
    std::vector<Link> links_;
    gantry::TimerId timer_ = 0, rest_ = 0;
    Instant asked_{}, window_{};
    int heard_in_window_ = 0;
    std::array<Token, 2> nonces_{};
    std::map<std::string, Known> known_;
    Instant links_warned_{}, flood_warned_{}, stranger_warned_{};
};

}  // namespace
}  // namespace beacon

GANTRY_PLUGIN(beacon::Beacon)
