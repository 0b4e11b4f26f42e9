// SPDX-License-Identifier: Apache-2.0
//
// The life of one copy: spec, image, attempts, crashes, probes, its end.
#include "tests/unit/kernel/core/agent_shell.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

const std::string kName1 = container_name(kCluster, kA, 1), kName2 = container_name(kCluster, kA, 2);

}  // namespace

TEST_CASE("a copy goes from its spec over its image and container to ready") {
    auto s = connected();
    s.images["oci"].clear();
    s.restart();
    s.connect();
    s.hold = holding<FetchImage>();
    const auto entry = s.entry(kA, AgentShell::spec("axis_server"));
    const auto specs = std::exchange(s.known_specs, {});
    s.give({1, 1}, {entry});
    CHECK(s.reported(kA)->reason == "waits for its description");
    CHECK(s.last_sent<PullSpecs>()->digests == std::vector<std::string>{entry.spec_digest});
    s.step(FromController{1, Specs{{{entry.spec_digest, specs.begin()->second}}}});
    REQUIRE(s.count<FetchImage>() == 1);
    s.step(ImageProgress{"sha256:img", 43});
    CHECK(s.reported(kA)->reason == "image 40%");
    CHECK(s.report.fetching == std::vector<std::string>{"sha256:img"});
    s.hold = holding<Start>();
    s.step(ImageReady{"sha256:img", {}});
    CHECK(s.state(kA) == CopyState::kCreating);
    CHECK(s.report.images == std::vector<std::string>{"sha256:img"});
    CHECK(s.told("image-fetched"));
    s.hold = nullptr;
    s.operate(std::get<Start>(s.held.back()).id, "start", "oci", kName1);
    s.step(AgentTick{});
    CHECK(s.state(kA) == CopyState::kReady);
    CHECK(s.agent->container_of(kA)->container == kName1);
    CHECK(s.agent->container_of(kA)->may_rest);
    CHECK(s.reported(kA)->restarts == 0);
}

TEST_CASE("what stands still is reported so, with its runtime's words, and is no crash") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    CHECK(s.state(kA) == CopyState::kReady);
    auto& box = s.boxes["oci"].at(kName1);
    for (const std::string detail : {"", "checkpointed, 1.4 MiB on disk"}) {
        box.paused = true;
        box.detail = detail;
        s.step(ContainerExited{"oci", {}, 0});
        CHECK(s.state(kA) == CopyState::kRunning);
        CHECK(s.reported(kA)->reason == std::string(kPausedReason) + (detail.empty() ? "" : ": " + detail));
        s.run_for(seconds(60));
        CHECK(s.running() == std::vector<std::string>{kName1});
        box = {true, true, 0, "", false};
        s.step(ContainerExited{"oci", {}, 0});
        CHECK(s.state(kA) == CopyState::kReady);
    }
    CHECK(s.reported(kA)->crashes == 0);
}

TEST_CASE("a spec that does not come is asked for every half second") {
    auto s = connected();
    const auto entry = s.entry(kA, AgentShell::spec("axis_server"));
    s.known_specs.clear();
    s.give({1, 1}, {entry});
    s.run_for(milliseconds(2600));
    CHECK(s.count_sent<PullSpecs>() == 6);
}

TEST_CASE("an image that fails is fetched again with growing pauses and its reason is shown") {
    auto s = connected();
    s.images["oci"].clear();
    s.fetch_error = Error{Code::kUnavailable, "link \xff slow\n", {}, true, {}};
    s.restart();
    s.connect();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    CHECK(s.reported(kA)->reason == "image: link \xef\xbf\xbd slow ");
    CHECK(s.report.fetching == std::vector<std::string>{"sha256:img link \xef\xbf\xbd slow "});
    s.run_for(seconds(60));
    const auto tries = s.count<FetchImage>();
    CHECK(tries >= 7);
    CHECK(tries <= 10);
    CHECK(s.reported(kA)->crashes == 0);
    s.fetch_error.reset();
    s.disconnect();
    s.connect();
    CHECK(s.state(kA) == CopyState::kReady);
}

TEST_CASE("the attempt is saved before its container is made") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    std::string document;
    for (const auto& e : s.log) {
        if (const auto* save = std::get_if<Save>(&e)) document = save->document;
        if (std::holds_alternative<Create>(e)) CHECK_THAT(document, Contains("\"12.0#1\":1"));
    }
    CHECK(s.count<Create>() == 1);
}

