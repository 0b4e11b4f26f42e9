// The timers of vsoa_timer.h.
#include <cerrno>
#include <climits>
#include <future>

#include "sdk/vsoa/include/vsoa_timer.h"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

constexpr int64_t kMs = vsoa::kNanosPerMs;

/// A timer whose calls end up in an inbox; `then` runs in the timer thread.
struct Clock {
    Clock() : timer(vsoa_timer_create()) { REQUIRE(timer != nullptr); }
    ~Clock() { vsoa_timer_delete(timer); }
    static void on_time(void* arg, vsoa_timer_t* timer, void* custom) {
        auto* clock = static_cast<Clock*>(arg);
        clock->calls.put({timer, custom, vsoa::now_ns()});
        if (clock->then) clock->then();
    }
    bool start(int64_t count, int64_t interval) { return vsoa_timer_start(timer, count, interval, on_time, this); }

    struct Call {
        vsoa_timer_t* timer;
        void* custom;
        int64_t at;
    };
    vsoa_timer_t* timer;
    std::function<void()> then;
    Inbox<Call> calls;
};

}  // namespace

TEST_CASE("a timer with interval 0 calls once, not early, and is then no longer started") {
    REQUIRE(vsoa_timer_init());
    REQUIRE(vsoa_timer_init());
    Clock clock;
    int custom = 0;
    bool started_inside = true;
    clock.then = [&] { started_inside = vsoa_timer_is_started(clock.timer); };
    vsoa_timer_set_custom(clock.timer, &custom);
    REQUIRE(vsoa_timer_custom(clock.timer) == &custom);
    REQUIRE_FALSE(vsoa_timer_is_started(clock.timer));
    const int64_t before = vsoa::now_ns();
    REQUIRE(vsoa_timer_start_ms(clock.timer, 20, 0, Clock::on_time, &clock));
    REQUIRE(vsoa_timer_is_started(clock.timer));
    const auto call = clock.calls.take();
    REQUIRE(call);
    CHECK(call->timer == clock.timer);
    CHECK(call->custom == &custom);
    CHECK(call->at - before >= 20 * kMs);
    CHECK_FALSE(clock.calls.take(30ms));
    CHECK_FALSE(vsoa_timer_is_started(clock.timer));
    vsoa_timer_delete(std::exchange(clock.timer, nullptr));
    CHECK_FALSE(started_inside);
}

TEST_CASE("a timer with an interval keeps its raster and calls once for all that a slow callback missed") {
    Clock clock;
    std::promise<void> go_on;
    auto may_go_on = go_on.get_future().share();
    bool first = true;
    clock.then = [&] {
        if (std::exchange(first, false)) may_go_on.wait();
    };
    const int64_t before = vsoa::now_ns();
    REQUIRE(clock.start(5 * kMs, 5 * kMs));
    REQUIRE(clock.calls.take());
    REQUIRE(eventually([&] { return vsoa::now_ns() > before + 52 * kMs; }));
    go_on.set_value();
    int64_t last = 0;
    for (int i = 0; i < 4; ++i) {
        const auto call = clock.calls.take();
        REQUIRE(call);
        last = call->at;
    }
    // One late call, then 55, 60 and 65. Made up for, the four would come at once for 10, 15, 20 and 25.
    CHECK(last >= before + 65 * kMs);
    CHECK(vsoa_timer_is_started(clock.timer));
}

TEST_CASE("timers call in the order of their times, whatever the order they were started in") {
    Clock late, early, at_once;
    std::vector<int> order;
    late.then = [&] { order.push_back(3); };
    early.then = [&] { order.push_back(2); };
    at_once.then = [&] { order.push_back(1); };
    REQUIRE(late.start(600 * kMs, 0));
    REQUIRE(early.start(300 * kMs, 0));
    REQUIRE(at_once.start(0, 0));
    REQUIRE(late.calls.take());
    vsoa_timer_delete(std::exchange(late.timer, nullptr));  // waits for the end of its callback
    CHECK(order == std::vector{1, 2, 3});
}

TEST_CASE("a callback may stop its timer, start it anew, or start another") {
    Clock one, other;
    int calls = 0;
    one.then = [&] {
        if (++calls == 1) one.start(1 * kMs, 0);
        if (calls == 2) one.start(1 * kMs, 1 * kMs);
        if (calls == 4) {
            vsoa_timer_stop(one.timer);
            other.start(0, 0);
        }
    };
    REQUIRE(one.start(0, 1 * kMs));
    REQUIRE(other.calls.take());
    CHECK_FALSE(vsoa_timer_is_started(one.timer));
    CHECK(one.calls.size() == 4);
    CHECK_FALSE([&] {
        while (one.calls.take(20ms)) ++calls;
        return calls > 8;
    }());
}

