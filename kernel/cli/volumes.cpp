// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/volumes.hpp"

#include "kernel/cli/document.hpp"

namespace gantry::cli {

Outcome<int> volumes(const Session& session) {
    GANTRY_TRY(list, session.get("/v1/volumes"));
    Table table({"NAME", "USED BY", "PATH"});
    for (const auto& volume : items_of(list)) {
        std::string users;
        if (const auto* who = member_of(volume, "used_by"); who && who->is_array())
            for (const auto& container : who->get_array()) users += (users.empty() ? "" : " ") + written(container);
        table.add({text_of(volume, "name"), users, text_of(volume, "path")});
    }
    session.show(list, table, "no volumes on this node: a manifest makes one with [[mount]] source = \"NAME\"");
    return exit_status::kOk;
}

Outcome<int> volume_remove(const Session& session, const std::string& name) {
    GANTRY_TRY(answer, session.change("DELETE", "/v1/volumes/" + encode(name)));
    if (session.json()) {
        session.show(answer);
    } else {
        session.say_line("volume " + name + " is removed, with what was in it");
    }
    return exit_status::kOk;
}

}  // namespace gantry::cli
