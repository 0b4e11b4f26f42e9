// SPDX-License-Identifier: Apache-2.0
//
// Record: the crashes of plugins, kept over restarts. It remembers and counts; what follows from it is decided in
// kernel/host/ruling.hpp.
//
// Times are compared within one boot of the machine and by CLOCK_BOOTTIME, so no jump of the wall clock makes three
// crashes out of one or hides the third. A history belongs to one file: another one (by its digest) begins anew.
//
// Threads: one (the loop).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/base/result.hpp"
#include "kernel/base/time.hpp"

namespace gantry::crash {

inline constexpr std::size_t kCrashesToTrip = 3;
inline constexpr Duration kTripWithin = seconds(300);
inline constexpr std::size_t kCrashesKept = 16;  // of one plugin, the newest
inline constexpr std::size_t kPluginsKept = 256;

struct Crash {
    std::string slot, how;  // "score", "SIGSEGV"
    std::string boot;       // of the machine
    Instant at;             // in that boot
    bool isolated = false;  // it took its own process down, not gantryd
};

// How a plugin's file stands.
struct Standing {
    bool here = false;        // three crashes within five minutes took gantryd down
    bool isolated = false;    // and three its own process
    bool allowed = false;     // an operator says that they do not count
    std::size_t crashes = 0;  // remembered
    std::string text;         // "crashed 3 times within 5 minutes, last in score (SIGSEGV)"; empty: no crash
};

class Record {
  public:
    // Keeps the whole text, instead of the last one.
    using Save = std::function<Status(std::string_view text)>;
    // boot: that of the machine which runs now.
    explicit Record(Save save, std::string boot = {}) : save_(std::move(save)), boot_(std::move(boot)) {}

    // Takes what was saved. On an error (it is no such text) the record is empty.
    Status read(std::string_view text);

    // title: "placement.least-loaded"; digest: of its file. The crash counts even if it cannot be saved.
    Status note(const std::string& title, const std::string& digest, Crash crash);
    Standing standing(std::string_view title, std::string_view digest) const;
    // Its crashes, those to come too, do not count until its file changes or clear().
    Status allow(const std::string& title, const std::string& digest);
    // As if it had never crashed, and had never been allowed.
    Status clear(const std::string& title);

    const std::string& boot() const { return boot_; }

  private:
    struct History {
        std::string digest;
        std::vector<Crash> crashes;  // oldest first
        bool here = false, isolated = false, allowed = false;
    };
    History& history_of(const std::string& title, const std::string& digest);
    Status save() const;

    const Save save_;
    const std::string boot_;
    std::map<std::string, History, std::less<>> plugins_;
};

}  // namespace gantry::crash
