// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <vsoa_server.h>

#include <catch2/catch.hpp>
#include <deque>
#include <gantry/testing/drivers.hpp>

#include "tests/unit/plugins/refusing_host.hpp"

using namespace std::chrono_literals;
using gantry::ProbeResult;
using gantry::Verdict;
using gantry::testing::FakeHost;
using gantry::testing::Options;
using gantry::testing::Pending;
using gantry::testing::ProbeDriver;

namespace {

sockaddr_in loopback(std::uint16_t port = 0) {
    sockaddr_in out{};
    out.sin_family = AF_INET;
    out.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    out.sin_port = htons(port);
    return out;
}

std::uint16_t port_of(int fd) {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length);
    return ntohs(address.sin_port);
}

gantry::Fd listening(int backlog = 64) {
    gantry::Fd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const sockaddr_in address = loopback();
    REQUIRE(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    if (backlog >= 0) REQUIRE(listen(fd.get(), backlog) == 0);
    return fd;
}

// A VSOA server as an application has it, turned by the test.
class Service {
  public:
    explicit Service(const char* password = nullptr) : server_(vsoa_server_create("{\"name\":\"test\"}")) {
        if (password != nullptr) vsoa_server_passwd(server_, password);
        port = port_of(listening().get());
        vsoa_server_on_cli(
            server_,
            [](void* self, vsoa_server_t*, vsoa_cli_id_t, bool on) { static_cast<Service*>(self)->came += on; }, this);
        vsoa_url_t path{const_cast<char*>("/health"), 7};
        vsoa_server_add_listener(
            server_, &path,
            [](void* self, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t*,
               vsoa_payload_t*) {
                auto& service = *static_cast<Service*>(self);
                vsoa_server_cli_reply(server, id, service.health, vsoa_parser_get_seqno(header), 0, nullptr);
            },
            this);
        const sockaddr_in address = loopback(port);
        REQUIRE(vsoa_server_start(server_, reinterpret_cast<const sockaddr*>(&address), sizeof address));
    }
    ~Service() { vsoa_server_close(server_); }
    void turn() {
        fd_set fds;
        FD_ZERO(&fds);
        const int last = vsoa_server_fds(server_, &fds);
        timespec no_wait{};
        if (pselect(last + 1, &fds, nullptr, nullptr, &no_wait, nullptr) > 0) vsoa_server_input_fds(server_, &fds);
    }
    int clients() { return vsoa_server_count(server_); }
    std::uint16_t port = 0;
    int came = 0;  // clients that logged in
    std::uint8_t health = VSOA_STATUS_SUCCESS;

  private:
    vsoa_server_t* server_;
};

// Says to everybody what the test wants.
class Rude {
  public:
    explicit Rude(std::string says, bool closes = false) : says_(std::move(says)), closes_(closes) {}
    void turn() {
        gantry::Fd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (fd) {
            send(fd.get(), says_.data(), says_.size(), MSG_NOSIGNAL);
            if (closes_) shutdown(fd.get(), SHUT_WR);
            open_.push_back(std::move(fd));
        }
    }
    std::uint16_t port() const { return port_of(listener_.get()); }

  private:
    const std::string says_;
    const bool closes_;
    gantry::Fd listener_ = listening();
    std::deque<gantry::Fd> open_;
};

std::string header(std::uint8_t type, std::uint8_t flags, std::uint8_t status) {
    alignas(4) char bytes[VSOA_HDR_LENGTH];
    return {bytes, vsoa_parser_fixp_length(vsoa_parser_init_header(bytes, type, flags, status, 0))};
}

struct Fixture {
    Fixture() : plugin(host.load(GANTRY_PLUGIN_FILE)), driver(plugin) { plugin.start(); }

    Pending<ProbeResult> begin(std::uint16_t port, const std::string& password = "") {
        gantry::Labels params{{"interval", "1s"}};
        if (!password.empty()) params.emplace_back("password", password);
        return driver.check({"c", "127.0.0.1", port, params});
    }
    template <class Server>
    ProbeResult ask(Server& server, std::uint16_t port, const std::string& password = "") {
        return ask(server, begin(port, password));
    }
    template <class Server>
    ProbeResult ask_path(Server& server, std::uint16_t port, const std::string& path) {
        return ask(server, driver.check({"c", "127.0.0.1", port, {{"path", path}}}));
    }
    template <class Server>
    ProbeResult ask(Server& server, Pending<ProbeResult> check) {
        CHECK(host.run_until([&] {
            server.turn();
            return check.ended();
        }));
        const auto answer = check.wait();
        CHECK(answer.ok());
        return answer.result;
    }
    ProbeResult ask_rude(const std::string& says, bool closes = false) {
        Rude server(says, closes);
        return ask(server, server.port());
    }

    FakeHost host{Options{.real_time = true}};
    gantry::testing::Instance& plugin;
    ProbeDriver driver;
};

}  // namespace

