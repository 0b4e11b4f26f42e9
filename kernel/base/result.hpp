// SPDX-License-Identifier: Apache-2.0
//
// Result and Error: how everything in kernel/ reports failure.
#pragma once

#include <cstdint>
#include <expected>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace gantry {

// Stable codes: they appear in API answers as text (code_name) and decide exit statuses and HTTP codes.
enum class Code : std::uint8_t {
    kInvalid,      // the input is wrong; the same input fails again
    kNotFound,     // no such thing
    kExists,       // there is one already
    kConflict,     // it changed meanwhile, or is in use
    kRefused,      // not allowed by a rule or to this caller
    kUnsupported,  // not offered (yet, or here)
    kFull,         // a limit or a disk
    kUnavailable,  // cannot be reached now
    kDeadline,     // took too long
    kUnknown,      // it may have happened or not
    kFailed,       // everything else
};

std::string_view code_name(Code code);

// One failure. The grammar of `message`: what failed, expected, got, what to do. `where` is a place a person can go
// to: "gantry.toml:12:3", "placement.nodes[1]".
struct Error {
    Code code = Code::kFailed;
    std::string message;
    std::string where{};
    bool retry = false;                    // the same request may succeed later
    std::shared_ptr<const Error> cause{};  // what led to it

    // "where: message: because of cause", on one line.
    std::string text() const;
};

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> fail(Code code, std::string message, std::string where = {}) {
    return std::unexpected(
        Error{code, std::move(message), std::move(where), code == Code::kUnavailable || code == Code::kFull, {}});
}

// A new error that keeps `cause`, with its code.
std::unexpected<Error> fail_because(std::string message, Error cause);

}  // namespace gantry

// GANTRY_TRY(name, expression): name becomes the value, or the function returns the error.
// GANTRY_CHECK(expression): the same without a value.
#define GANTRY_TRY_JOIN2(a, b) a##b
#define GANTRY_TRY_JOIN(a, b) GANTRY_TRY_JOIN2(a, b)
#define GANTRY_TRY(name, expression)                                                   \
    auto GANTRY_TRY_JOIN(result_, __LINE__) = (expression);                            \
    if (!GANTRY_TRY_JOIN(result_, __LINE__))                                           \
        return std::unexpected(std::move(GANTRY_TRY_JOIN(result_, __LINE__)).error()); \
    auto name = std::move(*GANTRY_TRY_JOIN(result_, __LINE__))
#define GANTRY_CHECK(expression)                                                                       \
    do {                                                                                               \
        if (auto result_ = (expression); !result_) return std::unexpected(std::move(result_).error()); \
    } while (false)
