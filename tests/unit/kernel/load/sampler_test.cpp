// SPDX-License-Identifier: Apache-2.0
//
// The sampler in a clock of its own, over a made-up machine and runtimes that say what a test makes them say.
#include "kernel/load/sampler.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <catch2/catch.hpp>

#include "kernel/control/lane.hpp"
#include "tests/unit/kernel/control/folder.hpp"

using namespace gantry;
using load::Sampler;

namespace {

using Running = std::vector<core::Agent::Running>;
using Stats = Result<host::ContainerStats>;

core::CopyId copy(std::uint32_t index) { return {{7, index}, 1}; }

Running containers(std::uint32_t count) {
    Running out;
    for (std::uint32_t i = 0; i < count; ++i) out.push_back({copy(i), {"oci", "c" + std::to_string(i)}});
    return out;
}

struct Bench : test::Folder {
    Bench() {
        put("proc/net/dev", net(0, 0));
        put("proc/pressure/io", pressure("3.00"));
        put("sys/class/thermal/thermal_zone0/temp", "40000\n");
        const auto at_once = [](auto work, auto done) {
            work();
            done({});
        };
        parts.disk = path;
        parts.machine = parts.heat = at_once;
        parts.ask = [this](const core::Agent::CopyPlace& place, host::Done<host::ContainerStats> done) {
            asked.push_back(place.container);
            if (hang) return waiting.push_back(std::move(done));
            const auto at = uses.find(place.container);
            done(at == uses.end() ? Stats(fail(Code::kUnsupported, "not measured")) : Stats(at->second));
        };
        parts.clock = [this] { return now; };
        parts.root = path;
    }
    void put(const std::string& file, const std::string& text) const {
        std::filesystem::create_directories((path / file).parent_path());
        write(file, text);
    }
    static std::string net(std::uint64_t received, std::uint64_t sent) {
        return "eth0: " + std::to_string(received) + " 1 0 0 0 0 0 0 " + std::to_string(sent) + " 1 0 0 0 0 0 0\n";
    }
    static std::string pressure(const std::string& average) {
        return "some avg10=" + average + " avg60=0.00 avg300=0.00 total=0\n";
    }
    // Five seconds on; what is known then.
    core::Usage next(Sampler& sampler, const Running& running = {}) {
        now = now + parts.period;
        const auto usage = sampler.sample(running);
        REQUIRE(usage);
        return *usage;
    }