TEST_CASE("a service that takes the login and answers the ping is healthy, with the time it took") {
    Fixture f;
    Service open, locked("123456"), odd("quote \" backslash \\ tab \t 陀螺仪");
    const auto result = f.ask(open, open.port);
    CHECK(result.verdict == Verdict::kHealthy);
    CHECK(result.detail == "answered the ping");
    CHECK(result.latency > 0ns);
    CHECK(result.latency < 2s);
    CHECK(f.ask(locked, locked.port, "123456").verdict == Verdict::kHealthy);
    CHECK(f.ask(odd, odd.port, "quote \" backslash \\ tab \t 陀螺仪").verdict == Verdict::kHealthy);
    CHECK(f.ask(open, open.port, "needless").verdict == Verdict::kHealthy);
}

TEST_CASE("a wrong password and a missing one are told apart") {
    Fixture f;
    Service locked("123456");
    const auto wrong = f.ask(locked, locked.port, "12345");
    CHECK(wrong.verdict == Verdict::kUnhealthy);
    CHECK(wrong.detail == "wrong password");
    CHECK(f.ask(locked, locked.port).detail == "the service asks for a password");
}

TEST_CASE("a port nobody listens on is unhealthy: connection refused") {
    Fixture f;
    const gantry::Fd bound = listening(-1);
    const auto result = f.begin(port_of(bound.get())).wait().result;
    CHECK(result.verdict == Verdict::kUnhealthy);
    CHECK(result.detail == "connection refused");
}

TEST_CASE("a server that accepts and is silent is unhealthy when the deadline is near, by the probe's own word") {
    Fixture f;
    f.plugin.limit = 500ms;
    const auto silent = f.ask_rude("");
    CHECK(silent.verdict == Verdict::kUnhealthy);
    CHECK(silent.detail == "no answer to the login in time");
    // Logged in, then its loop stands.
    CHECK(f.ask_rude(header(VSOA_TYPE_SERVINFO, VSOA_FLAG_REPLY, 0)).detail == "no answer to the ping in time");
}

TEST_CASE("what is no VSOA, or ends too early, is unhealthy") {
    Fixture f;
    CHECK(f.ask_rude("SSH-2.0-OpenSSH_9.2p1\r\n").detail == "what answers does not speak VSOA");
    std::string huge = header(VSOA_TYPE_SERVINFO, VSOA_FLAG_REPLY, 0);
    huge.replace(16, 4, "\xff\xff\xff\xff");
    CHECK(f.ask_rude(huge).detail == "what answers does not speak VSOA");
    CHECK(f.ask_rude("", true).detail == "closed the connection instead of answering the login");
    CHECK(f.ask_rude(header(VSOA_TYPE_SERVINFO, VSOA_FLAG_REPLY, 0), true).detail ==
          "closed the connection instead of answering the ping");
    CHECK(f.ask_rude(header(VSOA_TYPE_SERVINFO, VSOA_FLAG_REPLY, 5)).detail == "login refused with status 5");
    CHECK(f.ask_rude(header(VSOA_TYPE_SERVINFO, 0, 0)).detail == "the service asks for a password");
}

TEST_CASE("what a server says besides does not matter") {
    Fixture f;
    f.plugin.limit = 500ms;
    const std::string noise =
        header(VSOA_TYPE_QOSSETUP, VSOA_FLAG_REPLY, 3) + header(VSOA_TYPE_PUBLISH, 0, 0) + header(0x42, 0, 0);
    const std::string early_ping = header(VSOA_TYPE_PINGECHO, VSOA_FLAG_REPLY, 0);
    CHECK(f.ask_rude(noise + early_ping).detail == "no answer to the login in time");
    CHECK(f.ask_rude(noise + header(VSOA_TYPE_SERVINFO, VSOA_FLAG_REPLY, 0) + noise + early_ping).detail ==
          "no answer to the ping in time");
}

TEST_CASE("many checks run at once, and silent services delay no others") {
    Fixture f;
    Service service("123456");
    Rude silent("");
    f.plugin.limit = 2s;
    std::deque<Pending<ProbeResult>> good, bad;
    const auto begun = std::chrono::steady_clock::now();
    for (int i = 0; i < 30; ++i) {  // a VSOA server has a backlog of 32
        bad.push_back(f.begin(silent.port()));
        good.push_back(f.begin(service.port, "123456"));
    }
    const auto ended = [](const auto& checks) {
        return std::all_of(checks.begin(), checks.end(), [](const auto& check) { return check.ended(); });
    };
    REQUIRE(f.host.run_until([&] {
        service.turn();
        silent.turn();
        return ended(good);
    }));
    CHECK_FALSE(ended(bad));
    REQUIRE(f.host.run_until([&] { return ended(bad); }));
    CHECK(std::chrono::steady_clock::now() - begun < 5s);
    for (auto& check : good) CHECK(check.wait().result.verdict == Verdict::kHealthy);
    for (auto& check : bad) CHECK(check.wait().result.verdict == Verdict::kUnhealthy);
}

