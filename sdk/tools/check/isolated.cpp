// SPDX-License-Identifier: Apache-2.0
//
// Which checks are run again with the plugin in a process of its own.
#include <algorithm>
#include <deque>
#include <filesystem>
#include <iterator>
#include <utility>

#include "sdk/tools/check/check.hpp"
#include "sdk/tools/check/puppet.hpp"
#include "sdk/tools/prefix.hpp"
#include "sdk/tools/trouble.hpp"

namespace gantry::check {
namespace {

// What says nothing there. Of the file: static, load. Of the memory, threads and descriptors of the check's own
// process: remains, threads, placement.pure and .allocations. Of calls that the plugin's host would see, which is in
// the plugin's process then, refuses nothing and lets nothing through twice or late: lifecycle.late-calls,
// operations.once, faults. Of structs whose size a host chooses, which are made anew there: lifecycle.create,
// placement.newer-host.
constexpr std::string_view kOfTheCheckAlone[] = {"static",
                                                 "load",
                                                 "remains",
                                                 "threads",
                                                 "faults",
                                                 "lifecycle.create",
                                                 "lifecycle.late-calls",
                                                 "operations.once",
                                                 "placement.pure",
                                                 "placement.newer-host",
                                                 "placement.allocations"};

std::string_view suite_of(std::string_view name) { return name.substr(0, name.find('.')); }

bool means_something(std::string_view name) {
    return std::ranges::none_of(kOfTheCheckAlone,
                                [&](std::string_view one) { return one == name || one == suite_of(name); });
}

// Names live as long as the program, as those of the other checks do.
std::string_view isolated_name(std::string_view name) {
    static std::deque<std::string> names;
    return names.emplace_back("isolated." + std::string(name));
}

}  // namespace

std::vector<Check> isolated_checks(const std::vector<Check>& checks) {
    std::vector<Check> out;
    std::vector<std::string_view> of_the_file;
    std::ranges::copy_if(checks, std::back_inserter(out), [](const Check& c) { return suite_of(c.name) == "static"; });
    for (const Check& check : out)
        if (check.name != "static.description") of_the_file.push_back(check.name);  // nothing rests on that
    for (Check check : checks) {
        if (!means_something(check.name)) continue;
        const std::vector<std::string_view> needs = std::exchange(check.needs, of_the_file);
        for (const std::string_view need : needs)
            if (means_something(need)) check.needs.push_back(isolated_name(need));
        check.name = isolated_name(check.name);
        check.placing = Placing::kOwnProcess;
        check.limit_s *= 2;  // a process for each instance, and the machine's clock
        out.push_back(std::move(check));
    }
    return out;
}

void prepare_isolation(const Subject& subject) {
    const std::filesystem::path program = tools::prefix() / "lib/gantry/gantry-plugin-host";
    std::error_code error;
    if (!std::filesystem::exists(program, error)) {
        throw tools::Failure(tools::exit_status::kNoInput,
                             program.string() +
                                 " is not there: it comes with the package of gantryd; install it under "
                                 "the prefix of this program, or leave out --isolation");
    }
    make_puppet_of({subject.file, program.string(), subject.interface, subject.reading.note.permissions});
}

}  // namespace gantry::check
