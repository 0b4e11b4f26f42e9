// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/client.hpp"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>

#include "kernel/cli/document.hpp"
#include "kernel/cli/event_feed.hpp"
#include "tests/unit/kernel/cli/fake_server.hpp"

using namespace gantry;
using namespace gantry::cli;

namespace {

constexpr const char* kStreamHead =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

std::string chunk(std::string_view bytes) {
    char size[16];
    std::snprintf(size, sizeof size, "%zx\r\n", bytes.size());
    return size + std::string(bytes) + "\r\n";
}

std::string sse(std::int64_t number) {
    return chunk("id: " + std::to_string(number) + "\ndata: {\"number\":" + std::to_string(number) + "}\n\n");
}

// What the client makes of a server that sends exactly these bytes.
Outcome<Answer> answer_to(std::string bytes) {
    FakeServer server([&](const FakeRequest&, FakeConnection& connection) { connection.send(bytes); });
    return Client(server.socket(), milliseconds(2000)).ask("GET", "/v1/nodes");
}

}  // namespace

TEST_CASE("names are encoded for paths") {
    CHECK(encode("axis_server.0") == "axis_server.0");
    CHECK(encode("a/b:1.0") == "a%2Fb:1.0");
    CHECK(encode("陀") == "%E9%99%80");
    CHECK(encode("a b?#%\r\n") == "a%20b%3F%23%25%0D%0A");
}

TEST_CASE("a request carries its body and gets its answer") {
    FakeServer server([](const FakeRequest&, FakeConnection& connection) { connection.answer(200, R"({"ok":true})"); });
    const Client client(server.socket());
    const auto answer = client.ask("PUT", "/v1/services/a?dry_run=1", R"({"service":{}})");
    REQUIRE(answer);
    CHECK(answer->code == 200);
    CHECK(flag_of(answer->document, "ok"));
    REQUIRE(server.requests().size() == 1);
    CHECK(server.requests()[0].text() == "PUT /v1/services/a?dry_run=1");
    CHECK(server.requests()[0].body == R"({"service":{}})");
}

TEST_CASE("an answer without a body is an empty document") {
    const auto answer = answer_to("HTTP/1.1 204 No Content\r\n\r\n");
    REQUIRE(answer);
    CHECK(answer->document.is_null());
}

TEST_CASE("refusals keep code, message and field") {
    FakeServer server([](const FakeRequest&, FakeConnection& connection) {
        connection.answer(400,
                          R"({"error":{"code":"invalid","message":"expected 1..100","field":"service.instances"}})");
    });
    const auto answer = Client(server.socket()).ask("GET", "/");
    REQUIRE(answer);
    const auto refused = refusal(*answer);
    CHECK(refused.status == exit_status::kFailed);
    CHECK(refused.error.code == Code::kInvalid);
    CHECK(refused.error.where == "service.instances");
    CHECK(refusal({404, nullptr}).status == exit_status::kNotFound);
    CHECK(refusal({504, nullptr}).status == exit_status::kNotReady);
    CHECK(refusal({503, nullptr}).status == exit_status::kFailed);
    CHECK(refusal({502, "<html>"}).error.message == "gantryd answered 502: <html>");
    CHECK(refusal({400, {{"error", "text"}}}).error.code == Code::kInvalid);
}

