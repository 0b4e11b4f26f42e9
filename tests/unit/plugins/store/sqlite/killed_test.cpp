// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <random>

#include "plugins/store/sqlite/database.hpp"
#include "tests/unit/plugins/store/sqlite/temporary_folder.hpp"

using gantry::sqlite::Database;

namespace {

// Commits key after key, each twice in one batch, and tells the number of each commit that was acknowledged.
[[noreturn]] void commit_for_ever(const std::string& path, int acknowledge) {
    try {
        Database database(path, 0);
        auto next = static_cast<std::uint32_t>(database.load("left/").entries.size());
        while (true) {
            const std::string number = std::to_string(next);
            const std::string value(next % 5'000, 'v');
            database.commit({{"left/" + number, value, 0, false}, {"right/" + number, value, 0, false}}, false);
            if (write(acknowledge, &next, sizeof next) != sizeof next) _exit(0);
            ++next;
            database.tidy();
        }
    } catch (...) {
        _exit(1);
    }
}

}  // namespace

TEST_CASE("after kill -9 at any moment every acknowledged commit is there, whole") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.db";
    const auto seed = std::random_device()();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 20; ++round) {
        int ends[2];
        REQUIRE(pipe(ends) == 0);
        const pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            close(ends[0]);
            commit_for_ever(path, ends[1]);
        }
        close(ends[1]);
        // Reading a random number of acknowledgements, the last of them anywhere within a commit, needs no clock.
        std::int64_t last = -1;
        std::uint32_t number = 0;
        const unsigned wanted = 1 + random() % 60;
        for (unsigned i = 0; i < wanted && read(ends[0], &number, sizeof number) == sizeof number; ++i) last = number;
        for (unsigned spin = random() % 20'000; spin > 0; --spin) asm volatile("");
        kill(child, SIGKILL);
        while (read(ends[0], &number, sizeof number) == sizeof number) last = number;
        close(ends[0]);
        int status = 0;
        REQUIRE(waitpid(child, &status, 0) == child);
        REQUIRE(WIFSIGNALED(status));

        Database database(path, 0);
        const auto left = database.load("left/").entries;
        const auto right = database.load("right/").entries;
        CHECK(static_cast<std::int64_t>(left.size()) >= last + 1);
        REQUIRE(left.size() == right.size());
        for (std::size_t i = 0; i < left.size(); ++i) {
            if (left[i].value != right[i].value || left[i].revision != right[i].revision)
                FAIL("half a commit: " << left[i].key);
        }
    }
}
