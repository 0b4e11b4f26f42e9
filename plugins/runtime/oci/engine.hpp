// SPDX-License-Identifier: Apache-2.0
//
// Engine: containers by an OCI engine (runc, crun) under conmon.
//
// The engine is run twice in a container's life, by conmon to create and once to start; everything else is read from
// /proc, cgroups and files, and cleaned up by hand: a node that lost its power has nothing an engine could delete.
#pragma once

#include <boost/json/object.hpp>

#include "plugins/runtime/monitored/backend.hpp"
#include "plugins/runtime/oci/cgroup.hpp"
#include "plugins/runtime/oci/criu.hpp"
#include "plugins/runtime/oci/network.hpp"

namespace oci {

struct EngineOptions {
    std::string engine, conmon;  // absolute paths
    std::string cgroup_parent;
    std::int64_t log_max_bytes = 0;     // of a file of a container's log
    int log_files = 2;                  // so many times that much of its log are kept
    std::filesystem::path engine_root;  // the engine's own state
    boost::json::object seccomp;        // of every container
    NetworkOptions network;             // of those on the bridge
    std::filesystem::path criu;         // the program; empty: none
    std::string no_checkpoints;         // why they are not offered; empty: they are
};

class Engine : public monitored::Backend {
  public:
    explicit Engine(EngineOptions options);

    void create(const gantry::ContainerSpec& spec, const image_store::Image& image, const monitored::Home& home,
                monitored::Record& record, gantry::Instant deadline) override;
    void start(const monitored::Home& home, monitored::Record& record, gantry::Instant deadline) override;
    bool was_started(const monitored::Home& home, monitored::Record& record) override;
    pid_t kill(const monitored::Home& home, const monitored::Record& record) override;
    void clean(const monitored::Home& home, const monitored::Record& record, gantry::Instant deadline) override;
    void keep_log(const monitored::Home& home, std::uint64_t& asked) override;
    gantry::Duration log_pause() const override;
    std::string exit_detail(const monitored::Home& home, const monitored::Record& record, int exit_code) override;
    monitored::Command exec(const monitored::Home& home, const monitored::Record& record,
                            const std::vector<std::string>& args, const std::string& mark, bool terminal) override;
    std::optional<gantry::Status> exec_failure(const monitored::Home& home, const std::string& mark, int code) override;
    bool exec_over(const monitored::Home& home, const std::string& mark) override;
    void pass_size(const monitored::Home& home, const std::string& mark, int terminal) override;
    void end_exec(const monitored::Record& record, const std::string& mark) override;
    std::optional<gantry::ContainerStats> stats(const monitored::Record& record) override;
    void pause(const monitored::Record& record, bool on, gantry::Instant deadline) override;
    bool paused(const monitored::Record& record) override;
    std::string no_checkpoints() const override { return options_.no_checkpoints; }
    void checkpoint(const monitored::Home& home, const monitored::Record& record, const std::filesystem::path& into,
                    gantry::Instant deadline) override;
    void rest(const monitored::Home& home, const monitored::Record& record, gantry::Instant deadline) override;
    void restore(const monitored::Home& home, monitored::Record& record, const std::filesystem::path& from,
                 gantry::Instant deadline) override;

  private:
    std::int64_t kept_bytes() const;  // of a container's log
    pid_t run_conmon(const monitored::Home& home, const std::string& name, gantry::Instant deadline,
                     const Criu* criu = nullptr, const std::filesystem::path& from = {});
    void conmon_made(const monitored::Home& home, pid_t pid, monitored::Record& record) const;
    void forget(const std::string& name, gantry::Instant deadline);
    void go_on(const std::string& name) const;
    void end_monitor(const monitored::Home& home, const monitored::Record& record, gantry::Instant deadline) const;

    const EngineOptions options_;
    Cgroups cgroups_;
    Networks networks_;
};

}  // namespace oci
