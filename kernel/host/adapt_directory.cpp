// SPDX-License-Identifier: Apache-2.0
//
// The adapters of discovery and directory.
#include <algorithm>
#include <map>
#include <tuple>

#include "kernel/base/limits.hpp"
#include "kernel/host/adapter.hpp"

namespace gantry::host {
namespace {

class DiscoveryAdapter final : public Discovery {
  public:
    explicit DiscoveryAdapter(Site<gantry_discovery> site) : site_(std::move(site)) {
        site_.context->sink_target = this;
    }

    void begin(std::function<void(const Discovered&)> found, std::function<void(const Discovered&)> gone) override {
        found_ = std::move(found);
        gone_ = std::move(gone);
        begun_ = true;
        told(site_.call("start", &gantry_discovery::start, &kSink));
    }
    void end() override {
        if (!std::exchange(begun_, false)) return;
        told(site_.call("stop", &gantry_discovery::stop));
        timer_.cancel();
        due_.clear();
    }
    void refresh() override { told(site_.call("refresh", &gantry_discovery::refresh)); }

  private:
    void told(gantry_status status) const {
        if (status == GANTRY_OK || status == GANTRY_UNSUPPORTED) return;
        site_.context->log(LogLevel::kError, "the search for nodes: " + std::string(status_text(status)));
    }
    static Discovered raise(const gantry_discovered& raw) {
        return {raw.kind == GANTRY_DISCOVERED_CONTROLLER, line(raw.name), line(raw.address), Duration(raw.ttl_ns)};
    }
    static gantry_status on_found(std::uint64_t host, const gantry_discovered* raw) noexcept {
        return report<DiscoveryAdapter>(host, [one = raise(*raw)](DiscoveryAdapter& a) {
            if (a.begun_) a.found(one);
        });
    }
    static gantry_status on_gone(std::uint64_t host, const gantry_discovered* raw) noexcept {
        return report<DiscoveryAdapter>(host, [one = raise(*raw)](DiscoveryAdapter& a) {
            if (!a.begun_) return;
            a.due_.erase(key_of(one));
            a.gone_(one);
        });
    }

    using Key = std::tuple<bool, std::string, std::string>;
    static Key key_of(const Discovered& one) { return {one.controller, one.name, one.address}; }

    void found(const Discovered& one) {
        const Key key = key_of(one);
        if (one.ttl <= Duration::zero()) {
            due_.erase(key);
        } else if (due_.contains(key) || due_.size() < limits::kNodes) {
            due_[key] = boottime_now() + std::min(one.ttl, Duration(INT64_MAX / 4));
            wait();
        } else {
            return;  // what cannot be forgotten again is not taken
        }
        found_(one);
    }
    void wait() {
        const auto next =
            std::ranges::min_element(due_, {}, [](const auto& item) -> const Instant& { return item.second; });
        if (next == due_.end()) return;
        timer_.expires_at(BootClock::at(next->second));
        timer_.async_wait([this, context = site_.context](const boost::system::error_code& error) {
            if (!error && context->alive()) expire();
        });
    }
    void expire() {
        const Instant now = boottime_now();
        std::vector<Key> over;
        for (const auto& [key, due] : due_) {
            if (due <= now) over.push_back(key);
        }
        for (const Key& key : over) {
            due_.erase(key);
            gone_({std::get<0>(key), std::get<1>(key), std::get<2>(key), {}});
        }
        wait();
    }

    static constexpr gantry_discovery_sink kSink{sizeof(gantry_discovery_sink), 0, &on_found, &on_gone};
    Site<gantry_discovery> site_;
    bool begun_ = false;
    std::map<Key, Instant> due_;  // when what has a ttl is gone
    BootTimer timer_{site_.context->core->loop.io};
    std::function<void(const Discovered&)> found_, gone_;
};

class DirectoryAdapter final : public Directory {
  public:
    explicit DirectoryAdapter(Site<gantry_directory> site) : site_(std::move(site)) {
        if (!site_.has(&gantry_directory::facts)) return;
        const auto facts = result<gantry_directory_facts>(site_.table->facts);
        facts_ = {static_cast<std::uint16_t>(facts.port), line(facts.environment)};
    }

    DirectoryFacts facts() const override { return facts_; }

    void replace(std::uint64_t table_no, std::span<const NameRecord> records) override {
        std::vector<gantry_name_record> raw;
        raw.reserve(records.size());
        for (const NameRecord& r : records) {
            raw.push_back({str(r.name), str(r.address), r.port, r.secure ? 1u : 0u, r.local ? 1u : 0u, 0});
        }
        const gantry_status status = site_.call("replace", &gantry_directory::replace, table_no, raw.data(),
                                                sizeof(gantry_name_record), raw.size());
        if (status != GANTRY_OK) {
            site_.context->log(LogLevel::kError, "did not take table " + std::to_string(table_no) + ": " +
                                                     std::string(status_text(status)));
        }
    }

  private:
    Site<gantry_directory> site_;
    DirectoryFacts facts_;
};

}  // namespace

std::unique_ptr<Discovery> adapt(Site<gantry_discovery> site) {
    return std::make_unique<DiscoveryAdapter>(std::move(site));
}

std::unique_ptr<Directory> adapt(Site<gantry_directory> site) {
    return std::make_unique<DirectoryAdapter>(std::move(site));
}

}  // namespace gantry::host