TEST_CASE("starting a started timer replaces its times") {
    Clock clock;
    REQUIRE(clock.start(3600'000 * kMs, 0));
    REQUIRE(clock.start(0, 0));
    REQUIRE(clock.calls.take());
    CHECK_FALSE(vsoa_timer_is_started(clock.timer));
}

TEST_CASE("deleting a timer waits for its callback in another thread and not in its own") {
    auto clock = std::make_unique<Clock>();
    std::promise<void> go_on;
    auto may_go_on = go_on.get_future().share();
    std::atomic<bool> ended{false};
    clock->then = [&] {
        may_go_on.wait();
        ended = true;
    };
    REQUIRE(clock->start(0, 1 * kMs));
    REQUIRE(clock->calls.take());
    auto deleted = std::async(std::launch::async, [&] {
        vsoa_timer_delete(std::exchange(clock->timer, nullptr));
        return ended.load();
    });
    CHECK(deleted.wait_for(20ms) == std::future_status::timeout);
    go_on.set_value();
    CHECK(deleted.get());

    Clock own;
    own.then = [&] { vsoa_timer_delete(own.timer); };
    vsoa_timer_t* const timer = own.timer;
    REQUIRE(own.start(0, 1 * kMs));
    const auto call = own.calls.take();
    REQUIRE(call);
    CHECK(call->timer == timer);
    CHECK_FALSE(own.calls.take(20ms));
    Clock after;  // the thread lives on
    REQUIRE(after.start(0, 0));
    CHECK(after.calls.take());
    own.timer = nullptr;
}

TEST_CASE("times without bounds are taken, negative ones and null are refused") {
    Clock clock;
    errno = 0;
    CHECK_FALSE(clock.start(-1, 0));
    CHECK(errno == EINVAL);
    CHECK_FALSE(clock.start(0, -1));
    CHECK_FALSE(vsoa_timer_start_ms(clock.timer, -1, 0, Clock::on_time, &clock));
    CHECK_FALSE(vsoa_timer_start_ms(clock.timer, 0, -1, Clock::on_time, &clock));
    CHECK_FALSE(vsoa_timer_start(clock.timer, 0, 0, nullptr, nullptr));
    errno = 0;
    CHECK_FALSE(vsoa_timer_start(nullptr, 0, 0, Clock::on_time, nullptr));
    CHECK(errno == EINVAL);
    errno = 0;
    vsoa_timer_stop(nullptr);
    CHECK(errno == EINVAL);
    CHECK_FALSE(vsoa_timer_is_started(nullptr));
    vsoa_timer_set_custom(nullptr, nullptr);
    CHECK(vsoa_timer_custom(nullptr) == nullptr);
    vsoa_timer_delete(nullptr);

    CHECK(vsoa_timer_start_ms(clock.timer, INT64_MAX, INT64_MAX, Clock::on_time, &clock));
    CHECK_FALSE(clock.calls.take(5ms));
    CHECK(clock.start(0, INT64_MAX));
    CHECK(clock.calls.take());
    CHECK(vsoa_timer_is_started(clock.timer));
}

TEST_CASE("many threads start, stop and delete timers at once") {
    std::vector<std::thread> threads;
    std::atomic<int> calls{0};
    for (int i = 0; i < 8; ++i) {
        threads.emplace_back([&, i] {
            for (int round = 0; round < 200; ++round) {
                vsoa_timer_t* timer = vsoa_timer_create();
                vsoa_timer_start(
                    timer, round % 3 * 10'000, 20'000,
                    [](void* arg, vsoa_timer_t*, void*) { ++*static_cast<std::atomic<int>*>(arg); }, &calls);
                if (i % 2 == 0) std::this_thread::yield();
                if (round % 4 == 0) vsoa_timer_stop(timer);
                vsoa_timer_delete(timer);
            }
        });
    }
    for (auto& thread : threads) thread.join();
    const int after = calls;
    Clock clock;
    REQUIRE(clock.start(1 * kMs, 0));
    REQUIRE(clock.calls.take());
    CHECK(calls == after);
}
