// SPDX-License-Identifier: Apache-2.0
//
// probe/tcp: a container is well when it accepts a connection. Everything happens on the loop: a connect that does not
// block, a watch for its end, one timer for the deadlines of all.
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
    void start() override {
        deadlines_.use(host(), [this](std::uint64_t id) { finish(id, probe_endpoint::judge(ETIMEDOUT)); });
    }

    void check(CheckOp op, gantry::ProbeRequest request) override {
        gantry::Fd fd;
        const Instant started = host().now();
        if (const auto over = probe_endpoint::begin(request, fd)) return op.done(*over);
        if (probe_endpoint::decided(fd.get())) return op.done(result(fd.get(), request, started));
        wait({std::move(op), std::move(request), std::move(fd), started, 0});
    }

    void stop(Instant) override {
        deadlines_.stop();
        while (!checks_.empty()) finish(checks_.begin()->first, {Verdict::kUnknown, {}, "the probe is stopping"});
    }

  private:
    struct Check {
        CheckOp op;
        gantry::ProbeRequest request;
        gantry::Fd fd;
        Instant started{};
        gantry::WatchId watch = 0;
    };

    void wait(Check begun) {
        const std::uint64_t id = begun.op.id();
        Check& check = checks_[id] = std::move(begun);
        deadlines_.add(id, check.started + probe_endpoint::patience(check.op.deadline() - check.started));
        try {
            check.watch = host().watch(check.fd.get(), gantry::kWritable, [this, id](std::uint32_t) { ended(id); });
        } catch (const gantry::Failure& failure) {
            finish(id, {Verdict::kUnknown, {}, std::string("cannot ask: ") + failure.what()});
        }
    }

    ProbeResult result(int connection, const gantry::ProbeRequest& request, Instant started) const {
        const Duration latency = host().now() - started;
        const int error = probe_endpoint::outcome(connection, request);
        return error == 0 ? ProbeResult{Verdict::kHealthy, latency, "connected"}
                          : probe_endpoint::judge(error, latency);
    }

    void ended(std::uint64_t id) {
        const auto at = checks_.find(id);
        if (at != checks_.end()) finish(id, result(at->second.fd.get(), at->second.request, at->second.started));
    }

    void finish(std::uint64_t id, const ProbeResult& result) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        Check check = std::move(at->second);
        checks_.erase(at);
        host().unwatch(check.watch);
        deadlines_.remove(id);
        check.op.done(result);
    }

    std::map<std::uint64_t, Check> checks_;  // by operation
    probe_endpoint::Deadlines deadlines_;
};

}  // namespace

GANTRY_PLUGIN(TcpProbe)
