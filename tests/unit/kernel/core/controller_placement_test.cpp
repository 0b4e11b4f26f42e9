// SPDX-License-Identifier: Apache-2.0
//
// The rules of placement as tables: what nodes are like, and what is decided.
#include "kernel/base/limits.hpp"
#include "tests/unit/kernel/core/controller_shell.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

struct NodeRow {
    std::string name;
    int copies = 0;               // it has already
    std::int64_t free_mib = 512;  // measured
    bool image = true;
};

json::value service(const std::string& name, json::object placement, json::object more = {}) {
    json::object out{{"service", {{"name", name}, {"image", "app:1"}}}, {"placement", std::move(placement)}};
    for (auto& member : more) out[member.key()] = member.value();
    return out;
}

ControllerShell with(const std::vector<NodeRow>& rows) {
    ControllerShell c;
    for (const auto& row : rows) {
        c.node(row.name).load.memory_free_bytes = row.free_mib << 20;
        if (row.image) c.node(row.name).images = {"sha256:app1"};
        c.join(row.name);
        if (row.copies) {
            REQUIRE(c.deploy(manifest("fill-" + row.name, {row.name}, row.copies)).has_value());
            c.obey(row.name, CopyState::kReady);
        }
    }
    return c;
}

}  // namespace

TEST_CASE("the best candidate: has the image, fewest copies, most free memory, then the name") {
    struct Row {
        std::string what;
        std::vector<NodeRow> nodes;
        std::string expected;
    };
    const std::vector<Row> table = {
        {"all equal: the name decides", {{"b"}, {"a"}, {"c"}}, "a"},
        {"fewest copies", {{"a", 2}, {"b", 1}, {"c", 3}}, "b"},
        {"copies tie: most free memory", {{"a", 1, 100}, {"b", 1, 300}, {"c", 1, 200}}, "b"},
        {"copies before memory", {{"a", 1, 900}, {"b", 0, 10}}, "b"},
        {"copies and memory tie: the name", {{"d", 1, 100}, {"c", 1, 100}, {"b", 2, 900}}, "c"},
        {"a node that lacks the image comes last", {{"a", 0, 900, false}, {"b", 5, 10, true}}, "b"},
        {"none has the image", {{"a", 1, 900, false}, {"b", 0, 10, false}}, "b"},
        {"one candidate", {{"a", 7, 1, false}}, "a"},
    };
    for (const auto& row : table) {
        INFO(row.what);
        ControllerShell c = with(row.nodes);
        json::array pool;
        for (const auto& node : row.nodes) pool.emplace_back(node.name);
        REQUIRE(c.deploy(service("s", {{"nodes", pool}})).has_value());
        CHECK(c.where("s.0") == row.expected);
    }
}

TEST_CASE("a burst spreads: pending copies count like running ones") {
    ControllerShell c = with({{"a"}, {"b"}, {"c"}, {"d"}});
    SECTION("many instances of one service") { REQUIRE(c.deploy(manifest("s", {"a", "b", "c", "d"}, 50)).has_value()); }
    SECTION("many services at once") {
        // They are all deployed before any node is there, and placed in one turn.
        for (const auto* name : {"a", "b", "c", "d"}) c.reset(name);
        c.wait(seconds(2), {});
        for (int i = 0; i < 50; ++i) {
            REQUIRE(c.deploy(manifest("s" + std::to_string(i), {"a", "b", "c", "d"})).has_value());
        }
        for (const auto* name : {"a", "b", "c", "d"}) c.reboot(name);
        for (const auto* name : {"a", "b", "c", "d"}) c.connect(name);
        const auto score = c.score;
        c.hold_ranks = true;
        for (const auto* name : {"a", "b", "c", "d"}) c.report(name);
        c.hold_ranks = false;
        const auto held = std::exchange(c.held, {});
        // What was asked when only the first was there counts for nothing now.
        for (const auto& rank : held) c.step(RankFailed{rank.id, "busy"});
        c.wait_all(seconds(2));
    }
    SECTION("many services, one after the other") {
        for (int i = 0; i < 50; ++i)
            REQUIRE(c.deploy(manifest("s" + std::to_string(i), {"a", "b", "c", "d"})).has_value());
    }
    std::size_t least = 1'000, most = 0;
    for (const auto* name : {"a", "b", "c", "d"}) {
        const std::size_t copies = c.node(name).list.copies.size();
        least = std::min(least, copies);
        most = std::max(most, copies);
    }
    INFO("invariant: pending left out of the count");
    CHECK(least >= 12);
    CHECK(most <= 13);
}

