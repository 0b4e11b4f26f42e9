// SPDX-License-Identifier: Apache-2.0
//
// API changes: what they answer and what they refuse.
#include "kernel/core/agent.hpp"
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

json::value endpoint(const std::string& service, const std::string& name, const std::string& secret = "") {
    auto out = manifest(service, {"a"});
    json::object entry{{"name", name}, {"port", 3000}};
    if (!secret.empty()) entry["password"] = json::object{{"secret", secret}};
    out.as_object()["endpoint"] = json::array{std::move(entry)};
    return out;
}

std::string refusal(const Result<json::value>& result) {
    return result ? "accepted" : result.error().where + ": " + result.error().message;
}

}  // namespace

TEST_CASE("a deployment is refused with the field that is wrong") {
    ControllerShell c;
    c.join("a");
    auto document = manifest("s", {"a"});
    document.at("service").as_object()["image"] = "nope:1";
    CHECK(refusal(c.deploy(document)) ==
          "service.image: image nope:1 is not in the store; import it with: gantry image import FILE");
    document = manifest("s", {"a"});
    document.at("placement").as_object()["policy"] = "best";
    CHECK(refusal(c.deploy(document)) == "placement.policy: there is no policy best, expected one of least-loaded");
    CHECK(refusal(c.deploy(endpoint("s", "s", "axis")))
              .starts_with("endpoint[0].password.secret: there is no secret axis"));
    REQUIRE(c.deploy(endpoint("s", "shared")).has_value());
    CHECK(refusal(c.deploy(endpoint("t", "shared"))) ==
          "endpoint[0].name: the name shared belongs to service s; choose another");
    CHECK(c.core->services().size() == 1);
}

TEST_CASE("a deployment answers what it did, and the same again is no change") {
    ControllerShell c;
    c.join("a");
    const auto first = c.deploy(manifest("s", {"a", "later"}, 2));
    REQUIRE(first.has_value());
    CHECK(
        to_text(*first) ==
        R"({"service":"s","revision":1,"changed":true,"warnings":["placement.nodes[1]: no node later has joined yet"],"instances":2})");
    const auto stored = c.store;
    const auto again = c.deploy(manifest("s", {"a", "later"}, 2));
    CHECK(again->at("changed").as_bool() == false);
    CHECK(again->at("revision").to_number<int>() == 1);
    CHECK(c.store == stored);
    CHECK(c.deploy(manifest("s", {"a"}, 2))->at("revision").to_number<int>() == 2);
}

TEST_CASE("a dry run shows difference and placement, and changes nothing") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    REQUIRE(c.deploy(manifest("s", {"a", "b"}, 1)).has_value());
    c.obey("a", CopyState::kReady);
    const auto stored = c.store;
    auto changed = manifest("s", {"a", "b"}, 4);
    changed.as_object()["resources"] = json::object{{"memory", "400MiB"}};
    const auto told = c.deploy(changed, true);
    REQUIRE(told.has_value());
    CHECK(c.store == stored);
    CHECK(
        to_text(told->at("difference")) ==
        R"([{"field":"resources.memory","from":null,"to":419430400},{"field":"service.instances","from":null,"to":4}])");
    const auto& placement = told->at("placement").as_array();
    REQUIRE(placement.size() == 4);
    CHECK(placement[0].at("reason").as_string() == "runs now; replaced when its turn comes, without a gap");
    CHECK(placement[1].at("node").as_string() == "b");
    CHECK(placement[2].at("node").as_string() == "a");
    CHECK(placement[3].at("node").as_string() == "b");
    auto fresh = manifest("new", {"a", "b"}, 6);
    fresh.as_object()["resources"] = json::object{{"memory", "400MiB"}};
    const auto tight = c.deploy(fresh, true);
    REQUIRE(tight.has_value());
    CHECK(tight->at("revision").to_number<int>() == 1);
    std::size_t pending = 0;
    for (const auto& entry : tight->at("placement").as_array()) pending += entry.at("node").as_string() == "pending";
    CHECK(pending == 2);
    CHECK(c.core->services().size() == 1);
    c.rank_error = "asleep";
    const auto failed = c.deploy(fresh, true);
    CHECK(failed->at("placement").at(0).at("reason").as_string() == "policy least-loaded failed: asleep");
}

