// SPDX-License-Identifier: Apache-2.0
//
// A runtime that keeps names in memory and overrides only what it must.
#include <algorithm>
#include <gantry/runtime.hpp>

using namespace gantry;

class Half final : public Runtime {
  public:
    RuntimeFacts facts() const override { return {.architectures = {"amd64"}, .fenceable = true, .limits = true}; }
    void create_container(Operation<> op, ContainerSpec spec) override {
        if (spec.image.empty()) return op.fail(Code::kNotFound, "no image");
        Container c;
        c.name = spec.name;
        c.labels = spec.labels;
        c.detail = spec.args.at(0) + "|" + spec.env.at(0).second + "|" + spec.mounts.at(0).target;
        all_.push_back(c);
        op.done();
    }
    void start_container(Operation<> op, std::string name) override {
        for (Container& c : all_) {
            if (c.name == name) c.state = ContainerState::kRunning;
        }
        op.done();
    }
    void stop_container(Operation<> op, std::string name, Duration) override {
        for (Container& c : all_) {
            if (c.name != name) continue;
            c.state = ContainerState::kExited;
            c.exit_code = 143;
        }
        events().exited(name, 143);
        events().changed();
        op.done();
    }
    void kill_container(Operation<> op, std::string) override { op.done(); }
    void remove_container(Operation<> op, std::string name) override {
        std::erase_if(all_, [&](const Container& c) { return c.name == name; });
        op.done();
    }
    void list_containers(Operation<ContainerList> op) override { op.done({all_}); }

  private:
    std::vector<Container> all_;
};

GANTRY_PLUGIN(Half)
