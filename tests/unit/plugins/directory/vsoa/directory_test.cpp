// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vsoa_position.h>

#include <catch2/catch.hpp>
#include <future>
#include <gantry/testing/drivers.hpp>

using namespace std::chrono_literals;
using gantry::NameRecord;
using gantry::testing::DirectoryDriver;
using gantry::testing::FakeHost;
using gantry::testing::Settings;

namespace {

struct Scene {
    explicit Scene(const std::string& listen = "127.0.0.1:0")
        : instance(host.load(GANTRY_PLUGIN_FILE, Settings().string("listen", listen))), driver(instance) {
        instance.start();
        socket.reset(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        server.sin_family = AF_INET;
        server.sin_port = htons(driver.facts().port);
        server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        REQUIRE(::connect(socket.get(), reinterpret_cast<sockaddr*>(&server), sizeof server) == 0);
    }
    void send(const std::string& text) { ::send(socket.get(), text.data(), text.size(), 0); }
    std::string answer() {
        char text[2048];
        ssize_t got = -1;
        host.run_until([&] { return (got = ::recv(socket.get(), text, sizeof text, 0)) >= 0; }, 5s);
        return got < 0 ? "silence" : std::string(text, static_cast<std::size_t>(got));
    }
    std::string ask(const std::string& text) {
        send(text);
        return answer();
    }
    // "addr:port" of the answer.
    std::string place(const std::string& name) {
        const std::string text = ask("{\"name\":\"" + name + "\"}");
        const auto addr = text.find("\"addr\":\""), port = text.find("\"port\":");
        if (addr == std::string::npos) return text;
        return text.substr(addr + 8, text.find('"', addr + 8) - addr - 8) + ":" +
               text.substr(port + 7, text.find_first_of(",}", port) - port - 7);
    }

    FakeHost host;
    gantry::testing::Instance& instance;
    DirectoryDriver driver;
    gantry::Fd socket;
    sockaddr_in server{};
};

std::string refusal(FakeHost& host, const std::string& listen) {
    try {
        host.load(GANTRY_PLUGIN_FILE, Settings().string("listen", listen));
    } catch (const gantry::Failure& failure) {
        return failure.what();
    }
    return "taken";
}

}  // namespace

TEST_CASE("a name in the table is answered with its address, in any case of letters") {
    Scene scene;
    scene.driver.replace(1, {{"axis_server", "10.0.0.1", 3002, false, false}, {"Safe", "10.0.0.2", 3003, true, false}});
    const std::string answer = scene.ask(R"({"name":"AXIS_Server"})");
    CHECK_THAT(answer, Catch::Contains("\"addr\":\"10.0.0.1\"") && Catch::Contains("\"port\":3002") &&
                           Catch::Contains("\"domain\":2") && Catch::Contains("\"security\":false"));
    CHECK_THAT(scene.ask(R"({"name":"safe"})"), Catch::Contains("\"security\":true"));
    CHECK(scene.driver.facts().environment == "VSOA_POS_SERVER");
}

TEST_CASE("an unknown name is answered, never met with silence") {
    Scene scene;
    CHECK(scene.ask(R"({"name":"nobody"})") == "{}");
    scene.driver.replace(1, {{"axis_server", "10.0.0.1", 3002, false, false}});
    CHECK(scene.ask(R"({"name":"axis_serve"})") == "{}");
    scene.driver.replace(2, {});
    CHECK(scene.ask(R"({"name":"axis_server"})") == "{}");
}

TEST_CASE("records of one name answer in turn, also when the table is replaced meanwhile") {
    Scene scene;
    const std::vector<NameRecord> records = {
        {"s", "10.0.0.1", 1, false, false}, {"s", "10.0.0.2", 2, false, false}, {"s", "10.0.0.3", 3, false, false}};
    scene.driver.replace(1, records);
    CHECK(scene.place("s") == "10.0.0.1:1");
    scene.driver.replace(2, records);
    CHECK(scene.place("s") == "10.0.0.2:2");
    CHECK(scene.place("S") == "10.0.0.3:3");
    CHECK(scene.place("s") == "10.0.0.1:1");
}

TEST_CASE("a copy on the own node is named before all others") {
    Scene scene;
    scene.driver.replace(1, {{"s", "10.0.0.1", 1, false, false}, {"s", "10.0.0.2", 2, false, true}});
    for (int i = 0; i < 3; ++i) CHECK(scene.place("s") == "10.0.0.2:2");
    scene.driver.replace(2, {{"s", "10.0.0.1", 1, false, false}});
    CHECK(scene.place("s") == "10.0.0.1:1");
}

TEST_CASE("the family asked for counts more than the own node") {
    Scene scene;
    scene.driver.replace(1, {{"s", "fd00::1", 6, false, true},
                             {"s", "10.0.0.1", 4, false, false},
                             {"s", "10.0.0.2", 4, false, true},
                             {"far", "fd00::1", 6, false, true},
                             {"far", "10.0.0.1", 4, false, false}});
    for (int i = 0; i < 3; ++i) {
        CHECK_THAT(scene.ask(R"({"name":"s","domain":2})"), Catch::Contains("10.0.0.2"));
        CHECK_THAT(scene.ask(R"({"name":"s","domain":10})"), Catch::Contains("fd00::1"));
        CHECK_THAT(scene.ask(R"({"name":"far","domain":2})"), Catch::Contains("10.0.0.1"));
        CHECK_THAT(scene.ask(R"({"name":"far"})"), Catch::Contains("fd00::1"));
    }
}

TEST_CASE("the answer comes from the address that was asked") {
    Scene scene("0.0.0.0:0");
    scene.driver.replace(1, {{"s", "10.0.0.1", 1, false, false}});
    scene.server.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 4);
    REQUIRE(::connect(scene.socket.get(), reinterpret_cast<sockaddr*>(&scene.server), sizeof scene.server) == 0);
    CHECK(scene.place("s") == "10.0.0.1:1");
}

