// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>

#include "kernel/base/units.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/socket.hpp"

namespace gantry::cli {

namespace {

constexpr std::chrono::seconds kAgain{5};  // nodes measure so often
constexpr std::size_t kBars = 60;          // of a chart

using Value = std::optional<std::int64_t>;

Value value_of(const json::value& document, std::string_view key) {
    const auto* value = member_of(document, key);
    return value && value->is_int64() ? Value(value->get_int64()) : std::nullopt;
}

std::string one_decimal(double number, const char* unit) {
    char text[48];
    std::snprintf(text, sizeof text, "%.1f%s", number, unit);
    return text;
}

std::string permille(Value value) { return value ? one_decimal(static_cast<double>(*value) / 10, "%") : "-"; }
std::string size_text(Value value) { return value ? format_size(*value) : "-"; }
std::string celsius(Value value) { return value ? std::to_string(*value) + " °C" : "-"; }
std::string percent_of_a_core(Value milli) { return permille(milli); }

// What of `total` is not free.
std::string used_text(Value free, Value total) {
    if (!free || !total) return "-";
    return format_size(std::max<std::int64_t>(0, *total - *free)) + "/" + format_size(*total);
}

Table nodes_table(const json::array& nodes) {
    Table table({"NODE", "STATE", "CPU", "MEMORY", "DISK", "RECEIVED/s", "SENT/s", "WAITS CPU", "WAITS MEMORY",
                 "WAITS DISK", "HOTTEST"});
    for (const auto& node : nodes) {
        const auto state = text_of(node, "liveness");
        const bool there = state == "ready" || state == "suspect";
        const auto shown = [&](std::string_view key) { return there ? value_of(node, key) : std::nullopt; };
        const auto cpu = shown("cpu_used_milli"), cores = shown("cpu_milli");
        const bool known = cpu && cores && *cores > 0;
        table.add({text_of(node, "name"),
                   {state, color_of_state(state)},
                   known ? permille(*cpu * 1'000 / *cores) : "-",
                   used_text(shown("memory_free_bytes"), shown("memory_bytes")),
                   used_text(shown("disk_free_bytes"), shown("disk_total_bytes")),
                   size_text(shown("received_bytes_per_s")),
                   size_text(shown("sent_bytes_per_s")),
                   permille(shown("pressure_cpu_permille")),
                   permille(shown("pressure_memory_permille")),
                   permille(shown("pressure_io_permille")),
                   celsius(shown("temperature_celsius"))});
    }
    return table;
}

Table instances_table(const json::array& instances) {
    Table table({"INSTANCE", "STATE", "NODE", "CPU OF A CORE", "MEMORY", "PROCESSES"});
    for (const auto& instance : instances) {
        const auto state = text_of(instance, "state");
        const auto pids = value_of(instance, "pids");
        table.add({text_of(instance, "instance"),
                   {state, color_of_state(state)},
                   text_of(instance, "node"),
                   percent_of_a_core(value_of(instance, "cpu_used_milli")),
                   size_text(value_of(instance, "memory_used_bytes")),
                   pids ? std::to_string(*pids) : "-"});
    }
    return table;
}

Outcome<int> show_all(const Session& session) {
    GANTRY_TRY(nodes, session.get("/v1/nodes"));
    GANTRY_TRY(instances, session.get("/v1/instances"));
    if (session.json()) {
        session.show(json::object{{"nodes", items_of(nodes)}, {"instances", items_of(instances)}});
        return exit_status::kOk;
    }
    session.show(nodes_table(items_of(nodes)));
    if (items_of(instances).empty()) return exit_status::kOk;
    session.say("\n");
    session.show(instances_table(items_of(instances)));
    return exit_status::kOk;
}

// Bars from nothing to the most; of the points that share a bar the highest counts, and one that is not known is a gap.
std::string chart(const json::array& points, std::string_view key, std::int64_t most) {
    static constexpr std::array<const char*, 8> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    std::string out;
    const std::size_t bars = std::min(kBars, points.size());
    for (std::size_t bar = 0; bar < bars; ++bar) {
        Value highest;
        for (std::size_t i = bar * points.size() / bars; i < (bar + 1) * points.size() / bars; ++i)
            if (const auto value = value_of(points[i], key)) highest = std::max(highest.value_or(*value), *value);
        const auto level = highest && most > 0 ? std::clamp<std::int64_t>(*highest * 8 / most, 0, 7) : 0;
        out += highest ? kBlocks[static_cast<std::size_t>(level)] : " ";
    }
    return out;
}

struct Metric {
    const char* key;
    const char* title;
    std::string (*text)(Value);
};
constexpr std::array<Metric, 11> kMetrics = {{{"cpu_used_milli", "CPU of a core", &percent_of_a_core},
                                              {"memory_free_bytes", "free memory", &size_text},
                                              {"memory_used_bytes", "memory", &size_text},
                                              {"pids", "processes", [](Value v) { return std::to_string(*v); }},
                                              {"disk_free_bytes", "free disk", &size_text},
                                              {"received_bytes_per_s", "received/s", &size_text},
                                              {"sent_bytes_per_s", "sent/s", &size_text},
                                              {"pressure_cpu_permille", "waits for CPU", &permille},
                                              {"pressure_memory_permille", "waits for memory", &permille},
                                              {"pressure_io_permille", "waits for disk", &permille},
                                              {"temperature_celsius", "hottest", &celsius}}};

Outcome<int> show_history(const Session& session, const std::string& name) {
    auto found = session.get("/v1/nodes/" + encode(name) + "/load");
    if (!found && found.error().status == exit_status::kNotFound && name.find('.') != std::string::npos)
        found = session.get("/v1/instances/" + encode(name) + "/load");
    if (!found) return std::unexpected(found.error());
    const auto& points = items_of(*found);
    Table table({"WHAT", "NOW", "LEAST", "MOST", "UP TO AN HOUR AGO ... NOW"});
    for (const auto& metric : kMetrics) {
        Value now, least, most;
        for (const auto& point : points) {
            now = value_of(point, metric.key);
            if (!now) continue;
            least = std::min(least.value_or(*now), *now);
            most = std::max(most.value_or(*now), *now);
        }
        if (!most) continue;
        table.add({metric.title, now ? metric.text(now) : "-", metric.text(least), metric.text(most),
                   chart(points, metric.key, *most)});
    }
    session.show(*found, table, "nothing is remembered of " + name + " yet: there is a point every ten seconds");
    return exit_status::kOk;
}

}  // namespace

Outcome<int> top(const Session& session, const std::string& name, bool watch) {
    if (watch) catch_interrupts();
    while (true) {
        if (watch && session.live()) session.say("\x1b[H\x1b[2J");
        GANTRY_TRY(status, name.empty() ? show_all(session) : show_history(session, name));
        if (!watch) return status;
        if (wait_for(-1, 0, Clock::now() + kAgain) == Waited::kInterrupted) return exit_status::kInterrupted;
    }
}

}  // namespace gantry::cli
