// SPDX-License-Identifier: Apache-2.0
//
// probe: what it says of targets that are well, closed, silent, out of reach, or none at all.
#include <arpa/inet.h>
#include <sys/socket.h>

#include <gantry/testing/drivers.hpp>

#include "sdk/tools/check/exercise.hpp"

namespace gantry::check {
namespace {

using namespace std::chrono_literals;

// A TCP port of this machine that is ours.
struct Port {
    Port() : fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof(address);
        auto* const raw = reinterpret_cast<sockaddr*>(&address);
        if (::bind(fd.get(), raw, length) != 0 || ::getsockname(fd.get(), raw, &length) != 0) {
            throw Skipped{"this machine gives no TCP port on 127.0.0.1"};
        }
        number = ntohs(address.sin_port);
    }
    Fd fd;
    std::uint16_t number = 0;
};

// Refuses: bound, so that nobody else gets it, but nobody listens.
struct Closed : Port {};

// Takes connections and never says a word.
struct Silent : Port {
    Silent() { ::listen(fd.get(), 128); }
};

// Does not even take them: its queue is full, so that further ones wait.
struct Unreachable : Port {
    Unreachable() {
        ::listen(fd.get(), 0);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address.sin_port = htons(number);
        for (Fd& one : fill) {
            one.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
            ::connect(one.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
        }
    }
    Fd fill[4];
};

Labels params(const Trial& trial) {
    Labels out;
    for (const std::string& item : trial.subject.world.list("probe.params")) {
        const std::size_t equals = item.find('=');
        out.emplace_back(item.substr(0, equals), equals == std::string::npos ? "" : item.substr(equals + 1));
    }
    return out;
}

struct Asking {
    explicit Asking(Trial& trial_in) : trial(trial_in), rig(trial, true), instance(rig.make()), driver(instance) {
        instance.start();
    }
    // One that asks the node's resource tree rather than an address is answered so there, unless nothing is said at
    // all.
    void tree_answers(std::optional<ControlResponse> response) {
        rig.host.tree = [this, response = std::move(response)](testing::ControlCall call) {
            if (response) return call.answer(*response);
            silent.push_back(std::move(call));
        };
    }
    testing::Pending<ProbeResult> begin(const std::string& address, std::uint16_t port) {
        return driver.check({"container", address, port, params(trial)});
    }
    ProbeResult answer(testing::Pending<ProbeResult> pending, const std::string& target) {
        const auto answer = pending.wait(10s);
        expect(answer.ok(), "the probe's own verdict on " + target + " before the deadline",
               answer.code == Code::kUnknown ? "none: the host had to give up" : answer.text);
        const ProbeResult& result = answer.result;
        expect(result.verdict == Verdict::kHealthy || result.verdict == Verdict::kUnhealthy ||
                   result.verdict == Verdict::kUnknown,
               "one of the three verdicts on " + target, std::to_string(static_cast<int>(result.verdict)));
        expect(result.latency >= Duration::zero(), "a latency that is not negative",
               std::to_string(result.latency.count()) + " ns");
        expect(result.verdict == Verdict::kHealthy || !result.detail.empty(),
               "a line for people that says why " + target + " is not well", "none");
        return result;
    }

    Trial& trial;
    Rig rig;
    testing::Instance& instance;
    testing::ProbeDriver driver;
    std::vector<testing::ControlCall> silent;
};

std::string_view name_of(Verdict verdict) {
    return verdict == Verdict::kHealthy ? "healthy" : verdict == Verdict::kUnhealthy ? "unhealthy" : "unknown";
}

void judge(Trial& trial) {
    Asking asking(trial);
    const Closed closed;
    const ProbeResult refused = asking.answer(asking.begin("127.0.0.1", closed.number), "a closed port");
    expect(refused.verdict == Verdict::kUnhealthy, "a closed port is unhealthy",
           std::string(name_of(refused.verdict)) + ": " + refused.detail);
    for (const char* address : {"", "no-address", "999.1.1.1"}) {
        const std::string target = std::string("the address '") + address + "'";
        const ProbeResult result = asking.answer(asking.begin(address, 4'000), target);
        expect(result.verdict != Verdict::kHealthy, target + " is not healthy", "healthy");
    }
    const std::string& healthy = trial.subject.world.text("probe.healthy");
    if (healthy.empty()) return trial.remark("no probe.healthy in --config: nothing was asked that is well");
    if (const std::string& said = trial.subject.world.text("probe.tree"); !said.empty())
        asking.tree_answers(ControlResponse{200, 0, said});
    const std::size_t colon = healthy.rfind(':');
    const auto port =
        static_cast<std::uint16_t>(std::atoi(healthy.c_str() + (colon == std::string::npos ? 0 : colon + 1)));
    const ProbeResult well = asking.answer(asking.begin(healthy.substr(0, colon), port), healthy);
    expect(well.verdict == Verdict::kHealthy, healthy + " is healthy",
           std::string(name_of(well.verdict)) + ": " + well.detail);
}

void keep_deadline(Trial& trial) {
    Asking asking(trial);
    asking.instance.limit = 1s;
    asking.tree_answers(std::nullopt);
    const Silent silent;
    const Unreachable unreachable;
    auto first = asking.begin("127.0.0.1", silent.number);
    auto second = asking.begin("127.0.0.1", unreachable.number);
    asking.answer(first, "a target that is silent");
    const ProbeResult result = asking.answer(second, "a target that takes no connection");
    expect(result.verdict == Verdict::kUnhealthy, "a target that takes no connection is unhealthy",
           std::string(name_of(result.verdict)) + ": " + result.detail);
}

void ask_many(Trial& trial) {
    constexpr int kMany = 64;
    Asking asking(trial);
    const Closed closed;
    std::vector<testing::Pending<ProbeResult>> pending;
    for (int i = 0; i < kMany; ++i) pending.push_back(asking.begin("127.0.0.1", closed.number));
    for (auto& one : pending) {
        const ProbeResult result = asking.answer(one, "one of 64 closed ports");
        expect(result.verdict == Verdict::kUnhealthy, "each of 64 closed ports is unhealthy",
               std::string(name_of(result.verdict)) + ": " + result.detail);
    }
}

}  // namespace

void add_probe(std::vector<Check>& out) {
    out.push_back(
        {"probe.verdicts",
         "The verdict fits: closed is unhealthy, nonsense is not healthy; each has a reason.",
         "Answer kUnhealthy when the target refused, kUnknown when the question could not be put, with a line "
         "that says why.",
         {"operations.answered"},
         &judge,
         30,
         "probe"});
    out.push_back({"probe.many",
                   "Many checks at once are each answered with their own verdict.",
                   "Keep the state of a check by its operation, not in members of the plugin.",
                   {"probe.verdicts"},
                   &ask_many,
                   30,
                   "probe"});
    out.push_back({"probe.deadline",
                   "A target that does not answer is unhealthy before the deadline, said by the probe.",
                   "Set a timer a little before op.deadline() and answer kUnhealthy there.",
                   {"probe.many"},
                   &keep_deadline,
                   30,
                   "probe"});
}

}  // namespace gantry::check
