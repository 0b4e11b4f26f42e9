// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdlib>
#include <map>

#include "kernel/base/units.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {

Outcome<milliseconds> timeout_of(const std::string& text) {
    const auto duration = parse_duration(text);
    if (!duration) return trouble(exit_status::kUsage, Code::kInvalid, "--timeout: " + duration.error().message);
    return std::chrono::ceil<milliseconds>(*duration);
}

namespace {

std::string pool_of(const json::value& service) {
    auto nodes = text_of(service, "nodes");
    if (!nodes.empty()) return nodes;
    const auto* labels = member_of(service, "labels");
    if (!labels || !labels->is_object()) return nodes;
    for (const auto& [key, value] : labels->as_object()) {
        if (!nodes.empty()) nodes += ", ";
        nodes += std::string(key) + "=" + written(value);
    }
    return nodes;
}

// Who may run it, and until when at most; "" without overlap = "forbid", or if nobody may.
std::string lease_of(const json::value& instance) {
    const auto* lease = member_of(instance, "lease");
    if (!lease || !lease->is_object()) return "";
    return "lease of epoch " + text_of(*lease, "epoch") + " on " + text_of(*lease, "node") + " ends in at most " +
           format_duration(milliseconds(number_of(*lease, "ends_in_ms", 0)));
}

// Why an instance is where it is not: its own reason, else each node's.
std::string reason_of(const json::value& instance) {
    auto reason = text_of(instance, "reason");
    if (reason.empty()) reason = lease_of(instance);
    std::string nodes;
    for (const auto& pending : items_of(instance, "pending")) {
        if (!nodes.empty()) nodes += "; ";
        nodes += text_of(pending, "node") + ": " + text_of(pending, "reason");
    }
    if (reason.empty() || nodes.empty()) return reason + nodes;
    return reason + ": " + nodes;
}

// "3002"; "0->20123" where the node chose, with the ports of all instances behind a service's.
std::string ports_of(const json::value& document) {
    std::string out;
    for (const auto& endpoint : items_of(document, "endpoints")) {
        out += (out.empty() ? "" : " ") + text_of(endpoint, "requested");
        const auto mapped = text_of(endpoint, "mapped");
        if (number_of(endpoint, "requested") == 0 && !mapped.empty() && mapped != "0") out += "->" + mapped;
    }
    return out;
}

// A policy ranks by the smallest key, so "most memory" is a negative number of bytes: people read an amount.
std::string written_key(const std::string& name, const json::value& key) {
    if (!name.ends_with("memory") || !key.is_int64()) return written(key);
    return format_size(std::abs(key.as_int64()));
}

// What the last move cost, and the worst one behind it where that is another.
std::string last_and_worst(const json::value& service, const char* figure, const char* worst) {
    const auto* moves = member_of(service, "moves");
    const auto* last = moves ? member_of(*moves, "last") : nullptr;
    if (!last || !last->is_object()) return "";
    auto text = figure_text(member_of(*last, figure));
    if (text.empty()) text = "not known";
    const auto most = figure_text(member_of(*moves, worst));
    return most.empty() || most == text ? text : text + ", worst " + most;
}

}  // namespace

Outcome<int> services(const Session& session) {
    GANTRY_TRY(list, session.get("/v1/services"));
    Table table(
        {"NAME", "STATE", "READY", "MODE", "REVISION", "IMAGE", "POLICY", "POOL", "PORTS", "GAP", "OVERLAP", "REASON"});
    for (const auto& service : items_of(list)) {
        const auto state = text_of(service, "state");
        table.add({text_of(service, "name"),
                   {state, color_of_state(state)},
                   text_of(service, "ready") + "/" + text_of(service, "desired"),
                   text_of(service, "mode"),
                   text_of(service, "revision"),
                   text_of(service, "image"),
                   text_of(service, "policy"),
                   pool_of(service),
                   ports_of(service),
                   last_and_worst(service, "gap", "worst_gap"),
                   last_and_worst(service, "overlap", "worst_overlap"),
                   text_of(service, "reason")});
    }
    session.show(list, table, "no services yet: `gantry deploy FILE` makes one");
    return exit_status::kOk;
}

