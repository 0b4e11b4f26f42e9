// SPDX-License-Identifier: Apache-2.0
//
// Settings: the configuration table that a test gives to an instance.
#pragma once

#include <gantry/abi/entry.h>

#include <gantry/view.hpp>
#include <vector>

namespace gantry::testing {

class Settings {
  public:
    Settings& string(std::string key, std::string value);
    Settings& integer(std::string key, std::int64_t value);
    Settings& number(std::string key, double value);
    Settings& boolean(std::string key, bool value);
    Settings& duration(std::string key, Duration value);
    Settings& size(std::string key, std::int64_t bytes);
    Settings& list(std::string key, std::vector<std::string> value);
    // The table's name; by default "test".
    Settings& name(std::string value);
    // By default a folder of the fake host that is removed with it.
    Settings& state_dir(std::string value);

    struct Value {
        std::string key;
        std::uint32_t type = 0;
        bool given = true;
        std::int64_t integer = 0;
        double number = 0;
        std::string string;
        std::vector<std::string> list;
    };

    // Used by the fake host: fills in the defaults of the file's schema, and throws Failure(kInvalid) for what the
    // schema does not allow.
    void apply_schema_of(const std::string& file);
    const std::string& table_name() const { return name_; }
    const std::string& folder() const { return state_dir_; }
    const std::vector<Value>& values() const { return values_; }

  private:
    Settings& put(Value value);

    std::string name_ = "test", state_dir_;
    std::vector<Value> values_;
};

}  // namespace gantry::testing
