// SPDX-License-Identifier: Apache-2.0
//
// UsageSampler: what this node and its containers use, as Linux and the runtimes tell. Cheap: /proc and /sys are read
// with descriptors that stay open, containers are asked in rotation.
//
// Threads: the loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "kernel/core/agent.hpp"
#include "kernel/host/host.hpp"

namespace gantry::control {

class UsageSampler {
  public:
    // dir: a folder on the disk that is looked at.
    UsageSampler(host::Host& host, std::filesystem::path dir);
    ~UsageSampler();
    UsageSampler(const UsageSampler&) = delete;
    UsageSampler& operator=(const UsageSampler&) = delete;

    // Every call takes a sample of the node; rates are those since the last call. Containers are those that run.
    core::Usage sample(const std::vector<core::Agent::Running>& containers, Instant now);

  private:
    struct File {
        int fd = -1;
        // "" if there is no such file.
        std::string_view read(char* buffer, std::size_t size) const;
    };
    struct Known {
        core::CopyUsage usage;
        std::int64_t cpu_ns = -1;  // at `at`
        Instant at{};
        bool asked = false, told = false;
    };
    void sample_network(core::Usage& out, Instant now);
    void ask(const core::Agent::Running& container);

    host::Host& host_;
    std::filesystem::path dir_;
    File network_, pressure_[3];
    std::vector<File> temperatures_;
    std::int64_t received_ = -1, sent_ = 0;
    Instant network_at_{};
    std::map<std::string, Known> containers_;  // by name
    std::string last_asked_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace gantry::control
