// SPDX-License-Identifier: Apache-2.0
//
// Digest: a number of everything that the cores of a world wanted done and when. Two runs with the same digest were the
// same run.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "kernel/core/agent.hpp"
#include "kernel/core/controller.hpp"

namespace gantry::sim {

class Digest {
  public:
    void add(std::uint64_t n) {
        value_ = (value_ ^ n) * 0x9e3779b97f4a7c15ULL;
        value_ ^= value_ >> 29;
    }
    void add(std::string_view text) {
        add(text.size());
        for (; text.size() >= sizeof(std::uint64_t); text.remove_prefix(sizeof(std::uint64_t))) {
            std::uint64_t word = 0;
            std::memcpy(&word, text.data(), sizeof(word));
            add(word);
        }
        std::uint64_t rest = 0;
        text.copy(reinterpret_cast<char*>(&rest), text.size());  // an empty one may point to nothing
        add(rest);
    }
    void add(const core::Effects& effects);
    void add(const core::AgentEffects& effects);
    std::uint64_t value() const { return value_; }

  private:
    std::uint64_t value_ = 0x243f6a8885a308d3ULL;
};

}  // namespace gantry::sim
