// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "kernel/base/limits.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/event_feed.hpp"

namespace gantry::cli {

namespace {

constexpr std::int64_t kBeforeFollowing = 20;  // events shown before those that come
constexpr std::int64_t kEvents = limits::kEvents;

bool wanted(const json::value& event, const EventsOptions& options) {
    const auto* fields = member_of(event, "fields");
    const json::value& place = fields ? *fields : event;
    if (!options.service.empty()) {
        const bool its_instance = text_of(place, "instance").starts_with(options.service + ".");
        if (text_of(place, "service") != options.service && !its_instance) return false;
    }
    return options.node.empty() || text_of(place, "node") == options.node;
}

void show_event(const Session& session, const json::value& event) {
    if (session.json()) return session.show(event);
    auto kind = text_of(event, "kind");
    kind.resize(std::max<std::size_t>(kind.size(), 18), ' ');
    const auto* fields = member_of(event, "fields");
    const auto who = fields ? text_of(*fields, "by") : std::string();
    session.say_line(local_time(text_of(event, "time"), true) + "  " + kind + "  " + text_of(event, "text") +
                     (who.empty() ? "" : " (by " + who + ")"));
}

}  // namespace

Outcome<int> events(const Session& session, const EventsOptions& options) {
    std::int64_t after = options.after.value_or(0);
    // With --follow the feed gives everything after --after itself.
    if (!(options.follow && options.after)) {
        const auto limit = options.follow ? std::min(kBeforeFollowing, options.limit) : options.limit;
        // The limit is of those that are wanted, so where not all are, all are looked at.
        const bool all = options.service.empty() && options.node.empty();
        const auto asked = all ? std::min(limit, kEvents) : kEvents;
        GANTRY_TRY(list, session.get("/v1/events?after=" + std::to_string(after) + "&limit=" + std::to_string(asked)));
        std::vector<const json::value*> found;
        for (const auto& event : items_of(list)) {
            after = std::max(after, number_of(event, "number"));
            if (wanted(event, options)) found.push_back(&event);
        }
        const auto skip = found.size() - std::min(found.size(), static_cast<std::size_t>(limit));
        for (std::size_t i = skip; i < found.size(); ++i) show_event(session, *found[i]);
    }
    if (!options.follow) return exit_status::kOk;
    EventFeed feed(session, after);
    while (true) {
        GANTRY_TRY(event, feed.next(std::chrono::hours(1)));
        if (event && wanted(*event, options)) show_event(session, *event);
    }
}

}  // namespace gantry::cli
