// SPDX-License-Identifier: Apache-2.0
//
// What every command shares: where gantryd is, and how to answer the user.
#pragma once

#include <string>
#include <string_view>

#include "kernel/base/json.hpp"
#include "kernel/cli/client.hpp"
#include "kernel/cli/table.hpp"
#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

class Session {
  public:
    struct Options {
        std::string socket = "/run/gantry/api.sock";
        bool json = false, no_color = false;
        milliseconds silence = std::chrono::seconds(30);  // that gantryd may say nothing
    };
    explicit Session(Options options);

    bool json() const { return options_.json; }
    bool live() const { return live_; }  // standard output is a terminal and shows no JSON
    bool colored() const { return colored_; }
    const Client& client() const { return client_; }
    // The same for what takes long.
    Session patient(milliseconds silence) const;

    // The document of a 2xx answer; a refusal is Trouble.
    Outcome<json::value> get(const std::string& target) const;
    Outcome<json::value> change(std::string_view method, const std::string& target,
                                const json::value& body = nullptr) const;

    void say(std::string_view text) const;         // standard output, as it is
    void say_line(std::string_view line) const;    // one line, flushed, control characters removed
    void note(std::string_view line) const;        // standard error
    void show(const json::value& document) const;  // one line of JSON
    void show(const Table& table) const;
    // The document where --json was given, else the table, else (no rows) the hint on standard error.
    void show(const json::value& document, const Table& table, std::string_view hint) const;

  private:
    Options options_;
    Client client_;
    bool live_, colored_;
};

}  // namespace gantry::cli
