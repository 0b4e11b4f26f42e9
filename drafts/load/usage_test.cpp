// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/usage.hpp"

#include <catch2/catch.hpp>
#include <ctime>
#include <fstream>

using namespace gantry;
using namespace gantry::control;

namespace {

struct Fixture {
    Fixture() {
        host::HostOptions options;
        options.state_dir = std::filesystem::temp_directory_path();
        options.log = [](host::LogLevel, std::string_view, std::string_view) {};
        options.event = [](std::string, std::string, json::object) {};
        host.emplace(io, std::move(options));
        sampler.emplace(*host, std::filesystem::temp_directory_path());
    }
    boost::asio::io_context io;
    std::optional<host::Host> host;
    std::optional<UsageSampler> sampler;
};

}  // namespace

TEST_CASE("a sample says what this machine has") {
    Fixture f;
    const auto first = f.sampler->sample({}, Instant{1'000'000'000});
    CHECK(first.disk_bytes > 1 << 20);
    CHECK(first.disk_free_bytes >= 0);
    CHECK(first.disk_free_bytes <= first.disk_bytes);
    CHECK(first.received_per_s == 0);  // a rate needs two
    CHECK(first.copies.empty());
    const bool told = std::ifstream("/proc/pressure/cpu").good();
    CHECK((first.pressure_cpu >= 0) == told);
    CHECK(first.pressure_cpu <= 10'000);
    const auto second = f.sampler->sample({}, Instant{2'000'000'000});
    CHECK(second.received_per_s >= 0);
    CHECK(second.sent_per_s >= 0);
}

TEST_CASE("containers of a runtime that is not there are asked about in vain, and nothing else happens") {
    Fixture f;
    std::vector<core::Agent::Running> running;
    for (std::uint32_t i = 0; i < 100; ++i) running.push_back({{{1, i}, 1}, "oci", "c" + std::to_string(1'000 + i)});
    for (int i = 1; i < 10; ++i) CHECK(f.sampler->sample(running, Instant{i * 1'000'000'000LL}).copies.empty());
}
