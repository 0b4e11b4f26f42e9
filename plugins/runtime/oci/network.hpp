// SPDX-License-Identifier: Apache-2.0
//
// Networks: containers on a bridge of this node, by the CNI plugins loopback, bridge with host-local, and portmap. Each
// has a network namespace of its own, kept by a mount below our folder; what was asked for and answered lies beside it,
// so that it can be undone by whoever comes next.
//
// Threads: any. Errors are thrown as gantry::Failure.
#pragma once

#include <cstdint>
#include <filesystem>
#include <gantry/runtime.hpp>
#include <mutex>
#include <string>
#include <vector>

namespace oci {

struct NetworkOptions {
    std::filesystem::path cni;     // folder of the CNI plugins
    std::filesystem::path folder;  // ours
    std::string bridge, subnet;    // "gantry0", "10.213.0.0/16"
};

class Networks {
  public:
    explicit Networks(NetworkOptions options) : options_(std::move(options)) {}

    // Answers the path of the namespace, in which the container has a loopback and an address on the bridge.
    // Connections to these ports of the node (TCP and UDP) lead to the same ports of the container. kInvalid: a CNI
    // plugin is not installed; kConflict: a port is in use; kFailed with the CNI plugin's words. A failure leaves
    // nothing behind.
    std::string add(const std::string& name, const std::vector<std::uint16_t>& ports, gantry::Instant deadline);
    // Undoes add, also half of one, also after a reboot. Idempotent.
    void remove(const std::string& name, gantry::Instant deadline);

  private:
    std::filesystem::path record(const std::string& name) const { return options_.folder / (name + ".json"); }
    std::filesystem::path space(const std::string& name) const { return options_.folder / (name + ".ns"); }
    void check_programs(const std::string& name, bool ports) const;
    void check_ports(const std::string& name, const std::vector<std::uint16_t>& ports) const;
    std::string bridge_config() const;
    std::string loopback_config() const;
    std::string ports_config(const std::vector<std::uint16_t>& ports, const std::string& result) const;
    std::string call(const std::string& name, const char* plugin, const char* command, const char* interface,
                     const std::string& config, gantry::Instant deadline) const;

    const NetworkOptions options_;
    std::mutex one_;  // change at a time: rules of the packet filter are read and written
};

}  // namespace oci
