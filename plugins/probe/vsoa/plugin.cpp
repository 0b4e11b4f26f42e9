// SPDX-License-Identifier: Apache-2.0
//
// probe/vsoa: a container is well when its VSOA server takes the login and answers a ping. All checks run side by side
// on the loop: sockets that do not block, a watch and a timer each.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <gantry/probe.hpp>
#include <map>

#include "plugins/probe/endpoint/endpoint.hpp"
#include "plugins/probe/vsoa/conversation.hpp"

namespace vsoa_probe {
namespace {

using gantry::Duration;
using gantry::Instant;
using gantry::ProbeResult;
using gantry::Verdict;
using probe_endpoint::judge;
using CheckOp = gantry::Operation<ProbeResult>;

constexpr int kReadsPerTurn = 16;

class VsoaProbe final : public gantry::Probe {
  public:
    void check(CheckOp op, gantry::ProbeRequest request) override {
        gantry::Fd fd;
        const Instant started = host().now();
        if (const auto over = probe_endpoint::begin(request, fd)) return op.done(*over);
        const int on = 1;
        setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        wait(std::move(op), std::move(fd), started, std::string(request.param("password")));
    }

    void stop(Instant) override {
        while (!checks_.empty()) finish(checks_.begin()->first, {Verdict::kUnknown, {}, "the probe is stopping"});
    }

  private:
    struct Check {
        CheckOp op;
        gantry::Fd fd;
        Instant started{};
        Conversation talk;
        std::string unsent{};
        bool connected = false;
        gantry::WatchId watch = 0;
        gantry::TimerId timer = 0;
    };

    void wait(CheckOp op, gantry::Fd fd, Instant started, std::string password) {
        const std::uint64_t id = op.id();
        const Duration limit = probe_endpoint::patience(op.deadline() - started);
        Check& check =
            checks_.emplace(id, Check{std::move(op), std::move(fd), started, Conversation(std::move(password))})
                .first->second;
        check.timer = host().timer(limit, [this, id] { late(id); });
        try {
            check.watch = host().watch(check.fd.get(), gantry::kWritable, [this, id](std::uint32_t) { ready(id); });
        } catch (const gantry::Failure& failure) {
            finish(id, {Verdict::kUnknown, {}, std::string("cannot ask: ") + failure.what()});
        }
    }

    void late(std::uint64_t id) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        const Check& check = at->second;
        const std::string what = check.connected ? std::string(check.talk.waits_for()) : "connection";
        finish(id, {Verdict::kUnhealthy, {}, "no answer to the " + what + " in time"});
    }

    void ready(std::uint64_t id) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        Check& check = at->second;
        if (!check.connected) {
            const int error = probe_endpoint::outcome(check.fd.get());
            if (error != 0) return finish(id, judge(error, host().now() - check.started));
            check.connected = true;
        } else if (read(id, check)) {
            return;
        }
        write(id, check);
    }

    // True: the check is over.
    bool read(std::uint64_t id, Check& check) {
        char bytes[4096];
        // A server that talks without end must not keep others waiting.
        for (int i = 0; i < kReadsPerTurn; ++i) {
            const ssize_t got = ::recv(check.fd.get(), bytes, sizeof bytes, 0);
            if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
            if (got < 0) return finish(id, judge(errno)), true;
            if (got == 0) {
                const std::string instead(check.talk.waits_for());
                return finish(id,
                              {Verdict::kUnhealthy, {}, "closed the connection instead of answering the " + instead}),
                       true;
            }
            if (!check.talk.feed(bytes, static_cast<std::size_t>(got))) continue;
            if (check.talk.failure().empty()) {
                return finish(id, {Verdict::kHealthy, host().now() - check.started, "answered the ping"}), true;
            }
            return finish(id, {Verdict::kUnhealthy, {}, check.talk.failure()}), true;
        }
        return false;
    }

    void write(std::uint64_t id, Check& check) {
        check.unsent += check.talk.take_output();
        while (!check.unsent.empty()) {
            const ssize_t sent = ::send(check.fd.get(), check.unsent.data(), check.unsent.size(), MSG_NOSIGNAL);
            if (sent < 0 && (errno == EAGAIN || errno == EINTR)) break;
            if (sent < 0) return finish(id, judge(errno));
            check.unsent.erase(0, static_cast<std::size_t>(sent));
        }
        host().change(check.watch, check.unsent.empty() ? gantry::kReadable : gantry::kReadable | gantry::kWritable);
    }

    void finish(std::uint64_t id, const ProbeResult& result) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        auto check = checks_.extract(at);
        host().unwatch(check.mapped().watch);
        host().cancel(check.mapped().timer);
        check.mapped().op.done(result);
    }

    std::map<std::uint64_t, Check> checks_;  // by operation
};

}  // namespace
}  // namespace vsoa_probe

GANTRY_PLUGIN(vsoa_probe::VsoaProbe)
