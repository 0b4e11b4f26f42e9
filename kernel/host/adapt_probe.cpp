// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/adapter.hpp"

namespace gantry::host {
namespace {

class ProbeAdapter final : public Probe {
  public:
    explicit ProbeAdapter(Site<gantry_probe> site) : site_(std::move(site)) {}

    void check(const ProbeQuestion& question, Duration limit, Done<ProbeAnswer> done) override {
        const std::vector<gantry_kv> params = lower(question.params);
        const gantry_probe_request raw{sizeof(raw),           question.port, str(question.container),
                                       str(question.address), params.data(), params.size()};
        site_.ask<ProbeAnswer>("check", limit, std::move(done), &raise, &gantry_probe::check, &raw);
    }

  private:
    static ProbeAnswer raise(const void* raw) {
        const auto r = result<gantry_probe_result>(raw);
        const bool known = r.verdict == GANTRY_HEALTHY || r.verdict == GANTRY_UNHEALTHY;
        return {known ? static_cast<Verdict>(r.verdict) : Verdict::kUnknown, Duration(r.latency_ns), line(r.detail)};
    }

    Site<gantry_probe> site_;
};

}  // namespace

std::unique_ptr<Probe> adapt(Site<gantry_probe> site) { return std::make_unique<ProbeAdapter>(std::move(site)); }

}  // namespace gantry::host
