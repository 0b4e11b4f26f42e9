// SPDX-License-Identifier: Apache-2.0
//
// What every runtime promises about a container's output.
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <set>
#include <sstream>

#include "tests/unit/plugins/runtime/fixture.hpp"

using gantry::Code;
using runtime_test::Fixture;
using namespace std::chrono_literals;

namespace {

// The text of a failure, "" for success: shown by a test that fails.
template <class Pending>
std::string trouble(Pending&& pending) {
    const auto answer = pending.wait(20s * runtime_test::patience());
    return answer.ok() ? "" : "failed: " + answer.text;
}

// Of all files of a log, each once, in bytes.
std::int64_t on_disk(const std::filesystem::path& folder) {
    std::int64_t out = 0;
    std::set<ino_t> seen;
    for (const auto& item : std::filesystem::directory_iterator(folder)) {
        struct stat about {};
        if (item.path().filename().string().starts_with("log") && ::stat(item.path().c_str(), &about) == 0 &&
            seen.insert(about.st_ino).second)
            out += about.st_size;
    }
    return out;
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// The numbers in a container's output.
std::vector<std::int64_t> numbers(const std::string& text) {
    std::vector<std::int64_t> out;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        if (!line.empty() && line.find_first_not_of("0123456789") == std::string::npos) out.push_back(std::stoll(line));
    }
    return out;
}

}  // namespace

TEST_CASE("Logs give the last lines, and long lines whole") {
    Fixture f;
    f.run(f.script("c1", "for i in 1 2 3 4 5; do echo line $i; done; echo -n open"));
    f.wait_exit("c1");
    CHECK(f.logs("c1") == "line 1\nline 2\nline 3\nline 4\nline 5\nopen");
    CHECK(f.logs("c1", 0) == "");
    CHECK(f.logs("c1", 2) == "line 5\nopen");
    CHECK(f.logs("c1", 100) == f.logs("c1"));

    f.run(f.script("c2", "$B head -c 100000 /dev/zero | $B tr '\\0' x; echo; echo end"));
    f.wait_exit("c2");
    CHECK(f.logs("c2") == std::string(100000, 'x') + "\nend\n");
    CHECK(f.logs("c2", 1) == "end\n");
    CHECK(f.driver().logs("none", gantry::Fd(::open("/dev/null", O_WRONLY | O_CLOEXEC))).wait().code ==
          Code::kNotFound);
}

TEST_CASE("Logs since a time begin with the first line that was written then") {
    Fixture f;
    REQUIRE(f.driver().facts().log_since);
    const auto now = [] {
        return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch())
            .count();
    };
    const std::int64_t before = now();
    // What is written at once has one time.
    f.run(f.script("c1", "trap 'echo three; echo four' USR1; echo one; echo two; while :; do $B sleep 0.05; done"));
    REQUIRE(f.logged("c1", "two\n"));
    const std::int64_t between = now();
    REQUIRE(::kill(static_cast<pid_t>(f.find("c1").pid), SIGUSR1) == 0);
    REQUIRE(f.logged("c1", "four\n"));
    CHECK(f.logs("c1", -1, before) == "one\ntwo\nthree\nfour\n");
    CHECK(f.logs("c1", -1, 1) == "one\ntwo\nthree\nfour\n");
    CHECK(f.logs("c1", -1, between) == "three\nfour\n");
    CHECK(f.logs("c1", 1, between) == "four\n");
    CHECK(f.logs("c1", 3, between) == "three\nfour\n");
    CHECK(f.logs("c1", 0, between) == "");
    CHECK(f.logs("c1", -1, now()) == "");
    // Who follows from a time that is still to come sees what is written from now on.
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    const gantry::Fd in(ends[0]);
    auto following = f.driver().logs("c1", gantry::Fd(ends[1]), true, -1, now());
    REQUIRE(f.host().run_until([&] { return !following.ended(); }));
    const std::int64_t pid = f.find("c1").pid;
    CHECK(f.logs("c1", 0, between) == "");  // by then the other one is where it begins
    REQUIRE(::kill(static_cast<pid_t>(pid), SIGUSR1) == 0);
    std::string text;
    CHECK(f.host().run_until([&] {
        char chunk[4096];
        for (ssize_t n = 0; (n = ::read(in.get(), chunk, sizeof(chunk))) > 0;)
            text.append(chunk, static_cast<std::size_t>(n));
        return text == "three\nfour\n";
    }));
}

