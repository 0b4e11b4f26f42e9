// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <vector>

#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {

Outcome<int> history(const Session& session, const std::string& service) {
    GANTRY_TRY(list, session.get("/v1/services/" + encode(service) + "/history"));
    Table table({"REVISION", "STATE", "IMAGE", "INSTANCES", "COPIES", "NOTE"});
    for (const auto& revision : items_of(list)) {
        const auto state = text_of(revision, "state");
        const auto again = number_of(revision, "rollback_of");
        const auto failed_on = text_of(revision, "failed_on");
        std::string note = again != 0 ? "revision " + std::to_string(again) + " again" : "";
        if (!failed_on.empty()) note += (note.empty() ? "kept crashing on " : "; kept crashing on ") + failed_on;
        table.add({text_of(revision, "revision"),
                   {state, state == "failed" ? Color::kBad : Color::kNone},
                   text_of(revision, "image"),
                   text_of(revision, "instances"),
                   text_of(revision, "copies"),
                   note});
    }
    session.show(list, table, "no revisions");
    if (session.json()) return exit_status::kOk;
    std::vector<const json::value*> all;
    for (const auto& revision : items_of(list))
        for (const auto& move : items_of(revision, "moves")) all.push_back(&move);
    if (all.empty()) return exit_status::kOk;
    std::ranges::sort(all, std::greater(), [](const json::value* move) { return number_of(*move, "move"); });
    Table moves({"MOVE", "INSTANCE", "FROM", "TO", "REVISION", "GAP", "OVERLAP", "WHY"});
    for (const auto* move : all) {
        const bool again = number_of(*move, "epoch") == number_of(*move, "from_epoch");
        auto overlap = figure_text(member_of(*move, "overlap"));
        if (overlap.empty() && !again)
            overlap =
                flag_of(*move, "complete") ? "not known" : "not known until " + text_of(*move, "from") + " is back";
        moves.add({text_of(*move, "move"), text_of(*move, "instance"), text_of(*move, "from"), text_of(*move, "to"),
                   text_of(*move, "revision"), figure_text(member_of(*move, "gap")), overlap, text_of(*move, "why")});
    }
    session.show(moves);
    return exit_status::kOk;
}

Outcome<int> rollout(const Session& session, const std::string& service, const std::string& action,
                     std::int64_t revision) {
    json::object body;
    if (revision != 0) body["revision"] = revision;
    GANTRY_TRY(answer, session.change("POST", "/v1/services/" + encode(service) + "/" + action, std::move(body)));
    if (session.json()) {
        session.show(answer);
        return exit_status::kOk;
    }
    const std::string what = action == "pause"    ? ": no further instance is replaced until gantry resume " + service
                             : action == "resume" ? ": the rollout goes on"
                                                  : " goes back to revision " + text_of(answer, "rollback_of") +
                                                        ", as revision " + text_of(answer, "revision");
    session.say_line("service " + service + what);
    return exit_status::kOk;
}

namespace {

constexpr milliseconds kDiskSilence{150'000};  // a node has two minutes

// done: "is paused until gantry unpause axis_server.0", for people.
Outcome<int> order(const Session& session, const std::string& instance, const std::string& what,
                   const std::string& done) {
    GANTRY_TRY(answer, session.change("POST", "/v1/instances/" + encode(instance) + "/" + what, json::object()));
    if (session.json())
        session.show(answer);
    else
        session.say_line(instance + " on " + text_of(answer, "node") + " " + done);
    return exit_status::kOk;
}

}  // namespace

Outcome<int> pause(const Session& session, const std::string& target) {
    auto rolls = rollout(session, target, "pause", 0);
    const bool none = !rolls && rolls.error().status == exit_status::kNotFound;
    if (!none || target.find('.') == std::string::npos) return rolls;
    return order(session, target, "pause",
                 "is paused until gantry unpause " + target + "; it is not named, and no probe asks it");
}

Outcome<int> unpause(const Session& session, const std::string& instance) {
    return order(session, instance, "unpause", "goes on");
}

Outcome<int> checkpoint(const Session& session, const std::string& instance) {
    return order(
        session.patient(kDiskSilence), instance, "checkpoint",
        "lies on its node's disk until gantry restore " + instance + "; it is not named, and no probe asks it");
}

Outcome<int> restore(const Session& session, const std::string& instance) {
    return order(session.patient(kDiskSilence), instance, "restore", "goes on from its checkpoint");
}

Outcome<int> rebalance(const Session& session, std::int64_t at_once, bool dry_run) {
    const json::object body{{"at_once", at_once}};
    GANTRY_TRY(plan, session.change("POST", "/v1/rebalance?dry_run=1", body));
    Table table({"INSTANCE", "FROM", "TO"});
    const auto& moves = items_of(plan, "moves");
    for (const auto& move : moves) table.add({text_of(move, "instance"), text_of(move, "from"), text_of(move, "to")});
    if (session.json()) session.show(plan);
    if (moves.empty()) {
        if (!session.json())
            session.say_line("nothing to move: no node has two copies more than another that takes one");
        return exit_status::kOk;
    }
    if (!session.json()) {
        session.show(table);
        const auto ends = [&](const char* when) {
            const auto* range = member_of(plan, when);
            return range ? text_of(*range, "least") + " to " + text_of(*range, "most") : std::string("?");
        };
        session.say_line("copies of a node: " + ends("before") + " now, " + ends("after") + " then");
    }
    if (dry_run) return exit_status::kOk;
    GANTRY_TRY(begun, session.change("POST", "/v1/rebalance", body));
    if (session.json())
        session.show(begun);
    else
        session.say_line(std::to_string(items_of(begun, "moves").size()) + " copies move, " + std::to_string(at_once) +
                         " at a time");
    return exit_status::kOk;
}

}  // namespace gantry::cli