TEST_CASE("a host that cannot watch is no fault of the service's") {
    FakeHost host{Options{.real_time = true}};
    auto& plugin = refusing_host::load(host);
    ProbeDriver driver(plugin);
    plugin.start();
    const gantry::Fd listener = listening();
    refusing_host::refuses = true;
    const auto answer = driver.check({"c", "127.0.0.1", port_of(listener.get()), {}}).wait();
    REQUIRE(answer.ok());
    CHECK(answer.result.verdict == Verdict::kUnknown);
    CHECK_THAT(answer.result.detail, Catch::Contains("cannot ask"));
}

TEST_CASE("what cannot be asked is unknown, and stop ends what is under way") {
    Fixture f;
    CHECK(f.driver.check({"c", "somewhere", 1, {}}).wait().result.verdict == Verdict::kUnknown);
    CHECK(f.driver.check({"c", "127.0.0.1", 0, {}}).wait().result.detail == "no port to ask");
    const gantry::Fd listener = listening();
    auto check = f.begin(port_of(listener.get()));
    f.host.turn();
    f.plugin.stop();
    CHECK(f.host.run_until([&] { return check.ended(); }));
}

TEST_CASE("a connection is kept from check to check, for each password of its own") {
    Fixture f;
    Service service("123456");
    for (int i = 0; i < 5; ++i) CHECK(f.ask(service, service.port, "123456").verdict == Verdict::kHealthy);
    CHECK(service.came == 1);
    CHECK(f.ask(service, service.port, "12345").detail == "wrong password");
    CHECK(f.ask(service, service.port, "123456").verdict == Verdict::kHealthy);
    CHECK(service.came == 1);
}

TEST_CASE("a service that was restarted between two checks is asked over a new connection") {
    Fixture f;
    auto service = std::make_unique<Service>();
    const std::uint16_t port = service->port;
    CHECK(f.ask(*service, port).verdict == Verdict::kHealthy);
    service.reset();
    CHECK(f.begin(port).wait().result.detail == "connection refused");
    Service other;
    CHECK(f.ask(other, other.port).verdict == Verdict::kHealthy);
}

TEST_CASE("a service that ends its connections after each answer is well all the same") {
    Fixture f;
    // Logs everybody in and answers the first ping, then closes.
    Rude server(
        header(VSOA_TYPE_SERVINFO, VSOA_FLAG_REPLY, 0) +
            [] {
                alignas(4) char bytes[VSOA_HDR_LENGTH];
                return std::string(bytes, vsoa_parser_fixp_length(vsoa_parser_init_header(bytes, VSOA_TYPE_PINGECHO,
                                                                                          VSOA_FLAG_REPLY, 0, 1)));
            }(),
        true);
    for (int i = 0; i < 3; ++i) CHECK(f.ask(server, server.port()).verdict == Verdict::kHealthy);
}

TEST_CASE("a path is called, and its status is the verdict") {
    Fixture f;
    Service service;
    CHECK(f.ask_path(service, service.port, "/health").detail == "answered /health");
    service.health = 7;
    const auto ill = f.ask_path(service, service.port, "/health");
    CHECK(ill.verdict == Verdict::kUnhealthy);
    CHECK(ill.detail == "answered /health with status 7");
    service.health = VSOA_STATUS_SUCCESS;
    CHECK(f.ask_path(service, service.port, "/health").verdict == Verdict::kHealthy);
    CHECK(service.came == 1);
    CHECK(f.ask_path(service, service.port, "/other").verdict == Verdict::kUnhealthy);
    CHECK_THAT(f.ask_path(service, service.port, "health").detail, Catch::Contains("`path`: expected a path"));
    CHECK_THAT(f.driver.check({"c", "127.0.0.1", service.port, {{"pth", "/"}}}).wait().result.detail,
               Catch::Contains("did you mean `path`?"));
}

TEST_CASE("kept connections end with the probe, and those that nobody uses after a minute") {
    FakeHost host;
    auto& plugin = host.load(GANTRY_PLUGIN_FILE);
    ProbeDriver driver(plugin);
    plugin.start();
    Service service;
    auto check = driver.check({"c", "127.0.0.1", service.port, {}});
    REQUIRE(host.run_until([&] {
        service.turn();
        return check.ended();
    }));
    const auto clients = [&] {
        service.turn();
        return service.clients();
    };
    CHECK(clients() == 1);
    host.advance(100s);
    CHECK(host.run_until([&] { return clients() == 0; }));
}
