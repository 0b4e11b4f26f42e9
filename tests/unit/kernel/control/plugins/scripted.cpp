// SPDX-License-Identifier: Apache-2.0
//
// A runtime whose containers are names in memory. An image is usable unless one of the layout's blobs begins with
// "DAMAGED", or "HURRIED" and no container waits for it. A followed log is quiet until nobody waits for it.
#include <unistd.h>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <gantry/runtime.hpp>

using namespace gantry;
using namespace std::chrono_literals;

class Scripted final : public Runtime {
  public:
    RuntimeFacts facts() const override {
        return {.system = "linux",
                .architectures = {"amd64", "arm64"},
                .fenceable = true,
                .stats = true,
                .limits = true,
                .settings = true};
    }
    void ensure_image(Operation<> op, ImageSource source) override {
        for (const auto& file : std::filesystem::directory_iterator(source.layout_dir + "/blobs/sha256")) {
            std::string begin(7, ' ');
            std::ifstream(file.path()).read(begin.data(), 7);
            if (begin == "HURRIED" && !source.urgent) return op.fail(Code::kUnavailable, "there is no hurry");
            if (begin == "DAMAGED") return op.fail(Code::kInvalid, "a blob has the wrong digest");
        }
        images_.push_back(source.image);
        op.done();
    }
    void images(Operation<ImageList> op) override { op.done({images_}); }
    void remove_image(Operation<> op, std::string image) override {
        std::erase(images_, image);
        op.done();
    }
    void create_container(Operation<> op, ContainerSpec spec) override {
        Container c;
        c.name = spec.name;
        c.labels = spec.labels;
        for (const Mount& mount : spec.mounts) {
            if (!std::filesystem::is_directory(mount.source))
                return op.fail(Code::kInvalid, mount.source + " is no folder");
        }
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
            if (c.name == name) c.state = ContainerState::kExited;
        }
        op.done();
    }
    void kill_container(Operation<> op, std::string) override { op.done(); }
    void remove_container(Operation<> op, std::string name) override {
        std::erase_if(all_, [&](const Container& c) { return c.name == name; });
        op.done();
    }
    void list_containers(Operation<ContainerList> op) override { op.done({all_}); }
    // Each uses half a core, as if it had begun with the machine.
    void stats(Operation<ContainerStats> op, std::string) override { op.done({host().now() / 2, 8 << 20, 2}); }
    void logs(Operation<> op, LogRequest request) override {
        (void)!::write(request.fd.get(), "hello\n", 6);
        if (!request.follow) return op.done();
        followed_.push_back({std::move(op), std::move(request)});
        if (followed_.size() == 1) look();
    }

  private:
    struct Followed {
        Operation<> op;
        LogRequest request;
    };
    void look() {
        std::erase_if(followed_, [](Followed& one) {
            if (!one.op.cancelled()) return false;
            one.op.done();
            return true;
        });
        if (!followed_.empty()) host().timer(2ms, [this] { look(); });
    }

    std::vector<Container> all_;
    std::vector<std::string> images_;
    std::vector<Followed> followed_;
};

GANTRY_PLUGIN(Scripted)
