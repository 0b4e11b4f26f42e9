// SPDX-License-Identifier: Apache-2.0
//
// The controller's and the agent's loop against each other, and against a store, a disk and a network that fail.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "tests/unit/kernel/control/scene.hpp"

using namespace gantry;
using namespace std::chrono_literals;
using test::Scene;

namespace {

struct Cluster : Scene {
    Cluster() {
        start_controller();
        start_node("SNode1");
        REQUIRE(until([&] { return liveness("SNode1") == "ready"; }));
        add_image("axis:1.0", "layer");
    }
    bool ready(const std::string& service, std::chrono::milliseconds limit = 10s) {
        return until([&] { return instance_state(service) == "ready"; }, limit);
    }
};

}  // namespace

TEST_CASE_METHOD(Cluster, "a service is placed, its image fetched, its container started, and removed again") {
    deploy("axis", "axis:1.0", "SNode1");
    REQUIRE(ready("axis"));
    CHECK(events("image-fetched") == 1);
    CHECK(ask("DELETE", "/v1/services/axis").code == 200);
    CHECK(until([&] { return instance_state("axis").empty(); }));
}

TEST_CASE_METHOD(Cluster, "a failed commit fails its request, changes nothing, and every node is back soon after") {
    const auto outcome = GENERATE(Scene::Outcome::kFailed, Scene::Outcome::kUnknownLost);
    next_commit(outcome);
    const auto refused = ask("PUT", "/v1/secrets/a", R"({"value":"x"})");
    CHECK(refused.code == 500);
    CHECK(refused.message() == "the disk says no");
    REQUIRE(until([&] { return loads() == 2 && liveness("SNode1") == "ready"; }));
    CHECK(ask("GET", "/v1/secrets").document.as_object().at("items").as_array().empty());
    deploy("axis", "axis:1.0", "SNode1");
    CHECK(ready("axis"));
}

TEST_CASE_METHOD(Cluster, "a commit of unknown outcome that was written is there after the reload") {
    next_commit(Outcome::kUnknownWritten);
    CHECK(ask("PUT", "/v1/secrets/a", R"({"value":"x"})").code == 500);
    REQUIRE(until([&] { return loads() == 2 && liveness("SNode1") == "ready"; }));
    CHECK(ask("GET", "/v1/secrets").document.as_object().at("items").as_array().size() == 1);
}

TEST_CASE_METHOD(Cluster, "a full disk refuses changes by people for a while and says what to do") {
    next_commit(Outcome::kFull);
    CHECK(ask("PUT", "/v1/secrets/a", R"({"value":"x"})").code == 507);
    REQUIRE(until([&] { return loads() == 2 && liveness("SNode1") == "ready"; }));
    const auto again = ask("PUT", "/v1/secrets/a", R"({"value":"x"})");
    CHECK(again.code == 507);
    CHECK(again.message().find("free some space") != std::string::npos);
}

TEST_CASE_METHOD(Cluster, "a store that cannot be loaded is asked again until it can") {
    next_loads_fail(1);
    next_commit(Outcome::kFailed);
    CHECK(ask("PUT", "/v1/secrets/a", R"({"value":"x"})").code == 500);
    CHECK(ask("GET", "/v1/nodes").code == 503);
    REQUIRE(until([&] { return loads() == 3 && liveness("SNode1") == "ready"; }));
    CHECK(logged("cannot load the store"));
}

TEST_CASE_METHOD(Cluster, "a node that says hello while the store is loaded says it again afterwards") {
    start_node("SNode2");
    hold_loads(true);
    next_commit(Outcome::kFailed);
    CHECK(ask("PUT", "/v1/secrets/a", R"({"value":"x"})").code == 500);
    // Both dial and talk to a controller that knows nothing; once more when it was closed on them.
    run_for(300ms);
    start_node("SNode3");
    run_for(300ms);
    hold_loads(false);
    for (const std::string node : {"SNode1", "SNode2", "SNode3"}) {
        INFO(node);
        CHECK(until([&] { return liveness(node) == "ready"; }));
    }
}