TEST_CASE("every hard rule excludes its node, with a reason that a person can read") {
    struct Row {
        std::string what;
        std::function<void(ControllerShell&)> before;  // b is made unfit
        json::object placement, more;
        std::string reason;
        std::function<void(Hello&)> hello;  // of b
    };
    const json::object pool{{"nodes", {"b"}}};
    const auto none = [](ControllerShell&) {};
    const std::vector<Row> table = {
        {"suspect", [](ControllerShell& c) { c.reset("b"); }, pool, {}, "suspect: its connection broke", {}},
        {"lost", [](ControllerShell& c) { c.wait(seconds(2), {"a"}); }, pool, {}, "lost: silence", {}},
        {"left", [](ControllerShell& c) { c.say("b", Leaving{}); }, pool, {}, "left", {}},
        {"cordoned",
         [](ControllerShell& c) {
             REQUIRE(c.api(ApiSetIntent{0, "b", "cordoned"}).has_value());
         },
         pool,
         {},
         "cordoned",
         {}},
        {"draining",
         [](ControllerShell& c) {
             REQUIRE(c.api(ApiSetIntent{0, "b", "draining"}).has_value());
         },
         pool,
         {},
         "draining",
         {}},
        {"architecture",
         none,
         pool,
         {},
         "the image is linux/amd64, the node runs linux/arm64",
         [](Hello& h) { h.runtimes[0].architectures = {"arm64"}; }},
        {"system",
         none,
         pool,
         {},
         "the image is linux/amd64, the node runs sylixos/amd64",
         [](Hello& h) { h.runtimes[0].system = "sylixos"; }},
        {"runtime",
         none,
         pool,
         {{"service", {{"name", "s"}, {"image", "app:1"}, {"runtime", "docker"}}}},
         "it has no runtime docker",
         {}},
        {"constraint, other value",
         none,
         {{"nodes", {"b"}}, {"constraints", {{"gpu", "yes"}}}},
         {},
         "label gpu: expected yes, got no",
         [](Hello& h) {
             h.labels = {{"gpu", "no"}};
         }},
        {"constraint, no such label",
         none,
         {{"nodes", {"b"}}, {"constraints", {{"gpu", "yes"}}}},
         {},
         "label gpu: expected yes, has none",
         {}},
        {"cpu", none, pool, {{"resources", {{"cpu", 4.5}}}}, "needs 4.5 cores, 4 of 4 are free", {}},
        {"cpu, taken by another",
         [](ControllerShell& c) {
             REQUIRE(c.deploy(service("t", {{"nodes", {"b"}}}, {{"resources", {{"cpu", 3}}}})).has_value());
         },
         pool,
         {{"resources", {{"cpu", 1.25}}}},
         "needs 1.25 cores, 1 of 4 are free",
         {}},
        {"memory",
         none,
         pool,
         {{"resources", {{"memory", "2GiB"}}}},
         "needs 2 GiB of memory, 1 GiB of 1 GiB are free",
         {}},
        {"port",
         [](ControllerShell& c) {
             REQUIRE(c.deploy(service("t", {{"nodes", {"b"}}},
                                      {{"endpoint", json::array{json::object{{"name", "x"}, {"port", 80}}}}}))
                         .has_value());
         },
         pool,
         {{"endpoint", json::array{json::object{{"name", "y"}, {"port", 80}}}}},
         "port 80 is taken",
         {}},
    };
    for (const auto& row : table) {
        INFO(row.what);
        ControllerShell c;
        c.join("a");
        c.join("b", row.hello);
        row.before(c);
        REQUIRE(c.deploy(service("s", row.placement, row.more)).has_value());
        CHECK(c.where("s.0") == "");
        CHECK(c.reason("s.0", "b") == row.reason);
        CHECK(c.last("pending").find(row.reason) != std::string::npos);
        // The same with a fit node in the pool.
        auto placement = row.placement;
        placement["nodes"] = {"a", "b"};
        auto document = service("s2", placement, row.more);
        document.at("service").as_object()["name"] = "s2";
        if (row.what == "port") document.as_object()["endpoint"].as_array()[0].as_object()["name"] = "z";
        const bool fits_a =
            row.what != "cpu" && row.what != "memory" && row.what != "runtime" && !row.what.starts_with("constraint");
        REQUIRE(c.deploy(document).has_value());
        CHECK(c.where("s2.0") == (fits_a ? "a" : ""));
    }
}

