// SPDX-License-Identifier: Apache-2.0
//
// gantry drill: begins it, follows the event log, and tells what the figures of the moves are.
#include <algorithm>
#include <map>

#include "kernel/base/units.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/event_feed.hpp"

namespace gantry::cli {

namespace {

constexpr auto kLongest = std::chrono::hours(1);
constexpr milliseconds kLeast = std::chrono::seconds(5);  // what a short one broke is known by then

// What events said since the drill began.
struct Seen {
    std::string node;
    std::int64_t detected_ms = -1;             // from the node's last word to its loss
    bool gone = false;                         // lost, or it left
    bool back = false;                         // and ready again
    std::string failed;                        // its command
    std::map<std::string, std::string> away;   // instance -> epoch that was lost and has not moved yet
    std::map<std::string, json::value> moves;  // by number
    std::vector<std::string> broken;           // budgets

    bool complete() const {
        return away.empty() && std::ranges::all_of(moves, [](const auto& m) { return flag_of(m.second, "complete"); });
    }
};

void take(Seen& seen, const json::value& event) {
    const auto kind = text_of(event, "kind");
    const auto* fields = member_of(event, "fields");
    if (!fields) return;
    const bool its_own = text_of(*fields, "node") == seen.node;
    const auto instance = text_of(*fields, "instance");
    if (kind == "node-lost" && its_own && seen.detected_ms < 0) seen.detected_ms = number_of(*fields, "silent_ms", -1);
    if ((kind == "node-lost" || kind == "node-left") && its_own) {
        seen.gone = true;
        seen.back = false;
    }
    if ((kind == "node-ready" || kind == "node-returned") && its_own) seen.back = true;
    if (kind == "drill-failed" && its_own) seen.failed = text_of(event, "text");
    if (kind == "lost" && its_own) seen.away[instance] = text_of(*fields, "epoch");
    if (kind == "moved" || kind == "move-measured") {
        if (text_of(*fields, "from") != seen.node) return;
        seen.away.erase(instance);
        seen.moves[text_of(*fields, "move")] = *fields;
    }
    if (kind == "budget-exceeded" && seen.moves.contains(text_of(*fields, "move")))
        seen.broken.push_back(text_of(event, "text"));
}

void show(const Session& session, const DrillOptions& options, const Seen& seen, const char* verdict) {
    if (session.json()) {
        json::array moves, broken(seen.broken.begin(), seen.broken.end()), away;
        for (const auto& [number, move] : seen.moves) moves.push_back(move);
        for (const auto& [instance, epoch] : seen.away) away.emplace_back(instance);
        json::object out{{"node", options.node}, {"kind", options.kind}, {"verdict", verdict}};
        out["detected_ms"] = seen.detected_ms < 0 ? json::value() : json::value(seen.detected_ms);
        out["moves"] = std::move(moves);
        out["away"] = std::move(away);
        out["broken"] = std::move(broken);
        return session.show(out);
    }
    session.say_line(seen.detected_ms < 0
                         ? options.node + " was not lost"
                         : options.node + " was lost " + format_duration(milliseconds(seen.detected_ms)) +
                               " after its last word");
    Table table({"INSTANCE", "TO", "GAP", "OVERLAP"});
    for (const auto& [number, move] : seen.moves) {
        const auto overlap = figure_text(member_of(move, "overlap"));
        const bool again = number_of(move, "epoch") == number_of(move, "from_epoch");
        table.add({text_of(move, "instance"), text_of(move, "to"), figure_text(member_of(move, "gap")),
                   overlap.empty() && !again ? "not known" : overlap});
    }
    if (seen.moves.empty())
        session.say_line("nothing moved");
    else
        session.show(table);
    for (const auto& text : seen.broken) session.say_line(text);
}

}  // namespace

Outcome<int> drill(const Session& session, const DrillOptions& options) {
    const auto duration = parse_duration(options.duration);
    if (!duration) return trouble(exit_status::kUsage, Code::kInvalid, "--for: " + duration.error().message);
    if (*duration < std::chrono::seconds(1) || *duration > kLongest)
        return trouble(exit_status::kUsage, Code::kInvalid,
                       "--for: expected 1s to 1h, got " + format_duration(*duration));
    GANTRY_TRY(patience, timeout_of(options.timeout));
    GANTRY_TRY(after, last_event(session));
    const auto for_ms = std::chrono::ceil<milliseconds>(*duration);
    GANTRY_TRY(begun, session.change("POST", "/v1/nodes/" + encode(options.node) + "/drill",
                                     json::object{{"kind", options.kind}, {"for_ms", for_ms.count()}}));
    if (!session.json())
        session.say_line(options.node + ": drill " + options.kind + " for " + format_duration(*duration) + " begins");
    catch_interrupts();
    Seen seen;
    seen.node = options.node;
    EventFeed feed(session, after);
    // It is over when the time is, the node is back, and every move has its figures.
    const auto over = Clock::now() + std::max(for_ms, kLeast), limit = over + patience;
    while (seen.failed.empty() && Clock::now() < limit) {
        const bool settled = Clock::now() >= over && seen.complete() && (seen.back || !seen.gone);
        if (settled) break;
        GANTRY_TRY(event, feed.next(milliseconds(200)));
        if (event) take(seen, *event);
    }
    if (!seen.failed.empty()) return trouble(exit_status::kFailed, Code::kFailed, seen.failed);
    const bool late = !seen.complete() || (seen.gone && !seen.back);
    const char* verdict = !seen.broken.empty() ? "budget exceeded" : late ? "not back in time" : "passed";
    show(session, options, seen, verdict);
    if (seen.broken.empty() && !late) return exit_status::kOk;
    if (!seen.broken.empty())
        return trouble(exit_status::kNotReady, Code::kFailed,
                       std::to_string(seen.broken.size()) + " budgets broke in this drill");
    return trouble(
        exit_status::kNotReady, Code::kDeadline,
        options.node + " and what moved were not as before " + format_duration(patience) + " after the drill was over");
}

}  // namespace gantry::cli
