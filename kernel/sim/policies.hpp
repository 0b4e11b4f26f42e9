// SPDX-License-Identifier: Apache-2.0
//
// Policies: real placement plugins behind the real border, asked by the worlds of one process.
#pragma once

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "kernel/core/effects.hpp"
#include "kernel/host/host.hpp"

namespace gantry::sim {

class Policies {
  public:
    // The same plugin serves twice, so that a configuration can change which policy is the default: under its own name,
    // and as this.
    static constexpr const char* kSecond = "second-opinion";

    ~Policies();
    // Loads the plugin from this folder (PATH/placement/NAME.so). Errors: the host's.
    static Result<std::unique_ptr<Policies>> load(const std::filesystem::path& plugins, const std::string& name);
    const std::string& first() const { return first_; }
    // Errors: kUnavailable (no such policy runs), what the plugin says.
    Result<std::vector<core::Keys>> ask(const core::Rank& rank);
    // Loads the plugins anew, as a successor of gantryd does. Errors: the host's; the old ones go on.
    Status exchange();

  private:
    Policies(std::filesystem::path plugins, std::string first);

    std::filesystem::path plugins_;
    boost::asio::io_context io_;
    std::string first_;
    std::filesystem::path scratch_;
    std::unique_ptr<host::Host> host_;
    int hosts_ = 0;
    std::vector<host::CandidateView> views_;
};

}  // namespace gantry::sim
