// SPDX-License-Identifier: Apache-2.0
//
// FakeHost: a host inside a test program. It gives plugins the five services, with a clock that the test moves, and
// knows nothing of Gantry's kernel.
//
//     gantry::testing::FakeHost host;
//     auto& probe = host.load(GANTRY_PLUGIN_FILE, Settings().duration("timeout", 1s));  // create, init; throws
//     probe.start();
//     ProbeDriver driver(probe);                              // <gantry/testing/drivers.hpp>: one per role
//     auto check = driver.check({"c1", "127.0.0.1", 4000});   // Pending<ProbeResult>
//     host.advance(2s);                                       // timers run, in order of their time
//     auto answer = check.wait();                             // turns the loop until it ended
//     REQUIRE(answer.result.verdict == gantry::Verdict::kUnhealthy);
//
// A plugin is loaded from its .so (gantry_use_plugin() in CMake sets GANTRY_PLUGIN_FILE; the schema's defaults are
// filled in and the settings are checked against it), or, linked into the test, from its gantry_plugin_entry (the
// settings are given as they are). One host may hold several instances, which share the loop and the clock.
//
// The loop turns only inside turn, advance, run_until and Pending::wait, on the calling thread: nothing happens behind
// a test's back, except jobs of Host::work, which run on real threads (Options::workers; with 0 they run in a turn).
// Everything is called on one thread. Operations end as in the real host: first completion wins, unknown after the
// deadline; delivery comes in a later turn.
#pragma once

#include <gantry/abi/entry.h>

#include <functional>
#include <gantry/host.hpp>
#include <gantry/testing/settings.hpp>
#include <map>
#include <memory>

namespace gantry::testing {

struct Options {
    bool real_time = false;                  // the clock is CLOCK_BOOTTIME and moves by itself; advance() then waits
    std::uint64_t seed = 1;                  // of the randomness that plugins get
    unsigned workers = 2;                    // threads for jobs; 0: jobs run in a turn
    Duration start = std::chrono::hours(1);  // what the clock shows at first
};

struct LogLine {
    LogLevel level;
    std::string text;
    Labels fields;
};

struct EventLine {
    std::string kind, text;
    Labels fields;
};

// A request of a frontend to the resource tree. Answer it once, now or later, on the loop.
struct ControlCall {
    ControlRequest request;
    Fd fd;  // of open, else empty
    std::function<void(ControlResponse)> answer;
};

class Loop;
class Instance;

class FakeHost {
  public:
    explicit FakeHost(Options options = {});
    // Stops and destroys what still lives, removes its files.
    ~FakeHost();
    FakeHost(const FakeHost&) = delete;
    FakeHost& operator=(const FakeHost&) = delete;

    // Both create the instance and init it; Failure with the plugin's text if it refuses.
    Instance& load(const std::string& file, Settings settings = {});
    Instance& load(const gantry_entry& entry, Settings settings = {});

    Instant now() const;
    // Runs all that is ready: completions, posted calls, due timers, descriptors. False if there was nothing.
    bool turn();
    // Moves the clock, stopping at every timer on the way.
    void advance(Duration by);
    // Turns until the condition holds; false if it does not within `limit` of real time. The virtual clock stands.
    bool run_until(const std::function<bool()>& condition, Duration limit = std::chrono::seconds(10));

    // An empty folder for the test's own files, removed with the host.
    const std::string& folder() const { return folder_; }

    // Closes the sockets that plugins kept: nobody inherits them any more, and their files are removed.
    void drop_kept();

    // What plugins said, in order.
    std::vector<LogLine> logs() const;
    std::vector<EventLine> events() const;
    std::map<std::string, double> metrics() const;

    // The resource tree of this test; without it every request is answered 404.
    std::function<void(ControlCall)> tree;
    // Tells the watchers of events.
    void emit_event(std::uint64_t number, std::string document);

    // For the rest of this library.
    Loop& loop() { return *loop_; }

  private:
    std::unique_ptr<Loop> loop_;
    std::string folder_;
    std::vector<std::unique_ptr<Instance>> instances_;
};

// One instance of a plugin.
class Instance {
  public:
    ~Instance();
    Instance(const Instance&) = delete;
    Instance& operator=(const Instance&) = delete;

    // Throw Failure with the plugin's text.
    void start();
    // On a thread of its own, while the loop stands. Afterwards everything the instance asks for is kStale.
    void stop(Duration limit = std::chrono::seconds(5));
    void destroy();

    FakeHost& host() { return host_; }
    // The role's table; throws if it has none of that name.
    const void* role_table(std::string_view interface) const;
    void* self() const { return plugin_.self; }
    std::uint64_t handle() const { return handle_; }

    // How long operations have from now on.
    Duration limit = std::chrono::seconds(30);

  private:
    friend class FakeHost;
    Instance(FakeHost& host, const gantry_entry& entry, Settings settings);

    FakeHost& host_;
    std::uint64_t handle_;
    gantry_plugin plugin_{};
    bool stopped_ = false, destroyed_ = false;
};

}  // namespace gantry::testing
