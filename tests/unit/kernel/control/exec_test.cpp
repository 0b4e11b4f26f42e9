// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/exec.hpp"

#include <poll.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "tests/unit/kernel/control/still_runtime.hpp"

using namespace gantry;
using namespace gantry::control;

namespace {

struct Fixture {
    using Given = std::tuple<std::string, std::vector<std::string>, Duration>;

    Fixture() {
        runtime.on_exec = [this](const std::string& name, const std::vector<std::string>& args, int given,
                                 Duration limit, host::Done<int> done) {
            asked.emplace_back(name, args, limit);
            fd = given;
            answer = std::move(done);
        };
    }
    ~Fixture() {
        if (fd >= 0) ::close(fd);
    }
    void run(json::value document) {
        execs.run(runtime, "c1", document, [this](Result<json::value> result) { told.push_back(std::move(result)); });
    }
    void turn() {
        io.restart();
        io.poll();
    }
    void write(const std::string& text) {
        REQUIRE(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
    }
    void close() { ::close(std::exchange(fd, -1)); }

    boost::asio::io_context io;
    Execs execs{io};
    StillRuntime runtime;
    std::vector<Given> asked;
    int fd = -1;
    host::Done<int> answer;
    std::vector<Result<json::value>> told;
};

const json::object kCheck{{"args", {"/bin/check", "-v"}}, {"timeout_ms", 1'500}, {"output_max", 8}};

}  // namespace

TEST_CASE("a command in a container ends with its status and what it wrote, up to a limit") {
    Fixture f;
    f.run(kCheck);
    REQUIRE(f.asked.size() == 1);
    CHECK(f.asked[0] == Fixture::Given{"c1", {"/bin/check", "-v"}, milliseconds(1'500)});
    f.write("all ");
    f.turn();
    f.write("well, and more");
    f.close();
    f.turn();
    CHECK(f.told.empty());  // its status is not known yet
    f.answer(3);
    REQUIRE(f.told.size() == 1);
    CHECK(to_text(f.told[0].value()) == R"({"exit_code":3,"output":"all well","cut":true})");
}

TEST_CASE("what a command wrote is whole though its status is known first") {
    Fixture f;
    f.run(kCheck);
    f.write("late");
    f.answer(0);
    CHECK(f.told.empty());
    f.close();
    f.turn();
    REQUIRE(f.told.size() == 1);
    CHECK(to_text(f.told[0].value()) == R"({"exit_code":0,"output":"late","cut":false})");
}

TEST_CASE("a command whose time is over is answered, and its stream closed so that the runtime kills it") {
    Fixture f;
    f.run(kCheck);
    f.write("waiting");
    f.turn();
    f.answer(fail(Code::kUnknown, "runtime.oci: exec: its deadline passed"));
    REQUIRE(f.told.size() == 1);
    CHECK(f.told[0].error().code == Code::kDeadline);
    CHECK(f.told[0].error().message == "it did not end in 1.5 s and was killed: waiting");
    f.turn();
    pollfd item{f.fd, 0, 0};
    CHECK(::poll(&item, 1, 0) == 1);
    CHECK((item.revents & POLLHUP) != 0);
}

TEST_CASE("what a runtime cannot do is told as it says it") {
    Fixture f;
    f.run(kCheck);
    f.answer(fail(Code::kNotFound, "exec: no such file"));
    CHECK(f.told.at(0).error().code == Code::kNotFound);
}

TEST_CASE("a document that makes no sense runs nothing") {
    Fixture f;
    f.run({{"args", 1}});
    f.run({{"args", {"a"}}, {"timeout_ms", 0}});
    f.run({{"args", {"a"}}, {"output_max", 1 << 20}});
    f.run({{"args", {"a"}}, {"tty", true}});
    REQUIRE(f.told.size() == 4);
    for (const auto& answer : f.told) CHECK(answer.error().code == Code::kInvalid);
    CHECK(f.asked.empty());
}

TEST_CASE("so many commands run at once and no more") {
    Fixture f;
    std::vector<host::Done<int>> held;
    f.runtime.on_exec = [&](auto&&, auto&&, int fd, auto&&, host::Done<int> done) {
        ::close(fd);
        held.push_back(std::move(done));
    };
    for (int i = 0; i < 70; ++i) f.run(kCheck);
    CHECK(held.size() == 64);
    REQUIRE(f.told.size() == 6);
    CHECK(f.told[0].error().code == Code::kUnavailable);
    for (auto& done : held) done(0);
    f.turn();
    CHECK(f.told.size() == 70);
    f.run(kCheck);
    CHECK(held.size() == 65);
    held.back()(0);
    f.turn();
}
