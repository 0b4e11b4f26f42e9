// SPDX-License-Identifier: Apache-2.0
//
// One `[role.name]` table and the plugin behind it, from the file on disk to the end of its life. [loop]
#pragma once

#include "kernel/host/adapter.hpp"
#include "kernel/host/isolation.hpp"
#include "kernel/host/library.hpp"
#include "kernel/host/schema.hpp"

namespace gantry::host {

struct Stopping;

class Instance {
  public:
    Instance(PluginTable table, std::shared_ptr<Core> core);
    ~Instance();
    Instance(const Instance&) = delete;
    Instance& operator=(const Instance&) = delete;

    // Finds and reads the file, checks the table. A file that cannot be used makes the instance refused; the error is
    // only for a wrong table.
    Status prepare();
    // create, init, start. The error is also the reason that info() shows.
    Status start();
    // stop, within `limit`, and destroy. An instance that does not come back is left as it is and counts as failed.
    void stop(Duration limit);
    // See Host.
    bool reconsider();
    std::optional<Where> misplaced() const;
    void reload(const std::string& file, Done<void> done);
    Result<Host::Exchange> look_at(const std::string& file);
    Status rehearse();
    void remark(std::string reason) { info_.reason = std::move(reason); }
    void finish(Duration limit, std::function<void()> done);
    std::optional<ChosenFile> file() const;

    PluginInfo info() const;
    PluginState state() const { return info_.state; }
    const std::string& title() const { return title_; }
    const PluginTable& table() const { return table_; }
    // Of a running instance.
    const Adapters& adapters() const { return adapters_; }

  private:
    crash::Standing crashes(const std::string& digest) const;
    Ruling judge(const PluginFile& file) const;
    void refuse(const Ruling& ruling);
    bool survives(const std::string& how);
    Status load();
    Status create();
    Status create_isolated();
    Status init();
    Status attach();
    Status give_up(PluginState state, Error error);
    void describe(std::shared_ptr<PluginFile> file);
    Result<std::shared_ptr<PluginFile>> open(const std::string& file);
    void begin_stop(Duration limit);
    std::string make_state_dir(Status& status) const;
    void destroy();

    std::shared_ptr<const Library> library_;  // the last to go
    const PluginTable table_;
    const std::shared_ptr<Core> core_;
    const std::string title_;  // "runtime.oci"
    PluginInfo info_;
    std::shared_ptr<PluginFile> file_;
    std::vector<ConfigValue> config_;
    std::shared_ptr<Context> context_;
    Placing placing_;
    std::string ruled_;                   // why it has a process of its own, if its table does not ask for one
    std::unique_ptr<Isolated> isolated_;  // stands behind plugin_ if it has a process of its own
    gantry_plugin plugin_{};
    bool created_ = false;
    bool start_called_ = false;
    bool chosen_ = false;     // file_ is not that of the plugin path
    bool ruled_out_ = false;  // refused for what its crashes or its origin say
    std::shared_ptr<Stopping> stopping_;
    Adapters adapters_;
};

}  // namespace gantry::host
