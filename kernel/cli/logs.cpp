// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "kernel/cli/commands.hpp"

namespace gantry::cli {

Outcome<int> logs(const Session& session, const std::string& instance, bool follow, std::optional<std::int64_t> tail) {
    std::string target = "/v1/instances/" + encode(instance) + "/logs";
    char joint = '?';
    if (follow) target += std::exchange(joint, '&') + std::string("follow=1");
    if (tail) target += std::exchange(joint, '&') + ("tail=" + std::to_string(*tail));
    GANTRY_TRY(stream, session.client().open(target));
    // A log that is followed may be quiet for as long as it likes; one that is read may not.
    const auto wait = follow ? milliseconds(std::chrono::hours(1)) : milliseconds(std::chrono::seconds(30));
    std::string bytes;
    while (true) {
        GANTRY_TRY(got, stream->read(bytes, wait));
        if (got == Client::Stream::Got::kEnd) return exit_status::kOk;
        if (got == Client::Stream::Got::kNothingYet && !follow) {
            return trouble(exit_status::kNotReady, Code::kDeadline,
                           "the log of " + instance + " did not go on for 30 s; try again");
        }
        session.say(bytes);
        std::fflush(stdout);
    }
}

}  // namespace gantry::cli
