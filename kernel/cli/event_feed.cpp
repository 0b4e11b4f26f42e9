// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/event_feed.hpp"

#include <algorithm>

#include "kernel/cli/document.hpp"

namespace gantry::cli {

namespace {
constexpr auto kPatience = std::chrono::seconds(30);  // how long gantryd may be away
constexpr auto kRetry = milliseconds(200);
}  // namespace

// True: there is a stream. False: not yet, and `deadline` passed.
Outcome<bool> EventFeed::connected(Clock::time_point deadline) {
    while (!stream_) {
        auto stream = session_.client().open("/v1/events?follow=1&after=" + std::to_string(after_));
        if (stream) {
            stream_ = std::move(*stream);
            parser_ = SseParser();
            away_since_.reset();
            return true;
        }
        // Only a feed that was there before is waited for: at the start the user wants to hear at once.
        const bool may_come_back = stream.error().status == exit_status::kUnreachable ||
                                   stream.error().error.code == Code::kUnknown ||
                                   stream.error().error.code == Code::kUnavailable;
        if (!away_since_ || !may_come_back || Clock::now() - *away_since_ > kPatience) {
            return std::unexpected(std::move(stream).error());
        }
        if (wait_for(-1, 0, std::min(deadline, Clock::now() + kRetry)) == Waited::kInterrupted) {
            return interrupted_trouble();
        }
        if (Clock::now() >= deadline) return false;
    }
    return true;
}

// Whether the stream goes on.
Outcome<bool> EventFeed::take(const std::string& bytes) {
    GANTRY_TRY(texts, parser_.feed(bytes));
    for (const auto& text : texts) {
        auto event = parse_json(text);
        if (!event || !event->is_object()) {
            return trouble(exit_status::kFailed, Code::kFailed,
                           "cannot read an event: expected a JSON object, got \"" + text.substr(0, 64) + "\"");
        }
        after_ = std::max(after_, number_of(*event, "number", after_));
        waiting_.push_back(std::move(*event));
    }
    return true;
}

Outcome<std::optional<json::value>> EventFeed::next(milliseconds wait) {
    const auto deadline = Clock::now() + wait;
    std::string bytes;
    while (waiting_.empty()) {
        GANTRY_TRY(there, connected(deadline));
        if (!there) return std::nullopt;
        const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
        const auto got = stream_->read(bytes, std::max(left, milliseconds(0)));
        if (!got && got.error().status == exit_status::kInterrupted) return std::unexpected(got.error());
        if (!got || *got == Client::Stream::Got::kEnd) {
            stream_.reset();
            // A stream that ends as soon as it begins is not asked for in a busy loop.
            if (wait_for(-1, 0, std::min(deadline, Clock::now() + kRetry)) == Waited::kInterrupted) {
                return interrupted_trouble();
            }
            if (!away_since_) away_since_ = Clock::now();
            if (Clock::now() >= deadline) return std::nullopt;
            continue;
        }
        if (*got == Client::Stream::Got::kNothingYet) return std::nullopt;
        GANTRY_CHECK(take(bytes));
    }
    auto event = std::move(waiting_.front());
    waiting_.pop_front();
    return event;
}

Outcome<std::int64_t> last_event(const Session& session) {
    GANTRY_TRY(list, session.get("/v1/events?limit=1"));
    std::int64_t last = 0;
    for (const auto& event : items_of(list)) last = std::max(last, number_of(event, "number"));
    return last;
}

}  // namespace gantry::cli