TEST_CASE("a container gets what it needs to find others and to know itself") {
    AgentShell s;
    s.facts.directory_port = 54;
    s.facts.position_servers = "10.0.0.9:54";
    s.start();
    s.connect();
    auto spec = AgentShell::spec("axis_server");
    spec.spec.env = {{"GANTRY_NODE", "mine"}, {"MODE", "fast"}};
    s.give({1, 1}, {s.entry({{12, 3}, 7}, spec)});
    const auto& env = s.last<Create>()->wanted.env;
    CHECK(value_of(env, "VSOA_POS_SERVER") == "10.0.0.1:54,10.0.0.9:54");
    CHECK(value_of(env, "GANTRY_SERVICE") == "axis_server");
    CHECK(value_of(env, "GANTRY_INSTANCE") == "3");
    CHECK(value_of(env, "GANTRY_EPOCH") == "7");
    CHECK(value_of(env, "GANTRY_NODE") == "mine");
    CHECK(value_of(env, "MODE") == "fast");
    CHECK(value_of(s.last<Create>()->wanted.labels, "gantry.instance") == "axis_server.3");
    CHECK(s.last<Create>()->runtime == "oci");
}

TEST_CASE("a node without a directory tells containers nothing about one, and advertise wins") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    CHECK(value_of(s.last<Create>()->wanted.env, "VSOA_POS_SERVER") == "(none)");
    AgentShell other;
    other.facts.directory_port = 54;
    other.facts.advertise = "fd00::1";
    other.start();
    other.connect();
    other.give({1, 1}, {other.entry(kA, AgentShell::spec("axis_server"))});
    CHECK(value_of(other.last<Create>()->wanted.env, "VSOA_POS_SERVER") == "[fd00::1]:54");
}

TEST_CASE("a crashed container starts again after a second under a new name") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.crash(kName1, 7);
    CHECK(s.state(kA) == CopyState::kWaiting);
    CHECK(s.reported(kA)->reason == "exited with 7");
    CHECK(s.reported(kA)->crashes == 1);
    CHECK(s.agent->container_of(kA)->container == kName1);  // its logs can still be read
    s.run_for(milliseconds(999));
    CHECK(s.running().empty());
    s.run_for(milliseconds(126));  // up to an eighth longer
    CHECK(s.running() == std::vector<std::string>{kName2});
    CHECK_FALSE(s.boxes["oci"].contains(kName1));
    CHECK(s.reported(kA)->restarts == 1);
    CHECK(s.reported(kA)->attempt == 2);
}

TEST_CASE("a stable time ends a row of crashes") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.crash(kName1);
    s.run_for(seconds(5));
    CHECK(s.reported(kA)->crashes == 1);
    s.run_for(seconds(7));
    CHECK(s.reported(kA)->crashes == 0);
}

