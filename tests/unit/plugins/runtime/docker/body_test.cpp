// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/docker/body.hpp"

#include <catch2/catch.hpp>
#include <csignal>
#include <gantry/status.hpp>

#include "plugins/runtime/docker/engine.hpp"

using namespace docker;
using namespace std::chrono_literals;
namespace json = boost::json;
using Catch::Matchers::Contains;

TEST_CASE("a spec becomes what the engine is asked for: limits, no restart policy, our labels apart from the image's") {
    gantry::ContainerSpec spec;
    spec.name = "c1";
    spec.image = "sha256:aa";
    spec.args = {"/bin/server", "--port", "3002"};
    spec.env = {{"A", "1"}, {"B", "two words"}};
    spec.cpu_milli = 250;
    spec.memory_bytes = 64 << 20;
    spec.pids = 32;
    spec.stop_signal = SIGUSR1;
    spec.mounts = {{"/etc", "/mnt", true}};
    spec.labels = {{"gantry.service", "axis"}};
    const json::value body = json::parse(create_body(spec, "localhost/x:y", "me"));
    CHECK(body.at("Image") == "localhost/x:y");
    CHECK(body.at("Entrypoint") == json::array{"/bin/server"});
    CHECK(body.at("Cmd") == json::array{"--port", "3002"});
    CHECK(body.at("Env") == json::array{"A=1", "B=two words"});
    CHECK(body.at("StopSignal") == "10");
    CHECK(body.at("Labels").at(kInstanceLabel) == "me");
    CHECK(body.at("Labels").at(kImageLabel) == "sha256:aa");
    CHECK(json::parse(std::string(body.at("Labels").at(kLabelsLabel).as_string())).at("gantry.service") == "axis");
    const json::value& host = body.at("HostConfig");
    CHECK(host.at("NetworkMode") == "host");
    CHECK(host.at("RestartPolicy").at("Name") == "no");
    CHECK(host.at("NanoCpus") == 250'000'000);
    CHECK(host.at("Memory") == 64 << 20);
    CHECK(host.at("MemorySwap") == 64 << 20);
    CHECK(host.at("PidsLimit") == 32);
    CHECK(host.at("Mounts").at(0).at("ReadOnly") == true);
}

TEST_CASE("settings are asked for in the engine's words, and what it cannot do is refused") {
    gantry::ContainerSpec spec;
    spec.name = "c1";
    spec.memory_bytes = 64 << 20;
    spec.settings = R"({"container": {"capabilities": {"add": ["CAP_NET_RAW"], "drop": ["ALL"]}, "read_only": true,
        "rlimits": {"core": [0, "unlimited"]}, "oom_score_adj": 100, "network": "none"},
        "resources": {"cpu_shares": 512, "cpus": "0", "io_weight": 50, "swap": 1048576},
        "tmpfs": [{"target": "/run", "size": 1048576, "mode": "0700", "access": "rw"}],
        "device": [{"path": "/dev/a", "target": "/dev/b", "access": "r"}]})";
    const json::value body = json::parse(create_body(spec, "x", "me"));
    const json::value& host = body.at("HostConfig");
    CHECK(host.at("CapAdd") == json::array{"CAP_NET_RAW"});
    CHECK(host.at("CapDrop") == json::array{"ALL"});
    CHECK(host.at("ReadonlyRootfs") == true);
    CHECK(host.at("Ulimits").at(0) == json::parse(R"({"Name": "core", "Soft": 0, "Hard": -1})"));
    CHECK(host.at("OomScoreAdj") == 100);
    CHECK(host.at("NetworkMode") == "none");
    CHECK(host.at("CpuShares") == 512);
    CHECK(host.at("CpusetCpus") == "0");
    CHECK(host.at("BlkioWeight") == 50);
    CHECK(host.at("MemorySwap") == 65 << 20);
    CHECK(host.at("Tmpfs").at("/run") == "size=1048576,mode=0700,noexec");
    CHECK(host.at("Devices").at(0) ==
          json::parse(R"({"PathOnHost": "/dev/a", "PathInContainer": "/dev/b", "CgroupPermissions": "r"})"));

    spec.settings = R"({"container": {"network": "bridge", "ports": [3002]}})";
    const json::value bridged = json::parse(create_body(spec, "x", "me"));
    CHECK(bridged.at("HostConfig").at("NetworkMode") == "bridge");
    CHECK(bridged.at("HostConfig").at("PortBindings") ==
          json::parse(R"({"3002/tcp": [{"HostPort": "3002"}], "3002/udp": [{"HostPort": "3002"}]})"));
    CHECK(bridged.at("ExposedPorts") == json::parse(R"({"3002/tcp": {}, "3002/udp": {}})"));

    spec.settings = R"({"container": {"later": true}})";
    CHECK_THROWS_WITH(create_body(spec, "x", "me"), Contains("does not know the setting container.later"));
    spec.settings = R"({"tmpfs": 3})";
    CHECK_THROWS_WITH(create_body(spec, "x", "me"), Contains("another form"));
    spec.settings.clear();
    spec.mounts = {{"/etc", "/mnt", true, true}};
    CHECK_THROWS_WITH(check(spec), Contains("cannot forbid programs in a mount"));
}

