// SPDX-License-Identifier: Apache-2.0
//
// A running server on a socket in a folder of its own.
#pragma once

#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <functional>
#include <optional>
#include <thread>

#include "plugins/frontend/http/server.hpp"
#include "tests/unit/plugins/frontend/http/client.hpp"
#include "tests/unit/plugins/frontend/http/fake_tree.hpp"

class Folder {
  public:
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "gantry-http-XXXXXX").string();
        path = mkdtemp(name.data()) ? name : std::string();
    }
    ~Folder() {
        std::error_code ignored;
        if (!path.empty()) std::filesystem::remove_all(path, ignored);
    }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;
    std::string path;
};

struct Door {
    Door() {
        settings.socket = folder.path + "/api.sock";
        host.emplace(tree.host());
    }
    ~Door() {
        server.reset();
        tree.shut();
    }
    Door(const Door&) = delete;
    Door& operator=(const Door&) = delete;

    void open() {
        server.emplace(settings, *host);
        server->start();
    }

    Folder folder;
    FakeTree tree;
    gantry::http::Settings settings;
    std::optional<gantry::Host> host;
    std::optional<gantry::http::Server> server;
};

// Waits for a condition, at most 20 s.
inline bool eventually(const std::function<bool()>& condition) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > until) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}
