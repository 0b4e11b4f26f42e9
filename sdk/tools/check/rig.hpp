// SPDX-License-Identifier: Apache-2.0
//
// Rig: the plugin in a fake host, inside a check's child process; and Recorder, which sees all that passes between
// them.
#pragma once

#include <gantry/abi/entry.h>

#include <atomic>
#include <gantry/testing/fake_host.hpp>
#include <gantry/testing/monitor.hpp>
#include <memory>
#include <mutex>

#include "sdk/tools/check/check.hpp"

namespace gantry::check {

class Recorder final : public testing::Monitor {
  public:
    Recorder();
    ~Recorder() override;
    Recorder(const Recorder&) = delete;
    Recorder& operator=(const Recorder&) = delete;

    // Calls of instances that were stopped, "log.log". While deaf, none are kept: destroy may give up operations.
    std::vector<std::string> late_calls() const;
    std::atomic<bool> deaf{false};
    // Operations that were completed more often than once.
    std::vector<std::uint64_t> completed_again() const;
    std::size_t completions() const;
    // Calls into the host, of living instances; clock reads count.
    std::uint64_t calls() const { return calls_; }
    std::string last_call() const;

    // The calls of one instance from now on, in order: "sink.up", "ops.complete".
    void follow(std::uint64_t instance);
    std::vector<std::string> followed() const;

    // From now on one call in `one_in` is refused, 0: none. Ends of things (cancel, unwatch, complete) always work.
    void refuse(std::uint64_t seed, unsigned one_in);
    std::uint64_t refused() const { return refused_; }

    // For how long each [loop] slot held the loop: wall time less what the thread waited for a processor. The longest
    // of each slot since forget().
    std::map<std::string, Duration> held() const;
    void forget();

    gantry_status host_called(const testing::HostCall& call) noexcept override;
    void slot_entered(const char* slot) noexcept override;
    void slot_left(const char* slot) noexcept override;

  private:
    struct Moment {
        Duration wall{}, waited{};
    };
    static Moment now() noexcept;

    mutable std::mutex mutex_;
    std::vector<std::string> late_;
    std::map<std::uint64_t, int> completed_;
    std::string last_;
    std::uint64_t followed_instance_ = 0;
    std::vector<std::string> followed_;
    std::atomic<std::uint64_t> calls_{0}, refused_{0};
    unsigned one_in_ = 0;
    std::mt19937_64 random_;
    std::vector<Moment> entered_;
    std::map<std::string, Duration> held_;
};

// The plugin's entry, loaded once per process; Failed if the loader refuses.
const gantry_entry& load_entry(const Subject& subject);
// The same, or in an isolated check the entry that stands for it.
const gantry_entry& entry_of(const Trial& trial);

// Settings of the world's table for this trial. Failed for a value of another type; Skipped if the schema requires a
// key that the world does not give.
testing::Settings settings_of(const Trial& trial, const std::vector<Setting>& values);
testing::Settings settings_of(const Trial& trial);
// With {folder} replaced.
std::string placed(const Trial& trial, std::string text);

// A host with the files of the world.
class Rig {
  public:
    explicit Rig(Trial& trial, bool real_time = false);
    Rig(Trial& trial, const testing::Options& options);

    // create and init; throws gantry::Failure with the plugin's text.
    testing::Instance& make() { return make(settings_of(trial)); }
    testing::Instance& make(testing::Settings settings);

    // Lets that time pass; of a plugin with the machine's clock at most a second.
    void pass(Duration time) {
        host.advance(trial.isolated() ? std::min<Duration>(time, std::chrono::seconds(1)) : time);
    }

    Trial& trial;
    Recorder recorder;  // before the host: it hears the last calls
    testing::FakeHost host;
};

// "3 of a, b, c".
std::string listed(const std::vector<std::string>& items, std::size_t most = 5);

}  // namespace gantry::check