Outcome<int> instances(const Session& session) {
    GANTRY_TRY(list, session.get("/v1/instances"));
    Table table({"INSTANCE", "STATE", "NODE", "EPOCH", "RESTARTS", "PORTS", "AGE", "REASON"});
    for (const auto& instance : items_of(list)) {
        const auto state = text_of(instance, "state");
        table.add({text_of(instance, "instance"),
                   {state, color_of_state(state)},
                   text_of(instance, "node"),
                   text_of(instance, "epoch"),
                   text_of(instance, "restarts"),
                   ports_of(instance),
                   age_text(number_of(instance, "since_ms", -1)),
                   reason_of(instance)});
    }
    session.show(list, table, "no instances: no service is deployed");
    return exit_status::kOk;
}

Outcome<int> explain(const Session& session, const std::string& service) {
    GANTRY_TRY(answer, session.get("/v1/services/" + encode(service) + "/explain"));
    if (session.json()) {
        session.show(answer);
        return exit_status::kOk;
    }
    const auto instance = text_of(answer, "instance");
    session.say_line("service " + service + (instance.empty() ? "" : ", instance " + instance) + ", policy " +
                     text_of(answer, "policy"));
    if (flag_of(answer, "stopped"))
        session.say_line("it is stopped and runs nowhere: gantry start " + service + "; what follows is for then");
    const auto& keys = items_of(answer, "key_names");
    std::vector<std::string> headers = {"NODE", "VERDICT"};
    const auto& terms = items_of(answer, "term_names");
    std::vector<json::value> columns(keys.begin(), keys.end());
    columns.insert(columns.end(), terms.begin(), terms.end());
    for (const auto& column : columns) {
        auto name = written(column);
        std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
            return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : static_cast<char>(c);
        });
        headers.push_back(name);
    }
    headers.insert(headers.end(), {"IMAGE", "HERE", "REASON"});
    Table table(headers);
    for (const auto& node : items_of(answer, "nodes")) {
        const auto excluded = text_of(node, "excluded");
        const auto& values = items_of(node, "keys");
        std::vector<Table::Cell> row = {text_of(node, "node")};
        row.push_back(excluded.empty() ? Table::Cell("rank " + text_of(node, "rank"), Color::kGood)
                                       : Table::Cell("excluded", Color::kBusy));
        for (std::size_t i = 0; i < keys.size(); ++i) {
            row.emplace_back(i < values.size() ? written_key(written(keys[i]), values[i]) : "");
        }
        const auto& parts = items_of(node, "terms");
        for (std::size_t i = 0; i < terms.size(); ++i) row.emplace_back(i < parts.size() ? written(parts[i]) : "");
        const auto* image = member_of(node, "has_image");
        row.emplace_back(!image ? "" : flag_of(node, "has_image") ? "there" : "to fetch");
        row.emplace_back(flag_of(node, "current") ? "yes" : "");
        std::string reason = excluded.empty() ? text_of(node, "held") : excluded;
        if (const auto note = text_of(node, "note"); !note.empty()) reason += (reason.empty() ? "" : "; ") + note;
        row.emplace_back(std::move(reason));
        table.add(std::move(row));
    }
    session.show(table);
    for (const auto& entry : items_of(answer, "leases")) {
        const auto lease = lease_of(entry);
        session.say_line(text_of(entry, "instance") + ": " + (lease.empty() ? "nobody holds a lease" : lease));
    }
    return exit_status::kOk;
}

Outcome<int> remove_service(const Session& session, const std::string& service, bool wait, const std::string& timeout) {
    GANTRY_TRY(patience, timeout_of(timeout));
    const auto target = "/v1/services/" + encode(service);
    GANTRY_TRY(answer, session.change("DELETE", target));
    if (session.json()) session.show(answer);
    if (!wait) {
        if (!session.json()) session.say_line("service " + service + " is being removed");
        return exit_status::kOk;
    }
    catch_interrupts();
    const auto deadline = Clock::now() + patience;
    while (true) {
        const auto left = session.get(target);
        if (!left && left.error().status == exit_status::kNotFound) break;
        if (!left) return std::unexpected(left.error());
        if (Clock::now() >= deadline) {
            return trouble(exit_status::kNotReady, Code::kDeadline,
                           "service " + service + " is not gone after " + format_duration(patience) +
                               "; it goes on being removed (`gantry ps` shows what is left)");
        }
        if (wait_for(-1, 0, std::min(deadline, Clock::now() + milliseconds(100))) == Waited::kInterrupted) {
            return trouble(exit_status::kInterrupted, Code::kFailed,
                           "interrupted; service " + service + " goes on being removed");
        }
    }
    if (!session.json()) session.say_line("service " + service + " is removed");
    return exit_status::kOk;
}

}  // namespace gantry::cli
