// SPDX-License-Identifier: Apache-2.0
//
// probe/vsoa: a container is well when its VSOA server takes the login and answers a ping, or a call. Connections are
// kept from check to check. All checks run side by side on the loop: sockets that do not block, a watch and a timer
// each.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <gantry/probe.hpp>
#include <map>
#include <memory>
#include <tuple>
#include <vector>

#include "plugins/probe/endpoint/endpoint.hpp"
#include "plugins/probe/endpoint/params.hpp"
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
constexpr std::size_t kKeptMost = 512;
constexpr Duration kKeptFor = std::chrono::minutes(1), kSweep = std::chrono::seconds(30);

class VsoaProbe final : public gantry::Probe {
  public:
    void start() override {
        deadlines_.use(host(), [this](std::uint64_t op) { late(op); });
        sweep_ = host().timer(
            kSweep, [this] { sweep(); }, kSweep);
    }

    void check(CheckOp op, gantry::ProbeRequest request) override {
        std::string path;
        try {
            path = path_of(request);
        } catch (const gantry::Failure& failure) {
            return op.done({Verdict::kUnknown, {}, failure.what()});
        }
        Asked asked{std::move(op), std::move(request), std::move(path), host().now()};
        const auto kept = kept_.extract(key_of(asked.request));
        if (!kept) return connect(std::move(asked));
        Link& link = *links_.at(kept.mapped());
        link.reused = true;
        ask(link, std::move(asked));
        write(link);
    }

    void stop(Instant) override {
        host().cancel(sweep_);
        deadlines_.stop();
        kept_.clear();
        while (!links_.empty()) {
            Link& link = *links_.begin()->second;
            if (link.asked.op)
                finish(link, {Verdict::kUnknown, {}, "the probe is stopping"}, false);
            else
                drop(link);
        }
    }

  private:
    using Key = std::tuple<std::string, std::uint16_t, std::string>;  // address, port, password
    struct Asked {
        CheckOp op;
        gantry::ProbeRequest request;
        std::string path;
        Instant started{};
    };
    // A connection, with what is asked over it now or with nothing.
    struct Link {
        Link(std::uint64_t number, gantry::Fd given, std::string password)
            : id(number), fd(std::move(given)), talk(std::move(password)) {}
        std::uint64_t id;
        gantry::Fd fd;
        Conversation talk;
        Asked asked{};
        std::string unsent{};
        bool connected = false;
        bool reused = false;  // an answer came over it before
        Instant idle_since{};
        gantry::WatchId watch = 0;
        std::uint32_t watched = gantry::kWritable;
    };

    static Key key_of(const gantry::ProbeRequest& request) {
        return {request.address, request.port, std::string(request.param("password"))};
    }

