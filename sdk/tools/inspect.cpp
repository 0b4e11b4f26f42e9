// SPDX-License-Identifier: Apache-2.0
//
// gantry-plugin inspect: what a plugin's file says about itself, read without loading it.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <gantry/elf/reader.hpp>
#include <memory>

#include "sdk/tools/commands.hpp"
#include "sdk/tools/description.hpp"
#include "sdk/tools/trouble.hpp"

namespace gantry::tools {
namespace {

struct Options {
    std::string file;
    bool json = false, markdown = false;
};

elf::Reading read(const std::string& file) {
    // Not blocking: a named pipe would wait for a writer.
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) throw Failure(exit_status::kNoInput, file + ": cannot be opened: " + std::strerror(errno));
    elf::Reading reading = elf::read_plugin(fd);
    ::close(fd);
    if (reading.fault == elf::Fault::kUnreadable) throw Failure(exit_status::kNoInput, file + ": " + reading.text);
    if (reading.fault != elf::Fault::kNone) throw Failure(exit_status::kBadData, file + ": " + plain(reading.text));
    return reading;
}

int inspect(const Options& options) {
    const elf::Reading reading = read(options.file);
    const std::string out = options.json       ? as_json(options.file, reading)
                            : options.markdown ? as_markdown(reading)
                                               : as_text(options.file, reading);
    std::fputs(out.c_str(), stdout);
    if (std::fflush(stdout) != 0) throw Failure(exit_status::kCannotCreate, "standard output cannot be written");
    return exit_status::kGood;
}

}  // namespace

void add_inspect(CLI::App& app, Chosen& chosen) {
    auto options = std::make_shared<Options>();
    auto* sub = app.add_subcommand("inspect", "Show what a plugin's file says of itself, without loading it");
    sub->add_option("FILE", options->file, "The plugin, a .so")->required();
    auto* json = sub->add_flag("--json", options->json, "As one JSON document");
    sub->add_flag("--markdown", options->markdown, "Name, description and configuration as Markdown, for a README")
        ->excludes(json);
    sub->callback([&chosen, options] { chosen = [options] { return inspect(*options); }; });
}

}  // namespace gantry::tools
