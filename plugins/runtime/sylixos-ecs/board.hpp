// SPDX-License-Identifier: Apache-2.0
//
// Board: where ecs runs, this machine or another one over SSH. Blocks; one thread at a time.
#pragma once

#include <functional>
#include <gantry/config.hpp>
#include <string>
#include <vector>

#include "plugins/runtime/monitored/process.hpp"

namespace sylixos {

class Board {
  public:
    // Throws Failure(kInvalid): what the operator must change.
    explicit Board(const gantry::Config& config);

    // How a call ended, by its status and what it wrote to stderr.
    struct Result {
        int status = 0;
        std::string words;
        bool ok() const { return status == 0; }
    };
    // Runs a program with words that no shell changes (checked: letters, digits and /._-:=). Throws Failure:
    // kUnavailable (the board does not answer, or its key is another one), kDeadline, kInvalid (a word).
    Result call(const std::vector<std::string>& words, gantry::Duration limit) const;
    Result ecs(const std::vector<std::string>& words, gantry::Duration limit) const;
    // Copies a file to the board, first under another name, so that half of one is never taken for it.
    void put(const std::string& file, const std::string& to, gantry::Duration limit) const;
    bool remote() const { return !target_.empty(); }
    const std::string& folder() const { return folder_; }
    // "board@10.0.0.7", "this machine".
    std::string name() const { return remote() ? target_ : "this machine"; }
    // What ends calls early: asked now and then.
    std::function<bool()> cancelled;

  private:
    Result run(std::vector<std::string> argv, gantry::Duration limit, int input = -1) const;
    std::vector<std::string> ssh_options(const char* port_option) const;

    std::string program_, folder_, target_, known_hosts_, identity_;
    std::string port_;
};

}  // namespace sylixos
