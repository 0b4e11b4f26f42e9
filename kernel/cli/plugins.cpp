// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {

Outcome<int> plugins(const Session& session) {
    GANTRY_TRY(list, session.get("/v1/plugins"));
    Table table(
        {"ROLE", "NAME", "PLUGIN", "VERSION", "STATE", "REQUIRED", "CALLS", "SLOW", "PENDING", "ADDRESS", "REASON"});
    for (const auto& plugin : items_of(list)) {
        const auto state = text_of(plugin, "state");
        table.add({text_of(plugin, "role"),
                   text_of(plugin, "name"),
                   text_of(plugin, "plugin"),
                   text_of(plugin, "version"),
                   {state, color_of_state(state)},
                   flag_of(plugin, "required") ? "yes" : "no",
                   text_of(plugin, "calls"),
                   text_of(plugin, "slow_calls"),
                   text_of(plugin, "operations_pending"),
                   text_of(plugin, "address"),
                   text_of(plugin, "reason")});
    }
    session.show(list, table, "no plugins");
    return exit_status::kOk;
}

}  // namespace gantry::cli
