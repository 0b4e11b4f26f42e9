// SPDX-License-Identifier: Apache-2.0
//
// runtime/process: plain processes, for development and for nodes without namespaces.
#include "plugins/runtime/monitored/own_program.hpp"
#include "plugins/runtime/monitored/runtime.hpp"
#include "plugins/runtime/process/host_process.hpp"

namespace process {
namespace {

class ProcessRuntime : public monitored::MonitoredRuntime {
  public:
    void init(const gantry::Config& config) override {
        ProcessOptions options{monitored::find_own_program(config, "monitor_path", "gantry-process-monitor"),
                               config.size("log_size_max"), static_cast<int>(config.integer("log_files"))};
        image_store::StoreOptions store;
        store.form = image_store::TreeForm::kFlat;
        store.keep_owners = false;
        store.max_layer_bytes = config.size("layer_size_max");
        configure(config, std::make_unique<HostProcess>(std::move(options)), std::move(store));
    }

    gantry::RuntimeFacts facts() const override {
        gantry::RuntimeFacts out;
        out.architectures = {std::string(image_store::machine_architecture())};
        out.stats = out.exec = out.log_since = true;
        return out;
    }
};

}  // namespace
}  // namespace process

GANTRY_PLUGIN(process::ProcessRuntime);
