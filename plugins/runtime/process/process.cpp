// SPDX-License-Identifier: Apache-2.0
//
// runtime/process: plain processes, for development and for nodes without namespaces.
#include <dlfcn.h>
#include <unistd.h>

#include <filesystem>

#include "plugins/runtime/monitored/runtime.hpp"
#include "plugins/runtime/process/host_process.hpp"

namespace process {
namespace {

namespace fs = std::filesystem;
using gantry::Code;
using gantry::Failure;

constexpr const char* kMonitor = "gantry-process-monitor";

// Beside the file this code was loaded from. The loader may have been given /proc/self/fd/N, so the link is followed.
std::string find_monitor(const gantry::Config& config) {
    if (config.has("monitor_path")) {
        const std::string& path = config.string("monitor_path");
        if (path.starts_with('/') && ::access(path.c_str(), X_OK) == 0) return path;
        throw Failure(Code::kInvalid, "monitor_path = \"" + path + "\" is no program; give an absolute path");
    }
    Dl_info info{};
    std::string place = "the plugin's file";
    if (::dladdr(reinterpret_cast<const void*>(&find_monitor), &info) != 0 && info.dli_fname != nullptr) {
        std::error_code error;
        const fs::path file = fs::canonical(info.dli_fname, error);
        const fs::path path = file.parent_path() / kMonitor;
        if (!error && ::access(path.c_str(), X_OK) == 0) return path.string();
        place = error ? info.dli_fname : file.string();
    }
    throw Failure(Code::kInvalid,
                  std::string(kMonitor) + " is not beside " + place + "; install it there or set monitor_path");
}

class ProcessRuntime : public monitored::MonitoredRuntime {
  public:
    void init(const gantry::Config& config) override {
        ProcessOptions options{find_monitor(config), config.size("log_size_max")};
        image_store::StoreOptions store;
        store.form = image_store::TreeForm::kFlat;
        store.keep_owners = false;
        store.max_layer_bytes = config.size("layer_size_max");
        configure(config, std::make_unique<HostProcess>(std::move(options)), std::move(store));
    }

    gantry::RuntimeFacts facts() const override {
        gantry::RuntimeFacts out;
        out.architectures = {std::string(image_store::machine_architecture())};
        out.stats = true;
        return out;
    }
};

}  // namespace
}  // namespace process

GANTRY_PLUGIN(process::ProcessRuntime);