TEST_CASE("a pending instance is placed the moment something fits") {
    ControllerShell c;
    c.join("a", [](Hello& h) { h.memory_bytes = 100 << 20; });
    const json::object need{{"resources", {{"memory", "64MiB"}}}};
    REQUIRE(c.deploy(service("s", {{"nodes", {"a", "b"}}}, need)).has_value());
    REQUIRE(c.deploy(service("t", {{"nodes", {"a", "b"}}}, need)).has_value());
    c.obey("a", CopyState::kReady);
    CHECK(c.where("t.0") == "");
    CHECK(c.reason("t.0", "b") == "never joined");
    const auto told = c.count("pending");
    c.wait_all(seconds(5));
    CHECK(c.count("pending") == told);  // the reason is the same: nothing to tell
    SECTION("room is made") {
        REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
        CHECK(c.where("t.0") == "");
        c.obey("a", CopyState::kReady);
        CHECK(c.where("t.0") == "a");
    }
    SECTION("a node joins") {
        c.join("b");
        CHECK(c.where("t.0") == "b");
    }
    SECTION("a node is uncordoned") {
        REQUIRE(c.api(ApiSetIntent{0, "a", "cordoned"}).has_value());
        REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
        c.obey("a", CopyState::kReady);
        CHECK(c.where("t.0") == "");
        REQUIRE(c.api(ApiSetIntent{0, "a", "active"}).has_value());
        CHECK(c.where("t.0") == "a");
    }
}

TEST_CASE("a pool by labels follows the labels of nodes") {
    ControllerShell c;
    c.labels["a"] = {{"site", "press-3"}};
    c.join("a");
    c.join("b");
    REQUIRE(c.deploy(service("s", {{"labels", {{"site", "press-3"}}}})).has_value());
    CHECK(c.where("s.0") == "a");
    REQUIRE(c.deploy(service("t", {{"labels", {{"site", "press-4"}}}})).has_value());
    CHECK(c.where("t.0") == "");
    c.labels["b"] = {{"site", "press-4"}};
    c.connect("b");
    c.report("b");
    CHECK(c.where("t.0") == "b");
}

TEST_CASE("the image is prefetched by the whole pool, and by nobody when the service is gone") {
    ControllerShell c;
    c.join("a");
    c.join("b");
    c.join("z");
    REQUIRE(c.deploy(manifest("s", {"a", "b"})).has_value());
    CHECK(c.node("a").list.images == std::vector<std::string>{"sha256:app1"});
    CHECK(c.node("b").list.images == std::vector<std::string>{"sha256:app1"});
    CHECK(c.node("z").list.images.empty());
    REQUIRE(c.deploy(manifest("t", {"b"})).has_value());
    REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
    CHECK(c.node("a").list.images.empty());
    CHECK(c.node("b").list.images == std::vector<std::string>{"sha256:app1"});
    c.start();
    c.connect("b");
    c.report("b");
    CHECK(c.node("b").list.images == std::vector<std::string>{"sha256:app1"});
}

