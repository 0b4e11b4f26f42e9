// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch.hpp>
#include <gantry/frontend.hpp>
#include <gantry/testing/drivers.hpp>
#include <thread>

#include "tests/unit/sdk/cpp/entry_of.hpp"

using namespace gantry;
using namespace gantry::testing;
using namespace std::chrono_literals;

namespace {

// What a Door did, for the test to look at; a plugin keeps no such global.
struct Seen {
    std::vector<std::string> lines;
    std::vector<Instant> ticks;
    std::vector<std::uint64_t> events;
    int response = 0;
    Code late = Code::kOk;
};
Seen* g_seen = nullptr;

class Door final : public Frontend {
  public:
    void init(const Config& config) override {
        if (!config.has("path")) throw Failure(Code::kInvalid, "'path' is needed");
        path_ = config.string("path");
        every_ = config.duration("every");
        CHECK_THROWS_WITH(config.integer("path"), Catch::Contains("another type"));
    }
    std::string address() const override { return "unix:" + path_; }
    void start() override {
        host().info("open", {{"path", path_}});
        host().event("door-opened", "the door is open");
        host().metric("doors_open", Metric::kGauge, 1);
        host().timer(
            every_, [this] { g_seen->ticks.push_back(host().now()); }, every_);
        once_ = host().timer(5s, [this] { host().cancel(once_); });
        host().request({{"unix", "root", 0, 0}, "GET", "/v1/nodes", ""},
                       [](ControlResponse response) { g_seen->response = response.code; });
        watch_ = host().watch_events({}, "/v1/events", 3, [this](std::uint64_t number, std::string_view) {
            g_seen->events.push_back(number);
            if (number == 5) host().unwatch_events(watch_);
        });
        if (::pipe(pipe_) != 0) throw Failure(Code::kFailed, "no pipe");
        read_ = host().watch(pipe_[0], kReadable, [this](std::uint32_t) {
            char byte = 0;
            if (::read(pipe_[0], &byte, 1) == 1) g_seen->lines.push_back(std::string(1, byte));
            host().unwatch(read_);
        });
        thread_ = std::thread([this] {
            [[maybe_unused]] const ssize_t n = ::write(pipe_[1], "xy", 2);
            host().post([] { g_seen->lines.push_back("posted"); });
        });
    }
    void stop(Instant) override {
        thread_.join();
        ::close(pipe_[0]);
        ::close(pipe_[1]);
    }
    ~Door() override {
        g_seen->late = host().post([] {}).code();
    }

  private:
    std::string path_;
    Duration every_{};
    TimerId once_ = 0;
    WatchId watch_ = 0, read_ = 0;
    int pipe_[2] = {-1, -1};
    std::thread thread_;
};

}  // namespace

TEST_CASE("an instance lives from create to destroy and uses every service") {
    Seen seen;
    g_seen = &seen;
    FakeHost host;
    host.tree = [](ControlCall call) {
        CHECK(call.request.path == "/v1/nodes");
        CHECK(call.request.principal.name == "root");
        call.answer({200, 7, "[]"});
    };
    Instance& door = host.load(entry_of<Door>(), Settings().string("path", "/run/door").duration("every", 2s));
    CHECK(FrontendDriver(door).address() == "unix:/run/door");
    door.start();
    REQUIRE(host.run_until([&] { return seen.lines.size() == 2 && seen.response == 200; }));
    std::ranges::sort(seen.lines);
    CHECK(seen.lines == std::vector<std::string>{"posted", "x"});

    const Instant begin = host.now();
    host.advance(7s);
    CHECK(seen.ticks == std::vector<Instant>{begin + 2s, begin + 4s, begin + 6s});

    for (std::uint64_t number = 2; number <= 7; ++number) host.emit_event(number, "{}");
    while (host.turn()) continue;
    CHECK(seen.events == std::vector<std::uint64_t>{4, 5});

    CHECK(host.logs().at(0).text == "open");
    CHECK(host.logs().at(0).fields == Labels{{"path", "/run/door"}});
    CHECK(host.events().at(0).kind == "door-opened");
    CHECK(host.metrics().at("doors_open") == 1);

    door.stop();
    host.advance(10s);
    CHECK(seen.ticks.size() == 3);
    door.destroy();
    CHECK(seen.late == Code::kStale);
}

TEST_CASE("what init throws refuses the instance with its text") {
    Seen seen;
    g_seen = &seen;
    FakeHost host;
    CHECK_THROWS_WITH(host.load(entry_of<Door>()), "init: 'path' is needed");
}

TEST_CASE("a text that does not fit is cut between characters") {
    char buffer[5];
    gantry_error error{sizeof(error), sizeof(buffer), buffer, 0, 0};
    gantry::detail::write_error(&error, "aa螺仪");
    CHECK(std::string(buffer, error.text_len) == "aa螺");
    gantry::detail::write_error(&error, "aaa螺");
    CHECK(std::string(buffer, error.text_len) == "aaa");
}
