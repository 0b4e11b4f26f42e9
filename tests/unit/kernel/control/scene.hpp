// SPDX-License-Identifier: Apache-2.0
//
// One cluster in one loop: a controller and nodes with the real loops, blob stores and a real host with test plugins,
// the network in memory, a store that fails as told. Nothing here is slow to include.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "kernel/base/json.hpp"
#include "kernel/crash/record.hpp"
#include "tests/unit/kernel/control/folder.hpp"

namespace gantry::test {

struct Response {
    int code = 0;
    json::value document;
    std::string field() const;
    std::string message() const;
};

class Scene {
  public:
    // message_max: of the network, in bytes.
    explicit Scene(std::int64_t message_max = 1 << 20);
    ~Scene();

    void start_controller();
    // Its state is in folder.path / name. The resource tree is the controller's and that of the last one started.
    void start_node(const std::string& name);
    unsigned full_at = 0;  // both watermarks of the nodes that are started next
    // The node's gantryd is gone at once.
    void stop_node(const std::string& name);
    void cut(const std::string& node);
    void heal(const std::string& node);

    // Runs the loop until the condition holds; false after `limit`.
    bool until(const std::function<bool()>& condition, std::chrono::milliseconds limit = std::chrono::seconds(10));
    void run_for(std::chrono::milliseconds time);

    // The resource tree, asked as unix:tester.
    Response ask(const std::string& method, const std::string& path, const std::string& body = {});
    // Answered when the stream has begun; `stream` is our end.
    Response open(const std::string& method, const std::string& path, int& stream);
    // An image of one layer, uploaded and named; the manifest's digest.
    std::string add_image(const std::string& name, const std::string& layer);
    void deploy(const std::string& service, const std::string& image, const std::string& node);
    // "ready", "waiting", ... of SERVICE.0; liveness of a node; "" where there is none.
    std::string instance_state(const std::string& service);
    std::string liveness(const std::string& node);
    std::size_t events(const std::string& kind);
    // What the host and the tree remember of plugins' crashes.
    crash::Record& crashes();
    // Operations of the runtime that have not ended.
    std::size_t runtime_operations() const;
    bool logged(const std::string& text) const;

    // --- the store: what comes next
    enum class Outcome { kDone, kFailed, kUnknownWritten, kUnknownLost, kFull };
    void next_commit(Outcome outcome);
    void next_loads_fail(int times);
    void hold_loads(bool yes);
    int loads() const;

    void expect_node(const std::string& name, const std::string& address);
    std::filesystem::path blob(const std::string& owner, const std::string& digest) const;
    Folder folder;

  private:
    struct Parts;
    std::unique_ptr<Parts> parts_;
};

std::string sha256(const std::string& text);

}  // namespace gantry::test
