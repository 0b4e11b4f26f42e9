// SPDX-License-Identifier: Apache-2.0
//
// gantryd: one per gateway. Reads its configuration, then runs as agent, controller or both.
#include <malloc.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <filesystem>

#include "kernel/daemon/daemon.hpp"
#include "kernel/daemon/log.hpp"
#include "kernel/daemon/version.hpp"

namespace {

// PREFIX/bin/gantryd -> PREFIX/lib/gantry: true for a build folder and for an installed package.
std::filesystem::path library_path() {
    std::error_code ignored;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", ignored);
    return self.parent_path().parent_path() / "lib" / "gantry";
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
    CLI::App app{"Runs containers on this gateway (agent), decides for the cluster (controller), or both."};
    std::string file = "/etc/gantry/gantry.toml";
    bool check = false;
    app.add_option("-c,--config", file, "configuration file")->capture_default_str();
    app.add_flag("--check", check, "check the configuration and the plugins' tables, then exit");
    app.set_version_flag("--version", std::string("gantryd ") + gantry::daemon::kVersion);
    CLI11_PARSE(app, argc, argv);

    std::signal(SIGPIPE, SIG_IGN);
    umask(0077);
    auto config = gantry::control::read_config(file, library_path() / "plugins");
    if (!config) {
        std::fprintf(stderr, "gantryd: %s\n", config.error().text().c_str());
        return 78;
    }
    config->plugin_host = library_path() / "gantry-plugin-host";
    const auto guard = library_path() / "gantry-guard";
    if (access(guard.c_str(), X_OK) == 0) config->guard = guard;
    gantry::daemon::open_log(config->log_level);
    if (check) return gantry::daemon::check_config(*config);
    std::error_code failed;
    std::filesystem::create_directories(config->state_dir, failed);
    if (failed) {
        std::fprintf(stderr, "gantryd: cannot make %s: %s\n", config->state_dir.c_str(), failed.message().c_str());
        return 1;
    }
    return gantry::daemon::Daemon(std::move(*config)).run();
}
