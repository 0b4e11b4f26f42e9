// SPDX-License-Identifier: Apache-2.0
//
// discovery/mdns: controllers as services _gantry._tcp of DNS-SD, through avahi-daemon.
#include <unistd.h>

#include <gantry/discovery.hpp>
#include <memory>

#include "plugins/discovery/mdns/avahi.hpp"

namespace mdns {
namespace {

using namespace std::chrono_literals;
using gantry::Duration;
using gantry::Instant;

constexpr Duration kTtl = 120s;
constexpr Duration kRenew = 40s;     // a third of it
constexpr Duration kReconnect = 1s;  // to D-Bus
constexpr std::size_t kNameMax = 63;

class Mdns final : public gantry::Discovery {
  public:
    void init(const gantry::Config& config) override {
        const auto port = static_cast<std::uint16_t>(config.integer("announce"));
        std::string service(256, '\0');
        if (config.has("service")) {
            service = config.string("service");
        } else if (::gethostname(service.data(), service.size() - 1) == 0) {
            service.resize(std::min(service.find('\0'), kNameMax));
        }
        if (service.empty() || service.size() > kNameMax) {
            throw gantry::Failure(gantry::Code::kInvalid,
                                  "service: expected a name of 1 to 63 bytes, got " + std::to_string(service.size()));
        }
        if (port != 0) announce_ = Announcement{service, port};
    }

    void begin_search() override {
        searching_ = true;
        connect();
        renew_ = host().timer(
            kRenew, [this] { refresh(); }, kRenew);
    }

    void end_search() override {
        searching_ = false;
        host().cancel(std::exchange(renew_, 0));
        host().cancel(std::exchange(again_, 0));
        avahi_.reset();
    }
    void stop(Instant) override { end_search(); }

    // avahi-daemon asks the network by itself; its answers are fetched again.
    void refresh() override {
        if (avahi_) avahi_->resolve_all();
    }

  private:
    void connect() {
        Avahi::Events events;
        events.found = [this](const std::string& address) { this->events().found({true, {}, address, kTtl}); };
        events.gone = [this](const std::string& address) { this->events().gone({true, {}, address, kTtl}); };
        events.trouble = [this](const std::string& why) { trouble(why); };
        events.well = [this] {
            if (!std::exchange(trouble_, {}).empty()) host().info("avahi-daemon is there");
        };
        try {
            avahi_ = std::make_unique<Avahi>(host(), announce_, std::move(events), [this](const std::string& why) {
                trouble(why);
                later();
            });
        } catch (const gantry::Failure& failure) {
            trouble(failure.what());
            later();
        }
    }

    void later() {
        host().cancel(again_);
        again_ = host().timer(kReconnect, [this] {
            again_ = 0;
            avahi_.reset();
            if (searching_) connect();
        });
    }

    void trouble(const std::string& why) {
        if (std::exchange(trouble_, why) == why) return;
        host().warn(why +
                    "; until it is, no controller is found or announced by DNS-SD: install avahi-daemon, or name "
                    "controllers in [discovery.static]");
    }

    std::optional<Announcement> announce_;
    bool searching_ = false;
    std::unique_ptr<Avahi> avahi_;
    gantry::TimerId renew_ = 0, again_ = 0;
    std::string trouble_;
};

}  // namespace
}  // namespace mdns

GANTRY_PLUGIN(mdns::Mdns)