TEST_CASE("A full log begins anew, and so much of those before it as is wanted stays readable") {
    constexpr std::int64_t kLimit = 64 << 10, kKept = 5 * kLimit;
    Fixture f(kLimit);
    const std::filesystem::path log = f.state_dir() / "containers/c1/log";
    // Whenever a file appears in the container's input, a burst of 70 KiB that fills one log.
    f.run(
        f.script("c1",
                 "n=0; burst() { i=0; while [ $i -lt 800 ]; do i=$((i+1)); n=$((n+1)); echo $n; done; echo done-$n; }; "
                 "burst; trap burst USR1; while :; do $B sleep 0.05; done"));
    const std::int64_t pid = f.find("c1").pid;
    REQUIRE(f.logged("c1", "done-800\n"));
    const auto burst = [&](const std::string& until) {
        REQUIRE(::kill(static_cast<pid_t>(pid), SIGUSR1) == 0);
        REQUIRE(f.logged("c1", until));
    };
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    const gantry::Fd in(ends[0]);
    auto following = f.driver().logs("c1", gantry::Fd(ends[1]), true);
    std::string followed;
    const auto follow = [&] {
        char chunk[65536];
        for (ssize_t n = 0; (n = ::read(in.get(), chunk, sizeof(chunk))) > 0;)
            followed.append(chunk, static_cast<std::size_t>(n));
    };
    for (int i = 2; i <= 12; ++i) {
        burst("done-" + std::to_string(i * 800) + "\n");
        follow();
    }
    // Nothing of what is to be kept is missing, and at most a file more is there, which no burst made greater than
    // half.
    CHECK(on_disk(log.parent_path()) >= kKept);
    CHECK(on_disk(log.parent_path()) <= kKept + kKept / 2 + kLimit);
    CHECK(std::filesystem::exists(log.string() + ".4"));
    // All of the last file and of those before, in order and without a gap.
    const auto whole = [](const std::vector<std::int64_t>& all) {
        for (std::size_t i = 1; i < all.size(); ++i) {
            if (all[i] != all[i - 1] + 1) return false;
        }
        return !all.empty() && all.back() == 9600;
    };
    const std::vector<std::int64_t> kept = numbers(f.logs("c1"));
    CHECK(whole(kept));
    CHECK(kept.size() > 4 * 1100);  // about 45 bytes a line: more than four files hold
    CHECK(f.host().run_until([&] {
        follow();
        return has(followed, "done-9600\n");
    }));
    CHECK(whole(numbers(followed)));
    CHECK(numbers(followed).size() > 8000);
    const std::vector<std::int64_t> tail = numbers(f.logs("c1", 4000));
    CHECK(whole(tail));
    CHECK(tail.size() <= 4000);
    CHECK(tail.size() > 3900);
    REQUIRE(trouble(f.driver().kill("c1")) == "");
    REQUIRE(trouble(f.driver().remove("c1")) == "");
    CHECK_FALSE(std::filesystem::exists(log.parent_path()));
}

TEST_CASE("A burst that fits into a log is kept to the last line, though nobody looks meanwhile") {
    constexpr std::int64_t kKept = 10 << 20;  // by default: five times 2 MiB
    Fixture f;
    const std::filesystem::path folder = f.state_dir() / "containers/c1";
    f.run(f.script("c1", "trap '$B seq 1 200000; echo done; exit 0' USR1; echo up; while :; do $B sleep 0.05; done"));
    REQUIRE(f.logged("c1", "up\n"));
    const std::int64_t pid = f.find("c1").pid;
    const bool away = GENERATE(false, true);  // no daemon runs, or its loop does not turn
    INFO("daemon away: " << away);
    if (away) f.stop();
    REQUIRE(::kill(static_cast<pid_t>(pid), SIGUSR1) == 0);
    REQUIRE(runtime_test::eventually([&] { return std::filesystem::exists(f.state_dir() / "exits/c1"); }));
    CHECK(on_disk(folder) > 10'000'000);
    CHECK(on_disk(folder) <= kKept);
    if (away) f.begin();
    const std::string text = f.logs("c1");
    const std::vector<std::int64_t> all = numbers(text);
    REQUIRE(all.size() == 200000);
    for (std::size_t i = 0; i < all.size(); ++i) REQUIRE(all[i] == static_cast<std::int64_t>(i) + 1);
    CHECK(text.ends_with("\n200000\ndone\n"));
    CHECK(on_disk(folder) <= kKept);
}

