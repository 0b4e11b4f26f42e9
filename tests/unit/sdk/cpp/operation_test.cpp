// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>
#include <gantry/testing/drivers.hpp>

#include "tests/unit/sdk/cpp/entry_of.hpp"

using namespace gantry;
using namespace gantry::testing;
using namespace std::chrono_literals;

namespace {

// Does what the request's container says.
class Actor final : public Probe {
  public:
    void check(Operation<ProbeResult> op, ProbeRequest request) override {
        if (request.container == "answer") return op.done({Verdict::kHealthy, 3ms, "fine"});
        if (request.container == "refuse") return op.fail(Code::kUnavailable, "no route");
        if (request.container == "forget") return;
        if (request.container == "throw") throw Failure(Code::kDenied, "not for you");
        if (request.container == "throw std") throw std::runtime_error("some library is unhappy");
        if (request.container == "throw after moving away") {
            kept_ = std::move(op);
            throw std::runtime_error("too late");
        }
        if (request.container == "catch inside") {
            try {
                Operation<ProbeResult> mine = std::move(op);
                throw std::runtime_error("caught by the plugin");
            } catch (const std::exception&) {
                return;
            }
        }
        if (request.container == "twice") {
            op.done({Verdict::kHealthy, 1ms, "first"});
            op.fail(Code::kFailed, "second");
            return;
        }
        if (request.container == "work") {
            host().work([op = std::move(op)]() mutable {
                op.answer([]() -> ProbeResult { throw Failure(Code::kFull, "in a job"); });
            });
            return;
        }
        if (request.container == "by job")
            return op.answer_by_job(host(), [] { return ProbeResult{Verdict::kHealthy, 1ms, "j"}; });
        if (request.container == "full") {
            while (host().work([] {})) continue;
            return op.answer_by_job(host(), [] { return ProbeResult{}; });
        }
        if (request.container == "job throws") {
            host().work([op = std::move(op)] { throw std::runtime_error("outside of answer"); });
            return;
        }
        kept_ = std::move(op);
    }
    void stop(Instant) override { kept_ = {}; }

    Operation<ProbeResult> kept_;
};

class Half final : public Runtime {
  public:
    RuntimeFacts facts() const override { return {}; }
    void create_container(Operation<> op, ContainerSpec) override { op.done(); }
    void start_container(Operation<> op, std::string) override { op.done(); }
    void stop_container(Operation<> op, std::string, Duration) override { op.done(); }
    void kill_container(Operation<> op, std::string) override { op.done(); }
    void remove_container(Operation<> op, std::string) override { op.done(); }
    void list_containers(Operation<ContainerList> op) override { op.done({}); }
};

ProbeRequest ask(std::string what) { return {std::move(what), "127.0.0.1", 1, {}}; }

}  // namespace

TEST_CASE("an operation ends exactly once, with what the plugin said first") {
    FakeHost host;
    Instance& instance = host.load(entry_of<Actor>());
    ProbeDriver probe(instance);
    instance.start();

    SECTION("a result arrives whole") {
        const auto answer = probe.check(ask("answer")).wait();
        REQUIRE(answer.ok());
        CHECK(answer.result.verdict == Verdict::kHealthy);
        CHECK(answer.result.latency == 3ms);
        CHECK(answer.result.detail == "fine");
    }
    SECTION("an answer given inside the slot is delivered in a later turn") {
        auto pending = probe.check(ask("answer"));
        CHECK_FALSE(pending.ended());
        host.turn();
        CHECK(pending.ended());
    }
    SECTION("a failure keeps code and text") {
        const auto answer = probe.check(ask("refuse")).wait();
        CHECK(answer.code == Code::kUnavailable);
        CHECK(answer.text == "no route");
    }
    SECTION("a later answer does nothing") {
        const auto answer = probe.check(ask("twice")).wait();
        REQUIRE(answer.ok());
        CHECK(answer.result.detail == "first");
    }
    SECTION("one that is forgotten ends as failed") {
        for (const char* how : {"forget", "catch inside", "job throws"}) {
            const auto answer = probe.check(ask(how)).wait();
            CHECK(answer.code == Code::kFailed);
            CHECK(answer.text.starts_with("dropped"));
        }
        CHECK(host.logs().at(0).text == "exception in a job: outside of answer");
    }
    SECTION("an exception that leaves the method ends it with the exception's text") {
        CHECK(probe.check(ask("throw")).wait().code == Code::kDenied);
        CHECK(probe.check(ask("throw")).wait().text == "not for you");
        CHECK(probe.check(ask("throw std")).wait().text == "some library is unhappy");
        CHECK(probe.check(ask("throw after moving away")).wait().text == "too late");
    }
    SECTION("an exception inside answer ends it, on a thread of the pool too") {
        const auto answer = probe.check(ask("work")).wait();
        CHECK(answer.code == Code::kFull);
        CHECK(answer.text == "in a job");
    }
    SECTION("a job's answer is the operation's, and a full pool is told as full") {
        CHECK(probe.check(ask("by job")).wait().result.detail == "j");
        FakeHost still({.workers = 0});
        Instance& waiting = still.load(entry_of<Actor>());
        ProbeDriver full(waiting);
        waiting.start();
        const auto answer = full.check(ask("full")).wait();
        CHECK(answer.code == Code::kFull);
        CHECK(answer.text == "the host's pool takes no more jobs; try again");
    }
    SECTION("the deadline ends it as unknown, and what the plugin says later is stale") {
        instance.limit = 2s;
        auto pending = probe.check(ask("keep"));
        host.advance(1999ms);
        CHECK_FALSE(pending.ended());
        host.advance(1ms);
        REQUIRE(pending.ended());
        CHECK(pending.wait().code == Code::kUnknown);
    }
    SECTION("stopping the plugin ends what it still holds") {
        auto pending = probe.check(ask("keep"));
        instance.stop();
        CHECK(pending.wait().text.starts_with("dropped"));
    }
}

TEST_CASE("what a role does not override answers unsupported and closes what it was given") {
    FakeHost host;
    Instance& instance = host.load(entry_of<Half>());
    RuntimeDriver runtime(instance);
    instance.start();
    CHECK(runtime.create({}).wait().ok());
    CHECK(runtime.images().wait().code == Code::kUnsupported);
    CHECK(runtime.pause("c").wait().code == Code::kUnsupported);
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    Fd reader(ends[0]);
    CHECK(runtime.logs("c", Fd(ends[1])).wait().code == Code::kUnsupported);
    char byte = 0;
    CHECK(::read(reader.get(), &byte, 1) == 0);
}
