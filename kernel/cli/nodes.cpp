// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>

#include <chrono>
#include <thread>
#include "kernel/base/units.hpp"

#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {

namespace {

std::string cores(std::int64_t milli) {
    char text[32];
    std::snprintf(text, sizeof text, "%.2f", static_cast<double>(milli) / 1000);
    std::string out(text);
    while (out.ends_with('0')) out.pop_back();
    if (out.ends_with('.')) out.pop_back();
    return out;
}

std::string size_text(const json::value& node, std::string_view key) {
    const auto bytes = number_of(node, key, -1);
    return bytes < 0 ? "-" : format_size(bytes);
}

}  // namespace

Outcome<int> nodes(const Session& session) {
    GANTRY_TRY(list, session.get("/v1/nodes"));
    const auto& items = items_of(list);
    const bool reasons = std::any_of(items.begin(), items.end(),
                                     [](const json::value& node) { return !text_of(node, "reason").empty(); });
    std::vector<std::string> headers = {"NAME",   "STATE", "INTENT",  "COPIES", "CPU",
                                        "MEMORY", "FREE",  "ADDRESS", "HEARD",  "LOST AFTER"};
    if (reasons) headers.push_back("REASON");
    Table table(headers);
    for (const auto& node : items) {
        const auto state = text_of(node, "liveness");
        const auto intent = text_of(node, "intent");
        const auto heard = number_of(node, "heard_ms", -1), window = number_of(node, "lost_after_ms", -1);
        table.add({text_of(node, "name"),
                   {state, color_of_state(state)},
                   {intent, intent == "active" ? Color::kNone : Color::kBusy},
                   text_of(node, "copies"),
                   cores(number_of(node, "cpu_used_milli")) + "/" + cores(number_of(node, "cpu_milli")),
                   size_text(node, "memory_bytes"),
                   size_text(node, "memory_free_bytes"),
                   text_of(node, "address"),
                   heard < 0 ? "never" : age_text(heard) + " ago",
                   window < 0 ? "-" : format_duration(milliseconds(window)),
                   text_of(node, "reason")});
    }
    session.show(list, table, "no nodes yet: a gantryd with a [node] table joins by itself");
    return exit_status::kOk;
}

Outcome<int> node_remove(const Session& session, const std::string& name, bool dead) {
    GANTRY_TRY(answer, session.change("DELETE", "/v1/nodes/" + encode(name) + (dead ? "?dead=1" : "")));
    if (session.json()) {
        session.show(answer);
    } else {
        session.say_line("node " + name + " is forgotten");
    }
    return exit_status::kOk;
}

Outcome<int> node_confirm_lost(const Session& session, const std::vector<std::string>& names) {
    json::array list;
    for (const auto& name : names) list.emplace_back(name);
    GANTRY_TRY(answer, session.change("POST", "/v1/nodes/confirm-lost", json::object{{"nodes", std::move(list)}}));
    if (session.json()) {
        session.show(answer);
        return exit_status::kOk;
    }
    const auto confirmed = text_of(answer, "nodes");
    session.say_line(!confirmed.empty() ? "taken as lost: " + confirmed
                     : names.empty()    ? "every silent node is taken as lost"
                                        : "taken as lost");
    return exit_status::kOk;
}

Outcome<int> node_leave(const Session& session, bool reboot, bool wait) {
    constexpr std::chrono::milliseconds kLongest{40'000}, kPause{200};
    GANTRY_TRY(answer, session.change("POST", "/v1/node/leave", json::object{{"reboot", reboot}}));
    const auto until = std::chrono::steady_clock::now() + kLongest;
    while (wait && std::chrono::steady_clock::now() < until && session.get("/v1/node"))
        std::this_thread::sleep_for(kPause);
    if (session.json()) {
        session.show(answer);
        return exit_status::kOk;
    }
    session.say_line(
        reboot ? "this node is about to reboot: what cannot wait for it starts elsewhere, and its gantryd stops"
               : "this node is leaving: its instances start elsewhere, and its gantryd stops");
    return exit_status::kOk;
}

Outcome<int> node_intent(const Session& session, const std::string& name, const std::string& intent) {
    GANTRY_TRY(answer,
               session.change("PUT", "/v1/nodes/" + encode(name) + "/intent", json::object{{"intent", intent}}));
    if (session.json()) {
        session.show(answer);
        return exit_status::kOk;
    }
    const std::string what = intent == "active"     ? " takes new instances again"
                             : intent == "cordoned" ? " takes no new instances; what it runs stays"
                                                    : " takes no new instances, and what it runs moves away";
    session.say_line("node " + name + what);
    return exit_status::kOk;
}

}  // namespace gantry::cli