TEST_CASE("broken answers are told apart and never crash") {
    CHECK(answer_to("").error().error.code == Code::kUnknown);
    CHECK(answer_to("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\"").error().error.code == Code::kUnknown);
    CHECK(answer_to("HTTP/1.1 200 OK\r\nContent-Le").error().error.code == Code::kUnknown);
    for (const char* garbage : {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "HTTP/9.9 xyz\r\n\r\n", "\x16\x03\x01\x02",
                                "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
                                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n"}) {
        INFO(garbage);
        const auto answer = answer_to(garbage);
        REQUIRE_FALSE(answer);
        CHECK(answer.error().status == exit_status::kFailed);
    }
    CHECK(answer_to("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{\"a").error().error.message.find("JSON") !=
          std::string::npos);
    CHECK(answer_to("HTTP/1.1 200 OK\r\nContent-Length: 999999999999\r\n\r\n").error().error.message.find("64 MiB") !=
          std::string::npos);
}

TEST_CASE("a gantryd that says nothing ends the wait") {
    FakeServer server([](const FakeRequest&, FakeConnection& connection) { connection.receive(); });
    const auto answer = Client(server.socket(), milliseconds(100)).ask("GET", "/v1/nodes");
    REQUIRE_FALSE(answer);
    CHECK(answer.error().status == exit_status::kNotReady);
    CHECK(answer.error().error.message.find("100 ms") != std::string::npos);
}

TEST_CASE("a gantryd that cannot be reached is explained by its socket") {
    const TempFolder folder;
    const auto message = [](const std::string& path) {
        const auto answer = Client(path).ask("GET", "/");
        REQUIRE_FALSE(answer);
        CHECK(answer.error().status == exit_status::kUnreachable);
        CHECK(answer.error().error.message.find(path) != std::string::npos);
        return answer.error().error.message;
    };
    CHECK(message(folder.path / "none.sock").find("there is no such socket") != std::string::npos);
    std::ofstream(folder.path / "file") << "x";
    CHECK(message(folder.path / "file").find("another kind of file") != std::string::npos);

    const std::string abandoned = folder.path / "abandoned.sock";
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, abandoned.c_str(), abandoned.size() + 1);
    REQUIRE(bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    close(fd);
    CHECK(message(abandoned).find("nobody listens") != std::string::npos);
    if (geteuid() != 0) {
        chmod(abandoned.c_str(), 0);
        CHECK(message(abandoned).find("may not use") != std::string::npos);
    }
}

TEST_CASE("a socket with a path too long for a socket is reached") {
    FakeServer server([](const FakeRequest&, FakeConnection& connection) { connection.answer(200, "{}"); });
    const auto deep = std::filesystem::path(server.socket()).parent_path() / std::string(120, 'd');
    std::filesystem::create_directory(deep);
    std::filesystem::rename(server.socket(), deep / "api.sock");
    CHECK(Client(deep / "api.sock").ask("GET", "/"));
}

TEST_CASE("an upload arrives whole and tells its progress") {
    FakeServer server([](const FakeRequest&, FakeConnection& connection) { connection.answer(201, "{}"); });
    const std::string content(3'000'000, 'x');
    std::int64_t last = 0;
    const auto answer = Client(server.socket())
                            .upload(
                                "/v1/blobs/sha256:1", 3'000'000,
                                [&](std::int64_t at, char* into, std::size_t size) -> Outcome<std::size_t> {
                                    return content.copy(into, size, static_cast<std::size_t>(at));
                                },
                                [&](std::int64_t sent) { last = sent; });
    REQUIRE(answer);
    CHECK(answer->code == 201);
    CHECK(last == 3'000'000);
    CHECK(server.requests()[0].body == content);
}

TEST_CASE("an upload that is answered before its end is not sent to its end") {
    FakeServer server([](const FakeRequest&, FakeConnection&) {});
    server.on_head([](const FakeRequest&, FakeConnection& connection) {
        connection.answer(409, R"({"error":{"code":"exists","message":"there"}})");
    });
    std::int64_t last = 0;
    constexpr std::int64_t kSize = std::int64_t{1} << 40;
    const auto answer = Client(server.socket())
                            .upload(
                                "/v1/blobs/sha256:1", kSize,
                                [&](std::int64_t, char*, std::size_t size) -> Outcome<std::size_t> { return size; },
                                [&](std::int64_t sent) { last = sent; });
    REQUIRE(answer);
    CHECK(answer->code == 409);
    CHECK(last < kSize);
}

TEST_CASE("a stream gives what is there, then nothing yet, then its end") {
    std::atomic<bool> go_on{false};
    FakeServer server([&](const FakeRequest&, FakeConnection& connection) {
        connection.send(kStreamHead + chunk("one"));
        while (!go_on && !server.stopping()) std::this_thread::yield();
        connection.send(chunk("two") + "0\r\n\r\n");
    });
    auto stream = Client(server.socket()).open("/v1/instances/a.0/logs?follow=1");
    REQUIRE(stream);
    using Got = Client::Stream::Got;
    std::string bytes;
    REQUIRE((*stream)->read(bytes, milliseconds(5000)) == Got::kData);
    CHECK(bytes == "one");
    CHECK((*stream)->read(bytes, milliseconds(10)) == Got::kNothingYet);
    go_on = true;
    REQUIRE((*stream)->read(bytes, milliseconds(5000)) == Got::kData);
    CHECK(bytes == "two");
    CHECK((*stream)->read(bytes, milliseconds(5000)) == Got::kEnd);
}

TEST_CASE("a stream that is refused is Trouble") {
    FakeServer server([](const FakeRequest&, FakeConnection& connection) {
        connection.answer(404, R"({"error":{"code":"not_found","message":"no instance a.7"}})");
    });
    const auto stream = Client(server.socket()).open("/v1/instances/a.7/logs");
    REQUIRE_FALSE(stream);
    CHECK(stream.error().status == exit_status::kNotFound);
    CHECK(stream.error().error.message == "no instance a.7");
}

TEST_CASE("the event feed comes back after the last event it saw") {
    std::atomic<int> connections{0};
    FakeServer server([&](const FakeRequest&, FakeConnection& connection) {
        connection.send(kStreamHead);
        if (++connections == 1) {
            connection.send(sse(8) + sse(9));
            return;  // in the middle of the stream
        }
        connection.send(sse(10));
        connection.receive();
    });
    const Session session({server.socket(), true, true});
    EventFeed feed(session, 7);
    for (std::int64_t number = 8; number <= 10; ++number) {
        const auto event = feed.next(milliseconds(5000));
        REQUIRE(event);
        REQUIRE(event->has_value());
        CHECK(number_of(**event, "number") == number);
    }
    CHECK(feed.next(milliseconds(10)).value() == std::nullopt);
    CHECK(server.count("GET /v1/events?follow=1&after=7") == 1);
    CHECK(server.count("GET /v1/events?follow=1&after=9") == 1);
}

TEST_CASE("an event that is no document ends the feed") {
    FakeServer server([](const FakeRequest&, FakeConnection& connection) {
        connection.send(kStreamHead + chunk("data: nonsense\n\n"));
        connection.receive();
    });
    const Session session({server.socket(), true, true});
    EventFeed feed(session, 0);
    CHECK(feed.next(milliseconds(5000)).error().error.message.find("nonsense") != std::string::npos);
}
