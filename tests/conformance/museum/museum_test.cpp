// SPDX-License-Identifier: Apache-2.0
//
// Plugins of every released SDK, built with that SDK's headers, in the host of today: each slot that was frozen is
// called and does what its header promised. GANTRY_MUSEUM_SDKS names the SDKs: "1.0 1.1".
#include <unistd.h>

#include <sstream>

#include "kernel/host/least.hpp"
#include "tests/unit/kernel/host/bench_of_host.hpp"

namespace gantry::host {
namespace {

std::vector<std::string> released() {
    std::istringstream words(GANTRY_MUSEUM_SDKS);
    std::vector<std::string> out;
    for (std::string word; words >> word;) out.push_back(word);
    REQUIRE_FALSE(out.empty());
    return out;
}

// [role.exhibit] with the plugin of that SDK.
PluginTable exhibit(const std::string& role, const std::string& sdk, json::object values = {}) {
    PluginTable out = table(role, "exhibit", std::move(values));
    out.plugin = sdk;
    out.required = true;
    return out;
}

std::vector<PluginTable> one(PluginTable table) {
    std::vector<PluginTable> out;
    out.push_back(std::move(table));
    return out;
}

struct Tree final : ResourceTree {
    std::vector<ControlRequest> asked;
    void request(ControlRequest request, std::function<void(ControlResponse)> done) override {
        asked.push_back(std::move(request));
        done({204, 0, ""});
    }
    void open(ControlRequest, int fd, std::function<void(ControlResponse)> done) override {
        ::close(fd);
        done({500, 0, ""});
    }
    std::uint64_t watch(Principal, std::string, std::uint64_t,
                        std::function<void(std::uint64_t, const std::string&)>) override {
        return 1;
    }
    void unwatch(std::uint64_t) override {}
};

constexpr Duration kLimit = seconds(10);

#ifdef GANTRY_LATER_BORDER
// The structs that plugins fill in have grown; what is wanted of a plugin has not.
template <class... T>
constexpr bool grown_since_then = ((sizeof(T) > kLeast<T>)&&...);
static_assert(grown_since_then<gantry_entry, gantry_plugin, gantry_principal, gantry_control_request,
                               gantry_runtime_facts, gantry_container, gantry_container_list, gantry_image_list,
                               gantry_container_stats, gantry_exec_result, gantry_probe_result, gantry_transport_facts,
                               gantry_listen_result, gantry_dial_result>);
#endif

}  // namespace

TEST_CASE("placement/1: a policy of every released SDK ranks, refuses and takes its configuration") {
    for (const std::string& sdk : released()) {
        CAPTURE(sdk);
        Bench bench;
        json::object values{{"bias", 3}, {"avoid", json::array{"SNode3"}}};
        Host& host = bench.start(one(exhibit("placement", sdk, std::move(values))));
        Placement* const policy = host.placement("exhibit");
        REQUIRE(policy != nullptr);
        CHECK(policy->key_names() == std::vector<std::string>{"avoided", "not preferred", "load", "free memory"});
        const Labels fast{{"fast", "yes"}};
        constexpr std::int64_t kMiB = 1 << 20;
        const std::vector<CandidateView> candidates{
            {"SNode1", 4'000, 1'000, 512 * kMiB, 100 * kMiB, 2, 1, 1, true, &fast},
            {"SNode3", 4'000, 4'000, 512 * kMiB, 900 * kMiB, 0, 0, 0, false, {}}};
        RankQuestion question{3, 2, 4, "axis_server", 100, 8 * kMiB, 2, candidates};
        // Of a policy in this process the answer comes at once.
        const auto score = [&] {
            Result<std::vector<Keys>> out = fail(Code::kUnknown, "no answer");
            policy->score(question, [&](Result<std::vector<Keys>> answered) { out = std::move(answered); });
            return out;
        };
        const Result<std::vector<Keys>> answer = score();
        REQUIRE(answer);
        const std::vector<Keys>& keys = *answer;
        REQUIRE(keys.size() == 2);
        CHECK(keys[0] == Keys{0, 0, 7 + 3 - 25, (64 + 8 - 100) * kMiB});
        CHECK(keys[1] == Keys{1, 1, 3, (64 + 8 - 512) * kMiB});
        question.service = "refused";
        const Result<std::vector<Keys>> refused = score();
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code == Code::kUnavailable);
        CHECK(refused.error().text() == "placement.exhibit: score: told to refuse");
    }
}

