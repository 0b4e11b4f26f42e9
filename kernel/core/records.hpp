// SPDX-License-Identifier: Apache-2.0
//
// What the controller knows of nodes, services and instances. Private to the controller's sources: plain records, the
// rules are in State.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "kernel/core/effects.hpp"
#include "kernel/core/messages.hpp"

namespace gantry::core {

enum class Liveness : std::uint8_t { kNew, kReady, kSuspect, kLost, kLeft };
enum class Intent : std::uint8_t { kActive, kCordoned, kDraining };
std::string_view liveness_name(Liveness liveness);
std::string_view intent_name(Intent intent);

// Why a node may not have an instance, in the order in which the rules are asked.
enum class Exclusion : std::uint8_t {
    kNone,
    kPool,
    kNew,
    kSuspect,
    kLost,
    kLeft,
    kCordoned,
    kDraining,
    kPlatform,
    kRuntime,
    kLabels,
    kCpu,
    kMemory,
    kPorts,
    kCopies,
    kFailedHere,
    kHeld,
};

// What one copy takes from its node.
struct Need {
    std::int64_t cpu_milli = 0, memory_bytes = 0;
    std::vector<std::uint16_t> ports;
};

struct Node;
struct Service;

struct Revision {
    // Stored.
    std::uint64_t number = 0;
    std::uint64_t generation = 0;  // first revision with this container: only a change of it replaces copies
    ServiceSpec spec;
    std::string image_digest, system, architecture;
    std::set<std::string> failed;  // nodes on which it kept crashing
    bool failing = false;          // no other node is left to try
    // Derived.
    Need need;
    std::uint32_t image_no = 0;
    CopySpec copy_spec;
    std::string digest;  // of copy_spec
};

struct Instance {
    Service* service = nullptr;
    std::uint32_t index = 0;
    // Stored. Planned moves will add `next`, a second copy; the stored form has its place.
    std::uint64_t epoch = 0;     // last one assigned
    std::uint64_t seen = 0;      // greatest one reported
    std::uint64_t revision = 0;  // of the copy with `epoch`
    Node* node = nullptr;        // has the current copy; none: pending
    std::string bound;           // static mode: the only node
    std::string moving_from;     // taken from this node by a drain or a rollout; until ready
    bool stopping = false;       // moving_from has not confirmed the stop yet
    bool ready = false;
    // From reports.
    CopyState state = CopyState::kWaiting;
    std::uint64_t attempt = 0;
    std::uint32_t crashes = 0, restarts = 0;
    int exit_code = 0;
    std::string reason;
    Instant since{};
    std::vector<std::pair<std::string, Instant>> lost_on;  // node, held until

    InstanceId id() const;
    CopyId copy() const { return {id(), epoch}; }
    std::string text() const;  // "axis_server.0"
};

struct PoolNode {
    Node* node = nullptr;
    Exclusion fixed = Exclusion::kNone;  // platform, runtime, labels
};

struct Service {
    std::string name;
    // Stored.
    std::uint64_t no = 0;
    std::uint64_t epoch_floor = 0;  // epochs up to here were used by instances that are no more
    bool removing = false;
    std::map<std::uint64_t, Revision> revisions;  // the last one, and older ones that copies still run
    // Derived.
    std::map<std::uint32_t, Instance> instances;
    std::set<std::uint32_t> unplaced;  // pending and free to be placed
    std::uint32_t ready = 0;
    mutable std::vector<PoolNode> pool;  // cache: of the last revision, by node name; see State::pool_of
    mutable std::uint64_t pool_version = 0;
    std::optional<std::vector<Exclusion>> told;  // what the last pending event said
    std::string policy_error, told_error;
    Instant ask_again = kNever;  // after a policy failed

    Revision& last() { return revisions.rbegin()->second; }
    const Revision& last() const { return revisions.rbegin()->second; }
    bool is_static() const { return last().spec.mode == Mode::kStatic; }
};

// A copy that a node has, or may have, and should not.
struct Stale {
    std::string instance;  // for people
    Need need;
    CopyState state = CopyState::kStopping;
    ListNo gone_after;  // only a report that has applied this list can prove it gone
    Instant since{};
    std::string reason;
    bool planned = false;  // taken away by a decision, not met as a surprise
    bool cannot_stop = false;
    bool running = false;  // counted among the node's running copies
    bool met = false;      // reported since it is stale
};

enum class Quiet : std::uint8_t { kConnected, kTimeout, kReset, kClosed, kLoaded };

struct Node {
    std::string name;
    // Stored.
    std::string node_id, boot_id;
    std::uint64_t session = 0;
    Liveness liveness = Liveness::kNew;  // stored: lost and left; the others are new after a start
    Intent intent = Intent::kActive;
    std::uint64_t list_no = 0;
    std::string address;    // as seen
    std::string advertise;  // as configured
    Labels labels;
    std::vector<RuntimeHello> runtimes;
    std::vector<std::string> probes;
    std::int64_t cpu_milli = 0, memory_bytes = 0;
    std::string version;
    // Of the connection.
    PeerId peer = 0;
    std::uint64_t seq = 0;
    Quiet quiet = Quiet::kLoaded;
    Instant heard{}, dropped{};  // dropped: when the connection went, or the controller started
    Instant hold_until{};
    bool reported = false;  // in this term and boot, and since it was last lost
    ListNo applied;
    Load load;
    std::string reason;                 // of its liveness
    std::vector<std::uint32_t> images;  // ready, by number, sorted
    std::vector<std::string> fetching;
    // Derived.
    std::map<CopyId, Instance*> copies;  // current ones
    std::map<CopyId, Stale> stale;
    std::int64_t cpu_used = 0, memory_used = 0;  // declared by current and stale copies
    std::int64_t memory_pending = 0;             // declared by current copies that do not run yet
    std::map<std::uint16_t, std::uint32_t> ports;
    std::uint32_t running = 0, pending = 0;
    std::map<std::uint64_t, std::uint32_t> of_service;  // current copies, by service number
    std::map<std::uint32_t, std::uint32_t> prepull;     // image number -> services that want it here
    std::uint64_t load_version = 0;                     // changes with what its copies take
    bool drain_told = false;
    bool returning = false;  // it was lost or had left

    const std::string& public_address() const { return advertise.empty() ? address : advertise; }
    bool down() const { return liveness == Liveness::kLost || liveness == Liveness::kLeft; }
};

struct NodeByName {
    bool operator()(const Node* a, const Node* b) const { return a->name < b->name; }
};

inline bool copy_runs(CopyState state) { return state == CopyState::kRunning || state == CopyState::kReady; }

}  // namespace gantry::core
