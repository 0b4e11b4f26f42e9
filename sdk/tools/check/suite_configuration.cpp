// SPDX-License-Identifier: Apache-2.0
//
// configuration: every key at its limits, with odd texts, of the wrong type; and keys that the plugin does not know.
// Only init is called: a value may be good and yet not fit the machine, which start would say.
#include <algorithm>

#include "sdk/tools/check/rig.hpp"

namespace gantry::check {
namespace {

using elf::ConfigKey;
using elf::ValueType;

// What init says to these settings: nothing if it takes them.
std::optional<std::string> refusal(Trial& trial, const testing::Settings& settings, const std::string& what) {
    Rig rig(trial);
    // The host would fill in defaults and check the schema; here the plugin alone is asked.
    try {
        rig.recorder.deaf = true;
        testing::Instance& instance = rig.host.load(entry_of(trial), settings);
        instance.stop();
        instance.destroy();
    } catch (const Failure& failure) {
        constexpr std::string_view kPrefix = "init: ";
        std::string text = failure.what();
        if (text.starts_with(kPrefix)) text.erase(0, kPrefix.size());
        expect(!text.empty(), "a sentence from init when it refuses " + what,
               "status " + std::to_string(static_cast<int>(failure.code())) + " without a text");
        return text;
    }
    return std::nullopt;
}

testing::Settings whole(Trial& trial) {
    testing::Settings out = settings_of(trial);
    out.apply_schema_of(trial.subject.file);
    return out;
}

void put_text(testing::Settings& out, const ConfigKey& key, const std::string& text) {
    switch (key.type) {
        case ValueType::kInteger:
            out.integer(key.name, std::stoll(text));
            break;
        case ValueType::kNumber:
            out.number(key.name, std::stod(text));
            break;
        case ValueType::kDuration:
            out.duration(key.name, Duration(std::stoll(text)));
            break;
        case ValueType::kSize:
            out.size(key.name, std::stoll(text));
            break;
        case ValueType::kBoolean:
            out.boolean(key.name, text == "true");
            break;
        case ValueType::kString:
            out.string(key.name, text);
            break;
        case ValueType::kList:
            out.list(key.name, {text});
            break;
    }
}

void take_limits(Trial& trial) {
    std::size_t tried = 0;
    const auto refused = [&](const ConfigKey& key, const std::string& value) {
        testing::Settings settings = whole(trial);
        put_text(settings, key, value);
        ++tried;
        return refusal(trial, settings, key.name + " = " + value);
    };
    for (const ConfigKey& key : trial.subject.reading.note.config) {
        std::vector<std::string> values;
        if (key.min) values.push_back(*key.min);
        if (key.max) values.push_back(*key.max);
        if (key.type == ValueType::kBoolean) values = {"true", "false"};
        for (const std::string& value : values) {
            const auto text = refused(key, value);
            expect(!text, "init takes " + key.name + " = " + value + ", which the schema allows", text.value_or(""));
        }
        // A choice may name a program that this machine has not: then a sentence is enough.
        for (const std::string& choice : key.choices) {
            if (const auto text = refused(key, choice)) trial.remark(key.name + " = " + choice + ": " + *text);
        }
    }
    if (tried == 0) throw Skipped{"the schema has no range, choice or boolean", false};
    trial.remark(std::to_string(tried) + " values");
}

void survive_texts(Trial& trial) {
    const std::vector<std::string> odd{
        "", " ", "\n", std::string(4'096, 'x'), "../../etc/passwd", "\xc3\xa4\xe2\x82\xac", "%s%n", "-1"};
    std::size_t tried = 0;
    for (const ConfigKey& key : trial.subject.reading.note.config) {
        const bool is_text = key.type == ValueType::kString || key.type == ValueType::kList;
        if (!is_text || !key.choices.empty()) continue;
        for (const std::string& text : odd) {
            testing::Settings settings = whole(trial);
            put_text(settings, key, text);
            refusal(trial, settings, key.name + " = '" + text.substr(0, 32) + "'");
            ++tried;
        }
    }
    if (tried == 0) throw Skipped{"the schema has no free texts", false};
}

void survive_types(Trial& trial) {
    const auto& schema = trial.subject.reading.note.config;
    if (schema.empty()) throw Skipped{"the schema has no keys", false};
    for (const ConfigKey& key : schema) {
        testing::Settings settings = whole(trial);
        if (key.type == ValueType::kString || key.type == ValueType::kList) {
            settings.integer(key.name, 7);
        } else {
            settings.string(key.name, "seven");
        }
        refusal(trial, settings, key.name + " of another type");
    }
}

void survive_unknown(Trial& trial) {
    testing::Settings settings = whole(trial);
    settings.string("a_key_of_the_future", "value");
    const auto text = refusal(trial, settings, "a key that it does not know");
    expect(!text, "init passes over keys that it does not know: a newer manifest may have them", text.value_or(""));
}

}  // namespace

void add_configuration(std::vector<Check>& out) {
    out.push_back(
        {"configuration.limits",
         "init takes the least and the greatest value of each range; a choice is taken or refused with a sentence.",
         "Write into plugin.toml the range that the code takes, so that operators hear of it with file and "
         "line.",
         {"lifecycle.again", "lifecycle.failed-start"},
         &take_limits,
         60});
    out.push_back({"configuration.texts",
                   "init survives odd texts; what it refuses it refuses with a sentence.",
                   "Check texts in init and throw Failure(kInvalid, what the operator must change).",
                   {"lifecycle.again", "lifecycle.failed-start"},
                   &survive_texts,
                   60});
    out.push_back({"configuration.types",
                   "init survives a value of another type than its schema says.",
                   "Read values through gantry::Config, or look at `type` before you use one.",
                   {"lifecycle.again", "lifecycle.failed-start"},
                   &survive_types,
                   60});
    out.push_back({"configuration.unknown-key",
                   "init passes over keys that it does not know.",
                   "Look your keys up by name; do not count them or rely on their order.",
                   {"lifecycle.again", "lifecycle.failed-start"},
                   &survive_unknown});
}

}  // namespace gantry::check
