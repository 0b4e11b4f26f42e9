// SPDX-License-Identifier: Apache-2.0
//
// Controller: decides which copies each node has. A plain state machine: the same inputs give the same effects, byte
// for byte. It reads no clock and does nothing itself.
//
//     Controller c(timing, default_policy, known_policies);
//     c.load(entries, fresh_id, now)  -> Effects (the commit that raises the term)
//     c.step(input, now)              -> Effects
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "kernel/core/effects.hpp"
#include "kernel/core/timing.hpp"

namespace gantry::core {

// --- inputs ---------------------------------------------------------------------------------------------------------
struct PeerMessage {  // Hello, Heartbeat, Report, PullList, PullSpecs, Leaving, Hold, NodeEvent
    PeerId peer = 0;
    std::string address;  // IP of the other side, for Hello
    AgentMessage message;
};
enum class Down : std::uint8_t {
    kClosed,   // in order
    kReset,    // it broke
    kTimeout,  // the other side was silent for too long, as far as the transport knows
};
struct PeerDown {
    PeerId peer = 0;
    Down cause = Down::kReset;
};
struct Ranked {
    std::uint64_t id = 0;
    std::vector<Keys> keys;
};
struct RankFailed {
    std::uint64_t id = 0;
    std::string reason;
};
struct Tick {};
struct LoopLate {  // the loop was late by more than a heartbeat: shift every last-heard time
    Duration lag{};
};

// API changes; each ends with one Reply, that of a dry run perhaps in a later step.
struct ApiDeploy {
    RequestId request = 0;
    json::value document;
    bool dry_run = false;
};
struct ApiRemoveService {
    RequestId request = 0;
    std::string name;
};
struct ApiRollout {  // of a service's last revision; or whether anything of the service runs
    RequestId request = 0;
    std::string service;
    enum class Action : std::uint8_t { kPause, kResume, kRollBack, kRestart, kStop, kStart } action = Action::kPause;
    std::uint64_t revision = 0;  // to roll back to; 0: the last one that was ready as a whole before this one
};
struct ApiRebalance {  // evens out how many copies the nodes have
    RequestId request = 0;
    std::uint32_t at_once = 1;
    bool dry_run = false;  // only the plan
};
struct ApiSetIntent {
    RequestId request = 0;
    std::string node;
    std::string intent;  // active, cordoned, draining
};
struct ApiRemoveNode {
    RequestId request = 0;
    std::string node;
    bool dead = false;
};
struct ApiConfirmLost {
    RequestId request = 0;
    std::vector<std::string> nodes;  // empty: all silent ones
};
struct ApiSetImage {  // name now means this image
    RequestId request = 0;
    std::string name, digest, os, architecture;
    std::int64_t size_bytes = 0;
};
struct ApiRemoveImage {
    RequestId request = 0;
    std::string name;
};
struct ApiSetSecret {
    RequestId request = 0;
    std::string name, value;
    bool remove = false;
};

using Input =
    std::variant<PeerMessage, PeerDown, Ranked, RankFailed, Tick, LoopLate, ApiDeploy, ApiRemoveService, ApiRollout,
                 ApiRebalance, ApiSetIntent, ApiRemoveNode, ApiConfirmLost, ApiSetImage, ApiRemoveImage, ApiSetSecret>;

struct Entry {  // of the store
    std::string key, value;
};

class Controller {
  public:
    // policies: names that may be asked, the default first.
    Controller(Timing timing, std::vector<std::string> policies);
    ~Controller();
    Controller(Controller&&) noexcept;
    Controller& operator=(Controller&&) noexcept;

    // Takes the stored state, once, before any step. An empty one makes a new cluster: cluster_id is `fresh_id`.
    // The effects hold the write that raises the term. Errors: the stored form is not ours (key, what is wrong).
    Result<Effects> load(std::span<const Entry> entries, const std::string& fresh_id, Instant now);

    Effects step(const Input& input, Instant now);
    // The instant at which step(Tick) is due, kNever if nothing waits.
    Instant next_deadline() const;

    // --- documents for readers (what is committed and what is not yet are not told apart: see control/) ------------
    json::array nodes(Instant now) const;
    json::array services() const;
    json::array instances() const;
    json::array images() const;
    // Digests of every image that has a name, and of every stored revision of every service.
    std::vector<std::string> images_needed() const;
    // IP:PORT of at most three nodes, but not of `reader`, that have the image whole and answer others.
    std::vector<std::string> neighbours_with(const std::string& image, PeerId reader) const;
    json::array secrets() const;  // names only
    json::array names() const;    // who answers what
    Result<json::value> service(const std::string& name) const;
    // Its revisions, the newest first. Errors: kNotFound.
    Result<json::array> history(const std::string& name) const;
    // Each node of the cluster, and each that the manifest names and that never joined: excluded by which rule, or its
    // rank and keys, which come from asking `rank`.
    Result<json::value> explain(
        const std::string& service, Instant now, const std::function<Result<std::vector<Keys>>(const Rank&)>& rank,
        const std::function<std::vector<std::string>(const std::string& policy)>& key_names) const;

    std::string cluster_id() const;
    std::uint64_t term() const;
    // Where a copy runs, for logs: node and peer. Errors: kInvalid (no instance's name), kNotFound, kUnavailable
    // (on no node, or its node is not connected).
    struct Place {
        std::string node;
        PeerId peer = 0;
        CopyId copy;
        bool exec = false;     // its gantryd can run commands
        bool restart = false;  // and restart what it runs
        bool disk = false;     // and checkpoint it
    };
    Result<Place> place(const std::string& instance) const;  // "axis_server.0", or a container's name
    // The peer of a node on which a drill of this kind may begin now. Errors: kNotFound, kConflict (it is not ready),
    // kRefused (its configuration does not permit it).
    Result<PeerId> drilled(const std::string& node, const std::string& kind) const;

    // What nodes that are there use, and their instances; what a node has not said in this term is not known.
    void each_load(const std::function<void(const std::string& node, const Load&, const Usage&)>& node,
                   const std::function<void(const std::string& instance, const CopyUsage&)>& instance) const;

    // What the store holds once every write so far is committed, for tests and `load`.
    std::vector<Entry> stored() const;

  private:
    class State;
    std::unique_ptr<State> state_;
};

}  // namespace gantry::core
