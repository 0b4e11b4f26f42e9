// SPDX-License-Identifier: Apache-2.0
//
// The keys of a manifest's [[probe]] that are a plugin's, read with their types.
#pragma once

#include <gantry/probe.hpp>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace probe_endpoint {

// Everything throws gantry::Failure(kInvalid) with one line that names the key, what was expected and what was got.
class Params {
  public:
    // known: the plugin's keys. One that is none of them but nearly is taken for a slip; others may be somebody else's.
    Params(const gantry::Labels& given, std::initializer_list<std::string_view> known);

    bool has(std::string_view key) const { return find(key) != nullptr; }
    std::string text(std::string_view key, std::string_view usual = {}) const;
    bool flag(std::string_view key) const;  // false if it is not there
    // As the manifest has it, `key = ["a", "b"]`; none if it is not there.
    std::vector<std::string> list(std::string_view key) const;

  private:
    const std::string* find(std::string_view key) const;

    const gantry::Labels& given_;
};

}  // namespace probe_endpoint