TEST_CASE("probe/1: a probe of every released SDK goes through every service of the host") {
    for (const std::string& sdk : released()) {
        CAPTURE(sdk);
        Bench bench;
        Tree tree;
        bench.make().set_tree(&tree);
        REQUIRE(bench.host->configure(one(exhibit("probe", sdk))));
        REQUIRE(bench.host->start());
        Probe* const probe = bench.host->probe("exhibit");
        REQUIRE(probe != nullptr);
        const Result<ProbeAnswer> answer =
            bench.wait<ProbeAnswer>([&](auto done) { probe->check(question("axis_server.0"), kLimit, done); });
        REQUIRE(answer);
        CHECK(answer->verdict == Verdict::kHealthy);
        CHECK(answer->latency >= milliseconds(1));
        CHECK(answer->detail == "watch, timer, post, control 204, work");
        REQUIRE(tree.asked.size() == 1);
        CHECK(tree.asked[0].path == "/v1/museum");
        CHECK(tree.asked[0].principal.text() == "unix:museum");
        CHECK(bench.logged("a check begins"));
        REQUIRE(bench.events.size() == 1);
        CHECK(bench.events[0] == "museum-check: a check begins");
        CHECK(bench.host->plugins().at(0).metrics.at(0) == std::pair<std::string, double>{"checks_total", 1});
        const Result<ProbeAnswer> invalid =
            bench.wait<ProbeAnswer>([&](auto done) { probe->check(question(""), kLimit, done); });
        REQUIRE_FALSE(invalid);
        CHECK(invalid.error().code == Code::kInvalid);
    }
}

TEST_CASE("runtime/1: a runtime of every released SDK keeps containers from image to removal") {
    for (const std::string& sdk : released()) {
        CAPTURE(sdk);
        Bench bench;
        Host& host = bench.start(one(exhibit("runtime", sdk)));
        Runtime* const runtime = host.runtime("exhibit");
        REQUIRE(runtime != nullptr);
        std::vector<std::pair<std::string, int>> exits;
        bool changed = false;
        runtime->begin([&](std::string name, int code) { exits.emplace_back(std::move(name), code); },
                       [&] { changed = true; });
        const RuntimeFacts facts = runtime->facts();
        CHECK(facts.system == "museum");
        CHECK(facts.architectures == std::vector<std::string>{"amd64", "arm64"});
        CHECK(facts.limits);
        CHECK_FALSE(facts.fenceable);

        ContainerSpec spec;
        spec.name = "a.0";
        spec.image = "sha256:1";
        spec.args = {"exit", "7"};
        spec.mounts = {{"/tmp", "/data", true}};
        spec.memory_bytes = 1'024;
        spec.labels = {{"gantry.service", "a"}};
        const auto create = [&](auto done) { runtime->create(spec, kLimit, done); };
        CHECK(bench.wait<void>(create).error().code == Code::kNotFound);
        REQUIRE(
            bench.wait<void>([&](auto done) { runtime->ensure_image("sha256:1", "/var/layout", true, kLimit, done); }));
        CHECK(*bench.wait<std::vector<std::string>>([&](auto done) { runtime->images(kLimit, done); }) ==
              std::vector<std::string>{"sha256:1"});
        REQUIRE(bench.wait<void>(create));
        REQUIRE(bench.wait<void>([&](auto done) { runtime->start("a.0", kLimit, done); }));
        REQUIRE(bench.run_until([&] { return changed && exits.size() == 1; }));
        CHECK(exits[0] == std::pair<std::string, int>{"a.0", 7});

        const auto list = bench.wait<std::vector<Container>>([&](auto done) { runtime->list(kLimit, done); });
        REQUIRE(list);
        REQUIRE(list->size() == 1);
        CHECK((*list)[0].state == ContainerState::kExited);
        CHECK((*list)[0].exit_code == 7);
        CHECK((*list)[0].started.ns > 0);
        CHECK((*list)[0].labels == Labels{{"gantry.service", "a"}, {"mounts", "1"}, {"memory", "1024"}});

        REQUIRE(bench.wait<void>([&](auto done) { runtime->start("a.0", kLimit, done); }));
        CHECK(bench.wait<void>([&](auto done) { runtime->remove("a.0", kLimit, done); }).error().code ==
              Code::kConflict);
        REQUIRE(bench.wait<void>([&](auto done) { runtime->stop("a.0", seconds(1), kLimit, done); }));
        REQUIRE(bench.wait<void>([&](auto done) { runtime->kill("a.0", kLimit, done); }));
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        REQUIRE(bench.wait<void>([&](auto done) { runtime->logs("a.0", false, -1, 0, ends[1], done); }));
        char text[64]{};
        CHECK(::read(ends[0], text, sizeof(text) - 1) > 0);
        ::close(ends[0]);
        CHECK(std::string(text) == "a.0 has nothing to say\n");
        REQUIRE(bench.wait<void>([&](auto done) { runtime->remove("a.0", kLimit, done); }));
        REQUIRE(bench.wait<void>([&](auto done) { runtime->remove_image("sha256:1", kLimit, done); }));
        CHECK(bench.wait<std::vector<Container>>([&](auto done) { runtime->list(kLimit, done); })->empty());
    }
}

