// SPDX-License-Identifier: Apache-2.0
//
// probe/http: a container is well when it answers a request as the manifest wishes. Everything happens on the loop,
// with sockets that do not block, but for reading certificates, which is a job of the pool.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <gantry/probe.hpp>
#include <map>
#include <optional>
#include <stdexcept>

#include "plugins/probe/endpoint/endpoint.hpp"
#include "plugins/probe/http/question.hpp"
#include "plugins/probe/http/reply.hpp"
#include "plugins/probe/http/tls.hpp"

namespace http_probe {
namespace {

using gantry::Duration;
using gantry::Instant;
using gantry::ProbeResult;
using gantry::Verdict;
using CheckOp = gantry::Operation<ProbeResult>;

constexpr Duration kTrustAge = std::chrono::minutes(1);  // then the certificates are read again
constexpr int kReadsPerTurn = 16;

class HttpProbe final : public gantry::Probe {
  public:
    void check(CheckOp op, gantry::ProbeRequest request) override {
        const std::uint64_t id = op.id();
        const Instant started = host().now();
        Question question;
        try {
            question = question_of(request);
        } catch (const gantry::Failure& failure) {
            return op.done({Verdict::kUnknown, {}, failure.what()});
        }
        const Duration limit = probe_endpoint::patience(op.deadline() - started);
        const bool with_body = !question.body.empty();
        Check& check =
            checks_
                .emplace(id, Check{std::move(op), std::move(request), std::move(question), started, Reply(with_body)})
                .first->second;
        check.timer = host().timer(limit, [this, id] { late(id); });
        if (!check.question.tls) return begin(id, nullptr);
        with_trust(id, check);
    }

    void stop(Instant) override {
        while (!checks_.empty()) finish(checks_.begin()->first, Verdict::kUnknown, "the probe is stopping");
    }

  private:
    struct Check {
        CheckOp op;
        gantry::ProbeRequest request;
        Question question;
        Instant started{};
        Reply reply;
        std::optional<Tls> tls{};
        gantry::Fd fd{};
        std::string unsent{};
        bool connected = false;
        gantry::WatchId watch = 0;
        gantry::TimerId timer = 0;
    };
    struct Trusted {
        Trust trust;
        std::string trouble;
        Instant read{};
        bool reading = false;
        std::vector<std::uint64_t> waiting{};
    };

    // --- certificates
    void with_trust(std::uint64_t id, Check& check) {
        const std::pair<std::string, bool> key(check.question.ca, check.question.insecure);
        Trusted& known = trusted_[key];
        if (known.trust && host().now() - known.read < kTrustAge) return begin(id, known.trust);
        known.waiting.push_back(id);
        if (std::exchange(known.reading, true)) return;
        const gantry::Status taken = host().work([this, key] {
            Trusted fresh;
            try {
                fresh.trust = trust_of(key.first, key.second);
            } catch (const gantry::Failure& failure) {
                fresh.trouble = failure.what();
            }
            host().post([this, key, fresh] { now_trusted(key, fresh); });
        });
        if (!taken) now_trusted(key, {nullptr, "cannot ask: " + std::string(taken.text())});
    }

    void now_trusted(const std::pair<std::string, bool>& key, Trusted fresh) {
        Trusted& known = trusted_[key];
        fresh.read = host().now();
        fresh.waiting.swap(known.waiting);
        known = std::move(fresh);
        for (const std::uint64_t id : std::exchange(known.waiting, {})) {
            if (known.trust)
                begin(id, known.trust);
            else
                finish(id, Verdict::kUnknown, known.trouble);
        }
    }

    // --- one check
    void begin(std::uint64_t id, const Trust& trust) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        Check& check = at->second;
        try {
            if (trust)
                check.tls.emplace(trust, check.question.name, std::move(check.question.request));
            else
                check.unsent = std::move(check.question.request);
            if (const auto over = probe_endpoint::begin(check.request, check.fd)) return finish(id, *over);
            const int on = 1;
            setsockopt(check.fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            check.watch = host().watch(check.fd.get(), gantry::kWritable, [this, id](std::uint32_t) { ready(id); });
        } catch (const gantry::Failure& failure) {
            finish(id, Verdict::kUnknown, std::string("cannot ask: ") + failure.what());
        }
    }

