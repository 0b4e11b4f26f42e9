// SPDX-License-Identifier: Apache-2.0
//
// Config: the instance's table of the configuration file, already checked against plugin.toml by the host. It owns
// its values; keep a copy if you need it after init.
//
// A getter throws Failure(kInvalid) for a key that is absent (optional, without default, not written) or of another
// type, which both are mistakes of the plugin: ask has() first for keys without a default.
#pragma once

#include <gantry/abi/entry.h>

#include <gantry/status.hpp>
#include <gantry/view.hpp>
#include <map>

namespace gantry::inline v1 {

class Config {
  public:
    Config() = default;
    explicit Config(const gantry_config& raw) : name_(text(raw.name)), state_dir_(text(raw.state_dir)) {
        for (std::size_t i = 0; i < raw.count; ++i) {
            const gantry_config_value& v = *detail::element(raw.values, raw.value_size, i);
            values_[text(v.key)] = {v.type,   v.given != 0,   v.integer,
                                    v.number, text(v.string), texts(v.list, v.list_len)};
        }
    }

    // The table's name ("least-loaded" of [placement.least-loaded]).
    const std::string& name() const noexcept { return name_; }
    // An existing folder of this instance alone, kept over restarts.
    const std::string& state_dir() const noexcept { return state_dir_; }

    bool has(std::string_view key) const { return values_.find(key) != values_.end(); }
    // Written by the operator, not filled in from the default.
    bool given(std::string_view key) const {
        auto it = values_.find(key);
        return it != values_.end() && it->second.given;
    }

    const std::string& string(std::string_view key) const { return at(key, GANTRY_CONFIG_STRING).string; }
    std::int64_t integer(std::string_view key) const { return at(key, GANTRY_CONFIG_INTEGER).integer; }
    double number(std::string_view key) const { return at(key, GANTRY_CONFIG_NUMBER).number; }
    bool boolean(std::string_view key) const { return at(key, GANTRY_CONFIG_BOOLEAN).integer != 0; }
    Duration duration(std::string_view key) const { return Duration(at(key, GANTRY_CONFIG_DURATION).integer); }
    // Bytes.
    std::int64_t size(std::string_view key) const { return at(key, GANTRY_CONFIG_SIZE).integer; }
    const std::vector<std::string>& list(std::string_view key) const { return at(key, GANTRY_CONFIG_LIST).list; }

  private:
    struct Value {
        std::uint32_t type = 0;
        bool given = false;
        std::int64_t integer = 0;
        double number = 0;
        std::string string;
        std::vector<std::string> list;
    };

    const Value& at(std::string_view key, std::uint32_t type) const {
        auto it = values_.find(key);
        if (it == values_.end())
            throw Failure(Code::kInvalid, "configuration: no value for '" + std::string(key) + "'");
        if (it->second.type != type) {
            throw Failure(Code::kInvalid, "configuration: '" + std::string(key) + "' is declared with another type");
        }
        return it->second;
    }

    std::string name_, state_dir_;
    std::map<std::string, Value, std::less<>> values_;
};

}  // namespace gantry::inline v1
