// SPDX-License-Identifier: Apache-2.0
//
// gantry-plugin: make, look at, prove and sign plugins. This file knows the program's frame; a command's options are in
// the file or folder of its name.
#include <gantry/abi/base.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cstdio>

#include "sdk/tools/commands.hpp"
#include "sdk/tools/suggestion.hpp"
#include "sdk/tools/trouble.hpp"

namespace gantry::tools {
namespace {

constexpr const char* kFooter = R"(Exit statuses:
  0   good
  1   something was found: a check failed, a signature is bad
  64  the command line is wrong
  65  the input is not what it should be: no plugin, no key
  66  the input is not there or cannot be read
  70  a fault of this program
  73  the output is there already or cannot be written)";

void add_commands(CLI::App& app, Chosen& chosen) {
    add_new(app, chosen);
    add_inspect(app, chosen);
    add_check(app, chosen);
    add_keygen(app, chosen);
    add_sign(app, chosen);
}

int usage(const CLI::App& app, const CLI::ParseError& error, int argc, char** argv) {
    if (argc == 1) {
        std::fputs(app.help().c_str(), stderr);
        return exit_status::kUsage;
    }
    std::string text = std::string(error.what()) + ".";
    std::vector<std::string> known;
    for (const CLI::App* command : app.get_subcommands({})) known.push_back(command->get_name());
    const std::string word = argv[1];
    if (app.get_subcommands().empty() && !word.starts_with('-')) {
        text = "there is no command '" + word + "'." + did_you_mean(word, known);
    }
    std::fprintf(stderr, "gantry-plugin: %s\nRun gantry-plugin --help, or gantry-plugin COMMAND --help.\n",
                 text.c_str());
    return exit_status::kUsage;
}

int run(int argc, char** argv) {
    CLI::App app("gantry-plugin: make, look at, prove and sign plugins of Gantry", "gantry-plugin");
    Chosen chosen;
    app.footer(kFooter);
    app.require_subcommand(1);
    const std::string sdk = std::to_string(GANTRY_ABI_MAJOR) + "." + std::to_string(GANTRY_ABI_MINOR);
    app.set_version_flag("--version", "gantry-plugin " GANTRY_VERSION ", SDK " + sdk);
    add_commands(app, chosen);
    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& asked) {
        return app.exit(asked);
    } catch (const CLI::ParseError& error) {
        return usage(app, error, argc, argv);
    }
    return chosen();
}

}  // namespace
}  // namespace gantry::tools

int main(int argc, char** argv) {
    using namespace gantry::tools;
    try {
        return run(argc, argv);
    } catch (const Failure& failure) {
        std::fflush(stdout);
        std::fprintf(stderr, "gantry-plugin: %s\n", failure.what());
        return failure.status;
    } catch (const std::exception& error) {
        std::fflush(stdout);
        std::fprintf(stderr, "gantry-plugin: %s\n", error.what());
        return exit_status::kInternal;
    }
}
