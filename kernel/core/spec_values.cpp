// SPDX-License-Identifier: Apache-2.0
#include "kernel/core/spec_values.hpp"

#include <algorithm>
#include <cmath>
#include <span>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"

namespace gantry::core {

namespace {

template <class T>
Result<T> at(std::string where, Result<T> result) {
    if (!result) result.error().where = std::move(where);
    return result;
}

}  // namespace

std::string quoted(std::string_view text) {
    constexpr std::size_t kShown = 80;
    if (text.size() > kShown) return "a text of " + std::to_string(text.size()) + " bytes";
    return "\"" + std::string(text) + "\"";
}

std::string indexed(std::string_view path, std::size_t index) {
    return std::string(path) + "[" + std::to_string(index) + "]";
}

std::unexpected<Error> wrong(std::string where, std::string message) {
    return fail(Code::kInvalid, std::move(message), std::move(where));
}

std::unexpected<Error> too_many(std::string where, std::size_t got, std::size_t most) {
    return wrong(std::move(where), "has " + std::to_string(got) + " entries, expected at most " + std::to_string(most));
}

bool has_control(std::string_view text) {
    return std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

Result<std::string> choice(Fields& f, std::string_view key, Texts words) {
    GANTRY_TRY(text, f.text(key, std::string(*words.begin())));
    if (std::find(words.begin(), words.end(), text) != words.end()) return text;
    std::string expected;
    for (const auto word : words) expected += (expected.empty() ? "" : " or ") + quoted(word);
    std::string message = "expected " + expected + ", got " + quoted(text);
    if (const auto guess = nearest(text, std::span(words.begin(), words.size())))
        message += "; did you mean " + quoted(*guess) + "?";
    return wrong(f.path(key), std::move(message));
}

Result<std::string> name_or_empty(Fields& f, std::string_view key, std::string_view what) {
    GANTRY_TRY(text, f.text(key, ""));
    if (!text.empty())
        if (auto good = check_name(text, what); !good)
            return at<std::string>(f.path(key), std::unexpected(good.error()));
    return text;
}

Result<Duration> duration(Fields& f, std::string_view key, Duration fallback, Duration min, Duration max) {
    const auto* value = f.member(key);
    if (!value) {
        // A value that is no object at all is found out by the readers of texts.
        GANTRY_CHECK(f.text(key, ""));
        return fallback;
    }
    const std::string range = "from " + format_duration(min) + " to " + format_duration(max);
    if (!value->is_string())
        return wrong(f.path(key), "expected a duration " + range + " (\"1s\", \"200ms\"), got " + to_text(*value));
    GANTRY_TRY(parsed, at(f.path(key), parse_duration(std::string_view(value->get_string()))));
    if (parsed < min || parsed > max)
        return wrong(f.path(key), "expected a duration " + range + ", got " + quoted(value->get_string()));
    return parsed;
}

Result<std::int64_t> cpu(Fields& f, std::string_view key) {
    const auto* value = f.member(key);
    if (!value) return 0;
    constexpr double kMost = 1'000'000;
    if (value->is_string()) return at(f.path(key), parse_cpu(std::string_view(value->get_string())));
    const double cores = value->is_number() ? value->to_number<double>() : -1;
    if (!(cores >= 0 && cores <= kMost))
        return wrong(f.path(key), "expected cores from 0 to 1000000 (0.5, 2, \"250m\"), got " + to_text(*value));
    const double milli = cores * 1000;
    if (std::abs(milli - std::round(milli)) > 1e-6)
        return wrong(f.path(key), "expected cores no finer than a thousandth (0.001), got " + to_text(*value));
    return static_cast<std::int64_t>(std::llround(milli));
}

Result<std::int64_t> size(Fields& f, std::string_view key) {
    const auto* value = f.member(key);
    if (!value) return 0;
    if (value->is_string()) return at(f.path(key), parse_size(std::string_view(value->get_string())));
    boost::system::error_code ec;
    const auto bytes = value->to_number<std::int64_t>(ec);
    if (ec || bytes < 0 || bytes > (std::int64_t{1} << 53))
        return wrong(f.path(key), "expected a size (\"64MiB\" or bytes), got " + to_text(*value));
    return bytes;
}

Result<Labels> labels(Fields& f, std::string_view key, std::size_t most) {
    GANTRY_TRY(out, f.text_map(key));
    if (out.size() > most) return too_many(f.path(key), out.size(), most);
    for (const auto& [name, value] : out) {
        if (auto good = check_name(name, "label"); !good) return wrong(f.path(key), good.error().message);
        if (value.size() > limits::kLabelValue || has_control(value))
            return wrong(f.path(key) + "." + name, "expected at most " + std::to_string(limits::kLabelValue) +
                                                       " bytes without control characters");
    }
    return out;
}

Status environment(Fields& f, Labels& out) {
    GANTRY_TRY(env, f.text_map("env"));
    for (auto& [name, value] : env) {
        const std::string where = f.path("env") + "." + name;
        if (name.empty() || name.find('=') != std::string::npos || has_control(name))
            return wrong(f.path("env"),
                         "expected names of variables without = and control characters, got " + quoted(name));
        if (value.find('\0') != std::string::npos) return wrong(where, "has a zero byte, which no variable can hold");
        if (std::any_of(out.begin(), out.end(), [&](const auto& other) { return other.first == name; }))
            return wrong(where, "is given in `env` and in `container.env`; expected it once");
        out.emplace_back(std::move(name), std::move(value));
    }
    std::sort(out.begin(), out.end());
    if (out.size() > limits::kEnvironment) return too_many(f.path("env"), out.size(), limits::kEnvironment);
    return {};
}

Result<std::string> absolute_path(Fields& f, std::string_view key, bool required) {
    auto text = required ? f.text(key) : f.text(key, "");
    if (!text || (text->empty() && !required)) return text;
    if (!text->starts_with('/') || has_control(*text) || text->size() > limits::kPath)
        return wrong(f.path(key), "expected an absolute path (\"/data\") of at most " + std::to_string(limits::kPath) +
                                      " bytes, got " + quoted(*text));
    if ((*text + "/").find("/../") != std::string::npos)
        return wrong(f.path(key), "expected a path without \"..\", got " + quoted(*text));
    return text;
}

}  // namespace gantry::core
