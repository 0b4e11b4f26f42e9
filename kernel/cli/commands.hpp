// SPDX-License-Identifier: Apache-2.0
//
// The commands. Each answers its exit status, or Trouble.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernel/cli/session.hpp"
#include "kernel/cli/skopeo.hpp"
#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

struct DeployOptions {
    std::string file;
    bool dry_run = false;
    bool wait = false;  // go on until the timeout while pending or failing
    std::string timeout = "5m";
    std::string pull;  // "Always", "IfNotPresent", "Never"; empty: the manifest's
};
Outcome<int> deploy(const Session& session, const DeployOptions& options);

Outcome<int> nodes(const Session& session);
// What nodes and instances use now, or with a name what that one used in the last hour; `watch`: again every 5 s until
// SIGINT.
Outcome<int> top(const Session& session, const std::string& name, bool watch);
Outcome<int> node_remove(const Session& session, const std::string& name, bool dead);
Outcome<int> node_confirm_lost(const Session& session, const std::vector<std::string>& names);
// Announces that the machine behind the socket goes down; with `wait` ends when its gantryd has, or after 40 s.
Outcome<int> node_leave(const Session& session, bool reboot, bool wait);
// intent: "active", "cordoned", "draining".
Outcome<int> node_intent(const Session& session, const std::string& name, const std::string& intent);

struct ClusterOptions {
    std::string config = "/etc/gantry/gantry.toml", state_dir = "/var/lib/gantry";
    std::string address;      // where the controller listens, or where a node finds it
    std::string secret_file;  // of the cluster that is joined
    std::string engine;       // of runtime.oci; empty: its default
    bool local = false;       // a controller for this gateway alone
    bool force = false;       // also over a configuration that was changed by hand
};
// Make this gateway the first controller of a cluster; or a node of the one whose controller is at `address`.
Outcome<int> cluster_init(const Session& session, const ClusterOptions& options);
Outcome<int> cluster_join(const Session& session, const ClusterOptions& options);
// What Gantry needs of this machine, and the cure for what is missing. kFailed if anything is.
Outcome<int> doctor(const Session& session, const ClusterOptions& options);

// Has a node fail as its configuration permits, and says what that cost every service that moved. kNotReady if a budget
// broke, or what moved was not ready again in time.
struct DrillOptions {
    std::string node, kind;
    std::string duration = "20s";
    std::string timeout = "2m";  // beyond the duration
};
Outcome<int> drill(const Session& session, const DrillOptions& options);

Outcome<int> services(const Session& session);
Outcome<int> instances(const Session& session);
Outcome<int> explain(const Session& session, const std::string& service);
// Prints the plan and what is gained, then begins it unless dry_run.
Outcome<int> rebalance(const Session& session, std::int64_t at_once, bool dry_run);
// The revisions of a service, the newest first.
Outcome<int> history(const Session& session, const std::string& service);
// action: "pause", "resume", "rollback"; revision: to roll back to, 0: the last good one before this.
Outcome<int> rollout(const Session& session, const std::string& service, const std::string& action,
                     std::int64_t revision);
// Has the processes of an instance stand still, or go on. `pause` of a service is its rollout's, as above.
Outcome<int> pause(const Session& session, const std::string& target);
Outcome<int> unpause(const Session& session, const std::string& instance);
// Has its memory lie on its node's disk instead, and has it go on from there.
Outcome<int> checkpoint(const Session& session, const std::string& instance);
Outcome<int> restore(const Session& session, const std::string& instance);
struct WaitOptions {
    bool wait = false;  // until it is so
    std::string timeout = "5m";
};
// Nothing of a service runs until it is started.
Outcome<int> stop(const Session& session, const std::string& service, const WaitOptions& options);
Outcome<int> start(const Session& session, const std::string& service, const WaitOptions& options);
// Of an instance in its place; of a service as an update that changes nothing.
Outcome<int> restart(const Session& session, const std::string& target, const WaitOptions& options);
Outcome<int> remove_service(const Session& session, const std::string& service, bool wait, const std::string& timeout);

struct EventsOptions {
    bool follow = false;
    std::optional<std::int64_t> after;
    std::int64_t limit = 100;
    std::string service, node;
};
Outcome<int> events(const Session& session, const EventsOptions& options);
struct LogOptions {
    std::string instance;
    bool follow = false;
    std::optional<std::int64_t> tail;  // only the last lines
    std::string since;                 // "10m", "2026-11-30T14:57:05Z", the same without Z: local time; empty: all
};
Outcome<int> logs(const Session& session, const LogOptions& options);

struct ExecOptions {
    std::string target;                // "axis_server", "axis_server.0", or a container's name
    std::vector<std::string> command;  // a program and its arguments
    bool input = false;                // pass standard input on
    bool terminal = false;             // the command has a terminal, as this program has; with input
};
// Runs a command where the instance is; answers its exit status.
Outcome<int> exec(const Session& session, const ExecOptions& options);

// server: "ip:port,..." of position servers that are asked as well; empty: VSOA_POS_SERVER.
Outcome<int> resolve(const Session& session, const std::string& name, const std::string& server);

struct ImportOptions {
    std::string path;      // an image archive: a folder or a tar file
    std::string name;      // "NAME:TAG", or "NAME" for layouts that only have tags
    std::string platform;  // "linux/arm64", for images of several
    bool quiet = false;    // say nothing of what went well
};
Outcome<int> image_import(const Session& session, const ImportOptions& options);

struct PullOptions {
    std::string reference;  // REGISTRY/NAME:TAG and the other forms of reference.hpp
    std::string name;       // under which it is stored; empty: the reference's
    std::string platform;   // "linux/arm64"; empty: this machine's
    RegistryOptions registry;
    bool quiet = false;  // say nothing of what went well
};
Outcome<int> image_pull(const Session& session, const PullOptions& options);
// The name in the store of what a manifest calls `image`, which may pull it first; policy: "Always", "Never", else only
// what is not there. An image that is in no registry and not in the store keeps its name: gantryd says what is wrong.
Outcome<std::string> image_in_store(const Session& session, const std::string& image, const std::string& policy,
                                    const RegistryOptions& registry = {});
struct UpgradeOptions {
    std::vector<std::string> services;  // none: all
    std::string policy = "Larger";      // or "Always"
    bool dry_run = false;
    RegistryOptions registry;
};
// Deploys services again whose image has a newer one. A service that fails is told, the others go on.
Outcome<int> upgrade(const Session& session, const UpgradeOptions& options);
Outcome<int> images(const Session& session);
struct RegistryServerOptions {
    std::string listen = "127.0.0.1:5000", token_file;
};
// Serves the store as an OCI registry until SIGINT or SIGTERM.
Outcome<int> registry(const Session& session, const RegistryServerOptions& options);
Outcome<int> image_remove(const Session& session, const std::string& reference);

Outcome<int> secrets(const Session& session);
Outcome<int> secret_set(const Session& session, const std::string& name, const std::string& file);
Outcome<int> secret_remove(const Session& session, const std::string& name);

Outcome<int> plugins(const Session& session);
// what: "allow", "clear".
Outcome<int> plugin_crashes(const Session& session, const std::string& name, const std::string& what);
// Has gantryd read its configuration again.
Outcome<int> reload(const Session& session);
Outcome<int> plugin_reload(const Session& session, const std::string& name, const std::string& file);
Outcome<int> status(const Session& session);
Outcome<int> version(const Session& session);

// Reads the "--timeout" of a command.
Outcome<milliseconds> timeout_of(const std::string& text);

}  // namespace gantry::cli
