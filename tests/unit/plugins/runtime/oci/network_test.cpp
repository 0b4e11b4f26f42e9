// SPDX-License-Identifier: Apache-2.0
//
// Containers on the bridge, by the real CNI plugins. The program is in a network namespace of its own.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>

#include "tests/unit/plugins/runtime/fixture.hpp"

namespace runtime_test {
// Of the plugin, for the next fixtures; empty: none.
void set_extra_setting(const std::string& key, const std::string& value);
}  // namespace runtime_test

namespace fs = std::filesystem;
using gantry::Code;
using runtime_test::Fixture;
using namespace std::chrono_literals;

namespace {

constexpr const char* kBridged = R"({"container": {"network": "bridge"}})";

std::string with_ports(const std::string& ports) {
    return R"({"container": {"network": "bridge", "ports": [)" + ports + "]}}";
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// Without the CNI plugins there is nothing to try; said once for each test.
bool cni_there() {
    for (const char* program : {"/usr/lib/cni/bridge", "/usr/lib/cni/host-local", "/usr/lib/cni/portmap",
                                "/usr/lib/cni/loopback", "/usr/sbin/iptables"}) {
        if (::access(program, X_OK) == 0) continue;
        WARN("skipped: needs containernetworking-plugins and iptables, there is no " << program);
        return false;
    }
    return true;
}

std::string output(const std::string& command) {
    std::string out;
    FILE* answer = ::popen((command + " 2>&1").c_str(), "r");
    REQUIRE(answer != nullptr);
    for (int c = std::fgetc(answer); c != EOF; c = std::fgetc(answer)) out += static_cast<char>(c);
    ::pclose(answer);
    return out;
}

int tcp_socket(const char* address, std::uint16_t port, bool listens) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    ::inet_pton(AF_INET, address, &to.sin_addr);
    const timeval limit{3, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    const auto* raw = reinterpret_cast<const sockaddr*>(&to);
    const bool good =
        listens ? ::bind(fd, raw, sizeof(to)) == 0 && ::listen(fd, 1) == 0 : ::connect(fd, raw, sizeof(to)) == 0;
    if (good) return fd;
    ::close(fd);
    return -1;
}

// What whoever listens at the port says first.
std::string said_at(const char* address, std::uint16_t port) {
    const int fd = tcp_socket(address, port, false);
    if (fd < 0) return "";
    char text[64];
    const ssize_t n = ::recv(fd, text, sizeof(text), 0);
    ::close(fd);
    return n > 0 ? std::string(text, static_cast<std::size_t>(n)) : "";
}

gantry::ContainerSpec server(const Fixture& f, const std::string& name, const std::string& port) {
    gantry::ContainerSpec spec =
        f.script(name, "echo up; while :; do echo hello from " + name + " | $B nc -l -p " + port + "; done");
    spec.settings = with_ports(port);
    return spec;
}

}  // namespace

TEST_CASE("On the bridge a container has an address of its own, and its ports are the node's") {
    if (!cni_there()) return;
    Fixture f;
    f.run(server(f, "c1", "7001"));
    REQUIRE(f.logged("c1", "up"));
    f.run(server(f, "c2", "7002"));
    REQUIRE(f.logged("c2", "up"));
    const std::string pid = std::to_string(f.find("c1").pid);
    const std::string addresses = output("nsenter --net=/proc/" + pid + "/ns/net ip -o -4 addr show");
    CAPTURE(addresses);
    CHECK(has(addresses, "127.0.0.1/8"));
    CHECK(has(addresses, " 10.213.0."));
    const std::size_t at = addresses.find("10.213.0.");
    const std::string own = addresses.substr(at, addresses.find('/', at) - at);
    CHECK(runtime_test::eventually([&] { return said_at(own.c_str(), 7001) == "hello from c1\n"; }));
    // The node's own addresses; "127.0.0.1" as its probes ask.
    CHECK(runtime_test::eventually([&] { return said_at("10.213.0.1", 7002) == "hello from c2\n"; }));
    CHECK(runtime_test::eventually([&] { return said_at("127.0.0.1", 7001) == "hello from c1\n"; }));

    f.restart();
    CHECK(runtime_test::eventually([&] { return said_at("127.0.0.1", 7001) == "hello from c1\n"; }));
    for (const char* name : {"c1", "c2"}) {
        CHECK(f.driver().stop(name, 0s).wait().ok());
        CHECK(f.driver().remove(name).wait().ok());
    }
    CHECK_FALSE(has(output("iptables -t nat -S"), "7001"));
    CHECK(output("ip -o link show master gantry0").empty());
    for (const auto& item : fs::directory_iterator(f.state_dir() / "networks"))
        CHECK(item.path().filename() == "addresses");
    // The address is free again.
    CHECK_FALSE(fs::exists(f.state_dir() / "networks/addresses/gantry" / own));
}

TEST_CASE("A port that is in use is refused, with who has it") {
    if (!cni_there()) return;
    Fixture f;
    const int taken = tcp_socket("0.0.0.0", 7003, true);
    REQUIRE(taken >= 0);
    const auto refused = f.driver().create(server(f, "c1", "7003")).wait();
    ::close(taken);
    CHECK(refused.code == Code::kConflict);
    CHECK(has(refused.text, "port 7003 of this node is in use by another program"));
    f.run(server(f, "c2", "7003"));
    const auto again = f.driver().create(server(f, "c3", "7003")).wait();
    CHECK(again.code == Code::kConflict);
    CHECK(has(again.text, "in use by container \"c2\""));
    CHECK(f.names() == std::vector<std::string>{"c2"});
}

TEST_CASE("What is left of a network after a reboot is taken away with its container") {
    if (!cni_there()) return;
    Fixture f;
    f.run(server(f, "c1", "7004"));
    const fs::path networks = f.state_dir() / "networks";
    REQUIRE(fs::exists(networks / "c1.ns"));
    CHECK(f.driver().kill("c1").wait().ok());
    f.stop();
    // The kernel forgets namespaces and rules; files stay.
    output("umount " + (networks / "c1.ns").string());
    output("iptables -t nat -F");
    output("ip link del gantry0");
    f.begin();
    CHECK(f.driver().remove("c1").wait().ok());
    CHECK_FALSE(fs::exists(networks / "c1.ns"));
    CHECK_FALSE(fs::exists(networks / "c1.json"));
    f.run(server(f, "c2", "7004"));
    CHECK(runtime_test::eventually([&] { return said_at("127.0.0.1", 7004) == "hello from c2\n"; }));
}

TEST_CASE("Without the CNI plugins a container on the bridge is refused, with what to install") {
    runtime_test::set_extra_setting("cni_path", "/usr/lib/no-such-cni");
    Fixture f;
    runtime_test::set_extra_setting("", "");
    gantry::ContainerSpec spec = f.script("c1", "exit 0");
    spec.settings = kBridged;
    const auto refused = f.driver().create(spec).wait();
    CHECK(refused.code == Code::kInvalid);
    CHECK(has(refused.text, "/usr/lib/no-such-cni/loopback"));
    CHECK(has(refused.text, "apt-get install containernetworking-plugins"));
    CHECK(f.names().empty());
}