    Instant now{1'000'000'000};
    Sampler::Parts parts;
    std::map<std::string, host::ContainerStats> uses;
    std::vector<std::string> asked;
    std::vector<host::Done<host::ContainerStats>> waiting;
    bool hang = false;
};

}  // namespace

TEST_CASE_METHOD(Bench, "a sample says what the machine has, and a rate when there are two") {
    Sampler sampler(parts);
    auto usage = next(sampler);
    CHECK(usage.disk_total_bytes > 0);
    CHECK(usage.disk_free_bytes <= usage.disk_total_bytes);
    CHECK(usage.pressure_io == 30);
    CHECK_FALSE(usage.pressure_cpu);
    CHECK(usage.temperature_c == 40);
    CHECK_FALSE(usage.sent_per_s);
    put("proc/net/dev", net(50'000, 100'000));
    usage = next(sampler);
    CHECK(usage.received_per_s == 10'000);
    CHECK(usage.sent_per_s == 20'000);
}

TEST_CASE_METHOD(Bench, "nothing is read between two periods") {
    Sampler sampler(parts);
    (void)next(sampler, containers(1));
    put("sys/class/thermal/thermal_zone0/temp", "70000\n");
    for (int i = 0; i < 4; ++i) {
        now = now + seconds(1);
        CHECK(sampler.sample(containers(1))->temperature_c == 40);
    }
    CHECK(asked.size() == 1);
    now = now + seconds(1);
    CHECK(sampler.sample(containers(1))->temperature_c == 70);
}

TEST_CASE_METHOD(Bench, "what differs little is told as it was, so that a quiet node has nothing to say") {
    Sampler sampler(parts);
    (void)next(sampler);
    put("proc/net/dev", net(0, 50'000));
    const auto before = next(sampler);
    put("proc/net/dev", net(0, 105'000));  // 11,000 after 10,000 a second
    put("proc/pressure/io", pressure("3.40"));
    put("sys/class/thermal/thermal_zone0/temp", "41000\n");
    CHECK(next(sampler) == before);
    put("proc/net/dev", net(0, 165'000));
    put("proc/pressure/io", pressure("3.60"));
    put("sys/class/thermal/thermal_zone0/temp", "42000\n");
    const auto after = next(sampler);
    CHECK(after.sent_per_s == 12'000);
    CHECK(after.pressure_io == 36);
    CHECK(after.temperature_c == 42);
}

TEST_CASE_METHOD(Bench, "a sensor that goes is not known any more") {
    Sampler sampler(parts);
    (void)next(sampler);
    std::filesystem::remove_all(path / "sys");
    std::filesystem::remove_all(path / "proc");
    const auto usage = next(sampler);
    CHECK_FALSE(usage.temperature_c);
    CHECK_FALSE(usage.pressure_io);
    CHECK_FALSE(usage.received_per_s);
    CHECK(usage.disk_total_bytes);
}

TEST_CASE_METHOD(Bench, "a sensor that hangs holds up neither the loop nor any other, and is not known after a while") {
    bool hangs = false;
    std::function<void()> late;
    parts.heat = [&](auto work, auto done) {
        late = [work, done] {
            work();
            done({});
        };
        if (!hangs) late();
    };
    Sampler sampler(parts);
    CHECK(next(sampler).temperature_c == 40);
    hangs = true;
    put("proc/pressure/io", pressure("50.00"));
    for (int i = 0; i < 4; ++i) {
        const auto usage = next(sampler);
        CHECK(usage.temperature_c == 40);
        CHECK(usage.pressure_io == 500);
    }
    CHECK_FALSE(next(sampler).temperature_c);
    put("sys/class/thermal/thermal_zone0/temp", "55000\n");
    late();
    CHECK(next(sampler).temperature_c == 55);
}

TEST_CASE_METHOD(Bench, "a real file that blocks its reader leaves the loop free") {
    std::filesystem::remove(path / "sys/class/thermal/thermal_zone0/temp");
    const auto pipe = path / "sys/class/thermal/thermal_zone0/temp";
    REQUIRE(::mkfifo(pipe.c_str(), 0600) == 0);  // open() waits for a writer
    boost::asio::io_context io;
    {
        control::Lane heat(io, 1);
        parts.heat = [&](auto work, auto done) { heat.run(std::move(work), std::move(done)); };
        Sampler sampler(parts);
        for (int i = 0; i < 10; ++i) {
            const auto usage = next(sampler);
            io.poll();
            CHECK(usage.disk_total_bytes);
            CHECK_FALSE(usage.temperature_c);
        }
        // The thread is in there, and may go on.
        int writer = -1;
        for (int i = 0; i < 10'000 && writer < 0; ++i) {
            writer = ::open(pipe.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC);
            if (writer < 0) ::usleep(1'000);
        }
        REQUIRE(writer >= 0);
        CHECK(::write(writer, "51000\n", 6) == 6);
        ::close(writer);
    }
}

TEST_CASE_METHOD(Bench, "a container's share of a core is what it used between two answers") {
    Sampler sampler(parts);
    uses["c0"] = {seconds(10), 64 << 20, 3};
    auto usage = next(sampler, containers(2));
    REQUIRE(usage.copies.size() == 1);  // nobody measures the other
    CHECK(usage.copies[0] == core::CopyUsage{copy(0), {}, 64 << 20, 3});
    uses["c0"] = {seconds(10) + milliseconds(7'500), 64 << 20, 3};
    usage = next(sampler, containers(2));
    CHECK(usage.of(copy(0))->cpu_milli == 1'500);
    CHECK(usage.of(copy(1)) == nullptr);
}

TEST_CASE_METHOD(Bench, "what a runtime cannot have measured is not known") {
    Sampler sampler(parts);
    uses["c0"] = {seconds(10), -5, 0};
    auto usage = next(sampler, containers(1));
    CHECK(usage.copies.at(0) == core::CopyUsage{copy(0)});
    uses["c0"] = {seconds(9), std::int64_t{1} << 60, 1};  // back in time
    CHECK_FALSE(next(sampler, containers(1)).copies.at(0).cpu_milli);
    uses["c0"] = {seconds(9) + seconds(6'000'000), 1, 1};  // more than any machine has
    CHECK_FALSE(next(sampler, containers(1)).copies.at(0).cpu_milli);
    uses["c0"] = {Duration(0), 1, 1};
    CHECK_FALSE(next(sampler, containers(1)).copies.at(0).cpu_milli);
    CHECK_FALSE(next(sampler, containers(1)).copies.at(0).cpu_milli);
}

TEST_CASE_METHOD(Bench, "many containers are asked in rotation, all of them in the end") {
    Sampler sampler(parts);
    for (std::uint32_t i = 0; i < 40; ++i) uses["c" + std::to_string(i)] = {seconds(1), 1 << 20, 1};
    auto usage = next(sampler, containers(40));
    CHECK(asked.size() == 16);
    (void)next(sampler, containers(40));
    usage = next(sampler, containers(40));
    CHECK(asked.size() == 48);
    CHECK(usage.copies.size() == 40);
    for (int i = 0; i < 30; ++i) CHECK(next(sampler, containers(40)).copies.size() == 40);  // none is out of date
}

TEST_CASE_METHOD(Bench, "a runtime that does not answer is not asked twice, and what it said grows old") {
    Sampler sampler(parts);
    uses["c0"] = {seconds(1), 1 << 20, 1};
    CHECK(next(sampler, containers(1)).copies.size() == 1);
    hang = true;
    for (int i = 0; i < 4; ++i) CHECK(next(sampler, containers(1)).copies.size() == 1);
    CHECK(next(sampler, containers(1)).copies.empty());
    CHECK(asked.size() == 2);
}

TEST_CASE_METHOD(Bench, "an answer about a container that is gone, or to a sampler that is, does nothing") {
    hang = true;
    {
        Sampler sampler(parts);
        (void)next(sampler, containers(1));
        (void)next(sampler);
        REQUIRE(waiting.size() == 1);
        waiting.front()(host::ContainerStats{seconds(1), 1, 1});
        CHECK(next(sampler).copies.empty());
        (void)next(sampler, containers(2));
    }
    REQUIRE(waiting.size() == 3);
    waiting[1](host::ContainerStats{seconds(1), 1, 1});
    waiting[2](fail(Code::kDeadline, "late"));
}
