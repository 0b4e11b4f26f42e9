// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/policies.hpp"

#include <unistd.h>

namespace gantry::sim {

Policies::Policies(std::filesystem::path plugins, std::string first)
    : plugins_(std::move(plugins)),
      first_(std::move(first)),
      scratch_(std::filesystem::temp_directory_path() / ("gantry-sim." + std::to_string(getpid()))) {}

Policies::~Policies() {
    if (host_) host_->stop();
    std::error_code ignored;
    std::filesystem::remove_all(scratch_, ignored);
}

Result<std::unique_ptr<Policies>> Policies::load(const std::filesystem::path& plugins, const std::string& plugin) {
    std::unique_ptr<Policies> out(new Policies(plugins, plugin));
    GANTRY_CHECK(out->exchange());
    return out;
}

Status Policies::exchange() {
    host::HostOptions options;
    options.plugin_path = {plugins_};
    options.trust.package = plugins_;
    options.state_dir = scratch_ / std::to_string(++hosts_ % 2);
    options.workers = 1;
    options.log = [](host::LogLevel, std::string_view, std::string_view) {};
    options.event = [](std::string, std::string, json::object) {};
    auto next = std::make_unique<host::Host>(io_, std::move(options));
    std::vector<host::PluginTable> tables;
    for (const auto& name : {first_, std::string(kSecond)}) {
        host::PluginTable table;
        table.role = "placement";
        table.name = name;
        table.plugin = first_;
        table.required = true;
        tables.push_back(std::move(table));
    }
    GANTRY_CHECK(next->configure(std::move(tables)));
    GANTRY_CHECK(next->start());
    std::swap(host_, next);
    if (next) next->stop();
    return {};
}

Result<std::vector<core::Keys>> Policies::ask(const core::Rank& rank) {
    auto* policy = host_->placement(rank.policy);
    if (!policy) return fail(Code::kUnavailable, "placement policy " + rank.policy + " is not running");
    views_.clear();
    for (const auto& c : rank.candidates)
        views_.push_back({c.node, c.cpu_total_milli, c.cpu_free_milli, c.memory_total_bytes, c.memory_free_bytes,
                          c.copies_running, c.copies_pending, c.copies_of_service, c.has_image, c.labels});
    Result<std::vector<core::Keys>> out = fail(Code::kDeadline, "it did not answer before its call returned");
    policy->score({rank.nodes_total, rank.nodes_ready, rank.copies_total, rank.service, rank.cpu_milli,
                   rank.memory_bytes, rank.instances_wanted, views_},
                  [&out](Result<std::vector<core::Keys>> keys) { out = std::move(keys); });
    return out;
}

}  // namespace gantry::sim
