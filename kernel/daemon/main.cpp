// SPDX-License-Identifier: Apache-2.0
//
// gantryd: one per gateway. Reads its configuration, then runs as agent, controller or both.
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "kernel/daemon/daemon.hpp"
#include "kernel/daemon/log.hpp"
#include "kernel/daemon/version.hpp"

namespace {

using gantry::daemon::Handover;

// PREFIX/bin/gantryd -> PREFIX/lib/gantry: true for a build folder and for an installed package.
std::filesystem::path library_path(const std::filesystem::path& program) {
    return program.parent_path().parent_path() / "lib" / "gantry";
}

// What was executed may be gone by now, or have another name: the first gantryd of this process says where it was.
std::string program_path(const Handover* handover) {
    std::error_code ignored;
    return handover != nullptr ? handover->path : std::filesystem::read_symlink("/proc/self/exe", ignored).string();
}

// The text that was handed over, or else what the file holds.
gantry::Result<gantry::control::Config> configuration(const std::string& file, const Handover* handover,
                                                      const std::filesystem::path& plugins) {
    if (handover != nullptr) return gantry::control::parse_config(handover->config, file, plugins);
    return gantry::control::read_config(file, plugins);
}

// A few quiet threads, and images that pass through in pieces: with one arena and a fixed limit above which a block is
// the system's own, what a piece needed goes back.
void keep_memory_small() {
    mallopt(M_ARENA_MAX, 1);
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    mallopt(M_TRIM_THRESHOLD, 128 * 1024);
}

}  // namespace

int main(int argc, char** argv) {
    keep_memory_small();
    ::prctl(PR_SET_NAME, "gantryd");  // whatever name it was executed by
    CLI::App app{"Runs containers on this gateway (agent), decides for the cluster (controller), or both."};
    std::string file = "/etc/gantry/gantry.toml";
    bool check = false;
    app.add_option("-c,--config", file, "configuration file")->capture_default_str();
    app.add_flag("--check", check, "check the configuration and the plugins' tables, then exit");
    app.set_version_flag("--version", std::string("gantryd ") + gantry::daemon::kVersion);
    CLI11_PARSE(app, argc, argv);

    std::signal(SIGPIPE, SIG_IGN);
    umask(0077);
    auto handover = gantry::daemon::take_handover();
    if (!handover) {
        std::fprintf(stderr, "gantryd: %s\n", handover.error().text().c_str());
        return 78;
    }
    auto kept = check ? nullptr : gantry::host::Kept::from_environment();
    const gantry::daemon::Program program{program_path(handover->get()), {argv, argv + argc}};
    const auto library = library_path(program.path);
    auto config = configuration(file, handover->get(), library / "plugins");
    if (!config) {
        std::fprintf(stderr, "gantryd: %s\n", config.error().text().c_str());
        if (*handover && !check) gantry::daemon::go_back(program, std::move(**handover), *kept, config.error().text());
        return 78;
    }
    config->plugin_host = library / "gantry-plugin-host";
    const auto guard = library / "gantry-guard";
    if (access(guard.c_str(), X_OK) == 0) config->guard = guard;
    const bool tried = check && *handover != nullptr;  // by a gantryd that reads what is wrong
    gantry::daemon::open_log(tried ? gantry::host::LogLevel::kError : config->log_level, tried);
    if (check) return gantry::daemon::check_config(*config, handover->get());
    std::error_code failed;
    std::filesystem::create_directories(config->state_dir, failed);
    if (failed) {
        std::fprintf(stderr, "gantryd: cannot make %s: %s\n", config->state_dir.c_str(), failed.message().c_str());
        return 1;
    }
    return gantry::daemon::Daemon(std::move(*config), program, std::move(*handover), std::move(kept)).run();
}
