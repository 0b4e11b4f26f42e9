// SPDX-License-Identifier: Apache-2.0
//
// probe/tcp: a container is well when it accepts a connection. Everything happens on the loop: a connect that does not
// block, a watch for its end, a timer for the deadline.
#include <sys/socket.h>

#include <cerrno>
#include <gantry/probe.hpp>
#include <map>

#include "plugins/probe/endpoint/endpoint.hpp"

namespace {

using gantry::Duration;
using gantry::Instant;
using gantry::ProbeResult;
using gantry::Verdict;
using CheckOp = gantry::Operation<ProbeResult>;

class TcpProbe final : public gantry::Probe {
  public:
    void check(CheckOp op, gantry::ProbeRequest request) override {
        gantry::Fd fd;
        const Instant started = host().now();
        if (const auto over = probe_endpoint::begin(request, fd)) return op.done(*over);
        wait(std::move(op), std::move(fd), started);
    }

    void stop(Instant) override {
        while (!checks_.empty()) finish(checks_.begin()->first, {Verdict::kUnknown, {}, "the probe is stopping"});
    }

  private:
    struct Check {
        CheckOp op;
        gantry::Fd fd;
        Instant started{};
        gantry::WatchId watch = 0;
        gantry::TimerId timer = 0;
    };

    void wait(CheckOp op, gantry::Fd fd, Instant started) {
        const std::uint64_t id = op.id();
        const Duration limit = probe_endpoint::patience(op.deadline() - started);
        Check& check = checks_[id] = {std::move(op), std::move(fd), started, 0, 0};
        check.timer = host().timer(limit, [this, id] { finish(id, probe_endpoint::judge(ETIMEDOUT)); });
        try {
            check.watch = host().watch(check.fd.get(), gantry::kWritable, [this, id](std::uint32_t) { ended(id); });
        } catch (const gantry::Failure& failure) {
            finish(id, {Verdict::kUnknown, {}, std::string("cannot ask: ") + failure.what()});
        }
    }

    void ended(std::uint64_t id) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        const Duration latency = host().now() - at->second.started;
        const int error = probe_endpoint::outcome(at->second.fd.get());
        finish(id, error == 0 ? ProbeResult{Verdict::kHealthy, latency, "connected"}
                              : probe_endpoint::judge(error, latency));
    }

    void finish(std::uint64_t id, const ProbeResult& result) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        Check check = std::move(at->second);
        checks_.erase(at);
        host().unwatch(check.watch);
        host().cancel(check.timer);
        check.op.done(result);
    }

    std::map<std::uint64_t, Check> checks_;  // by operation
};

}  // namespace

GANTRY_PLUGIN(TcpProbe)