TEST_CASE("the pause before a restart doubles with every crash of a row, up to a limit, and begins anew") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    std::uint64_t attempt = 1;
    for (const int pause_s : {1, 2, 4, 8, 16, 32, 60, 60}) {
        s.crash(container_name(kCluster, kA, attempt++));
        CHECK(s.reported(kA)->crashes == attempt - 1);
        s.run_for(seconds(pause_s) - milliseconds(1));
        CHECK(s.running().empty());
        s.run_for(seconds(pause_s) / 8 + milliseconds(2));
        CHECK(s.running().size() == 1);
    }
    s.run_for(seconds(11));
    s.crash(container_name(kCluster, kA, attempt));
    s.run_for(milliseconds(1'200));
    CHECK(s.running().size() == 1);
}

TEST_CASE("copies that failed together are not started together, and a history repeated gives the same pauses") {
    const auto pause_of = [](const CopyId& copy) {
        auto s = connected();
        s.give({1, 1}, {s.entry(copy, AgentShell::spec("axis_server"))});
        s.crash(container_name(kCluster, copy, 1));
        const Instant began = s.now;
        REQUIRE(s.until([&] { return !s.running().empty(); }, seconds(2)));
        return s.now - began;
    };
    CHECK(pause_of(kA) == pause_of(kA));
    CHECK(pause_of(kA) != pause_of(kB));
}

TEST_CASE("a container that cannot be created or started counts as crashed, with the reason") {
    auto s = connected();
    s.failures["create"] = kBroken;
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    CHECK(s.reported(kA)->reason == "cannot be created: engine broken");
    s.run_for(seconds(4));
    CHECK(s.reported(kA)->crashes >= 3);
    s.failures = {{"start", kBroken}};
    s.run_for(milliseconds(4'500));
    CHECK(s.reported(kA)->reason == "cannot be started: engine broken");
    s.failures.clear();
    s.run_for(seconds(11));
    CHECK(s.state(kA) == CopyState::kReady);
    CHECK(s.boxes["oci"].size() == 1);
}

TEST_CASE("an image that is gone when its container is made is fetched again") {
    auto s = connected();
    s.failures["create"] = Error{Code::kNotFound, "no such image", {}, false, {}};
    s.images["oci"].clear();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    CHECK(s.count<FetchImage>() == 1);
    s.failures.clear();
    s.run_for(seconds(2));
    CHECK(s.state(kA) == CopyState::kReady);
}

TEST_CASE("an operation whose end is not known is followed by a list") {
    auto s = connected();
    SECTION("the container was made") {
        s.hold = holding<Create>();
        s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
        s.hold = nullptr;
        s.boxes["oci"][kName1] = {};
        s.step(OperationDone{std::get<Create>(s.held.at(0)).id, std::unexpected(kNobodyKnows)});
        CHECK(s.running() == std::vector<std::string>{kName1});
    }
    SECTION("it was not") {
        s.hold = holding<Create>();
        s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
        s.hold = nullptr;
        s.step(OperationDone{std::get<Create>(s.held.at(0)).id, std::unexpected(kNobodyKnows)});
        CHECK(s.running().empty());
        CHECK_THAT(s.reported(kA)->reason, Contains("took too long"));
        s.run_for(milliseconds(1'200));
        CHECK(s.running() == std::vector<std::string>{kName2});
    }
    SECTION("it was started") {
        s.hold = holding<Start>();
        s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
        s.hold = nullptr;
        s.boxes["oci"][kName1] = {true, false, 0, {}};
        s.step(OperationDone{std::get<Start>(s.held.at(0)).id, std::unexpected(kNobodyKnows)});
        CHECK(s.state(kA) == CopyState::kReady);
        CHECK(s.count<Start>() == 1);
    }
}

TEST_CASE("an exit is a hint: a container that still runs is not restarted") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.step(ContainerExited{"oci", kName1, 1});
    s.step(ContainerExited{"oci", "", 0});
    s.step(ContainerExited{"nowhere", kName1, 1});
    CHECK(s.state(kA) == CopyState::kReady);
    CHECK(s.count<Create>() == 1);
}

TEST_CASE("an exit during the start is seen") {
    auto s = connected();
    s.hold = holding<Start>();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.hold = nullptr;
    s.boxes["oci"][kName1] = {false, false, 2, {}};
    s.step(ContainerExited{"oci", kName1, 2});
    s.step(OperationDone{std::get<Start>(s.held.at(0)).id, {}});
    CHECK(s.reported(kA)->reason == "exited with 2");
}

TEST_CASE("a list that is older than an operation is no evidence") {
    auto s = connected();
    s.hold = holding<ListContainers>();
    s.step(ContainerExited{"oci", "", 0});
    s.hold = nullptr;
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    REQUIRE(s.state(kA) == CopyState::kReady);
    s.step(ContainersListed{"oci", std::vector<Seen>{}});  // taken before the create
    CHECK(s.state(kA) == CopyState::kReady);
    s.step(ContainersListed{"oci", std::vector<Seen>{}});  // not asked for
    CHECK(s.state(kA) == CopyState::kReady);
}

TEST_CASE("a container that vanished is made anew once two lists agree") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.boxes["oci"].clear();
    s.step(ContainerExited{"oci", "", 0});
    CHECK(s.reported(kA)->reason == "its container is gone");
    s.run_for(milliseconds(1'200));
    CHECK(s.running() == std::vector<std::string>{kName2});
}

TEST_CASE("hints that were all missed are made up for by a list now and then") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.boxes["oci"].at(kName1) = {false, false, 1, {}};
    s.run_for(seconds(32));
    CHECK(s.running() == std::vector<std::string>{kName2});
}

TEST_CASE("a copy that is not in the list any more is stopped with its grace and removed") {
    auto s = connected();
    auto spec = AgentShell::spec("axis_server");
    spec.spec.stop_grace = seconds(3);
    s.give({1, 1}, {s.entry(kA, spec)});
    s.hold = holding<Stop>();
    s.give({1, 2}, {});
    CHECK(s.state(kA) == CopyState::kStopping);
    CHECK(s.last<Stop>()->grace == seconds(3));
    CHECK(s.agent->container_of(kA)->container == kName1);
    CHECK_FALSE(s.agent->container_of(kA)->may_rest);  // nobody restores it beside a copy that is elsewhere by now
    s.hold = nullptr;
    s.operate(s.last<Stop>()->id, "stop", "oci", kName1);
    s.step(AgentTick{});
    CHECK(s.boxes["oci"].empty());
    CHECK(s.report.copies.empty());
    CHECK(s.report.applied == ListNo{1, 2});
    CHECK_FALSE(s.agent->container_of(kA));
}

TEST_CASE("a container that cannot be stopped is shown and tried every five seconds") {
    auto s = connected();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.failures["stop"] = kBroken;
    s.give({1, 2}, {});
    CHECK(s.reported(kA)->cannot_stop);
    CHECK(s.reported(kA)->reason == "cannot be stopped: engine broken");
    s.run_for(seconds(21));
    CHECK(s.count<Stop>() == 5);
    CHECK(s.told("cannot-stop"));
    s.failures.clear();
    s.run_for(seconds(5));
    CHECK(s.report.copies.empty());
}

TEST_CASE("a copy that comes back while it is being stopped starts anew and counts no crash") {
    auto s = connected();
    const auto entry = s.entry(kA, AgentShell::spec("axis_server"));
    s.give({1, 1}, {entry});
    s.hold = holding<Stop>();
    s.give({1, 2}, {});
    s.give({1, 3}, {entry});
    CHECK_THAT(s.reported(kA)->reason, Contains("waits until " + kName1 + " is gone"));
    s.hold = nullptr;
    s.operate(s.last<Stop>()->id, "stop", "oci", kName1);
    s.step(AgentTick{});
    CHECK(s.running() == std::vector<std::string>{kName2});
    CHECK(s.reported(kA)->crashes == 0);
}

TEST_CASE("a copy that was removed and comes back never reuses a name") {
    auto s = connected();
    const auto entry = s.entry(kA, AgentShell::spec("axis_server"));
    for (std::uint64_t i = 0; i < 5; ++i) {
        s.give({1, 2 * i + 1}, {entry});
        CHECK(s.running() == std::vector<std::string>{container_name(kCluster, kA, i + 1)});
        s.give({1, 2 * i + 2}, {});
        if (i == 2) {
            s.restart();
            s.connect();
        }
    }
    CHECK(s.boxes["oci"].empty());
}

TEST_CASE("a copy taken away while it is made is removed when that ends") {
    auto s = connected();
    s.hold = holding<Create>();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis_server"))});
    s.give({1, 2}, {});
    s.hold = nullptr;
    s.operate(s.last<Create>()->id, "create", "oci", kName1);
    s.step(AgentTick{});
    CHECK(s.boxes["oci"].empty());
    CHECK(s.count<Start>() == 0);
}

TEST_CASE("images to have ready are fetched one at a time behind those of the copies") {
    auto s = connected();
    auto spec = AgentShell::spec("axis_server");
    spec.image_digest = "sha256:own";
    s.hold = holding<FetchImage>();
    s.give({1, 1}, {s.entry(kA, spec)}, {"sha256:img", "sha256:p1", "sha256:p2"});
    const auto fetched = [&] {
        std::vector<std::string> out;
        for (const auto& e : s.held) out.push_back(std::get<FetchImage>(e).digest);
        return out;
    };
    CHECK(fetched() == std::vector<std::string>{"sha256:own"});
    s.step(ImageReady{"sha256:own", {}});
    CHECK(fetched() == std::vector<std::string>{"sha256:own", "sha256:p1"});
    s.step(ImageReady{"sha256:p1", std::unexpected(kBroken)});
    CHECK(fetched().back() == "sha256:p2");
    s.step(ImageReady{"sha256:p2", {}});
    s.run_for(seconds(1));
    CHECK(fetched() == std::vector<std::string>{"sha256:own", "sha256:p1", "sha256:p2", "sha256:p1"});
}

TEST_CASE("an image that is fetched to be ready becomes urgent once when a copy needs it") {
    auto s = connected();
    auto spec = AgentShell::spec("axis_server");
    spec.image_digest = "sha256:own";
    s.hold = holding<FetchImage>();
    s.give({1, 1}, {}, {"sha256:own"});
    REQUIRE(s.count<FetchImage>() == 1);
    CHECK_FALSE(s.last<FetchImage>()->urgent);
    s.give({1, 2}, {s.entry(kA, spec)}, {"sha256:own"});
    s.run_for(seconds(1));
    REQUIRE(s.count<FetchImage>() == 2);
    CHECK(s.last<FetchImage>()->urgent);
    s.hold = nullptr;
    s.images["oci"].insert("sha256:own");
    s.step(ImageReady{"sha256:own", {}});
    CHECK(s.state(kA) == CopyState::kReady);
    s.step(ImageReady{"sha256:own", {}});
    CHECK(s.count<FetchImage>() == 2);
}

TEST_CASE("a spec for a runtime that this node does not have waits with the reason") {
    auto s = connected();
    auto spec = AgentShell::spec("axis_server");
    spec.spec.runtime = "docker";
    s.give({1, 1}, {s.entry(kA, spec)});
    CHECK(s.reported(kA)->reason == "this node has no runtime docker");
}

TEST_CASE("images of no copy and no prepull are dropped, once no container may still need them") {
    AgentShell s;
    s.images["oci"] = {"sha256:img", "sha256:next", "sha256:old"};
    s.start();
    s.run_for(seconds(2));
    CHECK(s.count<KeepImages>() == 0);  // nobody said yet what is needed
    s.connect();
    auto spec = AgentShell::spec("axis_server");
    const auto entry = s.entry(kA, spec);
    const auto specs = std::exchange(s.known_specs, {});
    s.give({1, 1}, {entry}, {"sha256:next"});
    CHECK(s.count<KeepImages>() == 0);  // the image of the copy is not known
    s.step(FromController{1, Specs{{{entry.spec_digest, spec}}}});
    REQUIRE(s.count<KeepImages>() == 1);
    CHECK(s.last<KeepImages>()->digests == std::vector<std::string>{"sha256:img", "sha256:next"});
    CHECK(s.report.images == s.last<KeepImages>()->digests);
    s.run_for(seconds(40));
    CHECK(s.count<KeepImages>() == 1);

    s.hold = holding<Stop>();
    s.give({1, 2}, {}, {"sha256:next"});
    s.run_for(milliseconds(100));
    CHECK(s.count<KeepImages>() == 1);  // its container still runs
    s.hold = nullptr;
    s.operate(std::get<Stop>(s.held.back()).id, "stop", "oci", kName1);
    s.step(AgentTick{});
    REQUIRE(s.count<KeepImages>() == 2);
    CHECK(s.last<KeepImages>()->digests == std::vector<std::string>{"sha256:next"});
    CHECK(s.report.images == std::vector<std::string>{"sha256:next"});
}

TEST_CASE("an image that arrives when nobody wants it any more is dropped again") {
    auto s = connected();
    s.hold = holding<FetchImage>();
    s.give({1, 1}, {}, {"sha256:big"});
    REQUIRE(s.count<FetchImage>() == 1);
    s.give({1, 2}, {});
    s.images["oci"].insert("sha256:big");
    s.step(ImageReady{"sha256:big", {}});
    CHECK(s.report.images.empty());
    CHECK(s.images["oci"].empty());
}

TEST_CASE("a start of which nothing is known is not repeated because one list leaves its container out") {
    auto s = connected();
    s.hold = holding<Start>();
    s.give({1, 1}, {s.entry(kA, AgentShell::spec("axis"))});
    REQUIRE(s.held.size() == 1);
    const auto start = std::get<Start>(s.held[0]);
    s.hold = holding<ListContainers>();
    s.step(OperationDone{start.id, std::unexpected(kNobodyKnows)});
    s.step(ContainersListed{"oci", std::vector<Seen>{}});
    s.step(ContainersListed{"oci", std::vector<Seen>{{"oci", start.name, true, false, 0, {}}}});
    CHECK(s.count<Create>() == 1);
    CHECK(s.state(kA) == CopyState::kReady);
}