    void late(std::uint64_t id) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        const Check& check = at->second;
        const char* const what = !check.fd                                ? "the certificates were not read"
                                 : !check.connected                       ? "no answer to the connection"
                                 : check.tls && !check.tls->established() ? "no answer to the TLS handshake"
                                                                          : "no answer to the request";
        finish(id, check.fd ? Verdict::kUnhealthy : Verdict::kUnknown, std::string(what) + " in time");
    }

    void ready(std::uint64_t id) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        Check& check = at->second;
        if (!check.connected) {
            const int error = probe_endpoint::outcome(check.fd.get(), check.request);
            if (error != 0) return finish(id, probe_endpoint::judge(error, host().now() - check.started));
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
            if (got < 0) return finish(id, probe_endpoint::judge(errno)), true;
            try {
                if (got == 0) return closed(id, check), true;
                const std::string_view raw(bytes, static_cast<std::size_t>(got));
                const bool whole = check.reply.feed(check.tls ? check.tls->feed(raw) : std::string(raw));
                if (whole || found(check)) return judge(id, check), true;
            } catch (const std::runtime_error& error) {
                return finish(id, Verdict::kUnhealthy, error.what()), true;
            }
        }
        return false;
    }

    void closed(std::uint64_t id, Check& check) {
        if (check.reply.closed()) return judge(id, check);
        const bool shaking = check.tls && !check.tls->established();
        finish(id, Verdict::kUnhealthy,
               shaking ? "closed the connection in the TLS handshake"
                       : "closed the connection before its answer was whole");
    }

    static bool found(const Check& check) {
        return !check.question.body.empty() && check.reply.body().find(check.question.body) != std::string::npos;
    }

    void judge(std::uint64_t id, const Check& check) {
        const int status = check.reply.status();
        std::string detail = "status " + std::to_string(status);
        Verdict verdict = Verdict::kHealthy;
        if (!check.question.wants(status)) {
            verdict = Verdict::kUnhealthy;
        } else if (!check.question.body.empty() && !found(check)) {
            verdict = Verdict::kUnhealthy;
            detail += ", but \"" + check.question.body + "\" is not in its body";
            if (check.reply.body().size() >= Reply::kBodyMost) detail += " (the first 64 KiB are looked at)";
        }
        finish(id, {verdict, host().now() - check.started, detail});
    }

    void write(std::uint64_t id, Check& check) {
        if (check.tls) check.unsent += check.tls->take_output();
        while (!check.unsent.empty()) {
            const ssize_t sent = ::send(check.fd.get(), check.unsent.data(), check.unsent.size(), MSG_NOSIGNAL);
            if (sent < 0 && (errno == EAGAIN || errno == EINTR)) break;
            if (sent < 0) return finish(id, probe_endpoint::judge(errno));
            check.unsent.erase(0, static_cast<std::size_t>(sent));
        }
        host().change(check.watch, check.unsent.empty() ? gantry::kReadable : gantry::kReadable | gantry::kWritable);
    }

    void finish(std::uint64_t id, Verdict verdict, const std::string& detail) { finish(id, {verdict, {}, detail}); }
    void finish(std::uint64_t id, const ProbeResult& result) {
        const auto at = checks_.find(id);
        if (at == checks_.end()) return;
        auto check = checks_.extract(at);
        host().unwatch(check.mapped().watch);
        host().cancel(check.mapped().timer);
        check.mapped().op.done(result);
    }

    std::map<std::uint64_t, Check> checks_;  // by operation
    std::map<std::pair<std::string, bool>, Trusted> trusted_;
};

}  // namespace
}  // namespace http_probe

GANTRY_PLUGIN(http_probe::HttpProbe)
