// SPDX-License-Identifier: Apache-2.0
//
// The resource tree as frontends reach it.
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "kernel/base/limits.hpp"
#include "tests/unit/kernel/control/scene.hpp"

using namespace gantry;
using namespace std::chrono_literals;
using test::Scene;

namespace {

struct Tree : Scene {
    Tree() { start_controller(); }
    json::array items(const test::Response& response) {
        REQUIRE(response.code == 200);
        return response.document.as_object().at("items").as_array();
    }
};

}  // namespace

TEST_CASE_METHOD(Tree, "a query that is no number, or out of range, is refused with its field") {
    int stream = -1;
    for (const std::string tail : {"-2", "x", "", "5x", "99999999999999999999", "2147483648"}) {
        INFO(tail);
        const auto answer = open("GET", "/v1/instances/axis.0/logs?tail=" + tail, stream);
        CHECK(answer.code == 400);
        CHECK(answer.field() == "tail");
        close(stream);
    }
    for (const std::string query : {"after=-1", "after=x", "limit=-1", "limit=10001", "limit=1e3"}) {
        const auto answer = ask("GET", "/v1/events?" + query);
        CHECK(answer.code == 400);
        CHECK(answer.field() == query.substr(0, query.find('=')));
    }
}

TEST_CASE_METHOD(Tree, "events are the newest hundred unless a limit or a beginning says otherwise") {
    for (int i = 0; i < 120; ++i)
        REQUIRE(ask("PUT", "/v1/secrets/s" + std::to_string(i), R"({"value":"x"})").code == 200);
    for (int i = 0; i < 120; ++i) REQUIRE(ask("DELETE", "/v1/secrets/s" + std::to_string(i)).code == 200);
    const auto all = items(ask("GET", "/v1/events?limit=10000")).size();
    CHECK(items(ask("GET", "/v1/events")).size() == std::min<std::size_t>(all, limits::kEventsAnswered));
    CHECK(items(ask("GET", "/v1/events?after=0")).size() == all);
    CHECK(items(ask("GET", "/v1/events?limit=0")).empty());
}

TEST_CASE_METHOD(Tree, "the event of a change says who asked for it") {
    add_image("axis:1.0", "layer");
    const auto events = items(ask("GET", "/v1/events"));
    REQUIRE_FALSE(events.empty());
    CHECK(events.back().as_object().at("kind").as_string() == "image-set");
    CHECK(events.back().as_object().at("fields").as_object().at("by").as_string() == "unix:tester");
    CHECK(logged("unix:tester: "));
}

TEST_CASE_METHOD(Tree, "nodes that discovery expects are shown until they join") {
    expect_node("SNode1", "10.0.0.1");
    expect_node("SNode2", "");
    CHECK(liveness("SNode1") == "expected");
    CHECK(ask("GET", "/v1/nodes/SNode2").code == 200);
    start_node("SNode1");
    CHECK(until([&] { return liveness("SNode1") == "ready"; }));
    CHECK(items(ask("GET", "/v1/nodes")).size() == 2);
}

TEST_CASE_METHOD(Tree, "what a node uses is shown, and remembered from the first ten seconds on") {
    start_node("SNode1");
    const auto node = [&] { return ask("GET", "/v1/nodes/SNode1").document.as_object(); };
    REQUIRE(until([&] { return liveness("SNode1") == "ready" && node().contains("disk_total_bytes"); }, 20s));
    CHECK(node().at("disk_free_bytes").as_int64() <= node().at("disk_total_bytes").as_int64());
    const auto load = ask("GET", "/v1/nodes/SNode1/load");
    CHECK(load.code == 200);
    CHECK(load.document.as_object().at("every_ms").as_int64() == 10'000);
    REQUIRE(until([&] { return !items(ask("GET", "/v1/nodes/SNode1/load")).empty(); }, 20s));
    const auto point = items(ask("GET", "/v1/nodes/SNode1/load")).front().as_object();
    CHECK(point.at("time_ms").as_int64() > 0);
    CHECK(point.contains("memory_free_bytes"));
}

TEST_CASE_METHOD(Tree, "what an instance uses is what its runtime says, and nothing where it does not measure") {
    start_node("SNode1");
    const auto image = add_image("axis:1.0", "layer");
    deploy("axis", "axis:1.0", "SNode1");
    REQUIRE(until([&] { return instance_state("axis") == "ready"; }));
    const auto instance = [&] { return items(ask("GET", "/v1/instances")).front().as_object(); };
    REQUIRE(until([&] { return instance().contains("cpu_used_milli"); }, 30s));
    CHECK(instance().at("memory_used_bytes").as_int64() == 8 << 20);
    CHECK(instance().at("pids").as_int64() == 2);
    CHECK(instance().at("cpu_used_milli").as_int64() > 0);
    CHECK(ask("GET", "/v1/instances/axis.0/load").code == 200);
    CHECK(ask("GET", "/v1/instances/axis.1/load").code == 404);
    CHECK(ask("GET", "/v1/instances/axis/load").code == 400);
    CHECK(ask("GET", "/v1/nodes/SNode9/load").code == 404);
    CHECK(ask("GET", "/v1/services/axis/load").code == 404);
}

TEST_CASE_METHOD(Tree, "what is not there is not found, what is no document is refused") {
    CHECK(ask("GET", "/v1/nothing").code == 404);
    CHECK(ask("GET", "/v1").code == 404);
    CHECK(ask("GET", "/v1/services/axis").code == 404);
    CHECK(ask("GET", "/v1/images/axis:1").code == 404);
    CHECK(ask("DELETE", "/v1/images/axis:1").code == 404);
    CHECK(ask("POST", "/v1/nodes").code == 404);
    CHECK(ask("PATCH", "/v1/nodes").code == 400);
    CHECK(ask("PUT", "/v1/services/axis", "{").code == 400);
    CHECK(ask("PUT", "/v1/services/axis", R"({"service":{"name":"other"}})").field() == "service.name");
    CHECK(ask("PUT", "/v1/images/axis:1", R"({"digest":"sha256:12"})").code == 400);
    CHECK(ask("PUT", "/v1/images/axis:1", R"({"digest":")" + test::sha256("x") + "\"}").code == 409);
}

