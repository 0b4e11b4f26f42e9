// SPDX-License-Identifier: Apache-2.0
//
// Probe: asks one container once whether it is well. Intervals, thresholds and hysteresis are the kernel's.
#pragma once

#include <gantry/abi/probe.h>

#include <gantry/operation.hpp>
#include <gantry/plugin.hpp>

namespace gantry::inline v1 {

enum class Verdict : std::uint32_t {
    kHealthy = GANTRY_HEALTHY,
    kUnhealthy = GANTRY_UNHEALTHY,
    kUnknown = GANTRY_HEALTH_UNKNOWN,  // the question could not be put; changes nothing
};

struct ProbeRequest {
    std::string container;  // the runtime's name
    std::string address;    // IP address without port
    std::uint16_t port = 0;
    Labels params;  // further keys of the manifest's [[probe]] and of its endpoint ("password")

    // Empty if there is none.
    std::string_view param(std::string_view key) const {
        for (const auto& [k, v] : params) {
            if (k == key) return v;
        }
        return {};
    }
};

struct ProbeResult {
    Verdict verdict = Verdict::kUnknown;
    Duration latency{};
    std::string detail;  // one line for people
};

namespace detail {
template <>
struct Lowered<ProbeResult> {
    explicit Lowered(const ProbeResult& r)
        : raw{sizeof(raw), static_cast<std::uint32_t>(r.verdict), r.latency.count(), str(r.detail)} {}
    const void* get() const noexcept { return &raw; }
    gantry_probe_result raw;
};
}  // namespace detail

class Probe : public Plugin {
  public:
    static constexpr std::string_view kRole = "probe/1";
    static constexpr std::string_view kInterface = GANTRY_ROLE_PROBE;

    // No answer of the container before op.deadline() is kUnhealthy, and said by the probe: keep a timer. Many checks
    // may be under way at once. [loop]
    virtual void check(Operation<ProbeResult> op, ProbeRequest request) = 0;

  protected:
    Probe() = default;

  private:
    const void* role_table() const noexcept override { return &kTable; }
    static gantry_status on_check(void* self, gantry_op op, const gantry_probe_request* r) noexcept {
        Probe& probe = *static_cast<Probe*>(static_cast<Plugin*>(self));
        return detail::operate<ProbeResult>(probe.host(), op, [&](Operation<ProbeResult> o) {
            probe.check(std::move(o), {text(r->container), text(r->address), static_cast<std::uint16_t>(r->port),
                                       labels(r->params, r->param_count)});
        });
    }

    static constexpr gantry_probe kTable{sizeof(gantry_probe), 0, &on_check};
};

}  // namespace gantry::inline v1
