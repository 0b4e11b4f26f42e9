// SPDX-License-Identifier: Apache-2.0
//
// Checks the table of an instance against the schema in its plugin's note, and fills in the defaults.
#pragma once

#include <gantry/abi/entry.h>

#include <gantry/elf/note.hpp>
#include <string>
#include <vector>

#include "kernel/host/host.hpp"

namespace gantry::host {

struct ConfigValue {
    std::string key;
    elf::ValueType type = elf::ValueType::kString;
    bool given = false;  // written by the operator
    std::int64_t integer = 0;
    double number = 0;
    std::string string;
    std::vector<std::string> list;
};

// Every key of the schema that has a value. The error's `where` is file:line:column of the value; what a secret says
// is never in a message.
Result<std::vector<ConfigValue>> check_table(const PluginTable& table, const std::vector<elf::ConfigKey>& schema);

// The border's form of checked values; borrows from them.
class LoweredConfig {
  public:
    LoweredConfig(const std::string& name, const std::string& state_dir, const std::vector<ConfigValue>& values);
    LoweredConfig(const LoweredConfig&) = delete;
    LoweredConfig& operator=(const LoweredConfig&) = delete;
    const gantry_config* get() const { return &raw_; }

  private:
    std::vector<std::vector<gantry_str>> lists_;
    std::vector<gantry_config_value> values_;
    gantry_config raw_{};
};

}  // namespace gantry::host