TEST_CASE("images and secrets that are used stay") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.api(ApiSetSecret{0, "axis", "geheim", false}).has_value());
    REQUIRE(c.deploy(endpoint("s", "s", "axis")).has_value());
    CHECK_FALSE(c.api(ApiRemoveImage{0, "app:1"}).has_value());
    CHECK_FALSE(c.api(ApiSetSecret{0, "axis", "", true}).has_value());
    CHECK_FALSE(c.api(ApiRemoveImage{0, "app:9"}).has_value());
    CHECK(to_text(c.core->secrets()) == R"([{"name":"axis"}])");
    CHECK(c.core->images().size() == 2);
    const auto before = c.node("a").list;
    REQUIRE(c.api(ApiSetSecret{0, "axis", "other", false}).has_value());
    CHECK(c.node("a").list.copies.at(0).copy == before.copies.at(0).copy);
    CHECK(c.node("a").list.copies.at(0).spec_digest != before.copies.at(0).spec_digest);
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    c.obey("a", CopyState::kReady);
    CHECK(c.api(ApiRemoveImage{0, "app:1"}).has_value());
    CHECK(c.api(ApiSetSecret{0, "axis", "", true}).has_value());
    CHECK(c.store.count("secret/axis") == 0);
    CHECK_FALSE(c.api(ApiSetSecret{0, "axis", std::string(5'000, 'x'), false}).has_value());
}

TEST_CASE("an image stays while any stored revision of a service needs it, and the refusal names both") {
    ControllerShell c;
    c.join("a");
    const auto why = [&](const std::string& image) {
        const auto removed = c.api(ApiRemoveImage{0, image});
        return removed ? std::string() : removed.error().message;
    };
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    c.obey("a", CopyState::kReady);
    CHECK(
        why("app:1") ==
        "image app:1 is needed by revision 1 of service s; deploy that service with another image first, or remove it");
    // The next one fits no node, so the first one runs on.
    auto next = manifest("s", {"a"});
    next.at("service").as_object()["image"] = "app:2";
    next.as_object()["resources"] = json::object{{"memory", "4GiB"}};
    REQUIRE(c.deploy(next).has_value());
    CHECK(why("app:1") ==
          "image app:1 is needed by revision 1 of service s, which copies still run: try again when "
          "revision 2 has replaced them");
    // Its name means something else by now: the blobs that it had stay.
    REQUIRE(c.api(ApiSetImage{0, "app:1", "sha256:new", "linux", "amd64", 1000}).has_value());
    CHECK(c.core->images_needed() == std::vector<std::string>{"sha256:app1", "sha256:app2", "sha256:new"});
    c.start();
    CHECK(c.core->images_needed() == std::vector<std::string>{"sha256:app1", "sha256:app2", "sha256:new"});
    c.connect("a");
    c.report("a");
    next.as_object().erase("resources");
    REQUIRE(c.deploy(next).has_value());
    for (int i = 0; i < 3; ++i) c.obey("a", CopyState::kReady);
    // The first revision is recorded until its image is removed: the service could go back to it.
    CHECK(c.core->images_needed() == std::vector<std::string>{"sha256:app1", "sha256:app2", "sha256:new"});
    CHECK(why("app:1") == "");
    CHECK(c.core->images_needed() == std::vector<std::string>{"sha256:app2"});
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    CHECK(why("app:2") ==
          "image app:2 is needed by revision 3 of service s, which is being removed: try again when "
          "its copies are gone");
    c.obey("a", CopyState::kReady);
    CHECK(why("app:2") == "");
}

TEST_CASE("removing and deploying a service again at once works, and the old copies count until they are gone") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(endpoint("s", "s")).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    CHECK(c.names.entries.empty());
    REQUIRE(c.deploy(endpoint("s", "s")).has_value());
    CHECK(c.where("s.0") == "");  // its own old copy holds the port
    c.obey("a", CopyState::kReady);
    CHECK(c.where("s.0") == "a");
    CHECK(c.names.entries.size() == 1);
}

TEST_CASE("specs are given by digest to the node that asks") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    const auto digest = c.node("a").list.copies.at(0).spec_digest;
    PullSpecs pull{{}, {digest, "sha256:unknown"}};
    auto& peer = c.node("a");
    ++peer.id.seq;
    pull.id = peer.id;
    const auto effects = c.core->step(PeerMessage{peer.peer, "", pull}, c.now);
    REQUIRE(effects.acts.size() == 1);
    const auto* specs = std::get_if<Specs>(&std::get<SendTo>(effects.acts[0]).message);
    REQUIRE(specs);
    REQUIRE(specs->specs.size() == 1);
    CHECK(specs->specs.begin()->first == digest);
    CHECK(specs->specs.begin()->second.image_digest == "sha256:app1");
}

TEST_CASE("the place of an instance, for logs") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    const auto place = c.core->place("s.0");
    REQUIRE(place.has_value());
    CHECK(place->node == "a");
    CHECK(place->peer == c.node("a").peer);
    const auto container = container_name(c.core->cluster_id(), place->copy, 4);
    const auto same = c.core->place(container);
    REQUIRE(same.has_value());
    CHECK(same->copy == place->copy);
    const auto older = container_name(c.core->cluster_id(), {place->copy.instance, place->copy.epoch + 1}, 1);
    CHECK(c.core->place(older).error().code == Code::kNotFound);
    for (const auto* wrong : {"s", "s.", "s.x", "s.1", "t.0", ".0", ""}) CHECK_FALSE(c.core->place(wrong).has_value());
}

TEST_CASE("a timing that contradicts a rule is refused with the rule") {
    CHECK(check_timing({}).has_value());
    Timing timing;
    timing.lost_after = timing.suspect_after;
    const auto refused = check_timing(timing);
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().where == "controller.timing.lost_after");
    CHECK(refused.error().message.find("suspect before it is lost") != std::string::npos);
    timing = {};
    timing.heartbeat = milliseconds(500);
    CHECK_FALSE(check_timing(timing).has_value());
    timing = {};
    timing.heartbeat = seconds(61);
    timing.suspect_after = timing.start_grace = timing.mass_pause = timing.hold = seconds(130);
    timing.lost_after = timing.reset_grace = seconds(130);
    CHECK(check_timing(timing).error().where == "controller.timing.heartbeat");
    timing = {};
    timing.crashes_to_move = 0;
    CHECK_FALSE(check_timing(timing).has_value());
}

