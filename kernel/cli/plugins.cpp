// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {

Outcome<int> plugins(const Session& session) {
    GANTRY_TRY(list, session.get("/v1/plugins"));
    Table table({"ROLE", "NAME", "PLUGIN", "VERSION", "STATE", "REQUIRED", "TRUST", "CRASHES", "CALLS", "SLOW",
                 "PENDING", "ADDRESS", "REASON"});
    for (const auto& plugin : items_of(list)) {
        const auto state = text_of(plugin, "state");
        table.add({text_of(plugin, "role"),
                   text_of(plugin, "name"),
                   text_of(plugin, "plugin"),
                   text_of(plugin, "version"),
                   {state, color_of_state(state)},
                   flag_of(plugin, "required") ? "yes" : "no",
                   text_of(plugin, "trust"),
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

Outcome<int> plugin_crashes(const Session& session, const std::string& name, const std::string& what) {
    GANTRY_TRY(answer, session.change("POST", "/v1/plugins/" + encode(name) + "/" + what));
    if (session.json()) {
        session.show(answer);
        return exit_status::kOk;
    }
    const auto title = text_of(answer, "plugin");
    session.say_line(what == "allow" ? title + ": its crashes do not count until its file changes or they are cleared"
                                     : title + ": its crashes are forgotten");
    session.note("gantryd acts on it when it starts next");
    return exit_status::kOk;
}

}  // namespace gantry::cli
