// SPDX-License-Identifier: Apache-2.0
//
// Reserve: disk space that is kept allocated so that the moves of a failover can still be stored when the disk is
// full. Owned and used by one thread.
#pragma once

#include <cstdint>
#include <string>

namespace gantry::sqlite {

class Reserve {
  public:
    // bytes 0: there is no reserve and keep() is always true.
    Reserve(std::string path, std::int64_t bytes) : path_(std::move(path)), bytes_(bytes) {}

    // The file is there, or there was room to make it again. The file outlives the process.
    bool keep();
    // Frees the space; false if there was none to free.
    bool give_up();

  private:
    bool allocate() const;

    std::string path_;
    std::int64_t bytes_;
    bool held_ = false;
};

}  // namespace gantry::sqlite
