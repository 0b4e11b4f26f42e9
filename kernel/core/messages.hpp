// SPDX-License-Identifier: Apache-2.0
//
// What agents and controllers say to each other, as values and as JSON (docs/wire.md). Every message carries the
// version field "v" (kWireVersion) and its kind "m". Decoding checks everything and never trusts a length; members it
// does not know are left alone, so adding one does not need a new version.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "kernel/base/json.hpp"
#include "kernel/core/spec.hpp"

namespace gantry::core {

inline constexpr int kWireVersion = 1;

// (term, list_no) orders the lists of one cluster.
struct ListNo {
    std::uint64_t term = 0, no = 0;
    friend auto operator<=>(const ListNo&, const ListNo&) = default;
};

// One numbered slot of a service. The service's number is never reused, even when its name is.
struct InstanceId {
    std::uint64_t service_no = 0;
    std::uint32_t index = 0;
    friend auto operator<=>(const InstanceId&, const InstanceId&) = default;
    std::string text() const;  // "12.0"
};

struct CopyId {
    InstanceId instance;
    std::uint64_t epoch = 0;
    friend auto operator<=>(const CopyId&, const CopyId&) = default;
    std::string text() const;  // "12.0#3"
};
// Exactly what text() writes; none for everything else.
std::optional<InstanceId> parse_instance_id(std::string_view text);
std::optional<CopyId> parse_copy_id(std::string_view text);

// What a node's container must be. Its digest names it in lists. Only the container part of the spec travels
// (container_part_to_json): a pool or a number of instances is no node's business and does not change the digest.
struct CopySpec {
    std::string service;  // name
    std::uint64_t revision = 0;
    std::string image_digest;  // manifest digest
    std::string image_name;
    ServiceSpec spec;
    Labels secrets;  // endpoint name -> password, for probes
    friend bool operator==(const CopySpec&, const CopySpec&) = default;
};
json::value to_json(const CopySpec& spec);
Result<CopySpec> parse_copy_spec(const json::value& document);
// "sha256:..." of the JSON text.
std::string spec_digest(const CopySpec& spec);

// --- agent to controller ---------------------------------------------------------------------------------------------

struct RuntimeHello {
    std::string name, system;
    std::vector<std::string> architectures;
    bool fenceable = false;
    std::optional<bool> limits = {};  // of cpu, memory and processes hold; none: an older node does not say
    bool guarded = false;             // fenceable, and this node keeps leases: copies under forbid may come here
    bool settings = false;            // ServiceSpec::settings are applied
    bool ports = false;               // its node chooses ports where a manifest says 0
    friend bool operator==(const RuntimeHello&, const RuntimeHello&) = default;
};

struct Identity {  // of the sender, in every message of an agent
    std::string node_id, boot_id;
    std::uint64_t session = 0;  // grows with every run of gantryd on the node
    std::uint64_t seq = 0;      // grows with every message of the session
    friend bool operator==(const Identity&, const Identity&) = default;
};

struct Hello {
    Identity id;
    std::string node;        // name
    std::string cluster_id;  // known from before; empty: joins for the first time
    std::string advertise;   // address that names answer; empty: the connection's
    Labels labels;
    std::vector<RuntimeHello> runtimes;
    std::vector<std::string> probes;
    std::int64_t cpu_milli = 0, memory_bytes = 0;  // the node's
    ListNo applied;                        // greatest one ever accepted, in whatever boot: only greater ones will be
    std::string version;                   // of gantryd
    std::uint16_t ask_port = 0;            // where others reach this node, and it knows Ask; 0: neither
    std::vector<std::string> drills = {};  // kinds of drill that its configuration permits
    bool exec = false;                     // it knows ExecOpen
    bool restart = false;                  // it knows RestartCopy
    bool disk = false;                     // and PauseCopy with `disk`
};

// How far an agent has told its records of what ran (docs/faults.md, "What a move costs").
struct Told {
    std::uint64_t no = 0;     // of the session's last report with runs; 0: there was none
    std::uint64_t since = 0;  // number of the records; another one: some were lost. 0: it keeps none
    // By the controller's clock, at the latest: the reports up to `no` hold all that was known here then. 0: they do
    // not.
    Instant said{};
    friend bool operator==(const Told&, const Told&) = default;
};

// Load of a node as it is now.
struct Load {
    std::int64_t memory_free_bytes = 0;
    std::int64_t cpu_used_milli = 0;
};

// What is measured of a copy's container. None: not known.
struct CopyUsage {
    CopyId copy;
    std::optional<std::int64_t> cpu_milli = {}, memory_bytes = {}, pids = {};
    friend bool operator==(const CopyUsage&, const CopyUsage&) = default;
};

// What else is measured of a node, for people. None: its machine does not have it, or does not say.
struct Usage {
    std::optional<std::int64_t> disk_total_bytes = {}, disk_free_bytes = {};  // of the state folder's file system
    std::optional<std::int64_t> received_per_s = {}, sent_per_s = {};         // bytes
    std::optional<std::int64_t> pressure_cpu = {}, pressure_memory = {}, pressure_io = {};  // "some" of 10 s, permille
    std::optional<std::int64_t> temperature_c = {};                                         // of the hottest zone
    std::vector<CopyUsage> copies = {};                                                     // ordered by copy
    friend bool operator==(const Usage&, const Usage&) = default;
    const CopyUsage* of(const CopyId& copy) const;  // nullptr: not measured
};

struct Heartbeat {
    Identity id;
    ListNo applied;
    Load load;
    std::uint64_t beat = 0;  // k: number among the heartbeats of the session; 0: of a node that knows no leases
    Told told = {};
};

enum class CopyState : std::uint8_t {
    kWaiting,   // for its spec, its image or a restart's delay
    kCreating,  // being created or started
    kRunning,   // runs, not yet ready
    kReady,     // every probe says so (or there is none)
    kStopping,  // on its way out
    kExited,    // not running, will not be started again by itself
};
std::string_view copy_state_name(CopyState state);  // "waiting", "creating", ...

struct CopyReport {
    CopyId copy;
    CopyState state = CopyState::kWaiting;
    std::uint64_t attempt = 0;
    std::uint32_t crashes = 0;              // in a row, without a stable time between
    std::uint32_t restarts = 0;             // since the copy was assigned
    int exit_code = 0;                      // of the last exit
    std::string reason{};                   // for people: "image 43%", "exited with 1", "probe tcp: connection refused"
    bool cannot_stop = false;               // killing it failed; it still runs
    std::vector<std::uint16_t> ports = {};  // of each endpoint, if its node chose one of them
    friend bool operator==(const CopyReport&, const CopyReport&) = default;
};

// What the reason of a copy begins with that runs and stands still, since its node was told so.
inline constexpr std::string_view kPausedReason = "paused";

inline constexpr std::int64_t kLatest = 1LL << 58;  // nine years: no clock that counts from a boot shows more
inline constexpr Instant kAnyTime{-kLatest};        // before all that is told

// When something happened, by the controller's clock: not before `from` and not after `to`.
struct Span {
    Instant from{}, to{};
    friend bool operator==(const Span&, const Span&) = default;
};

inline constexpr std::size_t kTurnsKept = 8;             // of more, those behind the first are forgotten
inline constexpr Duration kExitTold = milliseconds(50);  // a runtime tells of an end within this time

// One run of a copy's container, as its node recorded it.
struct Run {
    CopyId copy;
    std::uint64_t attempt = 0;
    Span began;
    std::vector<Span> turns = {};  // became ready, was not any more, was again, ...; at most kTurnsKept
    std::optional<Span> ended = {};
    friend bool operator==(const Run&, const Run&) = default;
};

// Everything the node has. Incomplete while a runtime has not been listed yet: what is not in it may still be there.
struct Report {
    Identity id;
    ListNo applied;
    Load load;
    std::vector<CopyReport> copies;     // of our cluster; also those that are not in the list
    std::vector<std::string> images;    // manifest digests that are ready
    std::vector<std::string> fetching;  // digests under way, with a reason behind a blank if stuck
    bool incomplete = false;
    std::optional<Usage> usage = {};  // none: as it was
    std::vector<Run> runs = {};       // those that changed since the controller took one, also of copies that are gone
    Told told = {};
};

struct PullList {
    Identity id;
};
struct PullSpecs {
    Identity id;
    std::vector<std::string> digests;
};
struct Leaving {
    Identity id;
    bool waits = false;    // until HeartbeatAck says that it has left: its copies have time to move
    bool reboots = false;  // and comes back
};                         // the machine goes down
struct Hold {
    Identity id;
};  // gantryd restarts
struct NodeEvent {
    Identity id;
    std::string kind, text;
    json::object fields;
};
struct BlobRead {
    Identity id;
    std::string digest;
    std::uint64_t offset = 0;
    std::uint32_t length = 0;
    std::string image = {};  // manifest's digest: the answer may name nodes that have it; empty: it need not
};
struct LogData {
    Identity id;
    std::uint64_t stream = 0;
    bool end = false;
    std::string error;
    std::optional<int> exit_code = {};  // of a command (ExecOpen) that has ended
    std::uint64_t taken = 0;            // bytes of a command's input that it has been given so far; 0: no news
};                                      // text in the tail
// Of a node that was asked about (Ask): what it says, or how that ended.
enum class Ended : std::uint8_t {
    kNot,      // message is what it says
    kSilent,   // nothing came back
    kRefused,  // its machine is there, its gantryd is not
    kReset,    // it broke
    kClosed,   // in order
    kFailed,   // says nothing of that node: no room, or it has another secret
};
std::string_view ended_name(Ended ended);  // "silent", ...
struct Relayed {
    Identity id;
    std::uint64_t route = 0;
    json::object message;  // of an agent, as encode() writes it, without a tail
    Ended ended = Ended::kNot;
    std::string text;  // for people
};

// --- controller to agent ---------------------------------------------------------------------------------------------

struct Welcome {
    std::string cluster_id;
    std::uint64_t term = 0;
    std::int64_t heartbeat_ms = 200;
    std::string address;  // the node's, as the controller sees it (names answer it)
    std::int64_t restart_delay_ms = 1'000, stable_after_ms = 10'000;
    std::uint32_t crashes_to_move = 5;
    std::int64_t restart_delay_max_ms = 60'000;
    std::int64_t lease_ms = 3'000;  // a grant lasts so long, from when the heartbeat was sent that it answers
    Instant at{};                   // the controller's time when it took the hello; 0: not said
};

struct Refused {
    std::string reason;
};

struct HeartbeatAck {
    std::uint64_t seq = 0;  // of the heartbeat
    ListNo current;
    std::uint64_t names_no = 0;
    bool left = false;                // the node is left: nothing more will be moved from it
    std::uint64_t beat = 0;           // of the heartbeat
    std::vector<CopyId> grants = {};  // these may run until a lease after that heartbeat was sent
    Instant at{};                     // the controller's time when it took the heartbeat
    std::uint64_t runs_no = 0;        // of the last report with runs that it took from this session
};

struct ListEntry {
    CopyId copy;
    std::string service;  // name, for logs and tables
    std::string spec_digest;
    bool is_static = false;  // starts after a reboot though no controller answers
    bool is_next = false;    // of a planned move: not to be named before the table of names has it
    bool forbid = false;     // runs only while a lease of it lasts: this entry permits no start
    friend bool operator==(const ListEntry&, const ListEntry&) = default;
};

struct NodeList {
    std::string cluster_id;
    ListNo no;
    std::vector<ListEntry> copies;    // ordered by CopyId
    std::vector<std::string> images;  // manifest digests to have ready (prepull)
    friend bool operator==(const NodeList&, const NodeList&) = default;
};

struct Specs {
    std::map<std::string, CopySpec> specs;
};  // by digest

struct NameEntry {
    std::string name, address, node;
    std::uint16_t port = 0;
    CopyId copy;
    friend bool operator==(const NameEntry&, const NameEntry&) = default;
};

struct Names {
    std::uint64_t term = 0, names_no = 0;
    std::vector<NameEntry> entries;     // ready copies, ordered by name and copy
    std::uint32_t part = 0, parts = 1;  // a table that does not fit one message is taken when its last part is there
};

struct BlobData {
    std::string digest;
    std::uint64_t offset = 0, total = 0;
    std::string error;
    std::vector<std::string> near = {};  // IP:PORT of other nodes that have the image
};                                       // bytes in the tail
struct LogOpen {
    std::uint64_t stream = 0;
    CopyId copy;
    bool follow = false;
    std::int64_t tail_lines = -1;
    std::int64_t since_ms = 0;  // since 1970; below 0: so long before now; 0: all
};
struct LogClose {
    std::uint64_t stream = 0;
};
// One more process in the copy's container. What it writes is LogData; LogClose ends it.
struct ExecOpen {
    std::uint64_t stream = 0;
    CopyId copy;
    std::vector<std::string> args;
    bool terminal = false, input = false;
    std::uint16_t rows = 0, columns = 0;  // of the terminal
};
struct ExecInput {
    std::uint64_t stream = 0;
    bool end = false;                     // nothing follows
    std::uint64_t taken = 0;              // bytes of its output that have been read so far; 0: no news
    std::uint16_t rows = 0, columns = 0;  // the terminal's new size; 0: the old one
};                                        // bytes in the tail
struct PauseCopy {                        // answered by LogData with `end`
    std::uint64_t stream = 0;
    CopyId copy;
    bool on = true;
    bool disk = false;  // its memory goes to the node's disk, or comes from there
};
struct RestartCopy {  // its container is ended and made anew; answered by LogData with `end` when that is certain
    std::uint64_t stream = 0;
    CopyId copy;
};
// Reach that node, and pass on what it and the controller say to each other: answered by Relayed.
struct Ask {
    std::uint64_t route = 0;  // the controller's number for this
    std::string address;      // IP:PORT
    std::int64_t within_ms = 400;
};
struct Forward {  // to the node that was reached
    std::uint64_t route = 0;
    json::object message;  // of a controller, as encode() writes it, without a tail
    bool end = false;      // no message: hang up
};

struct Drill {  // to a node that permits its kind
    std::string kind;
    std::int64_t for_ms = 0;
};

using AgentMessage =
    std::variant<Hello, Heartbeat, Report, PullList, PullSpecs, Leaving, Hold, NodeEvent, BlobRead, LogData, Relayed>;
using ControllerMessage = std::variant<Welcome, Refused, HeartbeatAck, NodeList, Specs, Names, BlobData, LogOpen,
                                       LogClose, Ask, Forward, Drill, ExecOpen, ExecInput, PauseCopy, RestartCopy>;

// A message on the wire: u32 big-endian length of the JSON text, the text, the tail (raw bytes; blobs and log text).
// encode() writes what it is given; what does not fit limits::kMessage is refused by the other side, so a sender of
// Specs or Names divides it (divide()). Errors of decoding: kInvalid; kUnsupported for another version, with both
// numbers.
template <class Message>
struct Decoded {
    Message message;
    std::string tail;
};
std::string encode(const AgentMessage& message, std::string_view tail = {});
std::string encode(const ControllerMessage& message, std::string_view tail = {});
Result<Decoded<AgentMessage>> decode_agent(std::string_view bytes);
Result<Decoded<ControllerMessage>> decode_controller(std::string_view bytes);

// The same without frame and tail, for who passes messages on and need not understand them: unframe() checks the
// frame and that one object is in it, nothing more.
json::object to_document(const ControllerMessage& message);
Result<AgentMessage> read_agent(const json::object& document);
std::string frame(const json::object& document);
Result<json::object> unframe(std::string_view bytes);

// Divides specs, or a table, into messages that each fit.
std::vector<Specs> divide(const Specs& specs);
std::vector<Names> divide(const Names& names);

}  // namespace gantry::core
