// SPDX-License-Identifier: Apache-2.0
//
// What a runtime is told and what it answers, as values that own their parts.
#pragma once

#include <gantry/abi/runtime.h>

#include <gantry/operation.hpp>
#include <gantry/plugin.hpp>

namespace gantry::inline v1 {

struct RuntimeFacts {
    std::string system = "linux";            // "linux", "sylixos"
    std::vector<std::string> architectures;  // "amd64", "arm64": names as in OCI images
    bool fenceable = false;                  // containers sit in a local cgroup of ours
    bool pause = false, checkpoint = false, exec = false, stats = false;
    bool limits = false;     // cpu, memory and pids limits hold
    bool settings = false;   // ContainerSpec::settings and Mount::no_exec are read
    bool log_since = false;  // LogRequest::since_ns is read

    std::uint32_t capabilities() const noexcept {
        return (fenceable ? GANTRY_RUNTIME_FENCEABLE : 0u) | (pause ? GANTRY_RUNTIME_PAUSE : 0u) |
               (checkpoint ? GANTRY_RUNTIME_CHECKPOINT : 0u) | (exec ? GANTRY_RUNTIME_EXEC : 0u) |
               (stats ? GANTRY_RUNTIME_STATS : 0u) | (limits ? GANTRY_RUNTIME_LIMITS : 0u) |
               (settings ? GANTRY_RUNTIME_SETTINGS : 0u) | (log_since ? GANTRY_RUNTIME_LOG_SINCE : 0u);
    }
};

struct Mount {
    std::string source;  // absolute path on the node; must exist
    std::string target;  // absolute path in the container
    bool read_only = false;
    bool no_exec = false;  // nothing below it can be run as a program
};

struct ContainerSpec {
    std::string name;
    std::string image;              // manifest digest "sha256:..."; ensure_image succeeded for it
    std::string hostname;           // empty: the node's
    std::string cwd, user;          // empty: what the image says; user is "uid[:gid]" or by names of the image
    std::vector<std::string> args;  // replaces entry point and command; none: the image's
    Labels env;                     // added to the image's, the same name replaces
    std::vector<Mount> mounts;
    std::int64_t cpu_milli = 0, memory_bytes = 0, pids = 0;  // hard limits; 0: none
    int stop_signal = 0;                                     // 0: what the image says, else SIGTERM
    Labels labels;                                           // kept with the container
    // Further wishes as a JSON object; empty: none. Refuse what you do not know or cannot do.
    std::string settings;

    ContainerSpec() = default;
    explicit ContainerSpec(const gantry_container_spec& raw)
        : name(text(raw.name)),
          image(text(raw.image)),
          hostname(text(raw.hostname)),
          cwd(text(raw.cwd)),
          user(text(raw.user)),
          args(texts(raw.args, raw.arg_count)),
          env(gantry::labels(raw.env, raw.env_count)),
          cpu_milli(raw.cpu_milli),
          memory_bytes(raw.memory_bytes),
          pids(raw.pids),
          stop_signal(static_cast<int>(raw.stop_signal)),
          labels(gantry::labels(raw.labels, raw.label_count)) {
        for (std::size_t i = 0; i < raw.mount_count; ++i) {
            const gantry_mount& m = *detail::element(raw.mounts, raw.mount_size, i);
            mounts.push_back({text(m.source), text(m.target), m.read_only != 0, (m.flags & GANTRY_MOUNT_NOEXEC) != 0});
        }
        if (raw.struct_size >= offsetof(gantry_container_spec, settings) + sizeof(raw.settings))
            settings = text(raw.settings);
    }
};

struct ImageSource {
    std::string image;       // manifest digest
    std::string layout_dir;  // an OCI image layout that holds it and all it refers to; read only
    bool urgent = false;     // a container waits for it; else it is only to be ready
};

// Result of images.
struct ImageList {
    std::vector<std::string> images;
};

enum class ContainerState : std::uint32_t {
    kCreated = GANTRY_CONTAINER_CREATED,
    kRunning = GANTRY_CONTAINER_RUNNING,
    kPaused = GANTRY_CONTAINER_PAUSED,
    kExited = GANTRY_CONTAINER_EXITED,
};

struct Container {
    std::string name;
    ContainerState state = ContainerState::kCreated;
    int exit_code = 0;     // with kExited: 0..255, 128 + signal when killed; -1 if it could not be recorded
    std::int64_t pid = 0;  // of the first process, 0 if none
    Instant started{};     // zero if unknown
    std::string detail;    // why it ended, if more is known than the code; with kPaused: that it is checkpointed
    Labels labels;
};

// Result of list_containers.
struct ContainerList {
    std::vector<Container> containers;
};

// Result of stats.
struct ContainerStats {
    Duration cpu{};  // used since start
    std::int64_t memory_bytes = 0;
    std::int64_t pids = 0;
};

struct LogRequest {
    std::string name;
    bool follow = false;           // go on until the container is removed or the reader closes
    std::int64_t tail_lines = -1;  // -1: from the beginning
    Fd fd;                         // where the text is written
    // Only from the first line on that was written then (nanoseconds since 1970) or later; 0: whenever it was. Only
    // for a runtime that says it reads it.
    std::int64_t since_ns = 0;
};

struct ExecRequest {
    std::string name;
    std::vector<std::string> args;
    bool terminal = false;
    Fd fd;  // one stream, both ways
};

// Result of exec.
struct ExecResult {
    int exit_code = 0;
};

namespace detail {

template <>
struct Lowered<ImageList> {
    explicit Lowered(const ImageList& r) : list(lower(r.images)), raw{sizeof(raw), 0, list.data(), list.size()} {}
    const void* get() const noexcept { return &raw; }
    std::vector<gantry_str> list;
    gantry_image_list raw;
};

template <>
struct Lowered<ContainerList> {
    explicit Lowered(const ContainerList& r) {
        labels.reserve(r.containers.size());
        list.reserve(r.containers.size());
        for (const Container& c : r.containers) {
            const std::vector<gantry_kv>& kvs = labels.emplace_back(lower(c.labels));
            list.push_back({str(c.name), static_cast<std::uint32_t>(c.state), c.exit_code, c.pid, c.started.count(),
                            str(c.detail), kvs.data(), kvs.size()});
        }
        raw = {sizeof(raw), sizeof(gantry_container), list.data(), list.size()};
    }
    const void* get() const noexcept { return &raw; }
    std::vector<std::vector<gantry_kv>> labels;
    std::vector<gantry_container> list;
    gantry_container_list raw{};
};

template <>
struct Lowered<ContainerStats> {
    explicit Lowered(const ContainerStats& r) : raw{sizeof(raw), 0, r.cpu.count(), r.memory_bytes, r.pids} {}
    const void* get() const noexcept { return &raw; }
    gantry_container_stats raw;
};

template <>
struct Lowered<ExecResult> {
    explicit Lowered(const ExecResult& r) : raw{sizeof(raw), r.exit_code} {}
    const void* get() const noexcept { return &raw; }
    gantry_exec_result raw;
};

}  // namespace detail
}  // namespace gantry::inline v1
