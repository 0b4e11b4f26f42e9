// SPDX-License-Identifier: Apache-2.0
#include "kernel/isolation/isolation.hpp"

#include "kernel/isolation/remote.hpp"

namespace gantry::isolation {
namespace {

// Handlers of the loop may hold the Remote a little longer than its owner.
class Owner final : public host::Isolated {
  public:
    explicit Owner(std::shared_ptr<Remote> remote) : remote_(std::move(remote)) {}
    ~Owner() override { remote_->end(); }
    gantry_plugin plugin() override { return remote_->plugin(); }
    host::IsolatedState state() const override { return remote_->state(); }
    void revive() override { remote_->revive(); }
    void exchange(std::shared_ptr<host::PluginFile> file, const gantry_config& config, host::Done<void> done) override {
        remote_->exchange(std::move(file), config, std::move(done));
    }

    void finish(std::function<void()> done) override { remote_->finish(std::move(done)); }

  private:
    std::shared_ptr<Remote> remote_;
};

class Processes final : public host::Isolation {
  public:
    explicit Processes(std::filesystem::path program) : program_(std::move(program)) {}
    std::unique_ptr<host::Isolated> host(host::IsolatedPlugin plugin) override {
        return std::make_unique<Owner>(std::make_shared<Remote>(std::move(plugin), program_));
    }

  private:
    const std::filesystem::path program_;
};

}  // namespace

std::shared_ptr<host::Isolation> make_isolation(std::filesystem::path program) {
    return std::make_shared<Processes>(std::move(program));
}

}  // namespace gantry::isolation
