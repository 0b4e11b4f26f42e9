// SPDX-License-Identifier: Apache-2.0
//
// Agent: makes its node look like the list it was given and reports what it has. A plain state machine like the
// controller: same inputs, same effects.
//
// The agent's own state is one document that the shell keeps in a file: Save must be durable before the other effects
// of the same turn are done.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kernel/base/json.hpp"
#include "kernel/core/effects.hpp"
#include "kernel/core/messages.hpp"
#include "kernel/core/timing.hpp"

namespace gantry::core {

struct AgentFacts {
    std::string node, node_id, boot_id, version, advertise;
    std::uint64_t session = 0;
    Labels labels;
    std::vector<RuntimeHello> runtimes;  // in order of the configuration; the first is the default
    std::vector<std::string> probes;
    std::int64_t cpu_milli = 0, memory_bytes = 0;
    std::string position_servers;      // value for VSOA_POS_SERVER behind the node's own; may be empty
    std::uint16_t directory_port = 0;  // of this node's own directory; 0: none
    std::string directory_environment = "VSOA_POS_SERVER";       // variable that tells containers whom to ask
    std::uint16_t ask_port = 0;                                  // where other nodes reach this one; 0: nowhere
    std::int64_t disk_warn_percent = 0;                          // an event when the disk is so full; 0: never
    std::vector<std::string> drills = {};                        // kinds that the configuration permits
    std::pair<std::uint16_t, std::uint16_t> ports = kPortRange;  // first and last of those that it chooses from
};

// A container as its runtime lists it.
struct Seen {
    std::string runtime, name;
    bool running = false;  // running or paused
    bool created = false;  // created, never started
    int exit_code = 0;
    std::string detail;
    bool paused = false;  // running, and stands still
};

struct ContainerWanted {  // what Create needs; the shell fills in a host::ContainerSpec from it
    std::string name, image_digest, service;
    ServiceSpec spec;  // its endpoints have the ports of this attempt
    Labels env;        // spec.env and what Gantry adds: VSOA_POS_SERVER, GANTRY_SERVICE, PORT, ...
    Labels labels;
};

// --- inputs ---------------------------------------------------------------------------------------------------------
struct AgentStart {
    std::optional<std::string> saved;  // the document of the last run, if it could be read
    bool lost = false;                 // there was one and it cannot be used: no number it held may be used again
};
// Answers ListContainers. One that was not asked for only makes the agent ask: it may be older than the last operation.
struct ContainersListed {
    std::string runtime;
    Result<std::vector<Seen>> result;
};
struct ImagesListed {
    std::string runtime;
    std::vector<std::string> images;
};
struct Connected {
    PeerId peer = 0;
    bool through_node = false;  // it leads to the controller through another node, which dialled us
};                              // a transport connection to a controller is up: say hello
struct Disconnected {
    PeerId peer = 0;
};
struct FromController {
    PeerId peer = 0;
    ControllerMessage message;
};                // Welcome, Refused, HeartbeatAck, NodeList, Specs, Names, Ask, Forward
struct Reached {  // answers Reach
    std::uint64_t route = 0;
    Result<PeerId> peer;  // its connection; kDeadline: nothing came back, kUnavailable: its machine refused
};
struct FromNode {
    PeerId peer = 0;
    json::object message;
};  // of a node that was reached, by unframe()
struct NodeGone {
    PeerId peer = 0;
    Ended how = Ended::kReset;
};
struct OperationDone {
    std::uint64_t id = 0;  // of the effect
    Status result;         // kUnknown: list before acting on it
};
// A hint: the agent lists before it acts. An empty name says that something was missed.
struct ContainerExited {
    std::string runtime, name;
    int exit_code = 0;
};
struct ImageProgress {
    std::string digest;
    std::uint32_t percent = 0;
};
struct ImageReady {
    std::string digest;
    Status result;
};
struct Probed {
    std::uint64_t id = 0;
    bool healthy = false, unknown = false;
    std::string detail;
};
struct LoadMeasured {
    Load load;
    std::optional<Usage> usage = {};  // none: not measured yet
};
// Answers Arm: the guard holds the deadline, or why not.
struct Armed {
    std::uint64_t id = 0;
    Status result;
};
// What the guard holds, at the start, and whenever it was not there for longer than 100 ms: what it does not hold is
// covered by nothing. Needed before anything is done if a runtime is guarded.
struct GuardState {
    struct Held {
        std::string name;  // of the container
        Instant until{};
    };
    bool up = false;
    std::vector<Held> held;
};
struct PortTried {  // answers TryPort
    std::uint64_t id = 0;
    bool free = false;
};
struct AgentTick {};
struct ShutDown {
    bool machine_goes_down = false;
    bool reboots = false;  // and comes back
};                         // false: gantryd restarts (hold); true: leaving, until MayStop

using AgentInput = std::variant<AgentStart, ContainersListed, ImagesListed, Connected, Disconnected, FromController,
                                OperationDone, ContainerExited, ImageProgress, ImageReady, Probed, LoadMeasured,
                                AgentTick, ShutDown, Reached, FromNode, NodeGone, Armed, GuardState, PortTried>;

// --- effects --------------------------------------------------------------------------------------------------------
struct Save {
    std::string document;
};
struct Send {
    PeerId peer = 0;
    AgentMessage message;
};
struct ListContainers {
    std::string runtime;
};  // answered by ContainersListed
struct ListImages {
    std::string runtime;
};
struct FetchImage {  // blobs from the controller, then ensure_image
    std::string digest;
    std::string runtime;
    bool urgent = true;  // a copy waits for it; else it is only to be ready, and may be asked for again as urgent
};
// Every other image on this node can go, its blobs too: the agent counts them as gone already and fetches one again
// when it is needed. A digest may be asked for (FetchImage) while it is being removed; that fetch comes after.
struct KeepImages {
    std::vector<std::string> digests;  // sorted
};
struct Create {
    std::uint64_t id = 0;
    std::string runtime;
    ContainerWanted wanted;
};
struct Start {
    std::uint64_t id = 0;
    std::string runtime, name;
};
struct Stop {
    std::uint64_t id = 0;
    std::string runtime, name;
    Duration grace{};
};
struct Remove {
    std::uint64_t id = 0;
    std::string runtime, name;
};
struct Check {  // answered by Probed
    std::uint64_t id = 0;
    std::string kind, container, address;
    std::uint16_t port = 0;
    Labels params;
    Duration limit{};
};
// The guard is to kill the container at `until`, or later if it was told an earlier instant before. Answered by Armed.
struct Arm {
    std::uint64_t id = 0;
    std::string runtime, name;
    Instant until{};
};
struct Disarm {  // the container is gone
    std::string name;
};
struct ServeNames {
    std::uint64_t table_no = 0;
    std::vector<NameEntry> entries;
};  // to this node's directories
struct AgentEvent {
    std::string kind, text;
    json::object fields;
};  // for this node's log; the agent itself sends it on
// The machine goes down, and nothing is gained by waiting any longer: gantryd can end.
struct MayStop {};
struct DropPeer {
    PeerId peer = 0;
    std::string reason;
};
struct Reach {  // dial another node; answered by Reached
    std::uint64_t route = 0;
    std::string address;
    Duration limit{};
};
struct PassOn {  // to a node that was reached, by frame()
    PeerId peer = 0;
    json::object message;
};
struct HangUp {
    PeerId peer = 0;
};
struct TryPort {  // could a program of this node listen on it now? Answered by PortTried
    std::uint64_t id = 0;
    std::uint16_t port = 0;
};

using AgentEffect =
    std::variant<Save, Send, ListContainers, ListImages, FetchImage, KeepImages, Create, Start, Stop, Remove, Check,
                 ServeNames, AgentEvent, MayStop, DropPeer, Reach, PassOn, HangUp, Arm, Disarm, TryPort>;
// In order; everything behind a Save waits for it, but for what says nothing of this node: Reach, PassOn, HangUp.
using AgentEffects = std::vector<AgentEffect>;

class Agent {
  public:
    Agent(AgentFacts facts, Timing timing);
    ~Agent();
    Agent(Agent&&) noexcept;
    Agent& operator=(Agent&&) noexcept;

