// SPDX-License-Identifier: Apache-2.0
#include <map>

#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {

namespace {

// "2 ready, 1 lost"
std::string counted(const json::value& list, std::string_view key) {
    std::map<std::string, int> counts;
    for (const auto& item : items_of(list)) ++counts[text_of(item, key)];
    std::string out;
    for (const auto& [state, count] : counts) {
        if (!out.empty()) out += ", ";
        out += std::to_string(count) + " " + state;
    }
    return out.empty() ? "none" : out;
}

// What is not well, one line each. A service that somebody stopped is as it should be.
void show_worries(const Session& session, const json::value& list, std::string_view what, std::string_view key) {
    for (const auto& item : items_of(list)) {
        const auto state = text_of(item, key);
        if (state == "ready" || state == "stopped") continue;
        const auto reason = text_of(item, "reason");
        session.say_line("  " + std::string(what) + " " + text_of(item, "name") + " is " + state +
                         (reason.empty() ? "" : ": " + reason));
    }
}

Outcome<int> agent_status(const Session& session, const json::value& cluster) {
    GANTRY_TRY(node, session.get("/v1/node"));
    if (session.json()) {
        session.show(cluster);
        session.show(node);
        return exit_status::kOk;
    }
    session.say_line("node        " + text_of(node, "node"));
    session.say_line(flag_of(node, "connected") ? "controller  connected; ask there for services and nodes"
                                                : "controller  not connected; what runs here goes on running");
    session.say_line("copies      " + counted(json::object{{"items", items_of(node, "copies")}}, "state"));
    return exit_status::kOk;
}

}  // namespace

Outcome<int> status(const Session& session) {
    GANTRY_TRY(cluster, session.get("/v1/cluster"));
    if (text_of(cluster, "role") == "agent") return agent_status(session, cluster);
    GANTRY_TRY(node_list, session.get("/v1/nodes"));
    GANTRY_TRY(service_list, session.get("/v1/services"));
    GANTRY_TRY(instance_list, session.get("/v1/instances"));
    if (session.json()) {
        for (const auto* document : {&cluster, &node_list, &service_list, &instance_list}) session.show(*document);
        return exit_status::kOk;
    }
    session.say_line("cluster     " + text_of(cluster, "cluster_id") + ", term " + text_of(cluster, "term"));
    session.say_line("controller  " + text_of(cluster, "controller") + ", gantryd " + text_of(cluster, "version"));
    session.say_line("nodes       " + counted(node_list, "liveness"));
    show_worries(session, node_list, "node", "liveness");
    session.say_line("services    " + counted(service_list, "state"));
    show_worries(session, service_list, "service", "state");
    session.say_line("instances   " + counted(instance_list, "state"));
    return exit_status::kOk;
}

Outcome<int> version(const Session& session) {
    const auto cluster = session.get("/v1/cluster");
    const auto daemon = cluster ? text_of(*cluster, "version") : std::string();
    if (session.json()) {
        json::object out{{"gantry", GANTRY_VERSION}};
        if (!daemon.empty()) out["gantryd"] = daemon;
        session.show(out);
        return exit_status::kOk;
    }
    session.say_line("gantry " GANTRY_VERSION);
    session.say_line(daemon.empty() ? "gantryd: not reached at " + session.client().socket() : "gantryd " + daemon);
    return exit_status::kOk;
}

}  // namespace gantry::cli
