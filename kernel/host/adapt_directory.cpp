// SPDX-License-Identifier: Apache-2.0
//
// The adapters of discovery and directory.
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
        told(site_.call("start", &gantry_discovery::start, &kSink));
    }
    void refresh() override { told(site_.call("refresh", &gantry_discovery::refresh)); }

  private:
    void told(gantry_status status) const {
        if (status == GANTRY_OK || status == GANTRY_UNSUPPORTED) return;
        site_.context->log(LogLevel::kError, "cannot look for nodes: " + std::string(status_text(status)));
    }
    static Discovered raise(const gantry_discovered& raw) {
        return {raw.kind == GANTRY_DISCOVERED_CONTROLLER, copy(raw.name), copy(raw.address), Duration(raw.ttl_ns)};
    }
    static gantry_status on_found(std::uint64_t host, const gantry_discovered* raw) noexcept {
        return report<DiscoveryAdapter>(host, [one = raise(*raw)](DiscoveryAdapter& a) {
            if (a.found_) a.found_(one);
        });
    }
    static gantry_status on_gone(std::uint64_t host, const gantry_discovered* raw) noexcept {
        return report<DiscoveryAdapter>(host, [one = raise(*raw)](DiscoveryAdapter& a) {
            if (a.gone_) a.gone_(one);
        });
    }

    static constexpr gantry_discovery_sink kSink{sizeof(gantry_discovery_sink), 0, &on_found, &on_gone};
    Site<gantry_discovery> site_;
    std::function<void(const Discovered&)> found_, gone_;
};

class DirectoryAdapter final : public Directory {
  public:
    explicit DirectoryAdapter(Site<gantry_directory> site) : site_(std::move(site)) {
        if (!site_.has(&gantry_directory::facts)) return;
        facts_ = {static_cast<std::uint16_t>(site_.table->facts->port), copy(site_.table->facts->environment)};
    }

    DirectoryFacts facts() const override { return facts_; }

    void replace(std::uint64_t table_no, std::span<const NameRecord> records) override {
        std::vector<gantry_name_record> raw;
        raw.reserve(records.size());
        for (const NameRecord& r : records) {
            raw.push_back({str(r.name), str(r.address), r.port, r.secure ? 1u : 0u, r.local ? 1u : 0u, 0});
        }
        const gantry_status status =
            site_.call("replace", &gantry_directory::replace, table_no, raw.data(), raw.size());
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