    // Whether AgentStart can use `document`; if not, the shell sets the file aside and says that it is lost.
    static Status check_saved(std::string_view document);

    AgentEffects step(const AgentInput& input, Instant now);
    Instant next_deadline() const;

    // For `gantry` on this node and for logs: service, instance, runtime and container name of a copy.
    struct CopyPlace {
        std::string runtime, container;
        bool may_rest = false;  // on disk: it is to run here, and by no lease, which might end meanwhile
    };
    std::optional<CopyPlace> container_of(const CopyId& copy) const;
    // The containers that run for copies of the list, in the order of their copies.
    struct Running {
        CopyId copy;
        CopyPlace place;
    };
    std::vector<Running> running() const;
    json::value document() const;  // what the node has, for people
    bool connected() const;        // a controller welcomed us

  private:
    class State;
    std::unique_ptr<State> state_;
};

// Names of containers: "gantry-<first 8 of cluster id>-<service no>.<index>-<epoch>-<attempt>".
std::string container_name(std::string_view cluster_id, const CopyId& copy, std::uint64_t attempt);
struct ParsedName {
    std::string cluster8;
    CopyId copy;
    std::uint64_t attempt = 0;
};
std::optional<ParsedName> parse_container_name(std::string_view name);

}  // namespace gantry::core
