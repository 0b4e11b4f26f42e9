// SPDX-License-Identifier: Apache-2.0
//
// A probe that does what the container's name says.
#include <poll.h>

#include <gantry/probe.hpp>
#include <map>
#include <thread>

#include "tests/support/leak.hpp"

using namespace std::chrono_literals;

class Actor final : public gantry::Probe {
  public:
    using Op = gantry::Operation<gantry::ProbeResult>;

    void init(const gantry::Config& config) override {
        config_ = config;
        fail_in("init");
        const std::string token = config.string("token");
        host().info("configured", {{"wait", std::to_string(config.duration("wait").count())},
                                   {"room", std::to_string(config.size("room"))},
                                   {"count", config.has("count") ? std::to_string(config.integer("count")) : "none"},
                                   {"loud", config.boolean("loud") ? "yes" : "no"},
                                   {"names", std::to_string(config.list("names").size())},
                                   {"token", std::to_string(token.size())},
                                   {"handle", std::to_string(host().handle())}});
    }
    void start() override {
        fail_in("start");
        host().metric("starts_total", gantry::Metric::kCounter, 1);
    }
    void stop(gantry::Instant) override {
        if (thread_.joinable()) thread_.join();
        kept_.clear();
        fail_in("stop");
        if (config_.string("fail_in") == "hang") ::poll(nullptr, 0, -1);
    }

    void check(Op op, gantry::ProbeRequest request) override {
        const std::string& what = request.container;
        if (what == "answer") return op.done({gantry::Verdict::kHealthy, 3ms, "port " + std::to_string(request.port)});
        if (what == "throw") throw gantry::Failure(gantry::Code::kDenied, "not for you");
        if (what == "keep") return kept_.push_back(std::move(op));
        if (what == "leak") return gantry::leak_on_purpose(new Op(std::move(op)));  // never let go
        if (what == "nap" || what == "sleep") {
            std::this_thread::sleep_for(what == "nap" ? 8ms : 60ms);
            return op.done({});
        }
        if (what == "thread") {
            thread_ = std::thread([op = std::move(op)]() mutable { op.done({gantry::Verdict::kUnhealthy, {}, "t"}); });
            return;
        }
        if (what == "late") return answer_late(std::move(op));
        if (what == "race") return race(std::move(op));
        if (what == "services") return use_services(std::move(op));
        op.fail(gantry::Code::kInvalid, "what is " + what + "?");
    }

  private:
    void fail_in(const std::string& where) const {
        if (config_.string("fail_in") == where)
            throw gantry::Failure(gantry::Code::kInvalid, "told to fail in " + where);
    }

    // After the deadline has passed.
    void answer_late(Op op) {
        const gantry::Duration rest = op.deadline() - host().now() + 30ms;
        kept_.push_back(std::move(op));
        host().timer(rest, [this] {
            host().info(kept_.back().cancelled() ? "nobody waits" : "somebody waits");
            kept_.back().done({gantry::Verdict::kHealthy, {}, "too late"});
        });
    }

    // Both threads complete the same operation through the border; one wins.
    void race(Op op) {
        auto shared = std::make_shared<Op>(std::move(op));
        host().work([shared] { shared->done({gantry::Verdict::kHealthy, {}, "pool"}); });
        shared->done({gantry::Verdict::kUnhealthy, {}, "loop"});
    }

    void use_services(Op op) {
        auto shared = std::make_shared<Op>(std::move(op));
        if (::pipe(pipe_) != 0) throw gantry::Failure(gantry::Code::kFailed, "no pipe");
        auto steps = std::make_shared<std::string>();
        // Job -> write to a pipe -> watch on the loop -> timer, twice -> posted call -> answer.
        watch_ = host().watch(pipe_[0], gantry::kReadable, [this, shared, steps](std::uint32_t) {
            char byte = 0;
            *steps += ::read(pipe_[0], &byte, 1) == 1 ? std::string(1, byte) : "?";
            if (steps->size() < 3) return;  // level-triggered: called again for what is left
            host().unwatch(watch_);
            ::close(pipe_[0]);
            ::close(pipe_[1]);
            timer_ = host().timer(
                1ms,
                [this, shared, steps] {
                    *steps += "t";
                    if (!steps->ends_with("tt")) return;
                    host().cancel(timer_);
                    host().post([shared, steps] { shared->done({gantry::Verdict::kHealthy, {}, *steps + "p"}); });
                },
                1ms);
        });
        host().work([this] { [[maybe_unused]] const ssize_t n = ::write(pipe_[1], "abc", 3); });
    }

    gantry::Config config_;
    std::vector<Op> kept_;
    std::thread thread_;
    int pipe_[2] = {-1, -1};
    gantry::WatchId watch_ = 0;
    gantry::TimerId timer_ = 0;
};

GANTRY_PLUGIN(Actor)
