// SPDX-License-Identifier: Apache-2.0
//
// criu, which writes what processes have in memory to disk and has them go on from there: whether it can do that on
// this node, and what it says when it could not.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace oci {

// Why no checkpoints can be offered with this engine, and what to do; empty: they can. Runs `criu check`, which has
// five seconds; nothing is run where there is no criu. Called once, by init: facts are asked right after it.
std::string why_no_checkpoints(const std::string& engine, const std::filesystem::path& criu);

// The last error in a log of criu's that names a cause; empty: none.
std::string criu_error(const std::filesystem::path& log);

// criu as an engine runs it, for one container at a time.
class Criu {
  public:
    Criu(const std::filesystem::path& program, const std::string& mark);
    // Of the engine: where it finds criu, and what all that it runs is known by.
    std::vector<std::string> environment() const;
    // SIGKILL to all that it ran. Once the engine is gone criu has nobody to agree with and gives up by itself.
    void end() const;

  private:
    std::string folder_, mark_;
};

// Throws Failure(kFull) unless the file system of `dir` takes `bytes` and keeps some.
void check_room(const std::filesystem::path& dir, std::int64_t bytes);

}  // namespace oci
