// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

int status_of(Code code) {
    switch (code) {
        case Code::kNotFound:
            return exit_status::kNotFound;
        case Code::kDeadline:
            return exit_status::kNotReady;
        default:
            return exit_status::kFailed;
    }
}

std::unexpected<Trouble> trouble(int status, Code code, std::string message, std::string where) {
    return std::unexpected(Trouble(status, Error{code, std::move(message), std::move(where)}));
}

std::unexpected<Trouble> interrupted_trouble() {
    return trouble(exit_status::kInterrupted, Code::kFailed, "interrupted");
}

}  // namespace gantry::cli