TEST_CASE("transport/1: a transport of every released SDK connects, carries, pushes back and closes") {
    for (const std::string& sdk : released()) {
        CAPTURE(sdk);
        Bench bench;
        Host& host = bench.start(one(exhibit("transport", sdk)));
        Transport* const transport = host.transport();
        REQUIRE(transport != nullptr);
        CHECK(transport->message_max_bytes() == 1'000);
        std::vector<std::string> seen;
        TransportEvents events;
        events.up = [&](PeerId peer, bool inbound, std::string address, std::string local) {
            seen.push_back("up " + std::to_string(peer) + (inbound ? " from " : " to ") + address + " at " + local);
        };
        events.message = [&](PeerId peer, Channel channel, std::string bytes) {
            seen.push_back("message " + std::to_string(peer) + (channel == Channel::kBulk ? " bulk " : " ") + bytes);
        };
        events.down = [&](PeerId peer, Down why, std::string text) {
            seen.push_back("down " + std::to_string(peer) + " " + std::to_string(static_cast<int>(why)) + " " + text);
        };
        events.writable = [&](PeerId peer) { seen.push_back("writable " + std::to_string(peer)); };
        events.refused = [&](std::string address, Down, std::string) { seen.push_back("refused " + address); };
        transport->begin(std::move(events));

        CHECK(*bench.wait<std::string>([&](auto done) { transport->listen("here:1", done); }) == "here:1");
        CHECK(bench.wait<PeerId>([&](auto done) { transport->dial("there:1", kLimit, done); }).error().code ==
              Code::kUnavailable);
        const Result<PeerId> peer = bench.wait<PeerId>([&](auto done) { transport->dial("here:1", kLimit, done); });
        REQUIRE(peer);
        CHECK(transport->send(*peer, Channel::kControl, "one") == Sent::kOk);
        CHECK(transport->send(*peer, Channel::kBulk, "two") == Sent::kOk);
        CHECK(transport->send(*peer, Channel::kControl, "too much") == Sent::kFull);
        CHECK(transport->send(*peer, Channel::kControl, std::string(1'001, 'x')) == Sent::kTooLong);
        CHECK(transport->send(99, Channel::kControl, "x") == Sent::kGone);
        REQUIRE(bench.run_until([&] { return !seen.empty() && seen.back() == "writable 1"; }));
        transport->close(*peer);
        REQUIRE(bench.run_until([&] { return seen.back() == "down 2 2 closed there"; }));
        CHECK(seen == std::vector<std::string>{"refused there:1", "up 1 to here:1 at here:0",
                                               "up 2 from here:0 at here:1", "message 2 one", "message 2 bulk two",
                                               "writable 1", "down 1 1 closed here", "down 2 2 closed there"});
    }
}

}  // namespace gantry::host
