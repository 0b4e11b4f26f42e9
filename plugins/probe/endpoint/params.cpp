// SPDX-License-Identifier: Apache-2.0
#include "plugins/probe/endpoint/params.hpp"

#include <algorithm>
#include <boost/json.hpp>
#include <numeric>

namespace probe_endpoint {
namespace {

using gantry::Code;
using gantry::Failure;

[[noreturn]] void wrong(std::string_view key, const std::string& expected, const std::string& got) {
    throw Failure(Code::kInvalid,
                  "`" + std::string(key) + "`: expected " + expected + ", got \"" + got.substr(0, 80) + "\"");
}

// Letters to add, drop or change.
std::size_t slips(std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t before = std::exchange(row[0], i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t changed = before + (a[i - 1] == b[j - 1] ? 0 : 1);
            before = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, changed}));
        }
    }
    return row.back();
}

}  // namespace

Params::Params(const gantry::Labels& given, std::initializer_list<std::string_view> known) : given_(given) {
    for (const auto& [key, value] : given) {
        if (std::find(known.begin(), known.end(), key) != known.end()) continue;
        for (const std::string_view one : known) {
            if (slips(key, one) > (one.size() < 5 ? 1u : 2u)) continue;
            throw Failure(Code::kInvalid, "unknown key `" + key + "`, did you mean `" + std::string(one) + "`?");
        }
    }
}

const std::string* Params::find(std::string_view key) const {
    const auto at = std::find_if(given_.begin(), given_.end(), [&](const auto& one) { return one.first == key; });
    return at == given_.end() ? nullptr : &at->second;
}

std::string Params::text(std::string_view key, std::string_view usual) const {
    const std::string* value = find(key);
    if (value == nullptr) return std::string(usual);
    const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
    if (std::any_of(value->begin(), value->end(), control)) wrong(key, "a text without control characters", *value);
    return *value;
}

bool Params::flag(std::string_view key) const {
    const std::string* value = find(key);
    if (value == nullptr || *value == "false") return false;
    if (*value != "true") wrong(key, "true or false", *value);
    return true;
}

std::vector<std::string> Params::list(std::string_view key) const {
    const std::string* value = find(key);
    if (value == nullptr) return {};
    boost::json::error_code error;
    const boost::json::value read = boost::json::parse(*value, error);
    std::vector<std::string> out;
    if (!error && read.is_array()) {
        for (const boost::json::value& item : read.get_array()) {
            if (item.is_string()) out.emplace_back(item.get_string());
        }
        if (out.size() == read.get_array().size()) return out;
    }
    wrong(key, "a list of texts ([\"a\", \"b\"])", *value);
}

}  // namespace probe_endpoint
