// SPDX-License-Identifier: Apache-2.0
#include "kernel/core/messages.hpp"

#include <catch2/catch.hpp>
#include <random>

#include "kernel/base/limits.hpp"

using namespace gantry;
using namespace gantry::core;
using Catch::Matchers::Contains;

namespace {

const Identity kId{"node-1", "boot-1", 3, 17};
const CopyId kCopy{{12, 1}, 3};

CopySpec copy_spec() {
    CopySpec c{"axis_server", 4, "sha256:aa", "axis_server:1.0", {}, {{"axis_server", "secret"}}};
    c.spec.name = "axis_server";
    c.spec.image = "axis_server:1.0";
    c.spec.env = {{"A", "1"}};
    c.spec.endpoints = {{"vsoa", "axis_server", 3002, "axis"}};
    c.spec.probes.push_back({});
    c.spec.probes[0].kind = "tcp";
    return c;
}

std::vector<AgentMessage> agent_messages() {
    return {Hello{kId,
                  "SNode1",
                  "cluster",
                  "10.0.0.1",
                  {{"site", "press"}},
                  {{"oci", "linux", {"amd64", "arm64"}, true},  // as an older node says it
                   {"crun", "linux", {"amd64"}, true, true, true, true, true},
                   {"process", "linux", {"amd64"}, false, false}},
                  {"tcp", "vsoa"},
                  4000,
                  1 << 30,
                  {2, 9},
                  "0.9.0",
                  3901,
                  {"cut", "kill"},
                  true,
                  true},
            Heartbeat{kId, {2, 9}, {100, 20}, 8, {4, 9, {-7}}},
            Report{kId,
                   {2, 9},
                   {100, 20},
                   {{kCopy, CopyState::kRunning, 7, 1, 2, -1, "exited with 1: \"陀螺仪\"\n", true, {20123, 3002}},
                    {{{12, 2}, 1}}},
                   {"sha256:aa"},
                   {"sha256:bb"},
                   false,
                   {},
                   {{kCopy, 7, {{-5}, {1LL << 57}}, {{{3}, {3}}, {{4}, {5}}}, Span{{6}, {7}}},
                    {{{12, 2}, 1}, 1, {{0}, {2}}}},
                   {4, 9, {1}}},
            PullList{kId},
            PullSpecs{kId, {"d1", "d2"}},
            Leaving{kId},
            Hold{kId},
            NodeEvent{kId, "image-fetched", "text", {{"image", "x"}}},
            BlobRead{kId, "sha256:aa", 1ULL << 40, 65536, "sha256:bb"},
            LogData{kId, 5, true, "gone"},
            LogData{kId, 5, true, "", -1, 1ULL << 40},
            Relayed{kId, 7, unframe(encode(AgentMessage(Heartbeat{{"other", "boot-2", 1, 1}, {2, 9}, {}}))).value(),
                    Ended::kNot, ""},
            Relayed{kId, 8, {}, Ended::kRefused, "Connection refused"}};
}

std::vector<ControllerMessage> controller_messages() {
    return {Welcome{"cluster", 2, 200, "10.0.0.1", 900, 9'000, 4, 50'000, 2'000, {5}},
            Refused{"a second node under the name SNode1"},
            HeartbeatAck{17, {2, 9}, 4, false, 8, {kCopy, {{12, 2}, 1}}, {1LL << 57}, 4},
            NodeList{"cluster",
                     {2, 9},
                     {{kCopy, "axis_server", "d1", true}, {{{12, 2}, 1}, "axis_server", "d1", false, false, true}},
                     {"i"}},
            Specs{{{"d1", copy_spec()}}},
            Names{2, 4, {{"axis_server", "10.0.0.1", "SNode1", 3002, kCopy}}},
            BlobData{"sha256:aa", 5, 10, "", {"10.0.0.2:3901"}},
            LogOpen{5, kCopy, true, 10},
            PauseCopy{7, kCopy, false},
            PauseCopy{7, kCopy, true, true},
            RestartCopy{8, kCopy},
            LogOpen{6, kCopy, false, -1, -60'000},
            LogClose{5},
            Ask{7, "10.0.0.2:3901", 300},
            Forward{7, to_document(HeartbeatAck{17, {2, 9}, 4}), false},
            Forward{7, {}, true},
            Drill{"cut", 20'000},
            ExecOpen{5, kCopy, {"/bin/sh", "-c", "echo 陀螺仪"}, true, true, 24, 65535},
            ExecInput{5, true, 1ULL << 40, 50, 120},
            HeartbeatAck{18, {2, 9}, 4, false, 9, {}, {1}}};
}

std::string framed(std::string text, std::string tail = {}) {
    std::string out;
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(text.size() >> shift & 0xff);
    return out + text + tail;
}

template <class Message>
bool may_have_tail(const Message& m) {
    const auto text = encode(m).substr(4, 40);
    return text.find("blob_data") != std::string::npos || text.find("log_data") != std::string::npos ||
           text.find("exec_input") != std::string::npos;
}

}  // namespace

TEST_CASE("every message of an agent survives the wire") {
    for (const auto& message : agent_messages()) {
        const std::string tail = may_have_tail(message) ? std::string("\0raw\xff", 5) : "";
        const auto bytes = encode(message, tail);
        const auto back = decode_agent(bytes);
        INFO(bytes << (back ? "" : back.error().text()));
        REQUIRE(back);
        CHECK(back->message.index() == message.index());
        CHECK(back->tail == tail);
        CHECK(encode(back->message, back->tail) == bytes);
        CHECK_FALSE(decode_controller(bytes));
    }
}

TEST_CASE("every message of a controller survives the wire") {
    for (const auto& message : controller_messages()) {
        const std::string tail = may_have_tail(message) ? std::string("\0raw\xff", 5) : "";
        const auto bytes = encode(message, tail);
        const auto back = decode_controller(bytes);
        INFO(bytes << (back ? "" : back.error().text()));
        REQUIRE(back);
        CHECK(back->message.index() == message.index());
        CHECK(encode(back->message, back->tail) == bytes);
        CHECK_FALSE(decode_agent(bytes));
    }
    const auto list = std::get<NodeList>(controller_messages()[3]);
    CHECK(std::get<NodeList>(decode_controller(encode(ControllerMessage(list)))->message) == list);
    const auto specs = std::get<Specs>(decode_controller(encode(controller_messages()[4]))->message);
    CHECK(specs.specs.at("d1") == copy_spec());
}

TEST_CASE("an older node tells no ports and chooses none") {
    const auto read = [](const char* members) {
        return decode_agent(
            framed(std::string(R"({"v":1,"node_id":"n","boot_id":"b","session":1,"seq":1,)") + members + "}"));
    };
    const auto report = read(R"("m":"report","copies":[{"copy":"12.0#3","state":"ready"}])");
    REQUIRE(report);
    CHECK(std::get<Report>(report->message).copies[0].ports.empty());
    const auto hello = read(R"("m":"hello","node":"a","runtimes":[{"name":"oci"},{"name":"crun","ports":true}])");
    REQUIRE(hello);
    CHECK_FALSE(std::get<Hello>(hello->message).runtimes[0].ports);
    CHECK(std::get<Hello>(hello->message).runtimes[1].ports);
}

TEST_CASE("another version is refused with both numbers") {
    const auto error = decode_agent(framed(R"({"v":2,"m":"whatever"})")).error();
    CHECK(error.code == Code::kUnsupported);
    CHECK_THAT(error.message, Contains("version 2") && Contains("speaks 1"));
    CHECK(decode_agent(framed(R"({"m":"hold"})")).error().where == "message.v");
}

TEST_CASE("members that are not known are left alone") {
    auto text = encode(AgentMessage(Hold{kId})).substr(4);
    text.insert(1, R"("newer":{"x":1},)");
    CHECK(decode_agent(framed(text)));
}

TEST_CASE("a message that is too long or lies about its length is refused") {
    CHECK_THAT(decode_agent(std::string(limits::kMessage + 1, ' ')).error().message,
               Contains("at most " + std::to_string(limits::kMessage)));
    CHECK_FALSE(decode_agent(""));
    CHECK_FALSE(decode_agent("abc"));
    CHECK_THAT(decode_agent("\xff\xff\xff\xff{}").error().message, Contains("4294967295"));
    CHECK_FALSE(decode_agent(framed(R"({"v":1,"m":"hold"})", "tail")));
    CHECK_FALSE(decode_agent(framed(encode(AgentMessage(Hold{kId})).substr(4), "tail")));
    CHECK_FALSE(decode_controller(encode(controller_messages()[6], std::string(limits::kBlobChunk + 1, 'x'))));
    CHECK(decode_controller(encode(controller_messages()[6], std::string(limits::kBlobChunk, 'x'))));
}

TEST_CASE("a message inside of a message is passed on as it is, and read by who is meant") {
    const Report report{{"other", "boot-2", 1, 5}, {2, 9}, {1, 2}, {{kCopy, CopyState::kReady}}, {"sha256:aa"}, {}};
    const auto bytes = encode(AgentMessage(report));
    const auto passed = unframe(bytes);
    REQUIRE(passed);
    CHECK(frame(*passed) == bytes);
    const auto wrapped = decode_agent(encode(AgentMessage(Relayed{kId, 7, *passed, Ended::kNot, ""})));
    REQUIRE(wrapped);
    const auto inner = read_agent(std::get<Relayed>(wrapped->message).message);
    REQUIRE(inner);
    CHECK(std::get<Report>(*inner).copies == report.copies);
    CHECK(std::get<Report>(*inner).id == report.id);
    CHECK_FALSE(read_agent({{"v", 2}, {"m", "hold"}}));
    CHECK_FALSE(read_agent({{"v", 1}, {"m", "welcome"}}));
}

TEST_CASE("what is no whole message is not passed on") {
    CHECK_FALSE(unframe(""));
    CHECK_FALSE(unframe(framed("[1]")));
    CHECK_FALSE(unframe(framed("{}", "tail")));
    CHECK_FALSE(unframe(std::string(limits::kMessage + 1, ' ')));
    CHECK(unframe(framed(R"({"v":9,"m":"newer"})")));  // it need not be understood
}

TEST_CASE("the largest table and the largest spec fit a message that passes them on") {
    Names names{1, 1, {}};
    for (std::uint64_t i = 0; i < 20'000; ++i)
        names.entries.push_back({std::string(63, 'n'), "10.0.0.1", std::string(63, 'm'), 65535, {{i, 0}, 1}});
    for (const auto& part : divide(names)) {
        const auto bytes = encode(ControllerMessage(Forward{1ULL << 48, to_document(part), false}));
        CHECK(decode_controller(bytes));
    }
}

TEST_CASE("a report carries what is measured, and none is not zero") {
    Usage usage;
    usage.disk_total_bytes = std::int64_t{1} << 40;
    usage.disk_free_bytes = 0;
    usage.pressure_io = 1'000;
    usage.temperature_c = -21;
    usage.copies = {{kCopy, 1'250, {}, 3}, {{{13, 0}, 1}}};
    Report report{{"n", "b", 1, 5}, {2, 9}, {1, 2}, {}, {}, {}};
    const auto none = decode_agent(encode(AgentMessage(report)));
    REQUIRE(none);
    CHECK_FALSE(std::get<Report>(none->message).usage);
    report.usage = usage;
    const auto bytes = encode(AgentMessage(report));
    CHECK(bytes.find(R"("usage":{"disk":1099511627776,"disk_free":0,"io_some":1000,"celsius":-21,)"
                     R"("copies":[["12.1#3",1250,null,3],["13.0#1",null,null,null]]})") != std::string::npos);
    const auto back = decode_agent(bytes);
    REQUIRE(back);
    CHECK(std::get<Report>(back->message).usage == usage);
    CHECK(std::get<Report>(back->message).usage->of(kCopy)->pids == 3);
    CHECK(std::get<Report>(back->message).usage->of({{12, 0}, 3}) == nullptr);
}

TEST_CASE("copies that are measured are in order, whatever a node says") {
    const auto back = decode_agent(framed(
        R"({"v":1,"m":"report","node_id":"n","boot_id":"b","session":1,"seq":1,"usage":{"new":1,"copies":[["13.0#1",2,3,4,5],["12.1#3",1,1,1]]}})"));
    REQUIRE(back);
    const auto& usage = *std::get<Report>(back->message).usage;
    CHECK(usage.copies.front().copy == kCopy);
    CHECK(usage.of({{13, 0}, 1})->cpu_milli == 2);
}

TEST_CASE("wrong values name their field") {
    const auto where = [](const char* members) {
        return decode_agent(
                   framed(std::string(R"({"v":1,"node_id":"n","boot_id":"b","session":1,"seq":1,)") + members + "}"))
            .error()
            .where;
    };
    CHECK(where(R"("m":"heartbeat","applied":[1])") == "message.applied");
    CHECK(where(R"("m":"heartbeat","applied":[1,-1])") == "message.applied");
    CHECK(where(R"("m":"relayed","route":1)") == "message.message");
    CHECK(where(R"("m":"relayed","route":1,"message":[])") == "message.message");
    CHECK(where(R"("m":"relayed","route":1,"ended":"somehow")") == "message.ended");
    CHECK(where(R"("m":"relayed","route":1,"ended":"")") == "message.ended");
    CHECK(where(R"("m":"relayed","route":-1,"ended":"silent")") == "message.route");
    CHECK(where(R"("m":"hello","node":"a","ask_port":65536)") == "message.ask_port");
    for (const auto* span : {"1", "[1]", "[2,1]", "[1.5,2]", "[0,288230376151711745]", "[-288230376151711745,0]"})
        CHECK(where((std::string(R"("m":"report","runs":[{"copy":"1.0#1","began":)") + span + "}]").c_str()) ==
              "message.runs[0].began");
    CHECK(where(R"("m":"report","runs":[{"copy":"1.0#1"}])") == "message.runs[0].began");
    CHECK(where(R"("m":"report","runs":[{"copy":"1.0","began":[1,2]}])") == "message.runs[0].copy");
    CHECK(where(R"("m":"report","runs":[{"copy":"1.0#1","began":[1,2],"turns":[[1,2],[3]]}])") ==
          "message.runs[0].turns[1]");
    CHECK(where(R"("m":"report","runs":[{"copy":"1.0#1","began":[1,2],"turns":[0,0,0,0,0,0,0,0,0]}])") ==
          "message.runs[0].turns");
    CHECK(where(R"("m":"heartbeat","said":288230376151711745)") == "message.said");
    CHECK(where(R"("m":"heartbeat","memory_free":-1)") == "message.memory_free");
    CHECK(where(R"("m":"report","copies":[{"copy":"12.0#3","state":"ready"},{"copy":"12.0","state":"ready"}])") ==
          "message.copies[1].copy");
    CHECK(where(R"("m":"report","copies":[{"copy":"12.0#3","state":"sleepy"}])") == "message.copies[0].state");
    const std::string many = to_text(json::array(limits::kEndpoints + 1, 3002));
    for (const std::string& ports : {std::string("{}"), std::string("[0]"), std::string("[-1]"), std::string("[65536]"),
                                     std::string("[\"x\"]"), many})
        CHECK(where((R"("m":"report","copies":[{"copy":"12.0#3","state":"ready","ports":)" + ports + "}]").c_str()) ==
              "message.copies[0].ports");
    CHECK(where(R"("m":"blob_read","digest":"d","offset":0,"length":65537)") == "message.length");
    CHECK(where(R"("m":"report","usage":[])") == "message.usage");
    CHECK(where(R"("m":"report","usage":{"cpu_some":1001})") == "message.usage.cpu_some");
    CHECK(where(R"("m":"report","usage":{"disk":-1})") == "message.usage.disk");
    CHECK(where(R"("m":"report","usage":{"sent":"much"})") == "message.usage.sent");
    CHECK(where(R"("m":"report","usage":{"copies":{}})") == "message.usage.copies");
    CHECK(where(R"("m":"report","usage":{"copies":[["12.0#3",1,1,1],["12.0",1,1,1]]})") == "message.usage.copies[1]");
    CHECK(where(R"("m":"report","usage":{"copies":[["12.0#3",-1,1,1]]})") == "message.usage.copies[0]");
    CHECK(where(R"("m":"report","usage":{"copies":[["12.0#3",1,1]]})") == "message.usage.copies[0]");
    CHECK(where(R"("m":"dance")") == "message.m");
    CHECK(
        decode_agent(framed(R"({"v":1,"m":"hold","node_id":"n","boot_id":"b","session":1,"seq":-1})")).error().where ==
        "message.seq");
    const auto unordered = decode_controller(framed(
        R"({"v":1,"m":"list","cluster_id":"c","no":[1,1],"copies":[{"copy":"2.0#1","service":"a","spec":"d"},{"copy":"1.0#1","service":"a","spec":"d"}]})"));
    CHECK(unordered.error().where == "message.copies[1]");
}

TEST_CASE("texts of copies read back exactly and nothing else does") {
    CHECK(parse_copy_id(kCopy.text()) == kCopy);
    CHECK(parse_instance_id("12.1") == kCopy.instance);
    for (const auto* bad : {"", "1", "1.", "1.2", "1.2#", "1.2#3 ", "01.2#3", "-1.2#3", "1.2#18446744073709551616",
                            "1.4294967296#1", "+1.2#3", "1.2#3#4"})
        CHECK_FALSE(parse_copy_id(bad));
}

TEST_CASE("the digest of a spec is the same for the same container and another for another") {
    auto a = copy_spec();
    auto b = copy_spec();
    b.spec.nodes = {"SNode1"};
    b.spec.instances = 5;
    CHECK(spec_digest(a) == spec_digest(b));
    CHECK(spec_digest(parse_copy_spec(to_json(a)).value()) == spec_digest(a));
    b.spec.env[0].second = "2";
    CHECK(spec_digest(a) != spec_digest(b));
}

TEST_CASE("many specs are divided into messages that fit") {
    Specs specs;
    for (int i = 0; i < 40; ++i) {
        auto c = copy_spec();
        c.spec.args = {std::string(30'000, 'x')};
        specs.specs.emplace("d" + std::to_string(i), c);
    }
    std::size_t count = 0;
    for (const auto& part : divide(specs)) {
        CHECK(decode_controller(encode(ControllerMessage(part))));
        count += part.specs.size();
    }
    CHECK(count == 40);
    CHECK(divide(Specs{}).empty());
}

TEST_CASE("truncated and mutated bytes never crash a decoder") {
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    std::vector<std::string> all;
    for (const auto& m : agent_messages()) all.push_back(encode(m));
    for (const auto& m : controller_messages()) all.push_back(encode(m));
    for (const auto& bytes : all)
        for (std::size_t size = 0; size < bytes.size(); ++size) {
            CHECK_FALSE(decode_agent(std::string_view(bytes).substr(0, size)));
            CHECK_FALSE(decode_controller(std::string_view(bytes).substr(0, size)));
        }
    std::size_t taken = 0;
    for (int round = 0; round < 20'000; ++round) {
        auto bytes = all[random() % all.size()];
        for (auto edits = random() % 4 + 1; edits > 0; --edits) {
            const auto at = random() % bytes.size();
            constexpr std::string_view kLikely = "{}[]\",:0-9e.ntf\\\0\xff";
            if (random() % 3 == 0)
                bytes.erase(at, random() % 4 + 1);
            else if (random() % 2 == 0)
                bytes.insert(at, 1, kLikely[random() % kLikely.size()]);
            else
                bytes[at] = static_cast<char>(random());
            if (bytes.empty()) bytes = "x";
        }
        const auto a = decode_agent(bytes);
        const auto c = decode_controller(bytes);
        if (a) {
            ++taken;
            REQUIRE(decode_agent(encode(a->message, a->tail)));
        }
        if (c) {
            ++taken;
            REQUIRE(decode_controller(encode(c->message, c->tail)));
        }
    }
    CHECK(taken > 0);
}

TEST_CASE("the names of ten thousand services fit one message") {
    Names names{1, 1, {}};
    for (std::uint32_t i = 0; i < limits::kServices; ++i)
        names.entries.push_back({"axis_server_" + std::to_string(i),
                                 "192.168.100.200",
                                 "SNode" + std::to_string(i % 100),
                                 3002,
                                 {{i, 0}, 12}});
    const auto back = decode_controller(encode(ControllerMessage(names)));
    REQUIRE(back);
    CHECK(std::get<Names>(back->message).entries == names.entries);
}

TEST_CASE("numbers that would not fit the stored form are refused") {
    const auto most = static_cast<std::uint64_t>(limits::kCounter);
    for (const auto no : {most, most + 1, std::uint64_t{INT64_MAX}, UINT64_MAX}) {
        INFO(no);
        const bool fits = no == most;
        CHECK(decode_agent(encode(Heartbeat{kId, {no, 1}, {}})).has_value() == fits);
        CHECK(decode_agent(encode(Heartbeat{kId, {1, no}, {}})).has_value() == fits);
        CHECK(parse_copy_id(CopyId{{12, 1}, no}.text()).has_value() == fits);
        CHECK(parse_copy_id(CopyId{{no, 1}, 1}.text()).has_value() == fits);
        CHECK(parse_instance_id(InstanceId{no, 1}.text()).has_value() == fits);
    }
}