TEST_CASE("the family asked for is preferred, but another one is better than nothing") {
    Scene scene;
    scene.driver.replace(1, {{"both", "fd00::1", 6, false, false},
                             {"both", "10.0.0.1", 4, false, false},
                             {"six", "fd00::1", 6, false, false}});
    for (int i = 0; i < 2; ++i) {
        CHECK_THAT(scene.ask(R"({"name":"both","domain":2})"), Catch::Contains("10.0.0.1"));
        CHECK_THAT(scene.ask(R"({"name":"both","domain":10})"), Catch::Contains("fd00::1"));
    }
    CHECK_THAT(scene.ask(R"({"name":"six","domain":2})"), Catch::Contains("fd00::1"));
}

TEST_CASE("an older table is ignored") {
    Scene scene;
    scene.driver.replace(5, {{"s", "10.0.0.5", 5, false, false}});
    scene.driver.replace(4, {{"s", "10.0.0.4", 4, false, false}});
    CHECK(scene.place("s") == "10.0.0.5:5");
}

TEST_CASE("a record that no client could use is left out and logged") {
    Scene scene;
    scene.driver.replace(1, {{"bad", "somewhere", 1, false, false},
                             {"zero", "10.0.0.1", 0, false, false},
                             {"good", "10.0.0.1", 1, false, false}});
    CHECK(scene.ask(R"({"name":"bad"})") == "{}");
    CHECK(scene.ask(R"({"name":"zero"})") == "{}");
    CHECK(scene.place("good") == "10.0.0.1:1");
    CHECK(scene.host.logs().size() == 2);
}