TEST_CASE("a stored form that is not ours is refused with the key and what is wrong") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(manifest("s", {"a"})).has_value());
    const auto load = [&](const std::function<void(std::map<std::string, std::string>&)>& edit) {
        auto store = c.store;
        edit(store);
        std::vector<Entry> entries;
        for (const auto& [key, value] : store) entries.push_back({key, value});
        Controller core({}, {"least-loaded"});
        const auto result = core.load(entries, "x", c.now);
        return result ? std::string("loaded") : result.error().text();
    };
    CHECK(load([](auto&) {}) == "loaded");
    CHECK(load([](auto& s) { s["bogus"] = "{}"; }).find("bogus") != std::string::npos);
    CHECK(load([](auto& s) { s["meta"] = "{"; }).find("meta") != std::string::npos);
    CHECK(load([](auto& s) { s.erase("meta"); }).find("no key meta") != std::string::npos);
    CHECK(load([](auto& s) {
              s["meta"] = R"({"version":4,"cluster_id":"x","term":1,"next_service_no":1})";
          }).find("a newer gantryd") != std::string::npos);
    CHECK(load([](auto& s) { s["instance/9.0"] = s.at("instance/1.0"); }).find("instance/9.0") != std::string::npos);
    CHECK(load([](auto& s) { s["instance/1.x"] = s.at("instance/1.0"); }).find("instance/1.x") != std::string::npos);
    CHECK(
        load([](auto& s) {
            s["instance/1.0"] =
                R"({"epoch":0,"seen":0,"revision":9,"current":null,"next":null,"bound":"","moving_from":"a","stopping":true,"lost_on":[]})";
        }).find("instance/1.0.revision") != std::string::npos);
    CHECK(load([](auto& s) { s.erase("node/a"); }).find("instance/1.0.current.node") != std::string::npos);
    CHECK(load([](auto& s) { s["service/s"] = R"({"no":1})"; }).find("service/s") != std::string::npos);
}

TEST_CASE("a name belongs to a service until no copy of it answers to it any more") {
    ControllerShell c;
    c.join("a");
    REQUIRE(c.deploy(endpoint("s", "shared")).has_value());
    c.obey("a", CopyState::kReady);
    REQUIRE(c.deploy(endpoint("s", "other")).has_value());
    CHECK_FALSE(c.deploy(endpoint("t", "shared")).has_value());  // the copy of revision 1 is still there
    for (int i = 0; i < 3; ++i) c.obey("a", CopyState::kReady);
    CHECK(c.deploy(endpoint("t", "shared")).has_value());
}

namespace {

std::vector<std::string> dry(ControllerShell& c, const json::value& document) {
    const auto told = c.deploy(document, true);
    REQUIRE(told.has_value());
    std::vector<std::string> out;
    for (const auto& entry : told->at("placement").as_array())
        out.push_back(std::string(entry.at("instance").as_string()) + " " + std::string(entry.at("node").as_string()) +
                      ": " + std::string(entry.at("reason").as_string()));
    return out;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("a dry run tells what a deployment does") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    REQUIRE(c.deploy(manifest("s", {"a", "b"}, 2)).has_value());
    for (const auto* name : {"a", "b"}) c.obey(name, CopyState::kReady);
    SECTION("unchanged: nothing, though its image was imported again") {
        REQUIRE(c.api(ApiSetImage{0, "app:1", "sha256:other", "linux", "amd64", 5}).has_value());
        CHECK(dry(c, manifest("s", {"a", "b"}, 2)) == Lines{"s.0 a: stays", "s.1 b: stays"});
    }
    SECTION("another pool: what is outside of it is replaced") {
        CHECK(dry(c, manifest("s", {"b"}, 2)) ==
              Lines{"s.0 a: runs now; replaced when its turn comes, without a gap", "s.1 b: stays"});
        CHECK(dry(c, manifest("s", {"z"}, 2)) == Lines{"s.0 a: stays at its revision: the new one fits no node",
                                                       "s.1 b: stays at its revision: the new one fits no node"});
    }
    SECTION("static: by node, not by number, and by the hard rules") {
        auto fixed = manifest("s", {"b", "z", "d"});
        fixed.as_object()["service"].as_object().erase("instances");
        fixed.at("placement").as_object()["mode"] = "static";
        c.join("d");
        c.reset("d");
        c.wait(seconds(1), {"a", "b"});
        CHECK(dry(c, fixed) == Lines{"s.0 pending: d lost: reset", "s.1 b: stays", "s.2 pending: z never joined"});
        REQUIRE(c.deploy(fixed).has_value());
        CHECK(c.where("s.1") == "b");
        c.connect("d");
        c.report("d");
        CHECK(c.where("s.0") == "d");
    }
}
