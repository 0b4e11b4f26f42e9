// SPDX-License-Identifier: Apache-2.0
//
// gantry-plugin check FILE.so: the conformance suite.
#include <fcntl.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>

#include "sdk/tools/check/report.hpp"
#include "sdk/tools/commands.hpp"
#include "sdk/tools/suggestion.hpp"
#include "sdk/tools/trouble.hpp"

namespace gantry::check {

std::vector<Check> all_checks() {
    std::vector<Check> out;
    for (auto* add : {&add_static, &add_load, &add_lifecycle, &add_operations, &add_remains, &add_configuration,
                      &add_faults, &add_placement, &add_probe, &add_discovery, &add_directory, &add_store,
                      &add_transport, &add_runtime, &add_frontend}) {
        add(out);
    }
    return out;
}

namespace {

struct Asked {
    std::string file, config, junit, seed;
    std::string isolation = "none";   // or process, or both
    std::vector<std::string> checks;  // names or suites; empty: all
    bool json = false, list = false;
};

// An isolated check goes by the name and suite of the other as well.
bool takes(const std::vector<std::string>& names, const Check& check) {
    const auto suite = [](std::string_view name) { return name.substr(0, name.find('.')); };
    const std::string_view rest =
        check.placing == Placing::kOwnProcess ? check.name.substr(check.name.find('.') + 1) : check.name;
    return names.empty() || std::ranges::any_of(names, [&](const std::string& name) {
               return name == check.name || name == suite(check.name) || name == rest || name == suite(rest);
           });
}

std::vector<Check> checks_for(const std::string& isolation) {
    const std::vector<Check> all = all_checks();
    std::vector<Check> isolated = isolated_checks(all);
    if (isolation == "none") return all;
    if (isolation == "process") return isolated;
    if (isolation != "both") {
        throw tools::Failure(tools::exit_status::kUsage,
                             "--isolation: expected none, process or both, got '" + isolation + "'");
    }
    std::vector<Check> out = all;
    std::ranges::copy_if(isolated, std::back_inserter(out),
                         [](const Check& check) { return check.placing == Placing::kOwnProcess; });
    return out;
}

void know_names(const std::vector<std::string>& names, const std::vector<Check>& checks) {
    std::vector<std::string> known;
    for (const Check& check : checks) known.emplace_back(check.name);
    for (const std::string& name : names) {
        if (std::ranges::any_of(checks, [&](const Check& check) { return takes({name}, check); })) continue;
        throw tools::Failure(tools::exit_status::kUsage, "no check or suite '" + name + "'." +
                                                             tools::did_you_mean(name, known) +
                                                             " gantry-plugin check --list shows them.");
    }
}

int list_checks(const std::vector<Check>& checks, const std::vector<std::string>& names) {
    for (const Check& check : checks) {
        if (!takes(names, check)) continue;
        std::printf("%-26s %s\n", std::string(check.name).c_str(), std::string(check.promise).c_str());
    }
    return tools::exit_status::kGood;
}

Subject read_subject(const std::string& file) {
    Subject out;
    std::error_code error;
    out.file = std::filesystem::absolute(file, error).string();
    const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) throw tools::Failure(tools::exit_status::kNoInput, file + ": " + std::strerror(errno));
    out.reading = elf::read_plugin(fd.get());
    if (out.reading.fault == elf::Fault::kUnreadable) {
        throw tools::Failure(tools::exit_status::kNoInput, file + ": " + out.reading.text);
    }
    if (out.reading.fault == elf::Fault::kNone) {
        out.role = elf::role_folder(out.reading.note.role);
        out.interface = elf::role_interface(out.reading.note.role);
    }
    return out;
}

std::uint64_t seed_of(const std::string& text) {
    if (text.empty()) {
        std::random_device device;
        return std::uint64_t{device()} << 32 | device();
    }
    std::uint64_t seed = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
    if (error != std::errc() || end != text.data() + text.size()) {
        throw tools::Failure(tools::exit_status::kUsage,
                             "--reproduce: expected the number that an earlier run printed, got '" + text + "'");
    }
    return seed;
}

void write_file(const std::string& file, const std::string& text) {
    std::ofstream out(file, std::ios::binary | std::ios::trunc);
    out << text;
    if (!out.flush()) throw tools::Failure(tools::exit_status::kCannotCreate, file + " cannot be written");
}

int check_file(const Asked& asked) {
    const std::vector<Check> checks = checks_for(asked.isolation);
    know_names(asked.checks, checks);
    if (asked.list) return list_checks(checks, asked.checks);
    if (asked.file.empty()) {
        throw tools::Failure(tools::exit_status::kUsage, "check: expected the FILE.so of a plugin, got nothing");
    }
    Subject subject = read_subject(asked.file);
    if (!asked.config.empty()) subject.world = read_world(asked.config);
    supply(subject.world, subject.reading.note);
    const std::uint64_t seed = seed_of(asked.seed);
    if (asked.isolation != "none") prepare_isolation(subject);

    const elf::Note& note = subject.reading.note;
    if (!asked.json) {
        std::printf("%s: %s %s, %s; seed %llu\n", asked.file.c_str(), note.id.empty() ? "no id" : note.id.c_str(),
                    note.version.c_str(), note.role.empty() ? "no role" : note.role.c_str(),
                    static_cast<unsigned long long>(seed));
    }
    const std::vector<Result> results = run_checks(
        subject, checks, [&](const Check& check) { return takes(asked.checks, check); }, seed,
        [&](const Result& result) {
            if (asked.json) return;
            std::fputs(line_of(result).c_str(), stdout);
            std::fflush(stdout);
        });
    if (!asked.junit.empty()) write_file(asked.junit, junit_of(subject, seed, results));
    if (asked.json) {
        std::fputs(json_of(subject, seed, results).c_str(), stdout);
    } else {
        std::printf("%s\n", summary(results).c_str());
        if (any_bad(results)) {
            std::printf("the same again: gantry-plugin check --reproduce %llu ...\n",
                        static_cast<unsigned long long>(seed));
        }
    }
    return any_bad(results) ? tools::exit_status::kFindings : tools::exit_status::kGood;
}

}  // namespace
}  // namespace gantry::check

namespace gantry::tools {

void add_check(CLI::App& app, Chosen& chosen) {
    auto asked = std::make_shared<check::Asked>();
    CLI::App* const command = app.add_subcommand("check", "prove that a plugin keeps what its role promises");
    command->add_option("file", asked->file, "the plugin, a shared object");
    command->add_option("checks", asked->checks,
                        "names of checks or suites (default: all): lifecycle, placement.order");
    command->add_option("--config", asked->config,
                        "TOML file with the plugin's settings and surroundings (docs/plugins/check.md)");
    command
        ->add_option("--isolation", asked->isolation,
                     "whose process the plugin runs in: none (the check's), process (one of its own), both")
        ->capture_default_str();
    command->add_option("--junit", asked->junit, "also write the results as JUnit XML to this file");
    command->add_option("--reproduce", asked->seed, "the seed of an earlier run");
    command->add_flag("--json", asked->json, "print one JSON document instead of lines");
    command->add_flag("--list", asked->list, "print the checks, with what each proves, and run none");
    command->callback([asked, &chosen] { chosen = [asked] { return check::check_file(*asked); }; });
}

}  // namespace gantry::tools
