// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/policies.hpp"

#include <unistd.h>

namespace gantry::sim {

Policies::Policies(const std::filesystem::path& plugins, std::string first)
    : first_(std::move(first)),
      scratch_(std::filesystem::temp_directory_path() / ("gantry-sim." + std::to_string(getpid()))) {
    host::HostOptions options;
    options.plugin_path = {plugins};
    options.trust.package = plugins;
    options.state_dir = scratch_;
    options.workers = 1;
    options.log = [](host::LogLevel, std::string_view, std::string_view) {};
    options.event = [](std::string, std::string, json::object) {};
    host_ = std::make_unique<host::Host>(io_, std::move(options));
}

Policies::~Policies() {
    host_->stop();
    std::error_code ignored;
    std::filesystem::remove_all(scratch_, ignored);
}

Result<std::unique_ptr<Policies>> Policies::load(const std::filesystem::path& plugins, const std::string& plugin) {
    std::unique_ptr<Policies> out(new Policies(plugins, plugin));
    std::vector<host::PluginTable> tables;
    for (const auto& name : {plugin, std::string(kSecond)}) {
        host::PluginTable table;
        table.role = "placement";
        table.name = name;
        table.plugin = plugin;
        table.required = true;
        tables.push_back(std::move(table));
    }
    GANTRY_CHECK(out->host_->configure(std::move(tables)));
    GANTRY_CHECK(out->host_->start());
    return out;
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