TEST_CASE_METHOD(Cluster, "heartbeats do not wait for the agent's state file, and what is not saved is not claimed") {
    // Opening this pipe to write blocks like a disk that is stuck.
    const auto stuck = folder.path / "SNode1" / "agent.json.new";
    REQUIRE(until([&] { return mkfifo(stuck.c_str(), 0600) == 0; }));  // not while one is being written
    deploy("axis", "axis:1.0", "SNode1");
    const auto lost = [&] {
        return events("node-suspect") + events("node-lost") > 0 || instance_state("axis") != "waiting";
    };
    CHECK_FALSE(until(lost, 1500ms));  // nearly four times the silence that loses a node
    CHECK(liveness("SNode1") == "ready");
    // A reader lets the writer go on, into a pipe that is no file: that save fails, the next one makes a file.
    const int reader = ::open(stuck.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    REQUIRE(unlink(stuck.c_str()) == 0);
    CHECK(ready("axis"));
    CHECK(logged("the agent's state was not saved"));
    close(reader);
}

TEST_CASE_METHOD(Cluster, "a node that its controller does not hear is heard, and led, through another one") {
    start_node("SNode2");
    REQUIRE(until([&] { return liveness("SNode2") == "ready"; }));
    deploy("axis", "axis:1.0", "SNode1");
    REQUIRE(ready("axis"));
    cut("SNode1");
    REQUIRE(until([&] { return events("node-cut-off") == 1; }));
    run_for(1500ms);  // longer than any silence that is allowed here
    CHECK(liveness("SNode1") == "suspect");
    CHECK(instance_state("axis") == "ready");
    // The list goes that way, and what the node reports comes back.
    CHECK(ask("DELETE", "/v1/services/axis").code == 200);
    CHECK(until([&] { return ask("GET", "/v1/services/axis").code == 404; }));
    heal("SNode1");
    CHECK(until([&] { return liveness("SNode1") == "ready"; }));
    CHECK(events("node-lost") == 0);
    // It is not led by two: what comes now comes directly.
    deploy("axis", "axis:1.0", "SNode1");
    CHECK(ready("axis"));
}

TEST_CASE_METHOD(Cluster, "a log is read to its end, and a reader that leaves a quiet one is noticed") {
    deploy("axis", "axis:1.0", "SNode1");
    REQUIRE(ready("axis"));
    int stream = -1;
    std::string text(64, '\0');
    SECTION("to its end") {
        REQUIRE(open("GET", "/v1/instances/axis.0/logs", stream).code == 200);
        REQUIRE(until([&] { return recv(stream, text.data(), text.size(), MSG_DONTWAIT) == 6; }));
        CHECK(text.starts_with("hello\n"));
        CHECK(until([&] { return recv(stream, text.data(), text.size(), MSG_DONTWAIT) == 0; }));
        close(stream);
    }
    SECTION("a reader that leaves") {
        REQUIRE(open("GET", "/v1/instances/axis.0/logs?follow=1", stream).code == 200);
        REQUIRE(until([&] { return recv(stream, text.data(), text.size(), MSG_DONTWAIT) == 6; }));
        CHECK(runtime_operations() == 1);
        close(stream);
        CHECK(until([&] { return runtime_operations() == 0; }));
    }
    SECTION("only so many at once") {
        std::vector<int> streams(64, -1);
        for (int& one : streams) REQUIRE(open("GET", "/v1/instances/axis.0/logs?follow=1", one).code == 200);
        CHECK(open("GET", "/v1/instances/axis.0/logs?follow=1", stream).code == 507);
        close(stream);
        for (const int one : streams) close(one);
        CHECK(until([&] { return runtime_operations() == 0; }));
    }
    SECTION("of an instance that is not there") {
        CHECK(open("GET", "/v1/instances/axis.7/logs", stream).code == 404);
        close(stream);
    }
}

TEST_CASE_METHOD(Cluster, "a blob that was damaged on the node's disk is fetched again") {
    deploy("axis", "axis:1.0", "SNode1");
    REQUIRE(ready("axis"));
    // The layer is shared with the next image; its bytes have changed since it was checked.
    const auto layer = test::sha256("layer");
    folder.write("SNode1/images/blobs/sha256/" + layer.substr(7), "DAMAGED");
    add_image("other:1.0", "layer");
    deploy("other", "other:1.0", "SNode1");
    REQUIRE(ready("other"));
    CHECK(events("image-failed") == 1);
    CHECK(folder.read("SNode1/images/blobs/sha256/" + layer.substr(7)) == "layer");
    CHECK(logged("blobs that were damaged"));
}

TEST_CASE_METHOD(Cluster, "a runtime is told which image a container waits for") {
    add_image("hurried:1.0", "HURRIED");
    deploy("axis", "hurried:1.0", "SNode1");
    CHECK(ready("axis"));
}

TEST_CASE_METHOD(Cluster, "an image with an empty blob is fetched, and others behind it") {
    add_image("empty:1", "");
    deploy("one", "empty:1", "SNode1");
    deploy("two", "axis:1.0", "SNode1");
    CHECK(ready("one"));
    CHECK(ready("two"));
}

TEST_CASE_METHOD(Cluster, "images that nothing needs any more leave the disks of node and controller") {
    const auto shared = test::sha256("layer");
    const auto other = add_image("other:1.0", "another layer");
    deploy("axis", "axis:1.0", "SNode1");
    deploy("other", "other:1.0", "SNode1");
    REQUIRE(ready("axis"));
    REQUIRE(ready("other"));
    REQUIRE(exists(blob("SNode1", other)));
    REQUIRE(ask("DELETE", "/v1/services/other").code == 200);
    CHECK(until([&] { return !exists(blob("SNode1", other)); }));
    CHECK(exists(blob("controller", other)));
    CHECK(until([&] { return ask("DELETE", "/v1/images/other:1.0").code == 200; }));  // once the service is gone
    CHECK(until([&] { return !exists(blob("controller", other)); }));
    CHECK(!exists(blob("controller", test::sha256("another layer"))));
    CHECK(exists(blob("controller", shared)));
    CHECK(exists(blob("SNode1", shared)));
}

TEST_CASE_METHOD(Cluster,
                 "an image that is not needed stays on a node that has room, and is there at once when it is again") {
    full_at = 100;
    start_node("SNode2");
    const auto other = add_image("other:1.0", "another layer"), layer = test::sha256("another layer");
    deploy("other", "other:1.0", "SNode2");
    REQUIRE(ready("other"));
    REQUIRE(ask("DELETE", "/v1/services/other").code == 200);
    deploy("axis", "axis:1.0", "SNode2");  // has its blobs kept after the other's could have gone
    REQUIRE(ready("axis"));
    CHECK(exists(blob("SNode2", other)));
    CHECK(exists(blob("SNode2", layer)));
    std::filesystem::remove(blob("controller", layer));  // it cannot be fetched again
    deploy("other", "other:1.0", "SNode2");
    CHECK(ready("other"));
}

TEST_CASE_METHOD(Cluster, "a large layer comes from a neighbour that has it, else from the controller") {
    full_at = 100;
    start_node("SNode2");
    REQUIRE(until([&] { return liveness("SNode2") == "ready"; }));
    const std::string layer(3 << 20, 'x');
    add_image("large:1", layer);
    deploy("one", "large:1", "SNode1");
    REQUIRE(ready("one", 30s));
    const auto at = [&](const std::string& owner) { return blob(owner, test::sha256(layer)); };
    const std::string comes = "comes from the node at 10.0.0.1:3901";
    SECTION("the controller has lost it") {
        std::filesystem::remove(at("controller"));
        deploy("two", "large:1", "SNode2");
        CHECK(ready("two", 30s));
        CHECK(exists(at("SNode2")));
        CHECK(logged(comes));
    }
    SECTION("the neighbour has lost it") {
        std::filesystem::remove(at("SNode1"));
        deploy("two", "large:1", "SNode2");
        CHECK(ready("two", 30s));
        CHECK(logged(comes));
        CHECK(logged("any more"));
    }
    SECTION("the neighbour's is damaged") {
        folder.write("SNode1/images/blobs/sha256/" + test::sha256(layer).substr(7), std::string(3 << 20, 'y'));
        deploy("two", "large:1", "SNode2");
        CHECK(ready("two", 30s));
        CHECK(events("image-failed") == 1);  // and the next try asks the controller alone
        CHECK(folder.read("SNode2/images/blobs/sha256/" + test::sha256(layer).substr(7)) == layer);
    }
    SECTION("neither has it") {
        std::filesystem::remove(at("controller"));
        std::filesystem::remove(at("SNode1"));
        deploy("two", "large:1", "SNode2");
        CHECK(until([&] { return events("image-failed") > 0; }, 30s));
    }
}

TEST_CASE_METHOD(Cluster, "blobs that only an older revision of a service needs stay") {
    deploy("axis", "axis:1.0", "SNode1");
    REQUIRE(ready("axis"));
    add_image("axis:1.0", "a newer layer");  // the name means something else now
    const std::string huge =
        R"({"service":{"name":"axis","image":"axis:1.0"},"placement":{"nodes":["SNode1"]},"resources":{"memory":"8TiB"}})";
    REQUIRE(ask("PUT", "/v1/services/axis", huge).code == 200);  // fits no node: the first revision runs on
    add_image("other:1.0", "layer");
    REQUIRE(ask("DELETE", "/v1/images/other:1.0").code == 200);
    const auto gone = add_image("gone:1.0", "gone");
    REQUIRE(ask("DELETE", "/v1/images/gone:1.0").code == 200);
    REQUIRE(until([&] { return !exists(blob("controller", gone)); }));  // one lane: other:1.0 is through as well
    CHECK(exists(blob("controller", test::sha256("layer"))));
}

TEST_CASE_METHOD(Cluster, "the progress of a large image is told in quarters, naming node and image") {
    add_image("large:1", std::string(9 << 20, 'x'));
    deploy("large", "large:1", "SNode1");
    REQUIRE(ready("large", 30s));
    CHECK(events("image-progress") == 4);
}

TEST_CASE_METHOD(Cluster, "a node whose connection was cut is lost, returns, and goes on") {
    deploy("axis", "axis:1.0", "SNode1");
    REQUIRE(ready("axis"));
    cut("SNode1");
    REQUIRE(until([&] { return liveness("SNode1") == "lost"; }));
    heal("SNode1");
    CHECK(until([&] { return liveness("SNode1") == "ready"; }));
    CHECK(ready("axis"));
}

TEST_CASE_METHOD(Cluster, "a gantryd that is started again adopts what runs") {
    deploy("axis", "axis:1.0", "SNode1");
    REQUIRE(ready("axis"));
    stop_node("SNode1");
    CHECK(events("node-lost") == 0);
    start_node("SNode1");
    CHECK(until([&] { return liveness("SNode1") == "ready" && instance_state("axis") == "ready"; }));
    CHECK(events("copy-lost") == 0);
}

TEST_CASE("a message that is longer than the transport takes is told and not lost in silence") {
    Scene scene(8 << 10);
    scene.start_controller();
    scene.start_node("SNode1");
    REQUIRE(scene.until([&] { return scene.liveness("SNode1") == "ready"; }));
    scene.add_image("axis:1.0", std::string(32 << 10, 'x'));  // its blob does not fit a message
    scene.deploy("axis", "axis:1.0", "SNode1");
    CHECK(scene.until([&] { return scene.events("message-too-long") > 0; }));
    CHECK(scene.logged("longer than the transport takes"));
}
