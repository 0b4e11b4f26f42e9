// SPDX-License-Identifier: Apache-2.0
//
// Cables between interfaces of a network namespace of this process alone.
#include "kernel/control/carrier.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

#include "tests/support/own_namespaces.hpp"

using gantry::control::has_carrier;

namespace {

void ip(const std::string& arguments) {
    INFO("ip " << arguments);
    REQUIRE(std::system(("ip " + arguments).c_str()) == 0);
}

// The kernel tells of a carrier a little after it came or went.
bool within_five_seconds(const std::string& address, bool carrier) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (has_carrier(address) != carrier) {
        if (std::chrono::steady_clock::now() > until) return false;
        std::this_thread::yield();
    }
    return true;
}

// Two cables; "there" is where others would be.
class Cables {
  public:
    Cables() {
        gantry::own_namespaces(CLONE_NEWNET);
        ip("link set lo up");
        ip("link add here1 type veth peer name there1");
        ip("link add here2 type veth peer name there2");
        ip("addr add 10.1.0.1/24 dev here1");
        ip("addr add fd00:1::1/64 dev here1 nodad");
        for (const std::string link : {"here1", "there1", "here2", "there2"}) ip("link set " + link + " up");
        ip("route add 10.2.0.0/24 dev here2 src 10.1.0.1");
    }
};

}  // namespace

TEST_CASE("a link has a carrier as long as the other end of its cable is up, by each kind of address") {
    const Cables cables;
    for (const std::string address : {"10.1.0.2:3000", "[fd00:1::2]:3000", "[fe80::2%here1]:3000"}) {
        INFO(address);
        CHECK(within_five_seconds(address, true));
        ip("link set there1 down");
        CHECK(within_five_seconds(address, false));
        ip("link set there1 up");
        CHECK(within_five_seconds(address, true));
    }
}

TEST_CASE("what counts is the interface that leads there, not that of the address that is sent from") {
    const Cables cables;
    CHECK(within_five_seconds("10.2.0.2:3000", true));
    ip("link set there1 down");
    CHECK(within_five_seconds("10.1.0.2:3000", false));
    CHECK(has_carrier("10.2.0.2:3000"));
    ip("link set there2 down");
    CHECK(within_five_seconds("10.2.0.2:3000", false));
}

TEST_CASE("where nobody can tell whether there is a carrier it is dialled") {
    const Cables cables;
    for (const std::string address :
         {"10.3.0.2:3000", "[fd00:3::2]:3000", "gateway.example:3000", "10.1.0.2", "[]:1", "", ":"}) {
        INFO(address);
        CHECK(has_carrier(address));
    }
    CHECK(has_carrier("127.0.0.1:3000"));
    CHECK(has_carrier("[::1]:3000"));
}