TEST_CASE("Of bursts without end as much is kept as is wanted, and a follower misses nothing") {
    constexpr std::int64_t kLimit = 64 << 10, kKept = 5 * kLimit;
    Fixture f(kLimit);
    const std::filesystem::path folder = f.state_dir() / "containers/c1";
    // A fifth of what is kept at a time, twenty times: whoever looks between them has seen each replacement.
    f.run(f.script("c1", "n=0; while [ $n -lt 24000 ]; do $B seq $((n+1)) $((n+1200)); n=$((n+1200)); $B usleep " +
                             std::to_string(100'000 * runtime_test::patience()) +
                             "; done; echo done; exec $B sleep 60"));
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    const gantry::Fd in(ends[0]);
    auto following = f.driver().logs("c1", gantry::Fd(ends[1]), true);
    std::string followed;
    REQUIRE(f.host().run_until(
        [&] {
            char chunk[65536];
            for (ssize_t n = 0; (n = ::read(in.get(), chunk, sizeof(chunk))) > 0;)
                followed.append(chunk, static_cast<std::size_t>(n));
            return followed.ends_with("\ndone\n");
        },
        20s * runtime_test::patience()));
    CHECK(numbers(followed).size() == 24000);
    const std::vector<std::int64_t> kept = numbers(f.logs("c1"));
    CHECK(kept.size() >= static_cast<std::size_t>(kKept) / 53);
    REQUIRE(!kept.empty());
    for (std::size_t i = 1; i < kept.size(); ++i) REQUIRE(kept[i] == kept[i - 1] + 1);
    CHECK(kept.back() == 24000);
    CHECK(on_disk(folder) >= kKept);
    // A monitor looks at its limit after what it has read at once: 8 KiB, of lines as short as these 64 KiB of log.
    CHECK(on_disk(folder) <= kKept + kKept / 2 + 2 * kLimit);
}

TEST_CASE("Following a log goes on until the container is removed") {
    Fixture f;
    f.run(f.script("c1", "i=0; while [ $i -lt 3 ]; do i=$((i+1)); echo tick $i; $B sleep 0.1; done"));
    int ends[2];
    REQUIRE(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    const gantry::Fd in(ends[0]);
    auto logs = f.driver().logs("c1", gantry::Fd(ends[1]), true);
    std::string text;
    const auto take = [&] {
        char chunk[4096];
        for (ssize_t n = 0; (n = ::read(in.get(), chunk, sizeof(chunk))) > 0;)
            text.append(chunk, static_cast<std::size_t>(n));
    };
    REQUIRE(f.host().run_until([&] {
        take();
        return has(text, "tick 3\n");
    }));
    f.wait_exit("c1");
    CHECK_FALSE(logs.ended());
    REQUIRE(trouble(f.driver().remove("c1")) == "");
    CHECK(trouble(logs) == "");
    take();
    CHECK(text == "tick 1\ntick 2\ntick 3\n");
}

TEST_CASE("Following ends when the reader goes away, and a slow reader loses nothing") {
    Fixture f;
    f.run(f.script("c1", "$B head -c 200000 /dev/zero | $B tr '\\0' '\\n'; echo done; exec $B sleep 60"));
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0);
    gantry::Fd in(pair[0]);
    auto logs = f.driver().logs("c1", gantry::Fd(pair[1]), true);
    REQUIRE(f.logged("c1", "done"));  // meanwhile nobody reads the other one
    std::string text;
    CHECK(f.host().run_until([&] {
        char chunk[65536];
        const ssize_t n = ::read(in.get(), chunk, sizeof(chunk));
        if (n > 0) text.append(chunk, static_cast<std::size_t>(n));
        return text.ends_with("done\n");
    }));
    CHECK(text.size() == 200005);
    in.reset();
    CHECK(trouble(logs) == "");
}
