// SPDX-License-Identifier: Apache-2.0
//
// HostProcess: "containers" that are plain processes of this node, under gantry-process-monitor. The image is a
// folder; nothing but paths keeps a process in it. The monitor replaces a full log itself.
#pragma once

#include "plugins/runtime/monitored/backend.hpp"

namespace process {

struct ProcessOptions {
    std::string monitor;             // absolute path of gantry-process-monitor
    std::int64_t log_max_bytes = 0;  // of one container; then its log begins anew
    int log_files = 2;               // kept of one container, with the one that is written
};

class HostProcess : public monitored::Backend {
  public:
    explicit HostProcess(ProcessOptions options) : options_(std::move(options)) {}

    void create(const gantry::ContainerSpec& spec, const image_store::Image& image, const monitored::Home& home,
                monitored::Record& record, gantry::Instant deadline) override;
    void start(const monitored::Home& home, monitored::Record& record, gantry::Instant deadline) override;
    bool was_started(const monitored::Home& home, monitored::Record& record) override;
    pid_t kill(const monitored::Home& home, const monitored::Record& record) override;
    void clean(const monitored::Home& home, const monitored::Record& record, gantry::Instant deadline) override;
    std::string exit_detail(const monitored::Home&, const monitored::Record&, int) override { return {}; }
    monitored::Command exec(const monitored::Home& home, const monitored::Record& record,
                            const std::vector<std::string>& args, const std::string& mark, bool terminal) override;
    void end_exec(const monitored::Record& record, const std::string& mark) override;
    std::optional<gantry::ContainerStats> stats(const monitored::Record& record) override;

  private:
    const ProcessOptions options_;
};

}  // namespace process
