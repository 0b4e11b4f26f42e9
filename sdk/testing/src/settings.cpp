// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>

#include <algorithm>
#include <gantry/elf/reader.hpp>
#include <gantry/status.hpp>
#include <gantry/testing/settings.hpp>

namespace gantry::testing {
namespace {

void take_text(Settings::Value& value, const std::string& text) {
    const auto type = static_cast<elf::ValueType>(value.type);
    if (type == elf::ValueType::kString) {
        value.string = text;
    } else if (type == elf::ValueType::kBoolean) {
        value.integer = text == "true" ? 1 : 0;
    } else if (type == elf::ValueType::kNumber) {
        value.number = std::stod(text);
    } else {
        value.integer = std::stoll(text);
    }
}

}  // namespace

Settings& Settings::put(Value value) {
    std::erase_if(values_, [&](const Value& v) { return v.key == value.key; });
    values_.push_back(std::move(value));
    return *this;
}

Settings& Settings::string(std::string key, std::string value) {
    return put({std::move(key), GANTRY_CONFIG_STRING, true, 0, 0, std::move(value), {}});
}
Settings& Settings::integer(std::string key, std::int64_t value) {
    return put({std::move(key), GANTRY_CONFIG_INTEGER, true, value, 0, {}, {}});
}
Settings& Settings::number(std::string key, double value) {
    return put({std::move(key), GANTRY_CONFIG_NUMBER, true, 0, value, {}, {}});
}
Settings& Settings::boolean(std::string key, bool value) {
    return put({std::move(key), GANTRY_CONFIG_BOOLEAN, true, value ? 1 : 0, 0, {}, {}});
}
Settings& Settings::duration(std::string key, Duration value) {
    return put({std::move(key), GANTRY_CONFIG_DURATION, true, value.count(), 0, {}, {}});
}
Settings& Settings::size(std::string key, std::int64_t bytes) {
    return put({std::move(key), GANTRY_CONFIG_SIZE, true, bytes, 0, {}, {}});
}
Settings& Settings::list(std::string key, std::vector<std::string> value) {
    return put({std::move(key), GANTRY_CONFIG_LIST, true, 0, 0, {}, std::move(value)});
}
Settings& Settings::name(std::string value) {
    name_ = std::move(value);
    return *this;
}
Settings& Settings::state_dir(std::string value) {
    state_dir_ = std::move(value);
    return *this;
}

void Settings::apply_schema_of(const std::string& file) {
    const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    const elf::Reading reading = elf::read_plugin(fd.get());
    if (reading.fault != elf::Fault::kNone) throw Failure(Code::kInvalid, file + ": " + reading.text);
    const auto& schema = reading.note.config;
    for (const Value& value : values_) {
        const auto key = std::ranges::find(schema, value.key, &elf::ConfigKey::name);
        if (key == schema.end()) throw Failure(Code::kInvalid, "unknown key '" + value.key + "'");
        if (static_cast<std::uint32_t>(key->type) != value.type) {
            throw Failure(Code::kInvalid, "'" + value.key + "' must be a " + std::string(value_type_name(key->type)));
        }
    }
    for (const elf::ConfigKey& key : schema) {
        if (std::ranges::find(values_, key.name, &Value::key) != values_.end()) continue;
        if (key.required) throw Failure(Code::kInvalid, "'" + key.name + "' is required");
        Value value{key.name, static_cast<std::uint32_t>(key.type), false, 0, 0, {}, {}};
        if (key.default_value) take_text(value, *key.default_value);
        if (key.default_list) value.list = *key.default_list;
        if (key.default_value || key.default_list) values_.push_back(std::move(value));
    }
}

}  // namespace gantry::testing