    static std::string path_of(const gantry::ProbeRequest& request) {
        const probe_endpoint::Params params(request.params, {"path", "password"});
        const std::string path = params.text("path");
        if (!path.empty() && (path.front() != '/' || path.size() > 1'024))
            throw gantry::Failure(
                gantry::Code::kInvalid,
                "`path`: expected a path of at most 1024 bytes (\"/health\"), got \"" + path.substr(0, 80) + "\"");
        return path;
    }

    void connect(Asked asked) {
        gantry::Fd fd;
        if (const auto over = probe_endpoint::begin(asked.request, fd)) return end(asked, *over);
        const int on = 1;
        setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        const std::uint64_t id = ++last_link_;
        Link& link = *links_.emplace(id, std::make_unique<Link>(id, std::move(fd), std::get<2>(key_of(asked.request))))
                          .first->second;
        ask(link, std::move(asked));
        try {
            link.watch = host().watch(link.fd.get(), gantry::kWritable, [this, id](std::uint32_t) { ready(id); });
        } catch (const gantry::Failure& failure) {
            finish(link, {Verdict::kUnknown, {}, std::string("cannot ask: ") + failure.what()}, false);
        }
    }

    void ask(Link& link, Asked asked) {
        const Duration limit = probe_endpoint::patience(asked.op.deadline() - host().now());
        link.asked = std::move(asked);
        deadlines_.add(link.asked.op.id(), host().now() + limit);
        link.talk.ask(link.asked.path);
    }

    void late(std::uint64_t op) {
        for (const auto& [id, link] : links_) {
            if (link->asked.op.id() != op) continue;
            const std::string what = link->connected ? std::string(link->talk.waits_for()) : "connection";
            return finish(*link, {Verdict::kUnhealthy, {}, "no answer to the " + what + " in time"}, false);
        }
    }

    void ready(std::uint64_t id) {
        const auto at = links_.find(id);
        if (at == links_.end()) return;
        Link& link = *at->second;
        if (!link.connected) {
            const int error = probe_endpoint::outcome(link.fd.get(), link.asked.request);
            if (error != 0) return finish(link, judge(error, host().now() - link.asked.started), false);
            link.connected = true;
        } else if (read(link)) {
            return;
        }
        write(link);
    }

    // True: nothing is asked over it any more, or it is gone.
    bool read(Link& link) {
        char bytes[4096];
        // A server that talks without end must not keep others waiting.
        for (int i = 0; i < kReadsPerTurn; ++i) {
            const ssize_t got = ::recv(link.fd.get(), bytes, sizeof bytes, 0);
            if (got < 0 && (errno == EAGAIN || errno == EINTR)) return !link.asked.op;
            if (got < 0) return broke(link, judge(errno)), true;
            if (got == 0) {
                const std::string instead(link.talk.waits_for());
                return broke(link,
                             {Verdict::kUnhealthy, {}, "closed the connection instead of answering the " + instead}),
                       true;
            }
            const bool decided = link.talk.feed(bytes, static_cast<std::size_t>(got));
            if (!link.asked.op) {
                if (link.talk.broken()) return drop(link), true;
                continue;
            }
            if (!decided) continue;
            const std::string& failure = link.talk.failure();
            if (!failure.empty()) return finish(link, {Verdict::kUnhealthy, {}, failure}, !link.talk.broken()), true;
            const std::string what = link.asked.path.empty() ? "the ping" : link.asked.path;
            return finish(link, {Verdict::kHealthy, host().now() - link.asked.started, "answered " + what}, true), true;
        }
        return !link.asked.op;
    }

    void write(Link& link) {
        link.unsent += link.talk.take_output();
        while (!link.unsent.empty()) {
            const ssize_t sent = ::send(link.fd.get(), link.unsent.data(), link.unsent.size(), MSG_NOSIGNAL);
            if (sent < 0 && (errno == EAGAIN || errno == EINTR)) break;
            if (sent < 0) return broke(link, judge(errno));
            link.unsent.erase(0, static_cast<std::size_t>(sent));
        }
        const std::uint32_t wanted = link.unsent.empty() ? gantry::kReadable : gantry::kReadable | gantry::kWritable;
        if (std::exchange(link.watched, wanted) != wanted) host().change(link.watch, wanted);
    }

    // A server may end a connection between two checks: that says nothing of it, a new one does.
    void broke(Link& link, const ProbeResult& result) {
        if (!link.asked.op) return drop(link);
        if (!link.reused) return finish(link, result, false);
        Asked asked = std::move(link.asked);
        drop(link);
        connect(std::move(asked));
    }

    void finish(Link& link, const ProbeResult& result, bool keep) {
        Asked asked = std::move(link.asked);
        link.asked = {};
        if (!keep || kept_.size() >= kKeptMost || !kept_.emplace(key_of(asked.request), link.id).second)
            drop(link);
        else
            link.idle_since = host().now();
        end(asked, result);
    }

    void end(Asked& asked, const ProbeResult& result) {
        deadlines_.remove(asked.op.id());
        asked.op.done(result);
    }

    void drop(Link& link) {
        std::erase_if(kept_, [&](const auto& kept) { return kept.second == link.id; });
        host().unwatch(link.watch);
        links_.erase(link.id);
    }

    void sweep() {
        const Instant now = host().now();
        std::vector<Link*> old;
        for (const auto& [key, id] : kept_) {
            if (Link& link = *links_.at(id); now - link.idle_since >= kKeptFor) old.push_back(&link);
        }
        for (Link* const link : old) drop(*link);
    }

    std::map<std::uint64_t, std::unique_ptr<Link>> links_;  // by number
    std::map<Key, std::uint64_t> kept_;                     // those over which nothing is asked now
    std::uint64_t last_link_ = 0;
    gantry::TimerId sweep_ = 0;
    probe_endpoint::Deadlines deadlines_;
};

}  // namespace
}  // namespace vsoa_probe

GANTRY_PLUGIN(vsoa_probe::VsoaProbe)
