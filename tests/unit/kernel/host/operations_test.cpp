// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/operations.hpp"

#include <thread>

#include "tests/unit/kernel/host/bench_of_host.hpp"

namespace gantry::host {
namespace {

struct End {
    int count = 0;
    gantry_status status = -1;
    std::string text;
};

Operations::Call call(End& end, Duration limit = seconds(60)) {
    Operations::Call out;
    out.handle = 7;
    out.deadline = boottime_now() + limit;
    out.ended = [&end](gantry_status status, const std::string& text) { end = {end.count + 1, status, text}; };
    return out;
}

}  // namespace

TEST_CASE("the first end of an operation wins and later ones are stale") {
    boost::asio::io_context io;
    Loop loop(io);
    Operations operations(loop);
    End end;
    const std::uint64_t id = operations.begin(call(end));
    CHECK(operations.complete(7, id, GANTRY_FAILED, "first", nullptr) == GANTRY_OK);
    CHECK(operations.complete(7, id, GANTRY_OK, "", nullptr) == GANTRY_STALE);
    operations.refused(id, GANTRY_INVALID);
    operations.abandon(7, "gone");
    CHECK(end.count == 0);
    io.poll();
    CHECK(end.count == 1);
    CHECK(end.status == GANTRY_FAILED);
    CHECK(end.text == "first");
}

TEST_CASE("an operation that tells its end at once does so on the loop, and in a turn of it from elsewhere") {
    boost::asio::io_context io;
    Loop loop(io);
    Operations operations(loop);
    End here, elsewhere;
    for (End* end : {&here, &elsewhere}) {
        Operations::Call asked = call(*end);
        asked.at_once = true;
        const std::uint64_t id = operations.begin(std::move(asked));
        const auto finish = [&operations, id] { operations.complete(7, id, GANTRY_OK, "", nullptr); };
        if (end == &here) {
            int count_after = 0;
            loop.post([&] {
                finish();
                count_after = here.count;
            });
            io.poll();
            CHECK(count_after == 1);
        } else {
            std::jthread(finish).join();
            CHECK(elsewhere.count == 0);
            io.restart();
            io.poll();
        }
        CHECK(end->count == 1);
    }
}

TEST_CASE("what a turn posts while it gathers follows it in order, and what others post comes in turns of its own") {
    boost::asio::io_context io;
    Loop loop(io);
    std::string order;
    loop.post([&] {
        loop.gather([&] {
            loop.post([&] {
                order += 'a';
                loop.post([&] { order += 'd'; });
            });
            loop.post([&] { order += 'b'; });
            std::jthread([&] { loop.post([&] { order += 'c'; }); }).join();
            CHECK(order.empty());
        });
        CHECK(order == "ab");
        order += '|';
    });
    io.poll();
    CHECK(order == "ab|cd");
}

TEST_CASE("nothing that was gathered follows once the loop was stopped") {
    boost::asio::io_context io;
    Loop loop(io);
    std::string order;
    loop.post([&] {
        loop.gather([&] {
            loop.post([&] {
                order += 'a';
                io.stop();
            });
            loop.post([&] { order += 'b'; });
        });
    });
    io.run();
    CHECK(order == "a");
}

TEST_CASE("of many threads that end one operation exactly one succeeds") {
    boost::asio::io_context io;
    Loop loop(io);
    Operations operations(loop);
    for (int round = 0; round < 100; ++round) {
        End end;
        const std::uint64_t id = operations.begin(call(end));
        std::atomic<int> wins{0};
        {
            std::vector<std::jthread> threads;
            for (int i = 0; i < 4; ++i) {
                threads.emplace_back([&] { wins += operations.complete(7, id, GANTRY_OK, "", nullptr) == GANTRY_OK; });
            }
        }
        io.restart();
        io.poll();
        REQUIRE(wins == 1);
        REQUIRE(end.count == 1);
    }
}

TEST_CASE("an operation belongs to the instance it was asked of") {
    boost::asio::io_context io;
    Loop loop(io);
    Operations operations(loop);
    End end;
    const std::uint64_t id = operations.begin(call(end));
    CHECK(operations.complete(8, id, GANTRY_OK, "", nullptr) == GANTRY_STALE);
    CHECK(operations.over(8, id));
    CHECK_FALSE(operations.over(7, id));
    operations.cancel(id);
    CHECK(operations.over(7, id));
    CHECK(operations.complete(7, id, GANTRY_CANCELLED, "", nullptr) == GANTRY_OK);
}

TEST_CASE("deadlines end operations as unknown, each at its own time") {
    boost::asio::io_context io;
    Loop loop(io);
    Operations operations(loop);
    End late, soon, never, done;
    operations.begin(call(late, milliseconds(60)));
    operations.begin(call(soon, milliseconds(20)));
    Operations::Call endless = call(never);
    endless.deadline = kNever;
    const std::uint64_t id = operations.begin(std::move(endless));
    const std::uint64_t other = operations.begin(call(done, milliseconds(10)));
    operations.complete(7, other, GANTRY_OK, "", nullptr);
    const Instant begin = boottime_now();
    while (soon.count == 0 && boottime_now() - begin < seconds(10)) io.run_one_for(std::chrono::milliseconds(20));
    CHECK(soon.status == GANTRY_OUTCOME_UNKNOWN);
    CHECK(boottime_now() - begin >= milliseconds(20));
    while (late.count == 0 && boottime_now() - begin < seconds(10)) io.run_one_for(std::chrono::milliseconds(20));
    CHECK(late.status == GANTRY_OUTCOME_UNKNOWN);
    CHECK(done.count == 1);
    CHECK(done.status == GANTRY_OK);
    CHECK(never.count == 0);
    CHECK_FALSE(operations.over(7, id));
}

TEST_CASE("a cancelled operation ends as unknown within a second, whatever its deadline was") {
    boost::asio::io_context io;
    Loop loop(io);
    Operations operations(loop);
    End endless, later, soon;
    Operations::Call call_endless = call(endless);
    call_endless.deadline = kNever;
    const std::uint64_t first = operations.begin(std::move(call_endless));
    const std::uint64_t second = operations.begin(call(later, seconds(60)));
    const std::uint64_t third = operations.begin(call(soon, milliseconds(20)));
    const Instant begin = boottime_now();
    for (const std::uint64_t id : {first, second, third}) operations.cancel(id);
    const auto all = [&] { return endless.count + later.count + soon.count == 3; };
    while (!all() && boottime_now() - begin < seconds(10)) io.run_one_for(std::chrono::milliseconds(20));
    REQUIRE(all());
    CHECK(boottime_now() - begin >= kCancelGrace);
    CHECK(endless.status == GANTRY_OUTCOME_UNKNOWN);
    CHECK(endless.text == "cancelled, and no answer since");
    CHECK(operations.complete(7, first, GANTRY_OK, "", nullptr) == GANTRY_STALE);
    operations.cancel(first);
}

TEST_CASE("a result that cannot be read makes the outcome unknown") {
    boost::asio::io_context io;
    Loop loop(io);
    Operations operations(loop);
    End end;
    Operations::Call broken = call(end);
    broken.decode = [](const void*) { throw std::runtime_error("shorter than SDK 0.9 says"); };
    int result = 0;
    operations.complete(7, operations.begin(std::move(broken)), GANTRY_OK, "", &result);
    io.poll();
    CHECK(end.status == GANTRY_OUTCOME_UNKNOWN);
    CHECK(end.text == "its result cannot be read: shorter than SDK 0.9 says");
}

}  // namespace gantry::host
