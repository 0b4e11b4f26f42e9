// SPDX-License-Identifier: Apache-2.0
//
// The gauges over made-up folders proc and sys, and once over this machine's own.
#include "kernel/load/gauges.hpp"

#include <catch2/catch.hpp>

#include "tests/unit/kernel/control/folder.hpp"

using namespace gantry;
using namespace gantry::load;

namespace {

struct Machine : test::Folder {
    void put(const std::string& file, const std::string& text) const {
        std::filesystem::create_directories((path / file).parent_path());
        write(file, text);
    }
    void hardware(const std::string& interface) const {
        std::filesystem::create_directories(path / "sys/class/net" / interface / "device");
    }
};

constexpr const char* kDev =
    "Inter-|   Receive                                                |  Transmit\n"
    " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier "
    "compressed\n"
    "    lo:  999999       1    0    0    0     0          0         0  999999       1    0    0    0     0       0    "
    "      0\n"
    "  eth0:1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0\n"
    "  ppp0: 7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0\n"
    "veth12: 500 5 0 0 0 0 0 0 600 6 0 0 0 0 0 0\n";

}  // namespace

TEST_CASE_METHOD(Machine, "a machine without any of it has nothing, which is not zero") {
    CHECK_FALSE(traffic_now(path));
    CHECK_FALSE(pressure_now("cpu", path));
    CHECK_FALSE(temperature_now(path));
    CHECK_FALSE(disk_now(path / "absent"));
}

TEST_CASE_METHOD(Machine, "interfaces with hardware count, others show the same bytes again") {
    put("proc/net/dev", kDev);
    hardware("eth0");
    auto now = traffic_now(path);
    REQUIRE(now);
    CHECK(now->size() == 2);  // and the ppp link
    CHECK(now->at("eth0").received == 1000);
    CHECK(now->at("eth0").sent == 2000);
    CHECK(now->at("ppp0").sent == 8);
}

TEST_CASE_METHOD(Machine, "where no interface has hardware, all but loopback count") {
    put("proc/net/dev",
        "head\n  eth0:1000 10 0 0 0 0 0 0 2000 20 0 0 0 0 0 0\nveth12: 5 5 0 0 0 0 0 0 6 6 0 0 0 0 0 0\n");
    CHECK(traffic_now(path)->size() == 2);
}

TEST_CASE_METHOD(Machine, "lines of a broken net/dev are left out") {
    put("proc/net/dev", "a:\nb: 1 2 3\n: 1 2 3 4 5 6 7 8 9\nc: x 1 1 1 1 1 1 1 9\n d:1 1 1 1 1 1 1 1 9\n");
    const auto now = traffic_now(path);
    REQUIRE(now);
    REQUIRE(now->contains("d"));
    CHECK(now->at("d").sent == 9);
    CHECK_FALSE(now->contains("a"));
    CHECK_FALSE(now->contains("b"));
    CHECK_FALSE(now->contains("c"));
}

TEST_CASE("rates are of what both readings have, and of nothing that began anew") {
    const Interfaces before{{"eth0", {1000, 1000}}, {"wwan0", {900, 900}}, {"gone", {1, 1}}};
    const Interfaces now{{"eth0", {3000, 1500}}, {"wwan0", {5, 5}}, {"new", {1 << 30, 1 << 30}}};
    const auto rate = rates(before, now, seconds(2));
    REQUIRE(rate);
    CHECK(rate->received_per_s == 1000);
    CHECK(rate->sent_per_s == 250);
    CHECK_FALSE(rates(before, now, Duration(0)));
    CHECK_FALSE(rates(before, now, seconds(-1)));
    const auto absurd = rates({{"e", {0, 0}}}, {{"e", {UINT64_MAX, 0}}}, Duration(1));
    CHECK(absurd->received_per_s == 1'000'000'000'000'000);
}

TEST_CASE_METHOD(Machine, "pressure is the share of ten seconds in which something waited") {
    put("proc/pressure/cpu",
        "some avg10=12.34 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0 avg300=0 total=0\n");
    CHECK(pressure_now("cpu", path) == 123);
    put("proc/pressure/io", "some avg10=0.00 avg60=1.00 avg300=0.00 total=1\n");
    CHECK(pressure_now("io", path) == 0);
    for (const char* lie : {"", "some", "some avg10=", "some avg10=x", "some avg10=-3.00 ", "some avg10=100.01 ",
                            "some avg10=nan", "some avg10=1e300"}) {
        INFO(lie);
        put("proc/pressure/memory", lie);
        CHECK_FALSE(pressure_now("memory", path));
    }
}

TEST_CASE_METHOD(Machine, "the hottest zone counts, and none that lies") {
    put("sys/class/thermal/thermal_zone0/temp", "41500\n");
    put("sys/class/thermal/thermal_zone1/temp", "63499\n");
    put("sys/class/thermal/thermal_zone2/temp", "-274000\n");
    put("sys/class/thermal/thermal_zone3/temp", "2147483647\n");
    put("sys/class/thermal/thermal_zone4/temp", "warm\n");
    put("sys/class/thermal/thermal_zone5/type", "no temperature\n");
    put("sys/class/thermal/cooling_device0/temp", "99000\n");
    CHECK(temperature_now(path) == 63);
    put("sys/class/thermal/thermal_zone1/temp", "99999999999999999999\n");
    CHECK(temperature_now(path) == 42);
}

TEST_CASE_METHOD(Machine, "frost is below zero") {
    put("sys/class/thermal/thermal_zone0/temp", "-20600\n");
    CHECK(temperature_now(path) == -21);
}

TEST_CASE_METHOD(Machine, "this machine's own disk has a size, and no more room than that") {
    const auto disk = disk_now(path);
    REQUIRE(disk);
    CHECK(disk->total_bytes > 0);
    CHECK(disk->free_bytes >= 0);
    CHECK(disk->free_bytes <= disk->total_bytes);
    CHECK_FALSE(disk_now("/proc"));  // no disk at all
}
