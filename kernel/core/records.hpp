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
    kLeaving,
    kPlatform,
    kRuntime,
    kFence,
    kSettings,
    kChooses,
    kLabels,
    kCpu,
    kMemory,
    kPorts,
    kCopies,
    kApart,
    kSpread,
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
    std::set<std::string> failed;   // nodes on which it kept crashing
    bool failing = false;           // no other node is left to try, or it was not ready in time
    bool good = false;              // every instance was ready by it
    std::uint64_t rollback_of = 0;  // it is that one again
    // Derived.
    std::uint64_t service_no = 0;
    Need need;
    std::uint32_t image_no = 0;
    CopySpec copy_spec;
    std::string digest;  // of copy_spec
};

// One container of an instance. With no node: there is none; its epoch is then that of the one that was lost.
struct Copy {
    // Stored.
    std::uint64_t epoch = 0, revision = 0;
    Node* node = nullptr;
    bool ready = false;
    std::vector<std::uint16_t> ports{};  // as reported, with one that its node chose; stored of a current copy
    // From reports.
    CopyState state = CopyState::kWaiting;
    std::uint64_t attempt = 0;
    std::uint32_t crashes = 0, restarts = 0;
    int exit_code = 0;
    std::string reason{};
    Instant since{};
    // Of this run of the controller.
    Instant assigned{}, ready_since{};
};

// At least and at most so long.
struct Figure {
    Duration least{}, most{};
    friend bool operator==(const Figure&, const Figure&) = default;
};

// An instance that found another place, or its old one again, and what that cost (docs/faults.md, "What a move costs").
struct Move {
    std::uint64_t no = 0;                                   // grows with every move in the cluster
    std::uint64_t revision = 0, epoch = 0, from_epoch = 0;  // the same: the copy is in reach again
    std::string from, to, why;
    std::optional<Figure> gap, overlap;
};

// What is known of when a copy ran: its node's records.
struct Life {
    std::string node, why;
    std::map<std::uint64_t, Run> runs;  // by attempt, the last ones
    std::optional<Span> forgotten;      // there may have been others, between
    Instant assigned = kAnyTime;        // that: in an earlier run of the controller
    bool missed = false;                // its node was out of reach since the copy was ready last
    std::optional<Instant> over;        // since then nothing of it runs, nor will
    bool settled = false;               // and more will not be known
};

// A node is out of reach from its last word on, until it counts as there again.
using Away = std::vector<Span>;

// Has one current copy, which its names mean, and during a planned move one next, which replaces it when it is ready.
struct Instance {
    Service* service = nullptr;
    std::uint32_t index = 0;
    // Stored.
    Copy current;              // without a node: pending, or lost while next is on its way
    Copy next;                 // with a node, or there is none
    std::uint64_t epoch = 0;   // greatest assigned
    std::uint64_t seen = 0;    // greatest reported
    std::string bound;         // static mode: the only node
    std::string moving_from;   // the node that a planned move leaves; until another copy is ready
    std::string why;           // of that move, for people
    bool may_return = false;   // current was lost with its node; if it comes back it is current again
    bool stopping = false;     // a gap is planned: moving_from has not confirmed the stop yet
    std::string leased_on;     // under forbid: its last copy may still run there, by a lease
    std::string displaced_by;  // its last copy was stopped for that instance
    bool planned = false;      // a next copy is wanted and has no node yet; not stored, it is planned anew
    Node* room_on = nullptr;   // while it is pending: room is being made for it there; not stored
    std::vector<std::pair<std::string, Instant>> lost_on;  // node, held until
    std::vector<Move> moved;                               // the last ones, the newest last
    std::optional<Figure> worst_gap, worst_overlap;
    // Of this run of the controller.
    std::uint64_t served = 0;  // epoch of the copy that was ready last; 0: none was