TEST_CASE_METHOD(Tree, "a blob is uploaded once and read with its size") {
    int stream = -1;
    const auto digest = test::sha256("hello");
    open("PUT", "/v1/blobs/" + digest, stream);
    REQUIRE(send(stream, "hello", 5, MSG_NOSIGNAL) == 5);
    close(stream);
    REQUIRE(until([&] { return std::filesystem::exists(blob("controller", digest)); }));
    run_for(20ms);
    const auto answer = open("GET", "/v1/blobs/" + digest, stream);
    REQUIRE(answer.code == 200);
    CHECK(answer.document.as_object().at("size").as_int64() == 5);
    std::string text(16, '\0');
    CHECK(until([&] { return recv(stream, text.data(), text.size(), MSG_DONTWAIT) == 5; }));
    close(stream);
    CHECK(open("GET", "/v1/blobs/" + test::sha256("no"), stream).code == 404);
    close(stream);
}

TEST_CASE_METHOD(Tree, "uploads that stand still hold up neither each other nor anything else, and are counted") {
    std::vector<int> streams(limits::kBlobStreams, -1);
    for (std::size_t i = 0; i < streams.size(); ++i)
        open("PUT", "/v1/blobs/" + test::sha256(std::to_string(i)), streams[i]);
    add_image("axis:1.0", "layer");  // goes through the pool that the uploads must not fill
    const auto digest = test::sha256("layer");
    int stream = -1;
    CHECK(open("GET", "/v1/blobs/" + digest, stream).code == 507);
    close(stream);
    for (const int one : streams) close(one);
    CHECK(until([&] {
        const auto code = open("GET", "/v1/blobs/" + digest, stream).code;
        close(stream);
        return code == 200;
    }));
}

TEST_CASE_METHOD(Tree, "crashes of a plugin are shown, allowed and forgotten by its name") {
    const auto plugin = [this] { return items(ask("GET", "/v1/plugins")).at(0).as_object(); };
    CHECK(plugin().at("trust").as_string() == "package");
    const std::string digest(plugin().at("digest").as_string());
    CHECK(digest.size() == 64);
    CHECK(plugin().at("crashes").as_int64() == 0);
    for (int i = 0; i < 3; ++i)
        REQUIRE(crashes().note("placement.first", digest, {"score", "SIGSEGV", "b", {i}, false}));
    CHECK(plugin().at("crashes").as_int64() == 3);
    auto answer = ask("POST", "/v1/plugins/placement.first/allow");
    CHECK(answer.code == 200);
    CHECK(answer.document ==
          json::value{{"plugin", "placement.first"}, {"crashes", 3}, {"allowed", true}, {"started", false}});
    CHECK(crashes().standing("placement.first", digest).allowed);
    answer = ask("POST", "/v1/plugins/first/clear");
    CHECK(answer.document ==
          json::value{{"plugin", "placement.first"}, {"crashes", 0}, {"allowed", false}, {"started", false}});
    CHECK(plugin().at("crashes").as_int64() == 0);
    CHECK(ask("POST", "/v1/plugins/second/clear").code == 404);
    CHECK(ask("POST", "/v1/plugins/first/forget").code == 404);
    const auto last = items(ask("GET", "/v1/events")).back().as_object();
    CHECK(last.at("kind").as_string() == "plugin-cleared");
    CHECK(last.at("fields").as_object().at("by").as_string() == "unix:tester");
}
