// SPDX-License-Identifier: Apache-2.0
//
// What every test of the host stands on: a loop, a folder, tables, and what was logged.
#pragma once

#include <stdlib.h>

#include <boost/asio/io_context.hpp>
#include <catch2/catch.hpp>
#include <filesystem>
#include <mutex>
#include <optional>

#include "kernel/host/host.hpp"
#ifdef GANTRY_TEST_ISOLATED
#include "kernel/isolation/isolation.hpp"
#endif

namespace gantry::host {

// The same tests run with every plugin in this process, and in one of its own.
#ifdef GANTRY_TEST_ISOLATED
inline constexpr Placing kPlacing = Placing::kOwnProcess;
#define GANTRY_IN_PROCESS "[.]"
#else
inline constexpr Placing kPlacing = Placing::kHost;
#define GANTRY_IN_PROCESS ""
#endif

struct Line {
    LogLevel level;
    std::string plugin, text;
};

class Bench {
  public:
    Bench() {
        std::string path = (std::filesystem::temp_directory_path() / "gantry-host-XXXXXX").string();
        REQUIRE(::mkdtemp(path.data()) != nullptr);
        folder = path;
        std::filesystem::create_directories(folder / "plugins" / "probe");
    }
    ~Bench() {
        host.reset();
        io.poll();
        std::filesystem::remove_all(folder);
    }

    Host& make() {
        HostOptions options;
        options.plugin_path = {GANTRY_TEST_PLUGINS, folder / "plugins"};
        options.trust.package = GANTRY_TEST_PLUGINS;
        options.trust.keys = folder / "keys";
        options.crashes = &crashes;
        options.state_dir = folder / "state";
        options.log = [this](LogLevel level, std::string_view plugin, std::string_view text) {
            std::lock_guard lock(mutex);
            lines.push_back({level, std::string(plugin), std::string(text)});
        };
        options.event = [this](std::string kind, std::string text, json::object) {
            events.push_back(kind + ": " + text);
        };
#ifdef GANTRY_TEST_ISOLATED
        options.isolation = isolation::make_isolation(GANTRY_PLUGIN_HOST);
#endif
        host.emplace(io, std::move(options));
        return *host;
    }

    // Configures and starts instances; `name` may be "name=plugin".
    Host& start(std::vector<PluginTable> tables) {
        make();
        const Status configured = host->configure(std::move(tables));
        if (!configured) FAIL(configured.error().text());
        const Status started = host->start();
        if (!started) FAIL(started.error().text());
        return *host;
    }

    bool run_until(const std::function<bool()>& condition, Duration limit = seconds(10)) {
        const Instant end = boottime_now() + limit;
        while (!condition()) {
            if (boottime_now() >= end) return false;
            io.restart();
            io.run_one_for(std::chrono::milliseconds(20));
        }
        return true;
    }

    // Runs an operation to its end.
    template <class T, class F>
    Result<T> wait(F&& begin) {
        std::optional<Result<T>> out;
        begin([&](Result<T> result) { out = std::move(result); });
        CHECK_FALSE(out.has_value());  // a later turn, always
        if (!run_until([&] { return out.has_value(); })) return fail(Code::kDeadline, "the test waited in vain");
        return std::move(*out);
    }

    bool logged(std::string_view text) {
        std::lock_guard lock(mutex);
        for (const Line& line : lines) {
            if (line.text.find(text) != std::string::npos) return true;
        }
        return false;
    }

    crash::Record crashes{[](std::string_view) { return Status(); }};
    boost::asio::io_context io;
    std::filesystem::path folder;
    std::mutex mutex;
    std::vector<Line> lines;
    std::vector<std::string> events;
    std::optional<Host> host;
};

inline PluginTable table(std::string role, std::string name, json::object values = {}, bool required = false) {
    PluginTable out;
    out.role = std::move(role);
    out.name = std::move(name);
    out.required = required;
    out.placing = kPlacing;
    out.place = {"gantry.toml", 10, 1};
    unsigned line = 11;
    for (const auto& item : values) out.places.emplace_back(item.key(), SourcePlace{"gantry.toml", line++, 8});
    out.values = std::move(values);
    return out;
}

inline ProbeQuestion question(std::string what) { return {std::move(what), "127.0.0.1", 4000, {}}; }

}  // namespace gantry::host
