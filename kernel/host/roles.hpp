// SPDX-License-Identifier: Apache-2.0
//
// The roles as the kernel sees them. Each interface has two implementations: the adapter over a loaded plugin's table
// (kernel/host) and the instrument of tests (tests/support: in-memory transport, scripted runtime).
//
// Threads: everything here is called on the loop thread, and every Done and handler is called on it, in a later turn.
// A Done is called exactly once; Code::kUnknown means that the operation may have happened or not (deadline, death of
// the plugin). Arguments are copied or consumed before a call returns.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kernel/base/result.hpp"
#include "kernel/base/time.hpp"

namespace gantry::host {

template <class T>
using Done = std::function<void(Result<T>)>;

using Labels = std::vector<std::pair<std::string, std::string>>;

// ---- discovery ---------------------------------------------------------------------------------------------------
struct Discovered {
    bool controller = false;  // else a node, which is only shown
    std::string name;
    std::string address;
    Duration ttl{};  // zero: for ever
};

class Discovery {
  public:
    virtual ~Discovery() = default;
    // An endpoint that is not found again within its ttl is gone.
    virtual void begin(std::function<void(const Discovered&)> found, std::function<void(const Discovered&)> gone) = 0;
    virtual void refresh() = 0;
    // Nothing is found or gone any more; the host calls it before it stops the plugin.
    virtual void end() {}
};

// ---- placement ---------------------------------------------------------------------------------------------------
struct CandidateView {
    std::string_view node;
    std::int64_t cpu_total_milli = 0, cpu_free_milli = 0;
    std::int64_t memory_total_bytes = 0, memory_free_bytes = 0;
    std::uint32_t copies_running = 0, copies_pending = 0, copies_of_service = 0;
    bool has_image = false;
    const Labels* labels = nullptr;
};

struct RankQuestion {
    std::uint32_t nodes_total = 0, nodes_ready = 0, copies_total = 0;
    std::string_view service;
    std::int64_t cpu_milli = 0, memory_bytes = 0;
    std::uint32_t instances_wanted = 1;
    std::span<const CandidateView> candidates;
};

using Keys = std::array<std::int64_t, 4>;
inline constexpr Duration kScoreLimit = seconds(1);

class Placement {
  public:
    virtual ~Placement() = default;
    virtual std::vector<std::string> key_names() const = 0;
    // Keys in the order of the candidates. A policy in this process answers before score returns, the one exception to
    // "in a later turn"; one in a process of its own in a later turn, within kScoreLimit.
    virtual void score(const RankQuestion& question, Done<std::vector<Keys>> done) = 0;
};

// ---- runtime -----------------------------------------------------------------------------------------------------
struct RuntimeFacts {
    std::string system;
    std::vector<std::string> architectures;
    bool fenceable = false, pause = false, exec = false, stats = false, limits = false, settings = false,
         log_since = false;
};

struct Mount {
    std::string source, target;
    bool read_only = false, no_exec = false;
};

struct ContainerSpec {
    std::string name, image, hostname, cwd, user;
    std::vector<std::string> args;
    Labels env;
    std::vector<Mount> mounts;
    std::int64_t cpu_milli = 0, memory_bytes = 0, pids = 0;
    int stop_signal = 0;
    Labels labels;
    std::string settings;  // JSON; only for a runtime that says it reads them
};

enum class ContainerState : std::uint8_t { kCreated = 1, kRunning = 2, kPaused = 3, kExited = 4 };

struct Container {
    std::string name;
    ContainerState state = ContainerState::kCreated;
    int exit_code = 0;
    std::int64_t pid = 0;
    Instant started{};
    std::string detail;
    Labels labels;
};

struct ContainerStats {
    Duration cpu{};  // used since its start
    std::int64_t memory_bytes = 0, pids = 0;
};

class Runtime {
  public:
    virtual ~Runtime() = default;
    virtual RuntimeFacts facts() const = 0;
    virtual void begin(std::function<void(std::string name, int exit_code)> exited, std::function<void()> changed) = 0;
    virtual void ensure_image(const std::string& image, const std::string& layout_dir, bool urgent, Duration limit,
                              Done<void>) = 0;
    virtual void images(Duration limit, Done<std::vector<std::string>>) = 0;
    virtual void remove_image(const std::string& image, Duration limit, Done<void>) = 0;
    virtual void create(const ContainerSpec& spec, Duration limit, Done<void>) = 0;
    virtual void start(const std::string& name, Duration limit, Done<void>) = 0;
    virtual void stop(const std::string& name, Duration grace, Duration limit, Done<void>) = 0;
    virtual void kill(const std::string& name, Duration limit, Done<void>) = 0;
    // on: all its processes stand still; else they go on. disk: meanwhile their memory lies on the node's disk.
    virtual void pause(const std::string& name, bool on, bool disk, Duration limit, Done<void>) = 0;
    virtual void remove(const std::string& name, Duration limit, Done<void>) = 0;
    virtual void list(Duration limit, Done<std::vector<Container>>) = 0;
    virtual void stats(const std::string& name, Duration limit, Done<ContainerStats>) = 0;
    // since_ns: from the first line on that was written then (since 1970); 0: all. Takes fd over. Returns an id for
    // stop_logs.
    virtual std::uint64_t logs(const std::string& name, bool follow, std::int64_t tail_lines, std::int64_t since_ns,
                               int fd, Done<void>) = 0;
    // One more process in a container, with fd (taken over) as its input and output, which is a terminal if that is
    // asked for; answers its exit code. At the limit nobody waits for it any more, and the runtime ends it. Returns an
    // id for stop_logs.
    virtual std::uint64_t exec(const std::string& name, const std::vector<std::string>& args, bool terminal, int fd,
                               Duration limit, Done<int> exit_code) = 0;
    virtual void stop_logs(std::uint64_t id) = 0;
};

// ---- probe -------------------------------------------------------------------------------------------------------
struct ProbeQuestion {
    std::string container, address;
    std::uint16_t port = 0;
    Labels params;
};

enum class Verdict : std::uint8_t { kHealthy = 1, kUnhealthy = 2, kUnknown = 3 };

struct ProbeAnswer {
    Verdict verdict = Verdict::kUnknown;
    Duration latency{};
    std::string detail;
};

class Probe {
  public:
    virtual ~Probe() = default;
    virtual void check(const ProbeQuestion& question, Duration limit, Done<ProbeAnswer>) = 0;
};

// ---- transport ---------------------------------------------------------------------------------------------------
using PeerId = std::uint64_t;

enum class Channel : std::uint32_t { kControl = 0, kBulk = 1 };
enum class Down : std::uint32_t { kClosed = 1, kReset = 2, kRefused = 3, kTimeout = 4 };
enum class Sent : std::uint8_t { kOk, kFull, kGone, kTooLong };

struct TransportEvents {
    std::function<void(PeerId, bool inbound, std::string address, std::string local_address)> up;
    std::function<void(PeerId, Channel, std::string bytes)> message;
    std::function<void(PeerId, Down, std::string text)> down;
    std::function<void(PeerId)> writable;
    std::function<void(std::string address, Down, std::string text)> refused;
};

class Transport {
  public:
    virtual ~Transport() = default;
    virtual std::int64_t message_max_bytes() const = 0;
    virtual void begin(TransportEvents events) = 0;
    virtual void listen(const std::string& address, Done<std::string> bound) = 0;
    virtual void dial(const std::string& address, Duration limit, Done<PeerId>) = 0;
    virtual Sent send(PeerId peer, Channel channel, std::string_view bytes) = 0;
    virtual void close(PeerId peer) = 0;
};

// ---- directory ---------------------------------------------------------------------------------------------------
struct NameRecord {
    std::string name, address;
    std::uint16_t port = 0;
    bool secure = false, local = false;
};

struct DirectoryFacts {
    std::uint16_t port = 0;
    std::string environment;  // variable that tells containers whom to ask; empty: none
};

class Directory {
  public:
    virtual ~Directory() = default;
    virtual DirectoryFacts facts() const = 0;
    virtual void replace(std::uint64_t table_no, std::span<const NameRecord> records) = 0;
};

// ---- store -------------------------------------------------------------------------------------------------------
struct StoreEntry {
    std::string key, value;
    std::uint64_t revision = 0;
};

struct StoreEntries {
    std::vector<StoreEntry> entries;
    std::uint64_t revision = 0;
};

inline constexpr std::uint64_t kRevisionAny = UINT64_MAX;
inline constexpr std::uint64_t kRevisionNone = 0;

struct StoreChange {
    std::string key, value;
    std::uint64_t expected = kRevisionAny;
    bool remove = false;
};

class Store {
  public:
    virtual ~Store() = default;
    virtual void load(const std::string& prefix, Duration limit, Done<StoreEntries>) = 0;
    // Errors: kConflict and kFull wrote nothing; kUnknown may have.
    virtual void commit(std::vector<StoreChange> changes, bool use_reserve, Duration limit,
                        Done<std::uint64_t> revision) = 0;
};

// ---- frontend: the resource tree as frontends reach it -----------------------------------------------------------
struct Principal {
    std::string kind, name;
    std::int64_t uid = -1, gid = -1;
    std::string text() const { return kind + ":" + name; }
};

struct ControlRequest {
    Principal principal;
    std::string method, path, body;
};

struct ControlResponse {
    int code = 500;
    std::uint64_t revision = 0;
    std::string body;
};

// Implemented by kernel/control (and by tests); called on the loop.
class ResourceTree {
  public:
    virtual ~ResourceTree() = default;
    virtual void request(ControlRequest request, std::function<void(ControlResponse)> done) = 0;
    // fd belongs to the tree from the call on.
    virtual void open(ControlRequest request, int fd, std::function<void(ControlResponse)> done) = 0;
    // Events numbered above `after`, as JSON documents, until unwatch.
    virtual std::uint64_t watch(Principal principal, std::string prefix, std::uint64_t after,
                                std::function<void(std::uint64_t number, const std::string& event)> fn) = 0;
    virtual void unwatch(std::uint64_t watch) = 0;
};

}  // namespace gantry::host
