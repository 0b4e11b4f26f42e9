// SPDX-License-Identifier: Apache-2.0
//
// Status and Failure: how a plugin reports what went wrong. A method may throw; the layer turns any exception into a
// status with its text, so that nothing crosses the border but numbers and bytes.
//
// Names of this layer live in an inline namespace: a program that links code built with two versions of these headers
// keeps them apart.
#pragma once

#include <gantry/abi/base.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace gantry::inline v1 {

enum class Code : gantry_status {
    kOk = GANTRY_OK,
    kUnsupported = GANTRY_UNSUPPORTED,  // this use of the slot is not offered
    kInvalid = GANTRY_INVALID,          // an argument or the configuration is wrong; a retry cannot help
    kNotFound = GANTRY_NOT_FOUND,
    kExists = GANTRY_EXISTS,
    kConflict = GANTRY_CONFLICT,        // something changed since the caller looked
    kFull = GANTRY_FULL,                // queue, disk, quota; a retry may help
    kUnavailable = GANTRY_UNAVAILABLE,  // not reachable now; a retry may help
    kDeadline = GANTRY_DEADLINE,
    kCancelled = GANTRY_CANCELLED,
    kStale = GANTRY_STALE,  // a finished operation, a stopped plugin, an old handle
    kDenied = GANTRY_DENIED,
    kFailed = GANTRY_FAILED,            // everything else
    kUnknown = GANTRY_OUTCOME_UNKNOWN,  // it may have happened or not
};

// A code, and a text for people if it is not kOk.
class Status {
  public:
    Status() = default;
    Status(Code code, std::string text = {}) : code_(code), text_(std::move(text)) {}

    Code code() const noexcept { return code_; }
    const std::string& text() const noexcept { return text_; }
    bool ok() const noexcept { return code_ == Code::kOk; }
    explicit operator bool() const noexcept { return ok(); }

  private:
    Code code_ = Code::kOk;
    std::string text_;
};

// Thrown by plugin code (and by this layer) to end a slot with a chosen code.
class Failure : public std::runtime_error {
  public:
    Failure(Code code, const std::string& text) : std::runtime_error(text), code_(code) {}
    explicit Failure(const Status& status) : Failure(status.code(), status.text()) {}

    Code code() const noexcept { return code_; }
    Status status() const { return {code_, what()}; }

  private:
    Code code_;
};

namespace detail {

// Inside a catch block: what is being handled, as code and text. `keep` is called with both while the text lives.
template <class F>
void describe_exception(F&& keep) noexcept {
    try {
        throw;
    } catch (const Failure& failure) {
        keep(failure.code(), std::string_view(failure.what()));
    } catch (const std::bad_alloc&) {
        keep(Code::kFailed, std::string_view("out of memory"));
    } catch (const std::exception& exception) {
        keep(Code::kFailed, std::string_view(exception.what()));
    } catch (...) {
        keep(Code::kFailed, std::string_view("an exception that is no std::exception"));
    }
}

// Writes text into a caller's error buffer, cut where it ends (never inside a UTF-8 character).
inline void write_error(gantry_error* error, std::string_view text) noexcept {
    if (error == nullptr || error->text == nullptr) return;
    std::size_t n = std::min<std::size_t>(text.size(), error->text_cap);
    if (n < text.size()) {
        while (n > 0 && (static_cast<unsigned char>(text[n]) & 0xC0u) == 0x80u) --n;
    }
    if (n > 0) std::memcpy(error->text, text.data(), n);
    error->text_len = static_cast<std::uint32_t>(n);
}

// Runs one slot: an exception becomes a status and its text.
template <class F>
gantry_status guarded(gantry_error* error, F&& body) noexcept {
    try {
        body();
        return GANTRY_OK;
    } catch (...) {
        gantry_status status = GANTRY_FAILED;
        describe_exception([&](Code code, std::string_view text) {
            status = code == Code::kOk ? GANTRY_FAILED : static_cast<gantry_status>(code);
            write_error(error, text);
        });
        return status;
    }
}

}  // namespace detail
}  // namespace gantry::inline v1
