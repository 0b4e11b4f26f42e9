// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/event_feed.hpp"

namespace gantry::cli {
namespace {

// Of a plugin with a process of its own: which, and how often it was started again.
std::string process_of(const json::value& plugin) {
    if (text_of(plugin, "isolation") != "process") return "gantryd";
    const auto pid = text_of(plugin, "pid"), restarts = text_of(plugin, "restarts");
    return (pid == "0" ? "none" : pid) + (restarts == "0" ? "" : ", restarts: " + restarts);
}

}  // namespace

Outcome<int> plugins(const Session& session) {
    GANTRY_TRY(list, session.get("/v1/plugins"));
    Table table({"ROLE", "NAME", "PLUGIN", "VERSION", "STATE", "REQUIRED", "TRUST", "PROCESS", "CRASHES", "CALLS",
                 "SLOW", "PENDING", "ADDRESS", "REASON"});
    for (const auto& plugin : items_of(list)) {
        const auto state = text_of(plugin, "state");
        table.add({text_of(plugin, "role"),
                   text_of(plugin, "name"),
                   text_of(plugin, "plugin"),
                   text_of(plugin, "version"),
                   {state, color_of_state(state)},
                   flag_of(plugin, "required") ? "yes" : "no",
                   text_of(plugin, "trust"),
                   process_of(plugin),
                   text_of(plugin, "crashes"),
                   text_of(plugin, "calls"),
                   text_of(plugin, "slow_calls"),
                   text_of(plugin, "operations_pending"),
                   text_of(plugin, "address"),
                   text_of(plugin, "reason")});
    }
    session.show(list, table, "no plugins");
    return exit_status::kOk;
}

namespace {

constexpr auto kRestart = std::chrono::seconds(30);

// What became of an exchange for which gantryd starts anew on itself: the event that tells.
Outcome<json::value> await_successor(const Session& session, std::int64_t after) {
    EventFeed feed(session, after);
    const auto deadline = Clock::now() + kRestart;
    while (Clock::now() < deadline) {
        GANTRY_TRY(event, feed.next(std::chrono::ceil<milliseconds>(deadline - Clock::now())));
        if (!event) continue;
        const auto kind = text_of(*event, "kind");
        if (kind == "plugin-exchanged" || kind == "configuration-changed") return std::move(*event);
        if (kind == "plugin-exchange-failed" || kind == "configuration-refused")
            return trouble(exit_status::kFailed, Code::kRefused, text_of(*event, "text"));
    }
    return trouble(
        exit_status::kNotReady, Code::kDeadline,
        "gantryd has not said within 30 s what became of it; see `gantry plugins` and `journalctl -u gantryd`");
}

// Of a change that gantryd has begun; nothing if it was done at once.
Outcome<std::optional<json::value>> settled(const Session& session, const json::value& answer) {
    if (!flag_of(answer, "restarts")) return std::nullopt;
    GANTRY_TRY(event, await_successor(session, number_of(answer, "after")));
    return std::optional<json::value>(std::move(event));
}

}  // namespace

Outcome<int> plugin_crashes(const Session& session, const std::string& name, const std::string& what) {
    GANTRY_TRY(answer, session.change("POST", "/v1/plugins/" + encode(name) + "/" + what));
    const auto title = text_of(answer, "plugin"), waits = text_of(answer, "waits");
    if (!session.json()) {
        session.say_line(what == "allow"
                             ? title + ": its crashes do not count until its file changes or they are cleared"
                             : title + ": its crashes are forgotten");
    }
    GANTRY_TRY(event, settled(session, answer));
    if (session.json()) {
        session.show(event ? *event : answer);
    } else if (event) {
        session.say_line(text_of(*event, "text"));
    } else if (!waits.empty()) {
        session.note(
            "what it runs as now stays until gantryd starts again: " + waits +
            "; systemctl restart gantryd, or end gantryd and start it as you did; containers run on meanwhile");
    } else if (flag_of(answer, "started")) {
        session.note("its process is being started again");
    }
    return exit_status::kOk;
}

Outcome<int> plugin_reload(const Session& session, const std::string& name, const std::string& file) {
    json::object body;
    if (!file.empty()) body["file"] = file;
    GANTRY_TRY(answer, session.change("POST", "/v1/plugins/" + encode(name) + "/reload", body));
    GANTRY_TRY(event, settled(session, answer));
    if (session.json())
        session.show(event ? *event : answer);
    else if (event)
        session.say_line(text_of(*event, "text"));
    else
        session.say_line(name + " is version " + text_of(answer, "version") + " now, in process " +
                         text_of(answer, "pid"));
    return exit_status::kOk;
}

Outcome<int> reload(const Session& session) {
    GANTRY_TRY(answer, session.change("POST", "/v1/reload"));
    GANTRY_TRY(event, settled(session, answer));
    if (session.json())
        session.show(event ? *event : answer);
    else
        session.say_line(event ? text_of(*event, "text") : "nothing in the configuration has changed");
    return exit_status::kOk;
}

}  // namespace gantry::cli