TEST_CASE("nonsense gets no answer and does no harm") {
    Scene scene;
    scene.driver.replace(1, {{"s", "10.0.0.1", 1, false, false}});
    for (const char* text : {"", "{", "[]", "{\"name\":5}", "\xff\xfe", "{\"nam\":\"s\"}"}) scene.send(text);
    scene.send(std::string(60'000, '['));
    scene.send(R"({"name":"s","domain":"x"})");
    scene.send(R"({"name":")" + std::string(2000, 'x') + "\"}");
    std::string last;
    scene.send(R"({"name":"s","id":1})");
    REQUIRE(scene.host.run_until([&] {
        char bytes[2048];
        const ssize_t got = ::recv(scene.socket.get(), bytes, sizeof bytes, 0);
        if (got >= 0) last.assign(bytes, static_cast<std::size_t>(got));
        return last.find("10.0.0.1") != std::string::npos;
    }));
}

TEST_CASE("libvsoa's own look-up finds it") {
    Scene scene;
    scene.driver.replace(1, {{"axis_server", "127.0.0.1", 3002, false, false}});
    REQUIRE(vsoa_position_lookup_server(reinterpret_cast<sockaddr*>(&scene.server), sizeof scene.server));
    auto looked = std::async(std::launch::async, [] {
        sockaddr_in found{};
        socklen_t length = sizeof found;
        const bool there = vsoa_position_lookup(AF_INET, "axis_server", reinterpret_cast<sockaddr*>(&found), &length,
                                                nullptr, nullptr);
        return there ? ntohs(found.sin_port) : 0;
    });
    REQUIRE(scene.host.run_until([&] { return looked.wait_for(0s) == std::future_status::ready; }));
    CHECK(looked.get() == 3002);
    vsoa_position_lookup_server(nullptr, 0);
}

TEST_CASE("a port that is taken or not permitted, and a wrong address, are refused with the reason") {
    Scene scene;
    const std::string taken = "127.0.0.1:" + std::to_string(scene.driver.facts().port);
    FakeHost host;
    CHECK_THAT(refusal(host, taken),
               Catch::Contains("cannot answer names on UDP " + taken) && Catch::Contains("another position server"));
    CHECK_THAT(refusal(host, "192.0.2.1:5454"), Catch::Contains("no interface of this machine"));
    for (const char* wrong : {"", "localhost:54", "0.0.0.0", "::1:54", "[127.0.0.1]:54", "0.0.0.0:65536"}) {
        CHECK_THAT(refusal(host, wrong), Catch::Contains("expected IP:PORT"));
    }
    if (::geteuid() != 0) {
        CHECK_THAT(refusal(host, "127.0.0.1:54"), Catch::Contains("CAP_NET_BIND_SERVICE") || Catch::Contains("taken"));
    }
}

TEST_CASE("who asked while nobody was there is answered by the next instance, once it has a table") {
    Scene first;
    first.driver.replace(1, {{"s", "10.0.0.1", 1, false, false}});
    const std::string listen = "127.0.0.1:" + std::to_string(first.driver.facts().port);
    first.instance.stop();
    first.instance.destroy();
    first.send(R"({"name":"s"})");
    auto& next = first.host.load(GANTRY_PLUGIN_FILE, Settings().string("listen", listen));
    DirectoryDriver driver(next);
    next.start();
    first.host.run_until([] { return false; }, 50ms);
    char byte;
    CHECK(::recv(first.socket.get(), &byte, 1, 0) < 0);
    driver.replace(1, {{"s", "10.0.0.2", 1, false, false}});
    CHECK(first.answer().find("10.0.0.2") != std::string::npos);
    SECTION("without a table it says after two seconds that names are not known") {
        auto& third = first.host.load(GANTRY_PLUGIN_FILE, Settings().string("listen", listen));
        next.stop();
        third.start();
        first.send(R"({"name":"s"})");
        first.host.run_until([] { return false; }, 50ms);
        CHECK(::recv(first.socket.get(), &byte, 1, 0) < 0);
        first.host.advance(2s);
        CHECK(first.answer() == "{}");
    }
}

TEST_CASE("after stop the port is free and nobody answers") {
    Scene scene;
    const std::string listen = "127.0.0.1:" + std::to_string(scene.driver.facts().port);
    scene.instance.stop();
    CHECK(refusal(scene.host, listen) == "taken");
}
