// SPDX-License-Identifier: Apache-2.0
//
// Between the border's types and the kernel's. Views borrow, everything else copies.
#pragma once

#include <gantry/abi/base.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/base/result.hpp"
#include "kernel/base/units.hpp"
#include "kernel/host/least.hpp"
#include "kernel/host/roles.hpp"

namespace gantry::host {

inline std::string_view view(gantry_str s) {
    return s.ptr == nullptr ? std::string_view() : std::string_view(s.ptr, s.len);
}
inline std::string_view view(gantry_bytes b) {
    return b.ptr == nullptr ? std::string_view() : std::string_view(reinterpret_cast<const char*>(b.ptr), b.len);
}
// What a plugin says to people leaves for logs, events and errors through here alone.
inline constexpr std::size_t kTextMax = 4'096;
inline std::string line(std::string_view text, std::size_t most = kTextMax) { return one_line(text, most); }
inline std::string line(gantry_str text, std::size_t most = kTextMax) { return one_line(view(text), most); }

inline std::string copy(gantry_str s) { return std::string(view(s)); }
inline std::string copy(gantry_bytes b) { return std::string(view(b)); }
inline gantry_str str(std::string_view s) { return {s.data(), s.size()}; }
inline gantry_bytes bytes(std::string_view s) { return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()}; }

inline Labels copy_labels(const gantry_kv* list, std::size_t count) {
    Labels out;
    out.reserve(count);
    for (std::size_t i = 0; i < count; ++i) out.emplace_back(copy(list[i].key), copy(list[i].value));
    return out;
}
inline std::vector<gantry_kv> lower(const Labels& labels) {
    std::vector<gantry_kv> out;
    out.reserve(labels.size());
    for (const auto& [key, value] : labels) out.push_back({str(key), str(value)});
    return out;
}
inline std::vector<gantry_str> lower(const std::vector<std::string>& list) {
    std::vector<gantry_str> out;
    out.reserve(list.size());
    for (const std::string& item : list) out.push_back(str(item));
    return out;
}

// A struct of `size` bytes that a plugin filled in, as today's: members that an older border does not have are 0.
template <class T>
T grown(const void* raw, std::size_t size) {
    if (size < kLeast<T>) {
        throw std::runtime_error("it has " + std::to_string(size) + " bytes, expected at least " +
                                 std::to_string(kLeast<T>));
    }
    T out{};
    std::memcpy(&out, raw, std::min(size, sizeof(T)));
    return out;
}

// One that says its own size, as results and facts do; throws if it is too short, which makes an outcome unknown.
template <class T>
T result(const void* raw) {
    return grown<T>(raw, static_cast<const T*>(raw)->struct_size);
}

// An element of an array whose element size the plugin chose; throws if that is too short.
template <class T>
T element(const T* first, std::size_t size, std::size_t i) {
    return grown<T>(reinterpret_cast<const char*>(first) + i * size, size);
}

inline Code code_of(gantry_status status) {
    switch (status) {
        case GANTRY_UNSUPPORTED:
            return Code::kUnsupported;
        case GANTRY_INVALID:
            return Code::kInvalid;
        case GANTRY_NOT_FOUND:
            return Code::kNotFound;
        case GANTRY_EXISTS:
            return Code::kExists;
        case GANTRY_CONFLICT:
            return Code::kConflict;
        case GANTRY_FULL:
            return Code::kFull;
        case GANTRY_UNAVAILABLE:
            return Code::kUnavailable;
        case GANTRY_DEADLINE:
            return Code::kDeadline;
        case GANTRY_DENIED:
            return Code::kRefused;
        case GANTRY_OUTCOME_UNKNOWN:
            return Code::kUnknown;
        default:
            return Code::kFailed;
    }
}

inline std::string_view status_text(gantry_status status) {
    switch (status) {
        case GANTRY_CANCELLED:
            return "cancelled";
        case GANTRY_STALE:
            return "stale";
        case GANTRY_FAILED:
            return "failed, without a reason";
        case GANTRY_UNSUPPORTED:
            return "not offered by this plugin";
        default:
            return code_name(code_of(status));
    }
}

// A buffer for the text of one failure.
struct ErrorBuffer {
    char buffer[1024];
    gantry_error raw{sizeof(gantry_error), sizeof(buffer), buffer, 0, 0};
    std::string text(gantry_status status) const {
        const std::size_t n = raw.text_len <= sizeof(buffer) ? raw.text_len : sizeof(buffer);
        return n > 0 ? line(std::string_view(buffer, n)) : std::string(status_text(status));
    }
};

}  // namespace gantry::host
