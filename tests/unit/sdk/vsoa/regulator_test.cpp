// The regulator of vsoa_regulator.h.
#include <cerrno>
#include <future>

#include "sdk/vsoa/include/vsoa_regulator.h"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

struct Value {
    std::string url, param, data;
    int64_t at;
};

/// A regulator whose values end up in an inbox; `then` runs inside the callback.
struct Thinner {
    explicit Thinner(std::chrono::milliseconds period) {
        const timespec p = span(period);
        regulator = vsoa_regulator_create(&p);
        REQUIRE(regulator != nullptr);
    }
    ~Thinner() { vsoa_regulator_delete(regulator); }
    static void on_delay(void* arg, vsoa_url_t* u, vsoa_payload_t* p) {
        auto* thinner = static_cast<Thinner*>(arg);
        const Value value{text(u), param(p), data(p), vsoa::now_ns()};
        if (thinner->then) thinner->then();
        thinner->values.put(value);
    }
    bool slot(const char* topic, size_t room = 64) {
        const vsoa_url_t u = url(topic);
        return vsoa_regulator_slot(regulator, &u, on_delay, this, room);
    }
    bool update(const char* topic, std::string_view p, std::string_view d = {}) {
        const vsoa_url_t u = url(topic);
        const vsoa_payload_t load = payload(p, d);
        return vsoa_regulator_update(regulator, &u, &load);
    }
    vsoa_regulator_t* regulator;
    std::function<void()> then;
    Inbox<Value> values;
};

}  // namespace

TEST_CASE("of many values in a period the last one is handed on, for each url its own") {
    Thinner thinner(50ms);
    REQUIRE(thinner.slot("/a"));
    REQUIRE(thinner.slot("/b"));
    REQUIRE(thinner.update("/b", "{}", "bytes"));
    for (int i = 0; i < 1000; ++i) REQUIRE(thinner.update("/a", std::to_string(i)));
    std::string last_a, got_b;
    while (last_a != "999" || got_b.empty()) {
        const auto value = thinner.values.take();
        REQUIRE(value);
        if (value->url == "/a") last_a = value->param;
        if (value->url == "/b") got_b = value->param + value->data;
    }
    CHECK(got_b == "{}bytes");
    CHECK_FALSE(thinner.values.take(120ms));  // nothing new, nothing handed on
}

TEST_CASE("a fast topic comes at most once in a period") {
    Thinner thinner(20ms);
    REQUIRE(thinner.slot("/fast"));
    const int64_t begin = vsoa::now_ns();
    while (vsoa::now_ns() < begin + 210 * vsoa::kNanosPerMs) {
        REQUIRE(thinner.update("/fast", "1"));
        std::this_thread::yield();
    }
    const size_t count = thinner.values.size();
    const int64_t periods = (vsoa::now_ns() - begin) / (20 * vsoa::kNanosPerMs) + 2;  // that the time has touched
    CHECK(static_cast<int64_t>(count) <= periods);
    CHECK(count >= 1);
}

TEST_CASE("a slot keeps what fits, and empty values are values") {
    Thinner thinner(1ms);
    const vsoa_url_t u = url("/a");
    REQUIRE(thinner.slot("/a", 4));
    errno = 0;
    CHECK_FALSE(thinner.update("/a", "123", "45"));
    CHECK(errno == EMSGSIZE);
    CHECK(thinner.update("/a", "12", "34"));
    CHECK(thinner.values.take().value().data == "34");
    REQUIRE(vsoa_regulator_update(thinner.regulator, &u, nullptr));
    CHECK(thinner.values.take().value().param.empty());
    size_t room = 0;
    CHECK(vsoa_regulator_has_slot(thinner.regulator, &u, &room));
    CHECK(room == 4);
    CHECK(vsoa_regulator_has_slot(thinner.regulator, &u, nullptr));

    const vsoa_url_t big = url("/big");
    REQUIRE(vsoa_regulator_slot(thinner.regulator, &big, Thinner::on_delay, &thinner, SIZE_MAX));
    CHECK(thinner.update("/big", std::string(VSOA_MAX_DATA_LENGTH, 'x')));
    CHECK(thinner.values.take().value().param.size() == VSOA_MAX_DATA_LENGTH);
    errno = 0;
    CHECK_FALSE(thinner.update("/big", std::string(VSOA_MAX_DATA_LENGTH + 1, 'x')));
    CHECK(errno == EMSGSIZE);
}

TEST_CASE("values are forgotten by clear and unslot, and a new period counts from now") {
    Thinner thinner(std::chrono::milliseconds(3'600'000));
    const vsoa_url_t a = url("/a"), b = url("/b");
    REQUIRE(thinner.slot("/a"));
    REQUIRE(thinner.slot("/b"));
    REQUIRE(thinner.slot("/c"));
    for (const char* topic : {"/a", "/b", "/c"}) REQUIRE(thinner.update(topic, "1"));
    CHECK(vsoa_regulator_clear(thinner.regulator, &a));
    CHECK(vsoa_regulator_unslot(thinner.regulator, &b));
    const timespec soon = span(1ms);
    CHECK(vsoa_regulator_period(thinner.regulator, &soon));
    CHECK(thinner.values.take().value().url == "/c");
    CHECK_FALSE(thinner.values.take(20ms));
    errno = 0;
    CHECK_FALSE(vsoa_regulator_unslot(thinner.regulator, &b));
    CHECK(errno == ENOENT);
    CHECK_FALSE(vsoa_regulator_has_slot(thinner.regulator, &b, nullptr));
    CHECK_FALSE(vsoa_regulator_clear(thinner.regulator, &b));
    CHECK_FALSE(thinner.update("/b", "1"));
    CHECK(errno == ENOENT);
}

