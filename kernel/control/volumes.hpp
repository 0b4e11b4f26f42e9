// SPDX-License-Identifier: Apache-2.0
//
// Volumes: folders of this node that containers mount by name. They are made with the first container that wants them,
// outlive every container, and go when somebody removes them, never by themselves.
//
// Threads: the loop.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "kernel/base/json.hpp"
#include "kernel/control/lane.hpp"
#include "kernel/host/roles.hpp"

namespace gantry::host {
class Host;
}

namespace gantry::control {

class Volumes {
  public:
    using Answer = std::function<void(Result<json::value>)>;

    // Everything lives as long as this does.
    Volumes(std::filesystem::path dir, host::Host& host, Lane& files)
        : dir_(std::move(dir)), host_(host), files_(files) {}

    // Puts the folders in the place of the names that a new container mounts, and says in its labels which they are.
    // Errors: kUnavailable (one is being removed), kFull, kFailed.
    Status prepare(host::ContainerSpec& spec);
    // The container was made, or was not: from now on its runtime knows.
    void prepared(const host::ContainerSpec& spec);

    // [{"name", "path", "used_by": [containers]}]
    void list(Answer answer);
    // Errors: kNotFound, kConflict (which containers use it), kUnavailable (a runtime cannot say).
    void remove(const std::string& name, Answer answer);

  private:
    using Users = std::map<std::string, std::set<std::string>>;  // of each volume, containers
    void users(std::function<void(Result<Users>)> done);

    const std::filesystem::path dir_;
    host::Host& host_;
    Lane& files_;
    Users preparing_;  // containers that may not be listed yet
    std::set<std::string> removing_;
};

}  // namespace gantry::control
