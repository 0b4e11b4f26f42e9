// SPDX-License-Identifier: Apache-2.0
//
// The commands of gantry-plugin. Each is one function here, in the file or folder of its name, and one line in
// main.cpp.
#pragma once

#include <CLI/App.hpp>
#include <functional>

namespace gantry::tools {

// What the command line asks for: the callback of the subcommand sets it, main() runs it and exits with what it gives
// (sdk/tools/trouble.hpp). Options that it reads must outlive it: keep them in a shared_ptr that it captures.
using Chosen = std::function<int()>;

// Each adds its subcommand and the subcommand's options to `app`; the subcommand's callback sets `chosen`.
void add_new(CLI::App& app, Chosen& chosen);
void add_inspect(CLI::App& app, Chosen& chosen);
void add_check(CLI::App& app, Chosen& chosen);
void add_keygen(CLI::App& app, Chosen& chosen);
void add_sign(CLI::App& app, Chosen& chosen);

}  // namespace gantry::tools
