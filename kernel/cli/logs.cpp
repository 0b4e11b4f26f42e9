// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {
namespace {

constexpr auto kPatience = std::chrono::seconds(30);  // how long gantryd may be away
constexpr auto kRetry = milliseconds(200);
constexpr auto kQuiet = milliseconds(300);  // then all of a log that was there has come
constexpr std::size_t kLandmark = 4096;     // bytes shown last, by which the place is found again
constexpr std::size_t kSearched = 8 << 20;  // bytes in which it is looked for
constexpr std::int64_t kTail = 20'000;      // lines that are asked for then

// Shows a log. One that is followed goes on when gantryd comes back: where the bytes stand that were shown last.
class Log {
  public:
    Log(const Session& session, std::string instance, bool follow, std::int64_t since_ms)
        : session_(session), instance_(std::move(instance)), follow_(follow), since_ms_(since_ms) {}

    Outcome<int> show(std::optional<std::int64_t> tail) {
        GANTRY_TRY(stream, open(tail));
        while (true) {
            auto shown = show(*stream);
            const bool cut = !shown && follow_ && shown.error().error.code == Code::kUnknown;
            if (!cut) return shown;
            GANTRY_TRY(again, reopen(tail));
            stream = std::move(again);
            searching_ = !landmark_.empty();
        }
    }

  private:
    using Got = Client::Stream::Got;

    Outcome<std::unique_ptr<Client::Stream>> open(std::optional<std::int64_t> tail) const {
        std::string target = "/v1/instances/" + encode(instance_) + "/logs";
        char joint = '?';
        if (follow_) target += std::exchange(joint, '&') + std::string("follow=1");
        if (tail) target += std::exchange(joint, '&') + ("tail=" + std::to_string(*tail));
        if (since_ms_ != 0) target += std::exchange(joint, '&') + ("since_ms=" + std::to_string(since_ms_));
        return session_.client().open(target);
    }

    // While gantryd starts anew, its node is not connected yet.
    Outcome<std::unique_ptr<Client::Stream>> reopen(std::optional<std::int64_t> tail) const {
        const auto end = Clock::now() + kPatience;
        while (true) {
            auto stream = open(landmark_.empty() ? tail : kTail);
            if (stream) return stream;
            const auto& trouble = stream.error();
            const bool may_come = trouble.status == exit_status::kUnreachable || trouble.error.code == Code::kUnknown ||
                                  trouble.error.code == Code::kUnavailable;
            if (!may_come || Clock::now() > end) return stream;
            if (wait_for(-1, 0, Clock::now() + kRetry) == Waited::kInterrupted) return interrupted_trouble();
        }
    }

    // Until the stream ends.
    Outcome<int> show(Client::Stream& stream) {
        // A log that is followed may be quiet for as long as it likes; one that is read may not.
        const auto patience = follow_ ? milliseconds(std::chrono::hours(1)) : milliseconds(std::chrono::seconds(30));
        std::string bytes, found;
        while (true) {
            const auto got = stream.read(bytes, searching_ ? kQuiet : patience);
            const bool data = got && *got == Got::kData;
            if (searching_) {
                found += data ? bytes : "";
                if (data && found.size() < kSearched) continue;
                if (!found.empty()) say(behind_landmark(found));
                searching_ = found.empty();
            } else if (data) {
                say(bytes);
            }
            if (!got) return std::unexpected(got.error());
            if (*got == Got::kEnd) return exit_status::kOk;
            if (*got == Got::kNothingYet && !follow_) {
                return trouble(exit_status::kNotReady, Code::kDeadline,
                               "the log of " + instance_ + " did not go on for 30 s; try again");
            }
        }
    }

    std::string_view behind_landmark(std::string_view bytes) const {
        const auto at = bytes.rfind(landmark_);
        if (at != bytes.npos) return bytes.substr(at + landmark_.size());
        session_.note(
            "gantryd came back, and the log does not hold any more what was shown last: some of it is missing");
        return bytes;
    }

    void say(std::string_view bytes) {
        session_.say(bytes);
        std::fflush(stdout);
        landmark_ += bytes;
        if (landmark_.size() > kLandmark) landmark_.erase(0, landmark_.size() - kLandmark);
    }

    const Session& session_;
    const std::string instance_;
    const bool follow_;
    const std::int64_t since_ms_;
    std::string landmark_;
    bool searching_ = false;
};

// A duration is passed as such, so that it ends now by the clock of the node.
Outcome<std::int64_t> since_of(const std::string& text) {
    if (text.empty()) return 0;
    std::int64_t ms = 0;
    if (const auto duration = parse_duration(text)) {
        ms = -std::max<std::int64_t>(1, std::chrono::duration_cast<std::chrono::milliseconds>(*duration).count());
    } else if (const auto at = time_of(text)) {
        ms = std::chrono::duration_cast<std::chrono::milliseconds>(at->time_since_epoch()).count();
    }
    if (ms != 0 && ms >= -limits::kLogSince && ms <= limits::kLogSince) return ms;
    return trouble(exit_status::kUsage, Code::kInvalid,
                   "--since: expected a duration like 90s, 10m or 1.5h, or a time like 2026-11-30T14:57:05 (of this "
                   "place) or 2026-11-30T14:57:05Z, got \"" +
                       text.substr(0, 80) + "\"");
}

}  // namespace

Outcome<int> logs(const Session& session, const LogOptions& options) {
    GANTRY_TRY(since_ms, since_of(options.since));
    return Log(session, options.instance, options.follow, since_ms).show(options.tail);
}

}  // namespace gantry::cli
