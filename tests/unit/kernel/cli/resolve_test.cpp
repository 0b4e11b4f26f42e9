// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <thread>

#include "kernel/cli/trouble.hpp"
#include "tests/unit/kernel/cli/fake_server.hpp"
#include "tests/unit/kernel/cli/program.hpp"

using namespace gantry;
using namespace gantry::cli;

namespace {

// A position server on loopback that gives the same answer to everybody.
class PositionServer {
  public:
    explicit PositionServer(std::string answer) : answer_(std::move(answer)) {
        fd_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        sockaddr_in at{};
        at.sin_family = AF_INET;
        at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof at;
        REQUIRE(bind(fd_, reinterpret_cast<sockaddr*>(&at), size) == 0);
        getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size);
        address = "127.0.0.1:" + std::to_string(ntohs(at.sin_port));
        thread_ = std::thread([this] {
            char room[2048];
            while (true) {
                sockaddr_in from{};
                socklen_t from_size = sizeof from;
                const auto got = recvfrom(fd_, room, sizeof room, 0, reinterpret_cast<sockaddr*>(&from), &from_size);
                if (got <= 0) return;
                question.assign(room, static_cast<std::size_t>(got));
                sendto(fd_, answer_.data(), answer_.size(), 0, reinterpret_cast<sockaddr*>(&from), from_size);
            }
        });
    }
    ~PositionServer() {
        shutdown(fd_, SHUT_RDWR);
        thread_.join();
        close(fd_);
    }

    std::string address, question;

  private:
    std::string answer_;
    int fd_ = -1;
    std::thread thread_;
};

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

constexpr const char* kGood = R"({"name":"axis_server","domain":2,"addr":"10.0.0.1","port":3002,"security":false})";

}  // namespace

TEST_CASE("resolve shows what the controller and a position server answer") {
    FakeServer gantryd([](const FakeRequest& request, FakeConnection& connection) {
        if (request.target != "/v1/names/axis_server") {
            return connection.answer(404, R"({"error":{"code":"not_found","message":"no such name"}})");
        }
        connection.answer(200, R"({"name":"axis_server","address":"10.0.0.1","port":3002,"node":"SNode1",
                                   "instance":"axis_server.0","since_ms":1200})");
    });
    PositionServer position(kGood);
    const auto ran = run_gantry({"resolve", "axis_server", "--server", position.address, "--socket", gantryd.socket()});
    CHECK(ran.status == exit_status::kOk);
    CHECK(has(ran.out, "axis_server  10.0.0.1:3002  axis_server.0  SNode1  1.2 s\n"));
    CHECK(has(ran.out, "position server " + position.address + ": 10.0.0.1:3002"));
    CHECK(position.question == R"({"name":"axis_server"})");

    CHECK(run_gantry({"resolve", "axis_server", "--socket", gantryd.socket()}).status == exit_status::kOk);
    const auto unknown = run_gantry({"resolve", "nobody", "--socket", gantryd.socket()});
    CHECK(unknown.status == exit_status::kNotFound);
    CHECK(has(unknown.err, "no such name"));
}

TEST_CASE("a position server is asked also where there is no controller") {
    PositionServer position(kGood);
    const auto ran = run_gantry({"resolve", "axis_server", "--socket", "/nowhere/api.sock"},
                                {.environment = {"VSOA_POS_SERVER=" + position.address}});
    CHECK(ran.status == exit_status::kOk);
    CHECK(has(ran.err, "cannot reach gantryd"));
    CHECK(has(ran.out, "10.0.0.1:3002"));
}

TEST_CASE("answers that are empty, foreign or missing are told apart") {
    const auto ask = [](const std::string& server) {
        return run_gantry({"resolve", "x", "--server", server, "--socket", "/nowhere/api.sock"});
    };
    PositionServer unknown("{}"), garbage("\x29\x01\xff"), empty("");
    CHECK(ask(unknown.address).status == exit_status::kNotFound);
    CHECK(has(ask(unknown.address).out, "does not know the name"));
    CHECK(has(ask(garbage.address).out, "no JSON object"));
    CHECK(has(ask(empty.address).out, "does not know the name"));
    CHECK(ask("127.0.0.1:1").status == exit_status::kNotFound);
    CHECK(has(ask("127.0.0.1:1").out, "does not answer"));
    for (const char* address : {"localhost", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:70000", "[::1", "10.0.0.1:5x"}) {
        INFO(address);
        CHECK(ask(address).status == exit_status::kUsage);
    }
}
