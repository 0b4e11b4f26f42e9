// SPDX-License-Identifier: Apache-2.0
//
// Host: finds, checks, loads and watches plugins, and gives the kernel their roles.
//
//     Host host(io, options);
//     GANTRY_CHECK(host.configure(tables));     // metadata only: no plugin code has run
//     GANTRY_CHECK(host.start());               // create, init, start; Code::kFailed names the required plugin
//     host.runtime("oci")->list(...);
//     host.stop();                              // stops and destroys all instances, joins the pool; blocks: the loop
//                                               // stands meanwhile, and the interfaces of the roles are gone after
//
// Threads: everything is called on the loop thread (the one that runs `io`).
#pragma once

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/base/json.hpp"
#include "kernel/base/result.hpp"
#include "kernel/host/roles.hpp"
#include "kernel/host/ruling.hpp"

namespace gantry::host {

class Isolation;
class Kept;

enum class LogLevel : std::uint8_t { kTrace, kDebug, kInfo, kWarn, kError };

// Where a value of the configuration file stands, for messages.
struct SourcePlace {
    std::string file;
    unsigned line = 0, column = 0;
    std::string text() const;  // "gantry.toml:12:3"
};

// Whose process a plugin's code runs in.
enum class Placing : std::uint8_t { kHost, kOwnProcess };
inline constexpr std::int64_t kMemoryMax = 256 << 20;  // bytes, where the table does not say

// One `[role.name]` table of the configuration file. Values are strings, integers, doubles, booleans, or arrays of
// strings.
struct PluginTable {
    std::string role, name;  // "placement", "least-loaded"
    std::string plugin;      // file name without .so; default: name
    bool required = false;
    std::optional<Placing> placing;              // `isolation`; without it as the plugin's note says
    std::int64_t memory_max_bytes = kMemoryMax;  // of a process of its own
    SourcePlace place;
    json::object values;                                      // everything but the kernel's own keys
    std::vector<std::pair<std::string, SourcePlace>> places;  // of the keys in values
};

// A file that a plugin was exchanged for, or shall be: not the one in the plugin path. Who hands over a descriptor has
// judged the file; it is what gets loaded, whatever is at the path by now.
struct ChosenFile {
    std::string path;
    int fd = -1;           // borrowed
    trust::Origin origin;  // of the descriptor
    bool chosen = true;    // false: it was that of the plugin path, and shall be again at the next occasion
};

struct HostOptions {
    std::vector<std::filesystem::path> plugin_path;  // absolute; a plugin is PATH/<role>/<name>.so
    std::filesystem::path state_dir;                 // instances get state_dir/plugins/<role>.<name>
    unsigned workers = 2;                            // threads of the pool
    trust::Options trust;
    crash::Record* crashes = nullptr;  // of plugins, kept by the caller; nullptr: none are known
    // Called on any thread, one call at a time. It must not call the host.
    std::function<void(LogLevel, std::string_view plugin, std::string_view text)> log;
    // Called on the loop.
    std::function<void(std::string kind, std::string text, json::object fields)> event;
    ResourceTree* tree = nullptr;                          // for frontends; may be set before start()
    std::map<std::string, ChosenFile, std::less<>> files;  // by title, "placement.least-loaded"
    std::shared_ptr<Kept> kept;                            // sockets that outlive plugins; without it none does
    std::shared_ptr<Isolation> isolation;  // without one, plugins that shall have a process of their own are refused
};

// kDegraded: it cannot answer now, and will again: its process ended and is started anew.
enum class PluginState : std::uint8_t { kLoaded, kRunning, kDegraded, kRefused, kFailed, kStopped };
std::string_view plugin_state_name(PluginState state);

struct PluginInfo {
    std::string role, name, plugin, id, version, license, file, reason;
    std::string trust;   // who vouches for the file: "package", "signed by acme", "not signed"
    std::string digest;  // SHA-256 of the file, 64 hexadecimal digits
    PluginState state = PluginState::kLoaded;
    bool required = false;
    std::uint64_t crashes = 0;  // remembered of this file
    std::uint64_t calls = 0, slow_calls = 0, operations_pending = 0;
    std::string address;  // of a frontend's door
    Placing placing = Placing::kHost;
    std::int64_t pid = 0;  // of its own process, 0 if there is none now
    std::uint64_t restarts = 0;
    std::int64_t memory_max_bytes = 0;
    std::vector<std::pair<std::string, double>> metrics;
};

class Host {
  public:
    Host(boost::asio::io_context& io, HostOptions options);
    ~Host();
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;

    void set_tree(ResourceTree* tree);
    // Finds each table's file, reads its note, checks the table against its schema. A wrong table (unknown key, type,
    // range) is an error with file:line:column; a plugin that is missing, no ELF file or of a newer border is recorded
    // as refused and is an error only when required.
    Status configure(std::vector<PluginTable> tables);
    // An error with `retry` is of a required plugin that crashed too often and now fails isolated: the others run, and
    // the same call tries it again. frontends: false leaves their doors shut until the next call.
    Status start(bool frontends = true);
    void stop();

    std::vector<PluginInfo> plugins() const;

    // Its crashes were forgotten or allowed: one whose process was not started again for them is started at once.
    // False: it is none.
    bool reconsider(std::string_view title);
    // Where it would run if it were started now; nothing: where it does.
    std::optional<Where> misplaced(std::string_view title) const;
    // The files in force, to hand them to another Host. The descriptors are the plugins' own.
    std::map<std::string, ChosenFile, std::less<>> files() const;
    // The plugin's file as it would be opened for an exchange now, judged, its table checked against it. Errors:
    // kNotFound (no such table), kRefused, kInvalid (the table).
    struct Exchange {
        ChosenFile file;
        std::shared_ptr<void> keeps;  // file.fd open
    };
    Result<Exchange> look_at(std::string_view title, const std::string& file);
    // Loads and creates the plugin and destroys it again, in this process: for one that was made to try.
    Status rehearse(std::string_view title);
    // A reason to show beside a plugin that runs.
    void remark(std::string_view title, const std::string& reason);
    // Frontends answer what they were asked and stop, while the loop turns; done is called once. stop() follows.
    void finish_frontends(Duration limit, std::function<void()> done);

    // Gives an isolated plugin the newest file of its name in the plugin path, or `file` (absolute, trusted like one of
    // the path), in a new process beside the old one; done when the new one has taken over. Errors: kNotFound (no such
    // table), kUnsupported (it has no process of its own), kRefused (the file), what the plugin says to its start; the
    // old one goes on in all cases.
    void reload(std::string_view title, const std::string& file, Done<void> done);

    // Running (or degraded) instances by table name; nullptr if there is none.
    Placement* placement(std::string_view name) const;
    Runtime* runtime(std::string_view name) const;
    Probe* probe(std::string_view name) const;
    // The first running instance in order of the file; nullptr if there is none.
    Transport* transport() const;
    Store* store() const;
    std::vector<Discovery*> discoveries() const;
    std::vector<Directory*> directories() const;
    std::vector<std::pair<std::string, Runtime*>> runtimes() const;
    std::vector<std::pair<std::string, Probe*>> probes() const;
    std::vector<std::pair<std::string, Placement*>> placements() const;

    // Runs work on the pool; done is called on the loop afterwards, with an error if work threw.
    void work(std::function<void()> work, std::function<void(const Status& ran)> done);

  private:
    class Impl;
    std::unique_ptr<Impl> impl_;
};

// CLOCK_BOOTTIME.
Instant boottime_now();

}  // namespace gantry::host
