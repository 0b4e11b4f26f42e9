// SPDX-License-Identifier: Apache-2.0
//
// What a user deploys: the manifest as a checked value. The document has the manifest's tables as members:
//
//   {"service": {"name", "image", "instances", "runtime", "cut_off", "prepull", "after", "priority", "max_gap",
//               "max_overlap"},
//    "placement": {"mode", "nodes", "labels", "constraints", "policy", "overlap", "anti_affinity", "spread",
//                  "spread_mode", "image", "preempt"},
//    "update": {"max_surge", "max_unavailable", "canary", "gate", "deadline", "on_failure"},
//    "resources": {"cpu", "memory", "pids", "swap", "cpu_shares", "cpus", "io_weight"},
//    "container": {"args", "env", "cwd", "user", "hostname", "stop_signal", "stop_grace", "capabilities": {"add",
//    "drop"},
//                  "read_only", "rlimits", "oom_score_adj", "network"},
//    "mount": [{"source", "target", "read_only", "access"}], "tmpfs": [{"target", "size", "mode", "access"}],
//    "device": [{"path", "target", "access"}],
//    "endpoint": [{"kind", "name", "port", "password": {"secret"}}],
//    "probe": [{"kind", "purpose", "endpoint", "port", "interval", "timeout", "start_period", "success_threshold",
//                "failure_threshold", ...}]}
//
// "env" may also stand beside "container" as a table of its own.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernel/base/json.hpp"
#include "kernel/base/time.hpp"

namespace gantry::core {

using Labels = std::vector<std::pair<std::string, std::string>>;  // sorted by key

// Below those that Linux gives to outgoing connections.
inline constexpr std::pair<std::uint16_t, std::uint16_t> kPortRange{20'000, 29'999};

enum class Force : std::uint8_t { kNone, kSoft, kHard };  // soft: if there is a choice
enum class Mode : std::uint8_t { kDynamic, kStatic };

struct MountSpec {
    std::string source, target;
    bool read_only = false, no_exec = false;
    friend bool operator==(const MountSpec&, const MountSpec&) = default;
};

struct EndpointSpec {
    std::string kind = "vsoa", name;  // name: what the directory answers; empty: not announced
    std::uint16_t port = 0;           // on the host; 0: its node chooses one for each attempt
    std::string secret;               // name of the secret that is its password; empty: none
    std::string variable() const;     // that tells the program its port, "GANTRY_PORT_AXIS_SERVER"
    friend bool operator==(const EndpointSpec&, const EndpointSpec&) = default;
};

// What a probe decides: whether the copy is named, whether it is restarted, or when the other two begin.
enum class Purpose : std::uint8_t { kReadiness, kLiveness, kStartup };

struct ProbeSpec {
    std::string kind;
    Purpose purpose = Purpose::kReadiness;
    std::string endpoint;    // name of the endpoint asked; empty: the first one
    std::uint16_t port = 0;  // 0: the endpoint's
    Duration interval = seconds(1), timeout = seconds(1);
    Duration start_period{};                                     // failures before count for nothing
    std::uint32_t success_threshold = 1, failure_threshold = 3;  // answers in a row
    Labels params;                                               // further keys, for the plugin
    friend bool operator==(const ProbeSpec&, const ProbeSpec&) = default;
};

std::string_view purpose_name(Purpose purpose);

// How a changed manifest replaces what runs.
struct UpdateSpec {
    std::uint32_t max_surge = 1;        // instances that may have a next copy at once
    std::uint32_t max_unavailable = 0;  // instances that may be without a copy at once, to make room
    std::uint32_t canary = 0;           // so many first, alone
    Duration gate{};                    // a replaced instance is ready so long on end before others follow
    Duration deadline = seconds(600);   // not ready by then: the revision has failed
    bool roll_back = true;              // then to the last one that was ready as a whole
    friend bool operator==(const UpdateSpec&, const UpdateSpec&) = default;
};

struct ServiceSpec {
    std::string name, image;
    std::uint32_t instances = 1;
    std::string runtime;         // name of the runtime's table; empty: the node's first
    bool cut_off_start = false;  // start after a reboot though no controller answers (dynamic mode)
    bool prepull = true;
    std::vector<std::string> after;  // services that are ready before this one is started
    std::int32_t priority = 0;       // greater ones are placed first
    Duration max_gap{};              // a move may leave an instance away so long; 0: nobody said
    Duration max_overlap{};          // and may have two of its copies run so long; 0: nobody said
    Mode mode = Mode::kDynamic;
    std::vector<std::string> nodes;  // the pool by name, or
    Labels pool_labels;              // by labels that all must match
    Labels constraints;              // further labels a candidate must have
    Force apart = Force::kNone;      // no two instances on one node
    std::string spread_label;        // as many in each group of nodes with one value of it
    Force spread = Force::kNone;
    bool forbid = false;      // overlap: two copies of an instance never run at once, by lease
    bool preempt = false;     // where nothing is free, copies of services of less priority are stopped for it
    std::string policy;       // empty: the controller's default
    bool image_first = true;  // nodes that lack the image come last, whatever the policy says
    std::int64_t cpu_milli = 0, memory_bytes = 0, pids = 0;  // 0: no limit
    std::vector<std::string> args;
    Labels env;
    std::string cwd, user, hostname;
    int stop_signal = 0;  // 0: the image's
    Duration stop_grace = seconds(10);
    std::vector<MountSpec> mounts;
    std::vector<EndpointSpec> endpoints;
    std::vector<ProbeSpec> probes;
    // What only runtimes act on, in the form of the manifest, checked: {"container": {"read_only": true}, "tmpfs":
    // [...]}.
    json::object settings;
    UpdateSpec update;
    // What a runtime has to offer GANTRY_RUNTIME_SETTINGS for, as the manifest names it.
    std::vector<std::string> setting_names() const;
    // On the host, for an attempt with these ports, one for each endpoint; 0: not known.
    std::uint16_t port(std::size_t endpoint, const std::vector<std::uint16_t>& ports) const;
    std::size_t ports_to_choose() const;  // endpoints with port 0
    friend bool operator==(const ServiceSpec&, const ServiceSpec&) = default;
};

// Checks every member, range and relation; errors carry the field's path ("placement.nodes[1]").
Result<ServiceSpec> parse_service(const json::value& document);
// The document that parses to the same spec; members at their default are left out.
json::value to_json(const ServiceSpec& spec);

// The part of a spec that makes a container: all but "placement", "update" and the number of instances, which then read
// as their defaults. This is what travels to nodes: a pool may be larger than a message.
json::value container_part_to_json(const ServiceSpec& spec);
Result<ServiceSpec> parse_container_part(const json::value& document);

}  // namespace gantry::core