TEST_CASE("what is not said is not asked for") {
    gantry::ContainerSpec spec;
    spec.name = "c1";
    const json::value body = json::parse(create_body(spec, "x", "me"));
    for (const char* absent : {"Entrypoint", "Cmd", "WorkingDir", "User", "Hostname", "StopSignal"}) {
        INFO(absent);
        CHECK(body.as_object().find(absent) == body.as_object().end());
    }
    for (const char* absent : {"NanoCpus", "Memory", "PidsLimit", "Mounts"}) {
        INFO(absent);
        CHECK(body.at("HostConfig").as_object().find(absent) == body.at("HostConfig").as_object().end());
    }
}

TEST_CASE("a container is ours by its label, and its states are told apart") {
    const auto look = [](const std::string& state, const char* instance = "me") {
        return inspected(
            json::parse(R"({"Name":"/c1","State":)" + state + R"(,"Config":{"StopSignal":"SIGUSR1","Labels":{
            "org.gantry.instance":")" +
                        instance + R"(","org.gantry.labels":"{\"b\":\"2\",\"a\":\"1\"}","maintainer":"x"}}})"),
            "me");
    };
    const Inspected runs = look(R"({"Status":"running","Pid":42})");
    CHECK(runs.ours);
    CHECK(runs.container.name == "c1");
    CHECK(runs.container.state == gantry::ContainerState::kRunning);
    CHECK(runs.container.pid == 42);
    CHECK(runs.container.labels == gantry::Labels{{"b", "2"}, {"a", "1"}});
    CHECK(runs.stop_signal == SIGUSR1);
    CHECK_FALSE(look(R"({"Status":"running"})", "another").ours);
    CHECK(look(R"({"Status":"created"})").container.state == gantry::ContainerState::kCreated);
    CHECK(look(R"({"Status":"configured"})").container.state == gantry::ContainerState::kCreated);
    CHECK(look(R"({"Status":"paused","Pid":42})").container.state == gantry::ContainerState::kPaused);
    const Inspected killed = look(R"({"Status":"exited","ExitCode":137,"OOMKilled":true,"Pid":42})");
    CHECK(killed.container.state == gantry::ContainerState::kExited);
    CHECK(killed.container.exit_code == 137);
    CHECK(killed.container.pid == 0);
    CHECK(killed.container.detail == "out of memory");
    CHECK_THROWS_WITH(inspected(json::parse("{}"), "me"), Contains("State"));
    CHECK_THROWS_WITH(inspected(json::parse("[]"), "me"), Contains("State"));
}

TEST_CASE("times of both engines are read, and the zero of Go is none") {
    CHECK(parse_time("1970-01-01T00:00:01Z") == 1s);
    CHECK(parse_time("1970-01-01T00:00:01.25Z") == 1250ms);
    CHECK(parse_time("1970-01-01T02:00:01.000000001+02:00") == 1s + 1ns);
    CHECK(parse_time("1970-01-01T00:00:00-01:30") == 90min);
    CHECK_FALSE(parse_time("0001-01-01T00:00:00Z"));
    CHECK_FALSE(parse_time(""));
    CHECK_FALSE(parse_time("yesterday"));
    CHECK_FALSE(parse_time("1970-01-01T00:00:01 UTC"));
}

TEST_CASE("the newest version that both know is spoken") {
    CHECK(common_version("1.41") == "1.41");
    CHECK(common_version("1.47") == "1.41");
    CHECK(common_version("1.30") == "1.30");
    CHECK_THROWS_WITH(common_version("1.20"), Contains("1.20") && Contains("exchange one of them"));
    CHECK_THROWS_AS(common_version("four"), gantry::Failure);
    CHECK_THROWS_AS(common_version(""), gantry::Failure);
}

TEST_CASE("output comes out of its frames however they are cut") {
    const auto frame = [](char stream, const std::string& text) {
        std::string out{stream, 0, 0, 0, 0, 0, static_cast<char>(text.size() >> 8), static_cast<char>(text.size())};
        return out + text;
    };
    const std::string all = frame(1, "out ") + frame(2, std::string(300, 'e')) + frame(1, "") + frame(1, "end");
    for (std::size_t cut = 1; cut <= all.size(); ++cut) {
        Frames frames;
        std::string got;
        for (std::size_t at = 0; at < all.size(); at += cut) got += frames.add(std::string_view(all).substr(at, cut));
        CHECK(got == "out " + std::string(300, 'e') + "end");
    }
    Frames frames;
    CHECK_THROWS_AS(frames.add("plain text"), gantry::Failure);
}

TEST_CASE("an engine's own words are shown without their JSON") {
    CHECK(Answer{404, R"({"message":"no such container: c1\n"})"}.words() == "no such container: c1");
    CHECK(Answer{500, "plain"}.words() == "plain");
    CHECK(Answer{500, ""}.words() == "status 500 without a word");
    CHECK_THROWS_WITH((Answer{500, R"({"message":"disk full"})"}.expect("create")), "create: disk full");
    CHECK(escaped("a b/ü{}") == "a%20b%2F%C3%BC%7B%7D");
}
