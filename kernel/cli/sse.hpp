// SPDX-License-Identifier: Apache-2.0
//
// Server-sent events: a stream of text cut into messages at any place.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

class SseParser {
  public:
    // The data of the messages that are whole now. Comments, names and ids of messages are passed over: the documents
    // have their own numbers. Errors: a message above 1 MiB.
    Outcome<std::vector<std::string>> feed(std::string_view bytes);

  private:
    void take(std::string_view line, std::vector<std::string>& whole);

    std::string line_;
    std::string data_;
    bool has_data_ = false, after_cr_ = false;
};

}  // namespace gantry::cli
