// A container is well when its port greets: it accepts a connection and its first line begins as expected. Nothing here
// blocks: a connect that does not wait, a watch for what comes, a timer for the deadline.
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <gantry/address.hpp>
#include <gantry/probe.hpp>
#include <map>

namespace {

using gantry::Duration;
using gantry::ProbeResult;
using gantry::Verdict;

constexpr std::size_t kLineMax = 1'024;  // bytes of a greeting

class GreetingProbe final : public gantry::Probe {
  public:
    void init(const gantry::Config& config) override { expect_ = config.string("expect"); }

    // Many checks may be under way at once.
    void check(gantry::Operation<ProbeResult> op, gantry::ProbeRequest request) override {
        const auto address = gantry::SocketAddress::of(request.address, request.port);
        if (!address) return op.done({Verdict::kUnknown, {}, "no IP address: " + request.address});
        gantry::Fd fd(::socket(address->family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (!fd) return op.done({Verdict::kUnknown, {}, std::string("no socket: ") + std::strerror(errno)});
        if (::connect(fd.get(), address->raw(), address->length) != 0 && errno != EINPROGRESS) {
            return op.done({Verdict::kUnhealthy, {}, std::strerror(errno)});
        }
        const std::uint64_t id = op.id();
        const gantry::Instant now = host().now();
        // Before the deadline, so that the answer still counts.
        const Duration limit = (op.deadline() - now) * 9 / 10;
        const std::string_view wanted = request.param("expect");
        Check& check =
            checks_[id] = {std::move(op), std::move(fd), now, wanted.empty() ? expect_ : std::string(wanted), {}, 0, 0};
        check.timer = host().timer(limit, [this, id] { finish(id, Verdict::kUnhealthy, "no greeting in time"); });
        check.watch = host().watch(check.fd.get(), gantry::kReadable, [this, id](std::uint32_t) { read(id); });
    }

    void stop(gantry::Instant) override {
        while (!checks_.empty()) finish(checks_.begin()->first, Verdict::kUnknown, "the probe is stopping");
    }

  private:
    struct Check {
        gantry::Operation<ProbeResult> op;
        gantry::Fd fd;
        gantry::Instant started{};
        std::string expect, line;
        gantry::WatchId watch = 0;
        gantry::TimerId timer = 0;
    };

    void read(std::uint64_t id) {
        const auto found = checks_.find(id);
        if (found == checks_.end()) return;
        Check& check = found->second;
        char buffer[256];
        const ssize_t got = ::recv(check.fd.get(), buffer, sizeof buffer, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got < 0) return finish(id, Verdict::kUnhealthy, std::strerror(errno));
        check.line.append(buffer, static_cast<std::size_t>(got));
        const std::size_t end = check.line.find('\n');
        if (end == std::string::npos && got > 0 && check.line.size() < kLineMax) return;
        const std::string line = check.line.substr(0, std::min(end, kLineMax));
        if (line.empty()) return finish(id, Verdict::kUnhealthy, "closed without a greeting");
        const bool well = line.starts_with(check.expect);
        finish(id, well ? Verdict::kHealthy : Verdict::kUnhealthy,
               well ? "greeted" : "expected \"" + check.expect + "\", got \"" + line + "\"");
    }

    void finish(std::uint64_t id, Verdict verdict, const std::string& detail) {
        const auto found = checks_.find(id);
        if (found == checks_.end()) return;
        Check check = std::move(found->second);
        checks_.erase(found);
        host().unwatch(check.watch);
        host().cancel(check.timer);
        const Duration latency = verdict == Verdict::kHealthy ? host().now() - check.started : Duration::zero();
        check.op.done({verdict, latency, detail});
    }

    std::string expect_;
    std::map<std::uint64_t, Check> checks_;  // by operation
};

}  // namespace

GANTRY_PLUGIN(GreetingProbe)
