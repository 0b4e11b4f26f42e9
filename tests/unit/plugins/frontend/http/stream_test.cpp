// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <sys/resource.h>
#include <future>

#include <atomic>
#include <catch2/catch.hpp>
#include <fstream>

#include "tests/unit/plugins/frontend/http/door.hpp"

using Catch::Matchers::Contains;

namespace {

constexpr std::size_t kLarge = 50 << 20;

// The byte of the test stream at a position.
char pattern(std::size_t at) { return static_cast<char>((at * 31 + (at >> 12)) & 0xff); }
std::string pattern(std::size_t from, std::size_t count) {
    std::string out(count, '\0');
    for (std::size_t i = 0; i < count; ++i) out[i] = pattern(from + i);
    return out;
}

// Reads fd to its end; the number of bytes, or -1 if one of them is wrong.
std::int64_t take_all(int fd) {
    std::string piece(1 << 16, '\0');
    std::size_t at = 0;
    bool good = true;
    ssize_t got = 0;
    while ((got = read(fd, piece.data(), piece.size())) > 0) {
        good = good && piece.substr(0, static_cast<std::size_t>(got)) == pattern(at, static_cast<std::size_t>(got));
        at += static_cast<std::size_t>(got);
    }
    close(fd);
    return good ? static_cast<std::int64_t>(at) : -1;
}

bool write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t sent = write(fd, bytes.data(), bytes.size());
        if (sent <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

std::size_t peak_kib() {
    rusage use{};
    getrusage(RUSAGE_SELF, &use);
    return static_cast<std::size_t>(use.ru_maxrss);
}

}  // namespace

TEST_CASE("events are sent as they come, each with its number, after the one that was asked for") {
    Door door;
    door.open();
    Client client(door.settings.socket);
    SECTION("by the target") { REQUIRE(client.send_request("GET", "/v1/events?follow=1&after=2")); }
    SECTION("by the header of a client that comes back") {
        REQUIRE(
            client.send_request("GET", "/v1/events?after=0", {}, "Accept: text/event-stream\r\nLast-Event-ID: 2\r\n"));
    }
    const auto head = client.receive_head();
    REQUIRE(head);
    CHECK(head->code == 200);
    CHECK(head->headers.at("content-type") == "text/event-stream");
    for (std::uint64_t i = 1; i <= 3; ++i) door.tree.emit(i, "{\"n\":" + std::to_string(i) + "}");
    CHECK(client.receive_chunk() == "id: 3\ndata: {\"n\":3}\n\n");
    door.tree.emit(4, "{}");
    CHECK(client.receive_chunk() == "id: 4\ndata: {}\n\n");
    CHECK(door.tree.watchers() == 1);
    client.close();
    CHECK(eventually([&] { return door.tree.watchers() == 0; }));
}

TEST_CASE("a quiet event stream sends comments, and a wrong start is refused") {
    Door door;
    door.settings.keepalive_time = std::chrono::milliseconds(20);
    door.open();
    Client client(door.settings.socket);
    CHECK(client.ask("GET", "/v1/events?follow=1&after=x")->code == 400);
    REQUIRE(client.send_request("GET", "/v1/events?follow=1"));
    REQUIRE(client.receive_head());
    CHECK(client.receive_chunk() == ": keepalive\n\n");
    CHECK(client.receive_chunk() == ": keepalive\n\n");
}

TEST_CASE("a follower that does not read is let go and holds up nobody") {
    Door door;
    door.open();
    Client slow(door.settings.socket);
    REQUIRE(slow.send_request("GET", "/v1/events?follow=1"));
    REQUIRE(slow.receive_head());
    const std::string document = "{\"text\":\"" + std::string(100'000, 'x') + "\"}";
    for (std::uint64_t i = 1; i <= 400; ++i) door.tree.emit(i, document);
    CHECK(Client(door.settings.socket).ask("GET", "/v1/nodes")->code == 200);
    CHECK(slow.ended());
    CHECK(eventually([&] { return door.tree.watchers() == 0; }));
    CHECK_THAT(door.tree.log_text(), Contains("too slow"));
}

TEST_CASE("an upload of 50 MB passes through and is never held whole in memory") {
    Door door;
    std::atomic<std::int64_t> taken = 0;
    Question seen;
    door.tree.on_open = [&](const Question& q, int fd, const std::function<void(Reply)>& done) {
        seen = q;
        taken = take_all(fd);
        done({200, 0, "{\"taken\":true}"});
    };
    door.open();
    Client client(door.settings.socket);
    const std::size_t before = peak_kib();
    const bool chunked = GENERATE(false, true);
    REQUIRE(client.send(std::string("PUT /v1/blobs/sha256:ab HTTP/1.1\r\nHost: g\r\n") +
                        (chunked ? "Transfer-Encoding: chunked" : "Content-Length: " + std::to_string(kLarge)) +
                        "\r\n\r\n"));
    for (std::size_t at = 0; at < kLarge; at += 1 << 16) {
        const std::string piece = pattern(at, 1 << 16);
        REQUIRE(client.send(chunked ? "10000\r\n" + piece + "\r\n" : piece));
    }
    if (chunked) REQUIRE(client.send("0\r\n\r\n"));
    const auto answer = client.receive();
    REQUIRE(answer);
    CHECK(answer->code == 200);
    CHECK(answer->body == "{\"taken\":true}");
    CHECK(taken == static_cast<std::int64_t>(kLarge));
    CHECK(seen.path == "/v1/blobs/sha256:ab");
    CHECK(peak_kib() - before < 12 << 10);
    CHECK(client.ask("GET", "/v1/nodes")->code == 200);
}

TEST_CASE("an upload that is refused before its end is answered at once") {
    Door door;
    door.tree.on_open = [&](const Question&, int fd, const std::function<void(Reply)>& done) {
        close(fd);
        done({409, 0, "{\"error\":{\"code\":\"exists\",\"message\":\"it is there\"}}"});
    };
    door.open();
    Client client(door.settings.socket);
    REQUIRE(client.send("PUT /v1/blobs/sha256:ab HTTP/1.1\r\nHost: g\r\nContent-Length: " + std::to_string(kLarge) +
                        "\r\n\r\n"));
    SECTION("while nothing is sent") {}
    SECTION("while much is sent") {
        for (std::size_t at = 0; at < kLarge; at += 1 << 16)
            if (!client.send(std::string(1 << 16, 'x'))) break;
    }
    const auto answer = client.receive();
    REQUIRE(answer);
    CHECK(answer->code == 409);
    CHECK_THAT(answer->body, Contains("exists"));
}

TEST_CASE("an upload whose sender dies ends for the host, too") {
    Door door;
    std::atomic<std::int64_t> taken = -2;
    door.tree.on_open = [&](const Question&, int fd, const std::function<void(Reply)>& done) {
        taken = take_all(fd);
        done({400, 0, "{}"});
    };
    door.open();
    {
        Client client(door.settings.socket);
        REQUIRE(client.send("PUT /v1/blobs/sha256:ab HTTP/1.1\r\nHost: g\r\nContent-Length: 1000\r\n\r\n" +
                            pattern(0, 10)));
    }
    CHECK(eventually([&] { return taken == 10; }));
    CHECK(Client(door.settings.socket).ask("GET", "/v1/nodes")->code == 200);
}

TEST_CASE("a download of 50 MB passes through, and the connection serves on") {
    Door door;
    door.tree.on_open = [&](const Question&, int fd, const std::function<void(Reply)>& done) {
        done({});
        for (std::size_t at = 0; at < kLarge && write_all(fd, pattern(at, 1 << 16)); at += 1 << 16) continue;
        close(fd);
    };
    door.open();
    Client client(door.settings.socket);
    REQUIRE(client.send_request("GET", "/v1/blobs/sha256:ab"));
    const auto head = client.receive_head();
    REQUIRE(head);
    CHECK(head->headers.at("content-type") == "application/octet-stream");
    std::size_t at = 0;
    bool good = true;
    while (true) {
        const auto piece = client.receive_chunk();
        REQUIRE(piece);
        if (piece->empty()) break;
        good = good && *piece == pattern(at, piece->size());
        at += piece->size();
    }
    CHECK(good);
    CHECK(at == kLarge);
    CHECK(client.ask("GET", "/v1/nodes")->code == 200);
}

TEST_CASE("a download whose length is known says it, and ends the connection when it is cut short") {
    Door door;
    std::string content;
    door.tree.on_open = [&](const Question&, int fd, const std::function<void(Reply)>& done) {
        done({200, 0, R"({"digest":"sha256:ab","size":5})"});
        write_all(fd, content);
        close(fd);
    };
    door.open();
    Client client(door.settings.socket);
    const auto ask = [&] {
        REQUIRE(client.send_request("GET", "/v1/blobs/sha256:ab"));
        const auto head = client.receive_head();
        REQUIRE(head);
        CHECK(head->headers.at("content-length") == "5");
        CHECK_FALSE(head->headers.contains("transfer-encoding"));
    };
    SECTION("whole") {
        content = "hello";
        ask();
        CHECK(client.exactly(5) == "hello");
        CHECK(client.ask("GET", "/v1/nodes")->code == 200);
    }
    SECTION("cut short") {
        content = "hel";
        ask();
        CHECK(client.exactly(3) == "hel");
        CHECK(client.ended());
    }
}

TEST_CASE("a client of HTTP/1.0 gets a download that ends with the connection") {
    Door door;
    door.tree.on_open = [&](const Question&, int fd, const std::function<void(Reply)>& done) {
        done({});
        write_all(fd, "hello");
        close(fd);
    };
    door.open();
    Client client(door.settings.socket);
    REQUIRE(client.send("GET /v1/blobs/sha256:ab HTTP/1.0\r\n\r\n"));
    const auto head = client.receive_head();
    REQUIRE(head);
    CHECK_FALSE(head->headers.contains("transfer-encoding"));
    CHECK(client.ended());
}

TEST_CASE("a download that the tree refuses is answered with its document") {
    Door door;
    door.tree.on_open = [&](const Question&, int fd, const std::function<void(Reply)>& done) {
        close(fd);
        done({404, 0, "{\"error\":{\"code\":\"not_found\",\"message\":\"no such blob\"}}"});
    };
    door.open();
    const auto answer = Client(door.settings.socket).ask("GET", "/v1/blobs/sha256:ab");
    REQUIRE(answer);
    CHECK(answer->code == 404);
    CHECK_THAT(answer->body, Contains("no such blob"));
}

TEST_CASE("followed logs arrive line by line until the client leaves") {
    Door door;
    std::atomic<bool> noticed = false;
    std::atomic<int> lines = 0;
    std::string path;
    door.tree.on_open = [&](const Question& q, int fd, const std::function<void(Reply)>& done) {
        path = q.path;
        done({});
        write_all(fd, "first\n");
        eventually([&] { return lines > 0; });
        write_all(fd, "second\n");
        // The next read ends when the other end is closed.
        char none = 0;
        noticed = read(fd, &none, 1) <= 0;
        close(fd);
    };
    door.open();
    Client client(door.settings.socket);
    REQUIRE(client.send_request("GET", "/v1/instances/axis_server.0/logs?follow=1&tail=5"));
    const auto head = client.receive_head();
    REQUIRE(head);
    CHECK_THAT(head->headers.at("content-type"), Contains("text/plain"));
    CHECK(client.receive_chunk() == "first\n");
    CHECK(path == "/v1/instances/axis_server.0/logs?follow=1&tail=5");
    lines = 1;
    CHECK(client.receive_chunk() == "second\n");
    client.close();
    CHECK(eventually([&] { return noticed.load(); }));
}

TEST_CASE("what a command writes arrives until it ends, and what was asked for is the body") {
    Door door;
    std::string asked;
    door.tree.on_open = [&](const Question& q, int fd, const std::function<void(Reply)>& done) {
        asked = q.method + " " + q.path + " " + q.body;
        done({});
        write_all(fd, "o1234");
        close(fd);
    };
    door.open();
    Client client(door.settings.socket);
    REQUIRE(client.send_request("POST", "/v1/instances/axis.0/exec", R"({"args":["x"]})"));
    const auto head = client.receive_head();
    REQUIRE(head);
    CHECK_THAT(head->headers.at("content-type"), Contains("application/octet-stream"));
    CHECK(client.receive_chunk() == "o1234");
    CHECK(asked == R"(POST /v1/instances/axis.0/exec {"args":["x"]})");
}

TEST_CASE("stop ends everything that is under way") {
    Door door;
    std::atomic<bool> ended = false;
    door.tree.on_open = [&](const Question& q, int fd, const std::function<void(Reply)>& done) {
        if (q.method == "GET") done({});
        char piece = 0;
        while (read(fd, &piece, 1) > 0) continue;
        ended = true;
        close(fd);
        if (q.method == "PUT") done({});
    };
    door.open();
    Client idle(door.settings.socket), events(door.settings.socket), logs(door.settings.socket),
        upload(door.settings.socket), half(door.settings.socket);
    REQUIRE(idle.ask("GET", "/v1/nodes"));
    REQUIRE(events.send_request("GET", "/v1/events?follow=1"));
    REQUIRE(events.receive_head());
    REQUIRE(logs.send_request("GET", "/v1/instances/a.0/logs?follow=1"));
    REQUIRE(logs.receive_head());
    REQUIRE(upload.send("PUT /v1/blobs/sha256:ab HTTP/1.1\r\nHost: g\r\nContent-Length: 1000\r\n\r\nabc"));
    REQUIRE(half.send("GET /v1"));
    const auto before = std::chrono::steady_clock::now();
    door.server->stop();
    CHECK(std::chrono::steady_clock::now() - before < std::chrono::seconds(1));
    CHECK(idle.ended());
    CHECK(events.ended());
    CHECK(logs.ended());
    CHECK(upload.ended());
    CHECK(half.ended());
    CHECK(eventually([&] { return ended.load(); }));
}

TEST_CASE("a stop that has time answers what was asked, and takes nothing new") {
    Door door;
    std::promise<void> gate;
    std::atomic<bool> asked = false;
    door.tree.on_request = [&](const Question& q) {
        if (q.path == "/v1/slow") {
            asked = true;
            gate.get_future().wait();
        }
        return Reply();
    };
    door.open();
    Client idle(door.settings.socket), fresh(door.settings.socket), slow(door.settings.socket),
        follower(door.settings.socket);
    REQUIRE(idle.ask("GET", "/v1/nodes"));
    REQUIRE(follower.send_request("GET", "/v1/events?follow=1"));
    REQUIRE(follower.receive_head());
    REQUIRE(fresh.send("GET /v1/nodes HT"));
    REQUIRE(slow.send_request("GET", "/v1/slow"));
    REQUIRE(eventually([&] { return asked.load(); }));
    std::thread stopping([&] { door.server->stop(std::chrono::seconds(20)); });
    CHECK(idle.ended());
    CHECK(follower.ended());
    REQUIRE(fresh.send("TP/1.1\r\nHost: x\r\n\r\n"));
    gate.set_value();
    for (Client* const client : {&fresh, &slow}) {
        const auto answer = client->receive();
        REQUIRE(answer);
        CHECK(answer->code == 200);
        CHECK(answer->headers.at("connection") == "close");
    }
    stopping.join();
    CHECK_FALSE(Client(door.settings.socket).connected());
}
