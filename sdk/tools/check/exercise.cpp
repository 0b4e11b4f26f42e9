// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/check/exercise.hpp"

#include <algorithm>
#include <gantry/testing/drivers.hpp>

namespace gantry::check {
namespace {

using namespace std::chrono_literals;

constexpr const char* kNobody = "127.0.0.1:1";
const std::string kNoImage = "sha256:" + std::string(64, '0');

class UsePlacement final : public Exercise {
  public:
    UsePlacement(Rig& rig, testing::Instance& instance) : Exercise(rig), driver_(instance) {}
    void use() override {
        std::vector<testing::Node> nodes(3);
        for (std::size_t i = 0; i < nodes.size(); ++i) nodes[i].name = "node" + std::to_string(i);
        driver_.key_names();
        driver_.score(nodes);
        driver_.score({});
    }

  private:
    testing::PlacementDriver driver_;
};

class UseProbe final : public Exercise {
  public:
    UseProbe(Rig& rig, testing::Instance& instance) : Exercise(rig), driver_(instance) {}
    void use() override { keep("check", driver_.check({"container", "127.0.0.1", 1, {}})); }

  private:
    testing::ProbeDriver driver_;
};

class UseDiscovery final : public Exercise {
  public:
    UseDiscovery(Rig& rig, testing::Instance& instance) : Exercise(rig), driver_(instance) {}
    void use() override {
        driver_.begin_search();
        driver_.refresh();
        rig_.host.turn();
        driver_.end_search();
    }

  private:
    testing::DiscoveryDriver driver_;
};

class UseDirectory final : public Exercise {
  public:
    UseDirectory(Rig& rig, testing::Instance& instance) : Exercise(rig), driver_(instance) {}
    void use() override {
        driver_.facts();
        driver_.replace(++table_no_, {{"one", "127.0.0.1", 4000, false, true}, {"two", "::1", 4001, true, false}});
        driver_.replace(++table_no_, {});
    }

  private:
    testing::DirectoryDriver driver_;
    std::uint64_t table_no_ = 0;
};

class UseStore final : public Exercise {
  public:
    UseStore(Rig& rig, testing::Instance& instance) : Exercise(rig), driver_(instance) {}
    void use() override {
        keep("load", driver_.load(""));
        keep("commit", driver_.commit({{{"exercise", "value", kRevisionAny, false}}, false}));
        keep("commit", driver_.commit({{{"exercise", "", kRevisionAny, true}}, false}));
        keep("elect", driver_.elect("exercise", 5s));
    }

  private:
    testing::StoreDriver driver_;
};

class UseTransport final : public Exercise {
  public:
    UseTransport(Rig& rig, testing::Instance& instance) : Exercise(rig), driver_(instance) {}
    void use() override {
        driver_.facts();
        keep("listen", driver_.listen("127.0.0.1:0"));
        keep("dial", driver_.dial(kNobody));
        constexpr PeerId kNoPeer = 1u << 30;
        driver_.send(kNoPeer, Channel::kControl, "x");
        driver_.close(kNoPeer);
    }

  private:
    testing::TransportDriver driver_;
};

class UseRuntime final : public Exercise {
  public:
    UseRuntime(Rig& rig, testing::Instance& instance) : Exercise(rig), driver_(instance) {}
    void use() override {
        driver_.facts();
        ContainerSpec spec;
        spec.name = "no-image";
        spec.image = kNoImage;
        keep("list", driver_.list());
        keep("images", driver_.images());
        keep("remove_image", driver_.remove_image(kNoImage));
        keep("create", driver_.create(spec));
        keep("start", driver_.start("nothing"));
        keep("stop", driver_.stop("nothing", 1s));
        keep("kill", driver_.kill("nothing"));
        keep("remove", driver_.remove("nothing"));
        keep("stats", driver_.stats("nothing"));
        keep("pause", driver_.pause("nothing"));
        keep("resume", driver_.resume("nothing"));
        keep("checkpoint", driver_.checkpoint("nothing"));
        keep("restore", driver_.restore("nothing"));
    }

  private:
    testing::RuntimeDriver driver_;
};

class UseFrontend final : public Exercise {
  public:
    UseFrontend(Rig& rig, testing::Instance& instance) : Exercise(rig), driver_(instance) {}
    void use() override { driver_.address(); }

  private:
    testing::FrontendDriver driver_;
};

}  // namespace

std::unique_ptr<Exercise> Exercise::of(Rig& rig, testing::Instance& instance) {
    const std::string& role = rig.trial.subject.role;
    if (role == "placement") return std::make_unique<UsePlacement>(rig, instance);
    if (role == "probe") return std::make_unique<UseProbe>(rig, instance);
    if (role == "discovery") return std::make_unique<UseDiscovery>(rig, instance);
    if (role == "directory") return std::make_unique<UseDirectory>(rig, instance);
    if (role == "store") return std::make_unique<UseStore>(rig, instance);
    if (role == "transport") return std::make_unique<UseTransport>(rig, instance);
    if (role == "runtime") return std::make_unique<UseRuntime>(rig, instance);
    if (role == "frontend") return std::make_unique<UseFrontend>(rig, instance);
    throw Skipped{"this program knows no role '" + role + "'"};
}

bool Exercise::settle(Duration patience) {
    const auto all = [this] { return std::ranges::all_of(ongoing_, [](const Ongoing& o) { return o.ended(); }); };
    if (rig_.host.run_until(all, patience)) return true;
    // What waits for a timer; at last, what waits for ever: the fake host gives operations 30 s.
    for (int i = 0; i < 40 && !all(); ++i) {
        rig_.host.advance(1s);
        rig_.host.run_until(all, patience / 50);
    }
    return all();
}

void Used::end() {
    instance.stop();
    rig.host.turn();
    rig.recorder.deaf = true;
    instance.destroy();
    rig.recorder.deaf = false;
}

}  // namespace gantry::check
