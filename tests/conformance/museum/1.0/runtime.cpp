// SPDX-License-Identifier: Apache-2.0
//
// A runtime of SDK 1.0. Its containers are only remembered; one whose first argument is "exit" ends by itself, with the
// code that its second says.
#define GANTRY_PLUGIN_ID "org.gantry.museum.runtime"
#define GANTRY_PLUGIN_VERSION "1.0.0"
#define GANTRY_PLUGIN_ROLE "runtime/1"
#include <gantry/runtime.hpp>
#include <map>
#include <set>

using namespace gantry;

class Exhibit final : public Runtime {
  public:
    RuntimeFacts facts() const override {
        RuntimeFacts out;
        out.system = "museum";
        out.architectures = {"amd64", "arm64"};
        out.limits = out.stats = true;
        return out;
    }
    void start() override { events().changed(); }

    void ensure_image(Operation<> op, ImageSource source) override {
        if (!source.urgent || source.layout_dir.empty()) return op.fail(Code::kInvalid, "no layout");
        images_.insert(source.image);
        op.done();
    }
    void images(Operation<ImageList> op) override { op.done({{images_.begin(), images_.end()}}); }
    void remove_image(Operation<> op, std::string image) override {
        images_.erase(image);
        op.done();
    }
    void create_container(Operation<> op, ContainerSpec spec) override {
        if (!images_.contains(spec.image)) return op.fail(Code::kNotFound, "no image " + spec.image);
        Made& made = made_[spec.name];
        if (made.container.name.empty()) {
            made.container.name = spec.name;
            made.container.labels = spec.labels;
            made.container.labels.emplace_back("mounts", std::to_string(spec.mounts.size()));
            made.container.labels.emplace_back("memory", std::to_string(spec.memory_bytes));
            made.args = std::move(spec.args);
        }
        op.done();
    }
    void start_container(Operation<> op, std::string name) override {
        Made& made = made_.at(name);
        made.container.state = ContainerState::kRunning;
        made.container.started = host().now();
        made.container.pid = 4'711;
        if (made.args.size() > 1 && made.args[0] == "exit") {
            host().timer(std::chrono::milliseconds(1),
                         [this, name] { ended(name, std::stoi(made_.at(name).args[1])); });
        }
        op.done();
    }
    void stop_container(Operation<> op, std::string name, Duration grace) override {
        ended(name, grace > Duration::zero() ? 0 : 137);
        op.done();
    }
    void kill_container(Operation<> op, std::string name) override {
        ended(name, 137);
        op.done();
    }
    void remove_container(Operation<> op, std::string name) override {
        auto it = made_.find(name);
        if (it != made_.end() && it->second.container.state == ContainerState::kRunning) {
            return op.fail(Code::kConflict, name + " runs");
        }
        made_.erase(name);
        op.done();
    }
    void list_containers(Operation<ContainerList> op) override {
        op.answer_by_job(host(), [all = made_] {
            ContainerList out;
            for (const auto& [name, made] : all) out.containers.push_back(made.container);
            return out;
        });
    }
    void logs(Operation<> op, LogRequest request) override {
        const std::string text = request.name + " has nothing to say\n";
        if (::write(request.fd.get(), text.data(), text.size()) < 0) return op.fail(Code::kFailed, "nobody reads");
        request.fd.reset();
        op.done();
    }

  private:
    struct Made {
        Container container;
        std::vector<std::string> args;
    };
    void ended(const std::string& name, int code) {
        Container& container = made_.at(name).container;
        container.state = ContainerState::kExited;
        container.exit_code = code;
        container.pid = 0;
        container.detail = code == 137 ? "killed" : "";
        events().exited(name, code);
    }

    std::map<std::string, Made> made_;
    std::set<std::string> images_;
};

GANTRY_PLUGIN(Exhibit)