TEST_CASE("within its callback a regulator refuses every call but deletion") {
    Thinner thinner(1ms);
    const vsoa_url_t a = url("/a");
    std::promise<std::vector<int>> errors;
    REQUIRE(thinner.slot("/a"));
    thinner.then = [&] {
        std::vector<int> seen;
        const timespec period = span(5ms);
        const auto note = [&](bool good) { seen.push_back(good ? 0 : errno); };
        note(thinner.update("/a", "2"));
        note(thinner.slot("/n"));
        note(vsoa_regulator_unslot(thinner.regulator, &a));
        note(vsoa_regulator_clear(thinner.regulator, &a));
        note(vsoa_regulator_has_slot(thinner.regulator, &a, nullptr));
        note(vsoa_regulator_period(thinner.regulator, &period));
        vsoa_regulator_delete(std::exchange(thinner.regulator, nullptr));
        errors.set_value(seen);
    };
    REQUIRE(thinner.update("/a", "1"));
    CHECK(errors.get_future().get() == std::vector(6, EDEADLK));
    CHECK(thinner.values.take().value().param == "1");
}

TEST_CASE("deleting a regulator waits for its callback") {
    auto thinner = std::make_unique<Thinner>(1ms);
    std::promise<void> entered, go_on;
    std::atomic<bool> ended{false};
    auto may_go_on = go_on.get_future().share();
    thinner->then = [&] {
        entered.set_value();
        may_go_on.wait();
        ended = true;
    };
    REQUIRE(thinner->slot("/a"));
    REQUIRE(thinner->update("/a", "1"));
    entered.get_future().wait();
    auto deleted = std::async(std::launch::async, [&] {
        vsoa_regulator_delete(std::exchange(thinner->regulator, nullptr));
        return ended.load();
    });
    CHECK(deleted.wait_for(20ms) == std::future_status::timeout);
    go_on.set_value();
    CHECK(deleted.get());
}

TEST_CASE("a regulator refuses what it cannot do with an errno") {
    timespec period = span(1ms);
    Thinner thinner(1ms);
    const vsoa_url_t a = url("/a"), bad = url("a"), none = {nullptr, 0};
    const auto refused = [](bool good, int error = EINVAL) {
        const bool as_said = !good && errno == error;
        errno = 0;
        return as_said;
    };
    errno = 0;
    CHECK(refused(vsoa_regulator_create(nullptr) != nullptr));
    for (const timespec wrong : {timespec{0, 999'999}, timespec{0, 0}, timespec{-1, 0}, timespec{1, -1},
                                 timespec{1, 1'000'000'000}, timespec{INT64_MAX, 0}}) {
        CHECK(refused(vsoa_regulator_create(&wrong) != nullptr));
        CHECK(refused(vsoa_regulator_period(thinner.regulator, &wrong)));
    }
    CHECK(refused(vsoa_regulator_period(thinner.regulator, nullptr)));
    CHECK(refused(vsoa_regulator_period(nullptr, &period)));
    for (const vsoa_url_t* wrong : {&bad, &none, static_cast<const vsoa_url_t*>(nullptr)}) {
        CHECK(refused(vsoa_regulator_slot(thinner.regulator, wrong, Thinner::on_delay, nullptr, 1)));
        CHECK(refused(vsoa_regulator_update(thinner.regulator, wrong, nullptr)));
        CHECK(refused(vsoa_regulator_has_slot(thinner.regulator, wrong, nullptr)));
    }
    CHECK(refused(vsoa_regulator_slot(nullptr, &a, Thinner::on_delay, nullptr, 1)));
    CHECK(refused(vsoa_regulator_slot(thinner.regulator, &a, nullptr, nullptr, 1)));
    REQUIRE(thinner.slot("/a"));
    CHECK(refused(thinner.slot("/a"), EEXIST));
    const vsoa_payload_t half = {nullptr, 1, nullptr, 0};
    CHECK(refused(vsoa_regulator_update(thinner.regulator, &a, &half)));
    CHECK(refused(vsoa_regulator_update(nullptr, &a, nullptr)));
    CHECK(refused(vsoa_regulator_unslot(nullptr, &a)));
    CHECK(refused(vsoa_regulator_clear(nullptr, &a)));
    vsoa_regulator_delete(nullptr);
}

TEST_CASE("a regulator publishes the last value of a server at its own pace") {
    RunningServer server;
    server.start();
    RunningClient client;
    REQUIRE(client.connect(server.address));
    REQUIRE(client.subscribe("/speed"));
    Thinner thinner(10ms);
    const vsoa_url_t speed = url("/speed");
    const auto publish = [](void* arg, vsoa_url_t* u, vsoa_payload_t* p) {
        vsoa_server_publish(static_cast<vsoa_server_t*>(arg), u, p);
    };
    REQUIRE(vsoa_regulator_slot(thinner.regulator, &speed, publish, server.handle, 16));
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            for (int n = 0; n < 500; ++n) thinner.update("/speed", std::to_string(n));
        });
    }
    for (auto& thread : threads) thread.join();
    REQUIRE(thinner.update("/speed", "last"));
    size_t count = 0;
    for (std::string got; got != "last"; ++count) {
        const auto message = client.messages.take();
        REQUIRE(message);
        got = message->param;
    }
    CHECK(count < 2001);
    vsoa_regulator_delete(std::exchange(thinner.regulator, nullptr));
}