    InstanceId id() const;
    CopyId current_id() const { return {id(), current.epoch}; }
    std::string text() const;  // "axis_server.0"
    bool pending() const { return !current.node && !next.node && !stopping; }
    bool moves() const { return planned || stopping || next.node; }
    // What people are shown: the current copy, or the one that is to be it.
    const Copy& shown() const { return !current.node && next.node ? next : current; }
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
    bool paused = false;   // the rollout: no further instance is replaced
    bool stopped = false;  // by hand: nothing of it is to run until it is started
    std::map<std::uint64_t, Revision>
        revisions;  // the last one, those that copies run, and limits::kHistory older ones
    // Derived.
    bool forbid = false;  // of every revision: it does not change
    std::map<std::uint32_t, Instance> instances;
    std::set<std::uint32_t> unplaced;  // free to be placed: pending, or a next copy is planned
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

// How regularly a node was heard: a greatest pause that is forgotten slowly.
class Pace {
  public:
    // A message came `pause` after the one before it.
    void heard(Duration pause, bool heartbeat, Instant now);
    // The pause that ended up to `within` ago was the listener's own.
    void take_back(Duration within, Instant now);
    Duration greatest() const { return greatest_; }

  private:
    Duration greatest_{}, before_{};
    Instant raised_{INT64_MIN / 2};
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
    std::uint16_t ask_port = 0;
    bool exec = false, restart = false, disk = false;  // as its last hello says
    std::vector<Duration> reboots_took;                // how long the last announced ones took, the newest last
    // Of the connection.
    PeerId peer = 0;
    std::uint64_t seq = 0;
    Quiet quiet = Quiet::kLoaded;
    Instant heard{}, dropped{};  // dropped: when the connection went, or the controller started
    Instant last_word{};         // as heard, but never shifted
    std::vector<std::string> drills;
    std::uint64_t runs_no = 0, runs_since = 0;  // of its last report with runs of this session; of its records
    Instant known = kAnyTime;                   // until then they are known
    Away unheard;                               // the last times; kNever: it still is
    Instant reached = kNever;                   // in this run of the controller, for the first time
    Pace pace;
    Instant hold_until{};
    bool reported = false;  // in this term and boot, and since it was last lost
    ListNo applied;
    Load load;
    Usage usage;
    std::string reason;                 // of its liveness
    std::vector<std::uint32_t> images;  // ready, by number, sorted
    std::vector<std::string> fetching;
    // Derived.
    std::map<CopyId, Instance*> copies;  // current and next ones
    std::map<CopyId, Stale> stale;
    std::int64_t cpu_used = 0, memory_used = 0;  // declared by all of them and by stale copies
    std::int64_t memory_pending = 0;             // declared by copies that do not run yet
    std::map<std::uint16_t, std::uint32_t> ports;
    std::uint32_t running = 0, pending = 0;
    std::map<std::uint64_t, std::uint32_t> of_service;  // copies, by service number
    std::map<std::uint32_t, std::uint32_t> prepull;     // image number -> services that want it here
    std::set<InstanceId> promised;                      // room is being made for these
    std::uint64_t load_version = 0;                     // changes with what its copies take
    bool drain_told = false;
    std::optional<Instant> leaves_by;  // it goes down; its copies have so long to move
    bool returning = false;            // it was lost or had left
    // Of its silence.
    std::string via;                             // the node through which it is heard; empty: it is heard directly
    Instant ask_at = kNever;                     // others are asked about it
    std::map<std::string, std::string> answers;  // of others, for people
    bool confirmed = false;                      // another node does not reach it either
    // An announced reboot.
    bool reboots = false;         // what leaves_by is about
    std::optional<Instant> away;  // since it may go
    bool expected = false;        // stored: its copies wait for it, until hold_until
    Duration waits{};             // stored: so long at most, from when it went or the controller started

    const std::string& public_address() const { return advertise.empty() ? address : advertise; }
    bool down() const { return liveness == Liveness::kLost || liveness == Liveness::kLeft; }
};

struct NodeByName {
    bool operator()(const Node* a, const Node* b) const { return a->name < b->name; }
};

inline bool copy_runs(CopyState state) { return state == CopyState::kRunning || state == CopyState::kReady; }

}  // namespace gantry::core
