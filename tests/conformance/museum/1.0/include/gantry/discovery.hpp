// SPDX-License-Identifier: Apache-2.0
//
// Discovery: says where controllers are (agents dial them) and which nodes are expected (only shown).
#pragma once

#include <gantry/abi/discovery.h>

#include <gantry/plugin.hpp>

namespace gantry::inline v1 {

struct Discovered {
    bool controller = true;  // else a node
    std::string name;        // may be empty for a controller
    std::string address;     // "10.0.0.1:3900"
    Duration ttl{};          // forgotten if not repeated for so long; zero: never
};

// Where a discovery reports to. [any]
class DiscoveryEvents {
  public:
    // Repeating an endpoint renews it.
    void found(const Discovered& endpoint) const { tell(endpoint, true); }
    void gone(const Discovered& endpoint) const { tell(endpoint, false); }

  private:
    friend class Discovery;
    void tell(const Discovered& endpoint, bool is_found) const {
        const gantry_discovered raw{
            sizeof(raw),
            static_cast<std::uint32_t>(endpoint.controller ? GANTRY_DISCOVERED_CONTROLLER : GANTRY_DISCOVERED_NODE),
            str(endpoint.name), str(endpoint.address), endpoint.ttl.count()};
        if (is_found && GANTRY_HAS(sink, found)) sink->found(host, &raw);
        if (!is_found && GANTRY_HAS(sink, gone)) sink->gone(host, &raw);
    }
    const gantry_discovery_sink* sink = nullptr;
    std::uint64_t host = 0;
};

class Discovery : public Plugin {
  public:
    static constexpr std::string_view kRole = "draft.discovery";
    static constexpr std::string_view kInterface = GANTRY_ROLE_DISCOVERY;

    // Begin to report to events(). [loop]
    virtual void begin_search() = 0;
    // No report after this returned. [loop]
    virtual void end_search() {}
    // Look again now. [loop]
    virtual void refresh() {}

  protected:
    Discovery() = default;
    const DiscoveryEvents& events() const noexcept { return events_; }

  private:
    const void* role_table() const noexcept override { return &kTable; }
    static Discovery& of(void* self) noexcept { return *static_cast<Discovery*>(static_cast<Plugin*>(self)); }
    static gantry_status on_start(void* self, const gantry_discovery_sink* sink) noexcept {
        return detail::notified(of(self).host(), "start", [&] {
            of(self).events_.sink = sink;
            of(self).events_.host = of(self).host().handle();
            of(self).begin_search();
        });
    }
    static gantry_status on_stop(void* self) noexcept {
        return detail::notified(of(self).host(), "stop", [&] { of(self).end_search(); });
    }
    static gantry_status on_refresh(void* self) noexcept {
        return detail::notified(of(self).host(), "refresh", [&] { of(self).refresh(); });
    }

    static constexpr gantry_discovery kTable{sizeof(gantry_discovery), 0, &on_start, &on_stop, &on_refresh};
    DiscoveryEvents events_;
};

}  // namespace gantry::inline v1
