// SPDX-License-Identifier: Apache-2.0
//
// Random: the luck of a property test, from one seed.
#pragma once

#include <cstdint>

#include "kernel/base/time.hpp"

namespace gantry::core {

class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
    std::uint64_t next() {
        state_ += 0x9e3779b97f4a7c15ULL;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    int below(int n) { return static_cast<int>(next() % static_cast<std::uint64_t>(n)); }
    bool chance(int percent) { return below(100) < percent; }
    Duration time(int from_ms, int to_ms) { return milliseconds(from_ms + below(to_ms - from_ms + 1)); }

  private:
    std::uint64_t state_;
};

}  // namespace gantry::core
