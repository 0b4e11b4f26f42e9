// SPDX-License-Identifier: Apache-2.0
#include "kernel/base/result.hpp"

namespace gantry {

std::string_view code_name(Code code) {
    switch (code) {
        case Code::kInvalid:
            return "invalid";
        case Code::kNotFound:
            return "not_found";
        case Code::kExists:
            return "exists";
        case Code::kConflict:
            return "conflict";
        case Code::kRefused:
            return "refused";
        case Code::kUnsupported:
            return "unsupported";
        case Code::kFull:
            return "full";
        case Code::kUnavailable:
            return "unavailable";
        case Code::kDeadline:
            return "deadline";
        case Code::kUnknown:
            return "unknown";
        case Code::kFailed:
            return "failed";
    }
    return "failed";
}

std::string Error::text() const {
    std::string out = where.empty() ? message : where + ": " + message;
    if (cause) out += ": " + cause->text();
    return out;
}

std::unexpected<Error> fail_because(std::string message, Error cause) {
    Error error{cause.code, std::move(message), {}, cause.retry, {}};
    error.cause = std::make_shared<const Error>(std::move(cause));
    return std::unexpected(std::move(error));
}

}  // namespace gantry
