// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/events.hpp"

#include <catch2/catch.hpp>

#include "kernel/base/limits.hpp"
#include "tests/unit/kernel/control/folder.hpp"

using namespace gantry;
using control::EventLog;

TEST_CASE("events are numbered without gaps and carry the term") {
    EventLog log{{}};
    log.set_term(7);
    log.add("placed", "axis_server.0 on SNode1", {{"node", "SNode1"}});
    log.add("ready", "axis_server.0 is ready", {});
    const auto entries = log.read(0, 10);
    REQUIRE(entries.size() == 2);
    const auto first = json::parse(entries[0]->text).as_object();
    CHECK(first.at("number").as_int64() == 1);
    CHECK(first.at("term").as_int64() == 7);
    CHECK(first.at("fields").as_object().at("node").as_string() == "SNode1");
    CHECK(log.read(1, 10).size() == 1);
}

TEST_CASE("the log keeps at most its limit of entries and of bytes") {
    EventLog log{{}};
    for (std::size_t i = 0; i < limits::kEvents + 50; ++i) log.add("tick", "", {});
    CHECK(log.read(0, SIZE_MAX).size() == limits::kEvents);
    CHECK(log.read(0, SIZE_MAX).front()->number == 51);
    const std::string large(1 << 20, 'x');
    for (int i = 0; i < 20; ++i) log.add("large", large, {});
    CHECK(log.bytes() <= limits::kEventBytes);
}

TEST_CASE("a reader that asks for few gets the newest") {
    EventLog log{{}};
    for (int i = 0; i < 5; ++i) log.add("tick", "", {});
    const auto entries = log.read(0, 2);
    REQUIRE(entries.size() == 2);
    CHECK(entries.front()->number == 4);
}

TEST_CASE("a watcher hears what it missed, then everything new, until it leaves") {
    EventLog log{{}};
    log.add("a", "", {});
    log.add("b", "", {});
    std::vector<std::uint64_t> heard;
    const auto id = log.watch(1, [&](std::uint64_t number, const std::string&) { heard.push_back(number); });
    REQUIRE(id);
    log.add("c", "", {});
    log.unwatch(*id);
    log.add("d", "", {});
    CHECK(heard == std::vector<std::uint64_t>{2, 3});
}

TEST_CASE("a watcher may leave while it is told") {
    EventLog log{{}};
    std::uint64_t id = 0;
    int calls = 0;
    id = *log.watch(0, [&](std::uint64_t, const std::string&) {
        ++calls;
        log.unwatch(id);
    });
    log.add("a", "", {});
    log.add("b", "", {});
    CHECK(calls == 1);
}

TEST_CASE("only so many may watch at once") {
    EventLog log{{}};
    for (std::size_t i = 0; i < limits::kWatchers; ++i) REQUIRE(log.watch(0, [](auto, const auto&) {}));
    CHECK(log.watch(0, [](auto, const auto&) {}).error().code == Code::kFull);
}

TEST_CASE("the log outlives its process, a torn last line included") {
    const test::Folder folder;
    const auto file = folder.path / "events.jsonl";
    {
        EventLog log{file};
        log.add("a", "", {});
        log.add("b", "", {});
    }
    folder.write("events.jsonl", folder.read("events.jsonl") + "{\"number\": 3, \"ki");
    EventLog log{file};
    CHECK(log.read(0, 10).size() == 2);
    log.add("c", "", {});
    CHECK(log.last_number() == 3);
}

TEST_CASE("a line that was torn does not swallow the one behind it") {
    const test::Folder folder;
    folder.write("events.jsonl", "{\"number\": 1, \"ki");
    { EventLog{folder.path / "events.jsonl"}.add("a", "", {}); }
    EventLog log{folder.path / "events.jsonl"};
    CHECK(log.read(0, 10).size() == 1);
}

TEST_CASE("an event that is longer than the whole log is kept until the next one comes") {
    EventLog log{{}};
    log.add("huge", std::string(limits::kEventBytes + 1, 'x'), {});
    CHECK(log.read(0, 10).size() == 1);
    log.add("a", "", {});
    CHECK(log.read(0, 10).size() == 1);
    CHECK(log.read(0, 10).front()->number == 2);
}

TEST_CASE("the log's files stay within the limit") {
    const test::Folder folder;
    EventLog log{folder.path / "events.jsonl"};
    const std::string large(100'000, 'x');
    for (int i = 0; i < 200; ++i) log.add("large", large, {});
    std::uintmax_t bytes = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path)) bytes += entry.file_size();
    CHECK(bytes <= limits::kEventBytes + large.size());
}
