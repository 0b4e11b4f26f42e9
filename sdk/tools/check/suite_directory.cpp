// SPDX-License-Identifier: Apache-2.0
//
// directory: tables that replace each other. What is answered is asked by a program of the world, since each directory
// speaks a protocol of its own.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <gantry/testing/drivers.hpp>

#include "sdk/tools/check/exercise.hpp"

namespace gantry::check {
namespace {

using namespace std::chrono_literals;

struct Serving {
    explicit Serving(Trial& trial) : rig(trial, true), instance(rig.make()), driver(instance) { instance.start(); }

    gantry_status replace(std::uint64_t table_no, const std::vector<NameRecord>& records) {
        const auto& table = *static_cast<const gantry_directory*>(instance.role_table(GANTRY_ROLE_DIRECTORY));
        std::vector<gantry_name_record> raw;
        for (const NameRecord& r : records) raw.push_back({str(r.name), str(r.address), r.port, 0, 0, 0});
        return table.replace(instance.self(), table_no, raw.data(), sizeof(gantry_name_record), raw.size());
    }

    Rig rig;
    testing::Instance& instance;
    testing::DirectoryDriver driver;
};

void state_facts(Trial& trial) {
    Serving serving(trial);
    const auto& table = *static_cast<const gantry_directory*>(serving.instance.role_table(GANTRY_ROLE_DIRECTORY));
    expect(table.facts != nullptr, "facts after init", "NULL");
    const DirectoryFacts facts = serving.driver.facts();
    expect(facts.port != 0, "the port where it answers, the real one where 0 was asked for", "0");
    expect(!facts.environment.empty() && facts.environment.find('=') == std::string::npos,
           "a variable's name that tells containers whom to ask", "'" + facts.environment + "'");
}

void take_tables(Trial& trial) {
    Serving serving(trial);
    std::vector<NameRecord> many;
    for (std::size_t i = 0; i < 1'000; ++i) {
        many.push_back({"service-" + std::to_string(i), "10.0.0.1", static_cast<std::uint16_t>(1 + i), false, false});
    }
    const std::vector<NameRecord> odd{{"", "10.0.0.1", 1, false, false},
                                      {"no-address", "", 1, false, false},
                                      {"no-ip", "example", 1, false, false},
                                      {"no-port", "10.0.0.1", 0, false, false},
                                      {std::string(300, 'x'), "10.0.0.1", 1, false, false}};
    std::uint64_t number = 0;
    const auto take = [&](const std::string& what, const std::vector<NameRecord>& records) {
        const gantry_status status = serving.replace(++number, records);
        expect(status == GANTRY_OK, "replace takes " + what, "status " + std::to_string(status));
    };
    take("an empty table", {});
    take("1,000 names", many);
    take("odd records, leaving out what cannot be answered", odd);
    const gantry_status older = serving.replace(1, many);
    expect(older == GANTRY_OK, "a table with a lower number is ignored in silence", "status " + std::to_string(older));
}

// What the lookup program of the world says to a name while the loop turns; empty: it found nothing.
std::string look_up(Serving& serving, const std::string& name) {
    std::vector<std::string> words;
    for (std::string word : serving.rig.trial.subject.world.list("directory.lookup")) {
        const auto put = [&](std::string_view from, const std::string& to) {
            const std::size_t at = word.find(from);
            if (at != std::string::npos) word.replace(at, from.size(), to);
        };
        put("{name}", name);
        put("{port}", std::to_string(serving.driver.facts().port));
        words.push_back(placed(serving.rig.trial, word));
    }
    std::vector<char*> args;
    for (std::string& word : words) args.push_back(word.data());
    args.push_back(nullptr);
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw Skipped{"no pipe"};
    const Fd in(ends[0]);
    Fd out(ends[1]);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, out.get(), 1);
    pid_t pid = 0;
    const int failed = ::posix_spawnp(&pid, args[0], &actions, nullptr, args.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed != 0) throw Skipped{"directory.lookup cannot be run: " + words[0]};
    out.reset();
    int status = 0;
    if (!serving.rig.host.run_until([&] { return ::waitpid(pid, &status, WNOHANG) == pid; }, 10s)) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, &status, 0);
    }
    char text[512];
    const ssize_t n = ::read(in.get(), text, sizeof(text));
    std::string said(text, n > 0 ? static_cast<std::size_t>(n) : 0);
    while (said.ends_with('\n')) said.pop_back();
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? said : "";
}

void replace_whole(Trial& trial) {
    if (trial.subject.world.list("directory.lookup").empty()) {
        throw Skipped{"no program to ask names with: give directory.lookup in a file for --config"};
    }
    Serving serving(trial);
    const std::vector<NameRecord> one{{"stays", "127.0.0.1", 4'001, false, true},
                                      {"old", "127.0.0.1", 4'001, false, true}};
    const std::vector<NameRecord> two{{"stays", "127.0.0.1", 4'002, false, true},
                                      {"new", "127.0.0.1", 4'002, false, true}};
    serving.replace(1, one);
    std::uint64_t number = 1;
    for (int i = 0; i < 20; ++i) {
        for (int k = 0; k < 20; ++k) {
            ++number;
            serving.replace(number, number % 2 == 0 ? two : one);
        }
        const std::string said = look_up(serving, "stays");
        const std::string port = number % 2 == 0 ? "4002" : "4001";
        expect(said.find(port) != std::string::npos, "a name that is in both tables is always found, in the newest",
               said.empty() ? "nothing" : said);
    }
    serving.replace(++number, two);
    expect(!look_up(serving, "new").empty(), "a name of the new table is found", "nothing");
    expect(look_up(serving, "old").empty(), "a name of the old table is not found any more", look_up(serving, "old"));
    serving.replace(1, one);
    expect(look_up(serving, "old").empty(), "a table with a lower number changes nothing", look_up(serving, "old"));
}

}  // namespace

void add_directory(std::vector<Check>& out) {
    out.push_back({"directory.facts",
                   "The facts name a port and a variable for containers.",
                   "Take the port in init, before the facts are asked for.",
                   {"lifecycle.use"},
                   &state_facts,
                   20,
                   "directory"});
    out.push_back({"directory.tables",
                   "Tables of every size are taken; records that cannot be answered are left out.",
                   "Check each record by itself, and log what you leave out.",
                   {"directory.facts"},
                   &take_tables,
                   20,
                   "directory"});
    out.push_back({"directory.replace",
                   "A new table answers at once and whole, the one before it no more.",
                   "Build the new table first, then exchange it for the old one in one step.",
                   {"directory.tables"},
                   &replace_whole,
                   60,
                   "directory"});
}

}  // namespace gantry::check