TEST_CASE("a policy that fails, lies or hangs blocks nothing else") {
    ControllerShell c({}, {"least-loaded", "other"});
    c.join("a");
    const auto by_other = [](const std::string& name) {
        return service(name, {{"nodes", {"a"}}, {"policy", "other"}});
    };
    SECTION("it fails, and is asked again a second later") {
        c.rank_error = "out of its mind";
        REQUIRE(c.deploy(by_other("s")).has_value());
        CHECK(c.reason("s.0", "*") == "policy other failed: out of its mind");
        c.rank_error.clear();
        c.wait_all(milliseconds(1'100));
        CHECK(c.where("s.0") == "a");
    }
    SECTION("it answers for other candidates") {
        c.score = [](const Rank&) { return std::vector<Keys>(7); };
        REQUIRE(c.deploy(by_other("s")).has_value());
        CHECK(c.where("s.0") == "");
        CHECK(c.reason("s.0", "*") == "policy other failed: it answered for 7 of 1 candidates");
    }
    SECTION("it hangs: others are placed meanwhile, and lists are sent") {
        c.hold_ranks = true;
        REQUIRE(c.deploy(by_other("s")).has_value());
        c.hold_ranks = false;
        REQUIRE(c.deploy(manifest("t", {"a"})).has_value());
        CHECK(c.where("t.0") == "a");
        CHECK(c.node("a").list.copies.size() == 1);
        c.wait_all(milliseconds(900));
        CHECK(c.where("s.0") == "");
        c.wait_all(milliseconds(200));
        CHECK(c.reason("s.0", "*") == "policy other failed: no answer within 1 s");
        c.wait_all(milliseconds(1'100));
        CHECK(c.where("s.0") == "a");
        // The first answer comes after all: nobody waits for it.
        c.step(Ranked{c.held.at(0).id, std::vector<Keys>(1)});
        CHECK(c.copy("s.0").epoch == 1);
    }
    SECTION("the world changes while it thinks: the hard rules are asked again") {
        c.join("b");
        c.hold_ranks = true;
        REQUIRE(c.deploy(service("s", {{"nodes", {"a", "b"}}, {"policy", "other"}})).has_value());
        c.hold_ranks = false;
        REQUIRE(c.api(ApiSetIntent{0, "a", "cordoned"}).has_value());
        c.step(Ranked{c.held.at(0).id, std::vector<Keys>(2)});
        CHECK(c.where("s.0") == "b");
    }
    SECTION("the service is gone when it answers") {
        c.hold_ranks = true;
        REQUIRE(c.deploy(by_other("s")).has_value());
        c.hold_ranks = false;
        REQUIRE(c.api(ApiRemoveService{0, "s"}).has_value());
        c.step(Ranked{c.held.at(0).id, std::vector<Keys>(1)});
        CHECK(c.node("a").list.copies.empty());
        REQUIRE(c.deploy(by_other("t")).has_value());
        CHECK(c.where("t.0") == "a");
    }
}

TEST_CASE("one service asks one question for all its instances and one for each further copy") {
    ControllerShell c;
    for (const auto* name : {"a", "b"}) c.join(name);
    c.questions = 0;
    REQUIRE(c.deploy(manifest("s", {"a", "b"}, 100)).has_value());
    CHECK(c.questions == 100);
    CHECK(c.node("a").list.no.no == 2);  // one list of its own at the start, one for all of them
}

TEST_CASE("explain says of each node its rank and keys, or which rule excludes it") {
    ControllerShell c = with({{"a", 1}, {"b"}, {"d"}});
    REQUIRE(c.deploy(service("s", {{"nodes", {"a", "b", "z"}}})).has_value());
    const auto told = c.core->explain(
        "s", c.now, [](const Rank& rank) -> Result<std::vector<Keys>> { return least_loaded(rank); },
        [](const std::string&) {
            return std::vector<std::string>{"copies", "free memory"};
        });
    REQUIRE(told.has_value());
    CHECK(told->at("policy").as_string() == "least-loaded");
    const auto& nodes = told->at("nodes").as_array();
    REQUIRE(nodes.size() == 4);
    CHECK(to_text(nodes[0]) == R"({"node":"a","rank":1,"keys":[1,-536870912],"has_image":true,"current":false})");
    CHECK(nodes[1].at("node").as_string() == "b");
    CHECK(nodes[1].at("current").as_bool());
    CHECK(nodes[2].at("excluded").as_string() == "not in the pool");
    CHECK(nodes[3].at("excluded").as_string() == "never joined");
    CHECK_FALSE(c.core->explain("t", c.now, nullptr, nullptr).has_value());
}

TEST_CASE("explain finds the terms of a policy whose one key is a sum, and they make up the sum") {
    ControllerShell c = with({{"a", 1}, {"b"}});
    c.join("c", [](Hello& h) { h.labels = {{"site", "here"}}; });
    REQUIRE(c.deploy(service("s", {{"nodes", {"a", "b", "c"}}}, {{"resources", {{"cpu", 0.5}}}})).has_value());
    std::size_t asked = 0;
    const auto sum = [&](const Rank& rank) -> Result<std::vector<Keys>> {
        std::vector<Keys> keys;
        asked = rank.candidates.size();
        for (const auto& n : rank.candidates)
            keys.push_back(
                {n.cpu_total_milli - n.cpu_free_milli + (n.memory_total_bytes - n.memory_free_bytes) / 1'024 +
                 10 * (n.copies_running + n.copies_pending) + (n.has_image ? 0 : 7) - (n.labels->empty() ? 0 : 3)});
        return keys;
    };
    const auto told =
        c.core->explain("s", c.now, sum, [](const std::string&) { return std::vector<std::string>{"points"}; });
    REQUIRE(told.has_value());
    CHECK(to_text(told->at("term_names")) == R"(["cpu","memory","copies","image","labels"])");
    CHECK(asked == 3 * 7);
    const auto& rows = told->at("nodes").as_array();
    REQUIRE(rows.size() == 3);
    std::set<std::string> copies, labels;
    for (const auto& row : rows) {
        const auto& terms = row.at("terms").as_array();
        REQUIRE(terms.size() == 5);
        std::int64_t total = 0;
        for (const auto& term : terms) total += term.as_int64();
        CHECK(total == row.at("keys").as_array().at(0).as_int64());
        copies.insert(to_text(terms[2]));
        labels.insert(to_text(terms[4]));
    }
    CHECK(copies == std::set<std::string>{"0", "10"});
    CHECK(labels == std::set<std::string>{"-3", "0"});
    const auto keys_only = c.core->explain(
        "s", c.now, [](const Rank& rank) -> Result<std::vector<Keys>> { return least_loaded(rank); },
        [](const std::string&) {
            return std::vector<std::string>{"copies", "free memory"};
        });
    CHECK_FALSE(keys_only->as_object().contains("term_names"));
}

TEST_CASE("a node that lacks the image comes last, unless the manifest leaves that to the policy") {
    for (const bool policy : {false, true}) {
        ControllerShell c = with({{"bare", 0, 512, false}, {"busy", 2}});
        json::object placement{{"nodes", {"bare", "busy"}}};
        if (policy) placement["image"] = "policy";
        REQUIRE(c.deploy(service("s", placement)).has_value());
        CHECK(c.where("s.0") == (policy ? "bare" : "busy"));
    }
}

TEST_CASE("explain notes where the limits of a service would not hold, which excludes no node") {
    ControllerShell c;
    c.join("holds", [](Hello& h) { h.runtimes[0].limits = true; });
    c.join("old");
    c.join("open", [](Hello& h) { h.runtimes[0].limits = false; });
    c.join("small", [](Hello& h) { h.runtimes[0].limits = false, h.memory_bytes = 1 << 20; });
    const json::object placement{{"nodes", {"holds", "old", "open", "small"}}};
    REQUIRE(c.deploy(service("s", placement, {{"resources", {{"cpu", 0.5}, {"memory", "64MiB"}}}})).has_value());
    REQUIRE(c.deploy(service("free", placement)).has_value());
    const auto notes = [&](const std::string& name) {
        std::map<std::string, std::string> out;
        const auto told = c.core->explain(
            name, c.now, [](const Rank& rank) -> Result<std::vector<Keys>> { return least_loaded(rank); },
            [](const std::string&) { return std::vector<std::string>{}; });
        REQUIRE(told.has_value());
        for (const auto& row : told->at("nodes").as_array()) {
            const auto* note = row.as_object().if_contains("note");
            out[row.at("node").as_string().c_str()] = note ? note->as_string().c_str() : "";
            CHECK(row.as_object().contains("excluded") == (row.at("node").as_string() == "small" && name == "s"));
        }
        return out;
    };
    const std::string open = "runtime oci does not enforce the limits: cpu, memory";
    const std::map<std::string, std::string> expected{{"holds", ""}, {"old", ""}, {"open", open}, {"small", open}};
    CHECK(notes("s") == expected);
    CHECK(notes("free")["open"].empty());
}

TEST_CASE("a node that comes to fit while the policy thinks is not forgotten") {
    ControllerShell c;
    c.join("a");
    c.join("b", [](Hello& h) { h.memory_bytes = 100 << 20; });
    const json::object need{{"resources", {{"memory", "64MiB"}}}};
    REQUIRE(c.deploy(service("fill", {{"nodes", {"b"}}}, need)).has_value());
    c.obey("b", CopyState::kReady);
    c.hold_ranks = true;
    REQUIRE(c.deploy(service("s", {{"nodes", {"a", "b"}}}, need)).has_value());
    c.hold_ranks = false;
    REQUIRE(c.held.at(0).candidates.size() == 1);
    REQUIRE(c.api(ApiRemoveService{0, "fill"}).has_value());
    c.obey("b", CopyState::kReady);  // b has room now
    REQUIRE(c.api(ApiSetIntent{0, "a", "cordoned"}).has_value());
    c.step(Ranked{c.held.at(0).id, std::vector<Keys>(1)});
    CHECK(c.where("s.0") == "b");
}

TEST_CASE("a node has at most a thousand copies, and its list fits one message") {
    ControllerShell c;
    c.join("a");
    const std::string name(limits::kName, 's');
    REQUIRE(c.deploy(manifest(name, {"a"}, 1'001)).has_value());
    CHECK(c.node("a").list.copies.size() == limits::kNodeCopies);
    CHECK(c.reason(name + ".1000", "a") == "has 1000 copies, no more fit");
    c.node("a").list.images.assign(limits::kNodeImages, "sha256:" + std::string(64, 'a'));
    CHECK(encode(c.node("a").list).size() < limits::kMessage / 2);
}

TEST_CASE("an image is prefetched only where it can run") {
    ControllerShell c;
    c.labels["b"] = {{"gpu", "yes"}};
    c.join("a");
    c.join("b");
    c.join("d", [](Hello& h) {
        h.runtimes[0].architectures = {"arm64"};
        h.labels = {{"gpu", "yes"}};
    });
    REQUIRE(c.deploy(service("s", {{"nodes", {"a", "b", "d"}}, {"constraints", {{"gpu", "yes"}}}})).has_value());
    CHECK(c.node("a").list.images.empty());
    CHECK(c.node("b").list.images.size() == 1);
    CHECK(c.node("d").list.images.empty());
    c.labels["b"] = {};
    c.labels["a"] = {{"gpu", "yes"}};
    for (const auto* name : {"a", "b"}) {
        c.connect(name);
        c.report(name);
    }
    CHECK(c.node("a").list.images.size() == 1);
    CHECK(c.node("b").list.images.empty());
}
