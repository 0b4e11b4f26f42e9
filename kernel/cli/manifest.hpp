// SPDX-License-Identifier: Apache-2.0
//
// A manifest: TOML turned into the document that PUT /v1/services/NAME takes, with the place of every member, so that
// what gantryd refuses is shown where the user wrote it.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <string>
#include <string_view>

#include "kernel/base/json.hpp"
#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

class Manifest {
  public:
    // file "-" is standard input. Errors: exit_status::kBadData with file:line:column; kNotFound where there is none.
    static Outcome<Manifest> read(const std::string& file);
    static Outcome<Manifest> parse(std::string_view text, const std::string& file);

    const json::value& document() const { return document_; }
    const std::string& name() const { return name_; }
    // service.image as it is written; empty if there is none.
    std::string image() const;
    // The name under which the store has it.
    void set_image(const std::string& name);
    // service.pull, which is for who deploys: gantryd does not get it. Empty if it is not there. Errors: kBadData.
    Outcome<std::string> take_pull();

    // file:line:column of a field's path ("placement.nodes[1]"): of the member, else of the nearest table around it.
    std::string place(std::string_view field) const;
    // A refusal of this manifest: its field becomes a place; what is wrong or not supported is kBadData.
    Trouble explain(Trouble refused) const;

  private:
    struct Position {
        std::uint32_t line = 1, column = 1;
    };
    friend class Converter;

    std::string file_, name_;
    json::value document_;
    std::map<std::string, Position, std::less<>> positions_;
};

// A pull policy, in ECSM's words.
std::expected<void, std::string> check_pull(const std::string& policy);

}  // namespace gantry::cli
