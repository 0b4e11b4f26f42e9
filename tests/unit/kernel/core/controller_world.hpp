// SPDX-License-Identifier: Apache-2.0
//
// A simulated world around core::Controller, in virtual time and from one seed: nodes that obey their lists as the
// contract of agents says, links that lose, repeat, reorder and cut, machines that reboot, a store whose commits fail
// or whose outcome is unknown, and a controller that is killed at any point.
//
// What must hold whatever happens is checked all the time; the first breach is kept in `breach`, named.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "kernel/core/commit_gate.hpp"
#include "kernel/core/controller.hpp"

namespace gantry::core {

class Random {
  public:
    explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
    std::uint64_t next() {
        state_ += 0x9e3779b97f4a7c15ULL;
        std::uint64_t z = state_;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
        return z ^ (z >> 31);
    }
    int below(int n) { return static_cast<int>(next() % static_cast<std::uint64_t>(n)); }
    bool chance(int percent) { return below(100) < percent; }
    Duration time(int from_ms, int to_ms) { return milliseconds(from_ms + below(to_ms - from_ms + 1)); }

  private:
    std::uint64_t state_;
};

// The default policy, by its definition.
std::vector<Keys> fewest_copies(const Rank& rank);

class World {
  public:
    // What a copy of a service takes, from the document that was deployed.
    struct Takes {
        std::int64_t memory = 0, cpu = 0;
        std::uint16_t port = 0;
        std::vector<std::string> nodes;
        std::string side, constraint, runtime;
        std::size_t run = 0;  // of the controller that last had it as a current copy
        Instant placed{};
        bool twice = false;  // two copies had this name and number
    };
    World(std::uint64_t seed, int nodes);

    void chaos(Duration how_long);
    // No more faults, from now on; runs until desired equals actual or the time is up.
    void settle(Duration at_most);
    std::string breach;  // the invariant that was broken first, and how
    std::size_t commits = 0, placements = 0, losses = 0, moves = 0, gaps = 0, controller_starts = 0;

  private:
    struct SimCopy {
        CopyState state = CopyState::kWaiting;
        Instant next{};
        std::uint32_t crashes = 0, restarts = 0;
        bool unwanted = false, stuck = false;
        std::uint64_t revision = 0;
    };
    struct SimNode {
        std::string name, architecture = "amd64";
        Labels labels;
        Identity id;
        int boots = 1;
        bool up = false, left = false, has_process = false;
        Instant up_at{};
        Instant leave_at = kNever;  // it goes down, and waits for its copies to move
        Instant cut_until{};
        bool cut_resets = false;
        PeerId peer = 0;
        bool welcomed = false, confirmed = false;
        Instant connect_at{}, heard{}, beat_at{}, report_at{};
        bool changed = false;
        ListNo applied, known;  // known: outlives reboots
        NodeList list;
        std::map<CopyId, SimCopy> copies;
    };
    struct Packet {
        PeerId peer = 0;
        std::variant<AgentMessage, ControllerMessage, std::monostate> what;  // monostate: the connection ended
        bool to_controller = false;
    };
    struct Flight {
        CommitGate::Commit commit;
        Instant at{};
    };

    // The controller's side (controller_world.cpp).
    void start_controller();
    void kill_controller();
    void turn(const Input& input);
    void pump();
    void finish_commit();
    void apply(const CommitGate::Commit& commit);
    void act(const Effect& effect);
    void published(PeerId peer, const NodeList& list);
    void check_stopped(const SimNode& node, const NodeList& list);
    void announced(const Names& names);
    void check_placed();
    void check_bookkeeping();
    void leave(SimNode& node);
    void check_question(const Rank& rank);
    void check_stored();
    void check_reload();

    // The nodes' side.
    void step();
    void deliver(const Packet& packet);
    void send(Packet packet, SimNode& node);
    void say(SimNode& node, AgentMessage message);
    void run(SimNode& node);
    void run_copies(SimNode& node);
    void connect(SimNode& node);
    void drop(SimNode& node, bool tell);
    void take(SimNode& node, const ControllerMessage& message);
    void take_list(SimNode& node, const NodeList& list);
    void report(SimNode& node);
    void boot(SimNode& node);
    SimNode* node_of(PeerId peer);

    // Chaos and judgement (controller_chaos.cpp).
    void misfortune();
    void change_something();
    json::value random_manifest(const std::string& name);
    std::string unlike_desired();
    bool fits_somewhere(const json::object& instance, bool failed_too);
    static std::string unfit(const Takes& need, const SimNode& node);
    void heal();
    json::value as_stored(const std::string& key) const;
    void broken(const std::string& invariant, const std::string& how);

    Random random_;
    std::uint64_t seed_;
    Instant now_{seconds(100).count()};
    Timing timing_;
    bool faulty_ = true;
    std::map<std::string, std::string> durable_;
    std::optional<Controller> core_;
    CommitGate gate_;
    std::optional<Flight> flight_;
    Instant controller_back_{};
    std::vector<std::pair<Instant, Rank>> slow_ranks_;
    std::map<std::string, SimNode> nodes_;
    std::multimap<Instant, Packet> packets_;
    std::map<PeerId, std::string> links_;  // as the controller's machine sees them
    PeerId last_peer_ = 0;
    RequestId last_request_ = 0;
    std::map<RequestId, std::pair<std::string, std::uint64_t>> deploys_;  // service, revision that the answer promises
    std::map<CopyId, std::string> published_on_;                          // every copy ever listed, and where
    std::set<std::pair<CopyId, std::string>> was_ready_;
    std::set<std::string> ready_copies_;                       // the same, as documents name them
    std::map<std::string, std::set<CopyId>> listed_;           // by node, in its last list
    std::map<CopyId, std::string> instance_of_;                // "s1.0"
    std::map<InstanceId, std::set<CopyId>> of_instance_;       // every copy ever listed
    std::set<std::pair<std::string, std::uint64_t>> planned_;  // instance, epoch of a next copy beside a current one
    std::set<std::pair<std::string, std::uint64_t>> lost_;     // instance, epoch: told as lost
    std::vector<NameEntry> named_;                             // what the last table said
    std::map<std::string, ListNo> last_list_;
    std::map<std::string, Takes> taken_;  // by copy ("s1.0#3")
    std::string draining_;                // when faults have stopped
    std::optional<InstanceId> crashing_;
};

}  // namespace gantry::core
