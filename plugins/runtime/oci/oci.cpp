// SPDX-License-Identifier: Apache-2.0
//
// runtime/oci: OCI containers by runc or crun under conmon.
#include <arpa/inet.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

#include "plugins/runtime/monitored/files.hpp"
#include "plugins/runtime/monitored/runtime.hpp"
#include "plugins/runtime/oci/criu.hpp"
#include "plugins/runtime/oci/engine.hpp"
#include "plugins/runtime/oci/seccomp.hpp"

namespace oci {
namespace {

namespace fs = std::filesystem;
using gantry::Code;
using gantry::Failure;

constexpr const char* kProgramFolders[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                           "/usr/bin",        "/sbin",          "/bin"};

// Empty: it is not installed.
std::string look_for(const gantry::Config& config, const std::string& key, const std::string& program) {
    if (config.has(key)) {
        const std::string& path = config.string(key);
        if (!path.starts_with('/') || ::access(path.c_str(), X_OK) != 0) {
            throw Failure(Code::kInvalid, key + " = \"" + path + "\" is no program; give an absolute path");
        }
        return path;
    }
    for (const char* folder : kProgramFolders) {
        const std::string path = std::string(folder) + "/" + program;
        if (::access(path.c_str(), X_OK) == 0) return path;
    }
    return {};
}

std::string find_program(const gantry::Config& config, const std::string& key, const std::string& program) {
    if (std::string found = look_for(config, key, program); !found.empty()) return found;
    throw Failure(Code::kInvalid, "the program " + program + " is not installed; install it (apt-get install " +
                                      program + ") or set " + key);
}

void check_cgroup_parent(const std::string& parent) {
    const bool good = !parent.empty() && parent.front() != '/' && parent.back() != '/' &&
                      parent.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") ==
                          std::string::npos &&
                      ("/" + parent + "/").find("/../") == std::string::npos && parent.find("//") == std::string::npos;
    if (!good) {
        throw Failure(Code::kInvalid, "cgroup_parent = \"" + parent + "\": expected a relative path like \"gantry\"");
    }
}

void check_network(const NetworkOptions& network) {
    if (!network.cni.is_absolute())
        throw Failure(Code::kInvalid, "cni_path = \"" + network.cni.string() + "\": expected an absolute path");
    if (network.bridge.empty() || network.bridge.size() > 15 ||
        network.bridge.find_first_of("/: \t\n") != std::string::npos)
        throw Failure(Code::kInvalid, "bridge = \"" + network.bridge +
                                          "\": expected the name of an interface, of at most 15 characters");
    const std::size_t slash = network.subnet.find('/');
    in_addr address{};
    const auto bits =
        slash == std::string::npos ? std::nullopt : monitored::parse_number(network.subnet.substr(slash + 1));
    if (::inet_pton(AF_INET, network.subnet.substr(0, slash).c_str(), &address) != 1 || !bits || *bits < 8 ||
        *bits > 30)
        throw Failure(Code::kInvalid, "subnet = \"" + network.subnet +
                                          "\": expected IPv4 addresses like \"10.213.0.0/16\", from /8 to /30");
}

class OciRuntime : public monitored::MonitoredRuntime {
  public:
    void init(const gantry::Config& config) override {
        if (::geteuid() != 0) {
            throw Failure(Code::kInvalid, "runtime/oci needs root; as an ordinary user choose runtime/process");
        }
        EngineOptions options;
        options.engine = find_program(config, "engine_path", config.string("engine"));
        options.conmon = find_program(config, "conmon_path", "conmon");
        options.cgroup_parent = config.string("cgroup_parent");
        check_cgroup_parent(options.cgroup_parent);
        options.seccomp = seccomp_profile(config.string("seccomp"));
        options.log_max_bytes = config.size("log_size_max");
        options.log_files = static_cast<int>(config.integer("log_files"));
        options.engine_root = fs::path(config.state_dir()) / "engine";
        options.network = {config.string("cni_path"), fs::path(config.state_dir()) / "networks",
                           config.string("bridge"), config.string("subnet")};
        check_network(options.network);
        options.criu = look_for(config, "criu_path", "criu");
        options.no_checkpoints = why_no_checkpoints(config.string("engine"), options.criu);
        host().info(options.no_checkpoints.empty()
                        ? "checkpoints are offered: " + options.criu.string() + " check is content"
                        : "checkpoints are not offered: " + options.no_checkpoints);
        image_store::StoreOptions store;
        store.form = image_store::TreeForm::kOverlay;
        store.max_layer_bytes = config.size("layer_size_max");
        configure(config, std::make_unique<Engine>(std::move(options)), std::move(store));
    }

    gantry::RuntimeFacts facts() const override {
        gantry::RuntimeFacts out;
        out.architectures = {std::string(image_store::machine_architecture())};
        out.fenceable = out.stats = out.limits = out.exec = out.settings = out.log_since = out.pause = true;
        out.checkpoint = backend().no_checkpoints().empty();
        return out;
    }
};

}  // namespace
}  // namespace oci

GANTRY_PLUGIN(oci::OciRuntime);
