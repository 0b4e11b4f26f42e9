// SPDX-License-Identifier: Apache-2.0
#include "tests/support/memory_transport.hpp"
#include "tests/unit/plugins/transport/role_end.hpp"

namespace contract {
namespace {

struct MemoryEnd final : RoleEnd {
    explicit MemoryEnd(std::unique_ptr<host::Transport> made) : RoleEnd(made.get()), transport(std::move(made)) {}
    std::unique_ptr<host::Transport> transport;
};

class MemoryWorld final : public World {
  public:
    End& make(const std::string& secret) override {
        ends_.push_back(std::make_unique<MemoryEnd>(network_.make("host" + std::to_string(ends_.size()), secret)));
        return *ends_.back();
    }
    void kill(End& end) override { static_cast<MemoryEnd&>(end).transport.reset(); }
    bool run_until(const std::function<bool()>& condition) override { return clock_.run_until(condition, seconds(30)); }

  private:
    test::VirtualClock clock_;
    // A fast network with jitter: what can be reordered is.
    test::MemoryNetwork network_{clock_, 7, {milliseconds(0), milliseconds(3), 0, 0, 1'000'000'000}};
    std::vector<std::unique_ptr<MemoryEnd>> ends_;
};

}  // namespace

std::unique_ptr<World> memory_world() { return std::make_unique<MemoryWorld>(); }

}  // namespace contract
