// SPDX-License-Identifier: Apache-2.0
//
// transport/vsoa in the kernel's host: loader, schema, adapter and loop are the daemon's own.
#include <sys/stat.h>

#include <boost/asio/io_context.hpp>
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "kernel/host/host.hpp"
#include "tests/unit/plugins/transport/role_end.hpp"

namespace contract {
namespace {

namespace fs = std::filesystem;

class KernelWorld final : public World {
  public:
    KernelWorld() {
        std::string folder = (fs::temp_directory_path() / "transport-").string() + std::string(6, 'X');
        REQUIRE(::mkdtemp(folder.data()) != nullptr);
        folder_ = folder;
    }
    ~KernelWorld() override {
        for (auto& host : hosts_) host->stop();
        ends_.clear();
        hosts_.clear();
        fs::remove_all(folder_);
    }
    End& make(const std::string& secret) override {
        const fs::path home = folder_ / std::to_string(hosts_.size());
        fs::create_directories(home);
        std::ofstream(home / "secret") << "a long enough secret: " << secret << '\n';
        ::chmod((home / "secret").c_str(), 0600);

        host::HostOptions options;
        options.plugin_path = {fs::path(GANTRY_PLUGIN_FILE).parent_path().parent_path()};
        options.trust.package = options.plugin_path.front();
        options.state_dir = home / "state";
        options.workers = 1;
        options.log = [](host::LogLevel, std::string_view, std::string_view) {};
        options.event = [](std::string, std::string, json::object) {};
        hosts_.push_back(std::make_unique<host::Host>(io_, std::move(options)));

        host::PluginTable table;
        table.role = "transport";
        table.name = table.plugin = "vsoa";
        table.required = true;
        table.values["secret_file"] = (home / "secret").string();
        const Status configured = hosts_.back()->configure({table});
        if (!configured) FAIL(configured.error().text());
        const Status started = hosts_.back()->start();
        if (!started) FAIL(started.error().text());
        REQUIRE(hosts_.back()->transport() != nullptr);
        ends_.push_back(std::make_unique<RoleEnd>(hosts_.back()->transport()));
        return *ends_.back();
    }
    void kill(End& end) override { cut_sockets(end); }
    bool run_until(const std::function<bool()>& condition) override {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(120);
        while (!condition()) {
            if (std::chrono::steady_clock::now() > until) return false;
            io_.restart();
            io_.run_one_for(std::chrono::milliseconds(20));
        }
        return true;
    }

  private:
    fs::path folder_;
    boost::asio::io_context io_;
    std::vector<std::unique_ptr<host::Host>> hosts_;
    std::vector<std::unique_ptr<RoleEnd>> ends_;
};

}  // namespace

std::unique_ptr<World> kernel_world() { return std::make_unique<KernelWorld>(); }

}  // namespace contract
