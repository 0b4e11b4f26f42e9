// SPDX-License-Identifier: Apache-2.0
//
// Random: numbers of one named stream of one seed. Each part of a world has a stream of its own, so that a change in
// one leaves the luck of the others as it was.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kernel/base/time.hpp"

namespace gantry::sim {

class Random {
  public:
    Random(std::uint64_t seed, std::string_view stream) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {
        for (const char c : stream) state_ = (state_ ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    }
    std::uint64_t next() {
        state_ += 0x9e3779b97f4a7c15ULL;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    int below(int n) { return static_cast<int>(next() % static_cast<std::uint64_t>(n)); }
    int between(int from, int to) { return from + below(to - from + 1); }
    // True in so many of a thousand; 0 draws nothing.
    bool chance(int thousandths) { return thousandths > 0 && below(1'000) < thousandths; }
    Duration time(Duration from, Duration to) {
        return from + Duration(static_cast<std::int64_t>(next() % static_cast<std::uint64_t>((to - from).count() + 1)));
    }
    Duration ms(int from, int to) { return time(milliseconds(from), milliseconds(to)); }
    template <class T>
    T& any(std::vector<T>& of) {
        return of[static_cast<std::size_t>(below(static_cast<int>(of.size())))];
    }

  private:
    std::uint64_t state_;
};

}  // namespace gantry::sim
