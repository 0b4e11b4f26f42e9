// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <catch2/catch.hpp>
#include <gantry/testing/drivers.hpp>

#include "tests/unit/plugins/refusing_host.hpp"

using namespace std::chrono_literals;
using gantry::Verdict;
using gantry::testing::FakeHost;
using gantry::testing::Options;
using gantry::testing::ProbeDriver;

namespace {

// A TCP socket of ours on loopback, listening or only bound.
class Port {
  public:
    explicit Port(int backlog, int family = AF_INET) : fd_(socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_storage address{};
        address.ss_family = static_cast<sa_family_t>(family);
        socklen_t length = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
        if (family == AF_INET)
            reinterpret_cast<sockaddr_in*>(&address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        else
            reinterpret_cast<sockaddr_in6*>(&address)->sin6_addr = in6addr_loopback;
        REQUIRE(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
        if (backlog >= 0) listen(fd_.get(), backlog);
        getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length);
        number_ = ntohs(reinterpret_cast<sockaddr_in*>(&address)->sin_port);  // at the same place for IPv6
    }
    std::uint16_t number() const { return number_; }

  private:
    gantry::Fd fd_;
    std::uint16_t number_ = 0;
};

struct Fixture {
    Fixture() : plugin(host.load(GANTRY_PLUGIN_FILE)), driver(plugin) { plugin.start(); }

    gantry::ProbeResult ask(const std::string& address, std::uint16_t port) {
        const auto answer = driver.check({"c", address, port, {}}).wait();
        CHECK(answer.ok());
        return answer.result;
    }

    FakeHost host{Options{.real_time = true}};
    gantry::testing::Instance& plugin;
    ProbeDriver driver;
};

}  // namespace

TEST_CASE("a port that accepts is healthy, with the time it took") {
    Fixture f;
    const Port port(16);
    const auto result = f.ask("127.0.0.1", port.number());
    CHECK(result.verdict == Verdict::kHealthy);
    CHECK(result.latency > 0ns);
    CHECK(result.latency < 1s);
    CHECK(result.detail == "connected");
}

TEST_CASE("a port of an IPv6 address is asked, too") {
    Fixture f;
    const Port port(16, AF_INET6);
    CHECK(f.ask("::1", port.number()).verdict == Verdict::kHealthy);
}

TEST_CASE("a port nobody listens on is unhealthy: connection refused") {
    Fixture f;
    const Port port(-1);
    const auto result = f.ask("127.0.0.1", port.number());
    CHECK(result.verdict == Verdict::kUnhealthy);
    CHECK(result.detail == "connection refused");
}

TEST_CASE("no answer before the deadline is unhealthy, said by the probe itself") {
    Fixture f;
    // A full backlog: loopback drops further requests for a connection.
    const Port port(0);
    f.plugin.limit = 300ms;
    bool silent = false;
    std::string detail;
    for (int i = 0; i < 4 && !silent; ++i) {
        const auto answer = f.driver.check({"c", "127.0.0.1", port.number(), {}}).wait();
        REQUIRE(answer.ok());
        silent = answer.result.verdict == Verdict::kUnhealthy;
        detail = answer.result.detail;
    }
    CHECK(silent);
    CHECK(detail == "no answer");
}

TEST_CASE("a question that cannot be put is unknown") {
    Fixture f;
    CHECK(f.ask("gateway", 80).verdict == Verdict::kUnknown);
    CHECK(f.ask("", 80).verdict == Verdict::kUnknown);
    CHECK(f.ask("127.0.0.1", 0).verdict == Verdict::kUnknown);
}

TEST_CASE("a host that cannot watch is no fault of the container's") {
    FakeHost host{Options{.real_time = true}};
    auto& plugin = refusing_host::load(host);
    ProbeDriver driver(plugin);
    plugin.start();
    const Port port(16), full(0);  // a full backlog: there is something to wait for
    refusing_host::refuses = true;
    std::string unknown;
    for (int i = 0; i < 4 && unknown.empty(); ++i) {
        const auto answer = driver.check({"c", "127.0.0.1", full.number(), {}}).wait();
        REQUIRE(answer.ok());
        if (answer.result.verdict == Verdict::kUnknown) unknown = answer.result.detail;
    }
    CHECK_THAT(unknown, Catch::Contains("cannot ask"));
    refusing_host::refuses = false;
    CHECK(driver.check({"c", "127.0.0.1", port.number(), {}}).wait().result.verdict == Verdict::kHealthy);
}

TEST_CASE("many checks may be under way at once") {
    Fixture f;
    const Port good(512);
    const Port bad(-1);
    std::vector<gantry::testing::Pending<gantry::ProbeResult>> checks;
    for (int i = 0; i < 400; ++i)
        checks.push_back(f.driver.check({"c", "127.0.0.1", i % 2 ? good.number() : bad.number(), {}}));
    for (int i = 0; i < 400; ++i) {
        const auto answer = checks[static_cast<std::size_t>(i)].wait();
        REQUIRE(answer.ok());
        CHECK(answer.result.verdict == (i % 2 ? Verdict::kHealthy : Verdict::kUnhealthy));
    }
}

TEST_CASE("checks under way end when the probe stops") {
    Fixture f;
    const Port port(0);
    std::vector<gantry::testing::Pending<gantry::ProbeResult>> checks;
    for (int i = 0; i < 8; ++i) checks.push_back(f.driver.check({"c", "127.0.0.1", port.number(), {}}));
    f.plugin.stop();
    for (auto& check : checks) CHECK(check.wait().code != gantry::Code::kDeadline);
}
