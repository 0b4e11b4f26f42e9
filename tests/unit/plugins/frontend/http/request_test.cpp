// SPDX-License-Identifier: Apache-2.0
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <catch2/catch.hpp>
#include <fstream>

#include "plugins/frontend/http/answer.hpp"
#include "plugins/frontend/http/socket_file.hpp"
#include "tests/unit/plugins/frontend/http/door.hpp"

using Catch::Matchers::Contains;

TEST_CASE("a request reaches the tree as it was sent, and its answer comes back as it was given") {
    Door door;
    Question seen;
    door.tree.on_request = [&](const Question& q) {
        seen = q;
        return Reply{201, 42, "{\"name\":\"axis\"}"};
    };
    door.open();
    Client client(door.settings.socket);
    const auto answer = client.ask("PUT", "/v1/services/%E9%99%80%E8%9E%BA?dry_run=1", "{\"a\":1}");
    REQUIRE(answer);
    CHECK(answer->code == 201);
    CHECK(answer->body == "{\"name\":\"axis\"}");
    CHECK(answer->headers.at("etag") == "\"42\"");
    CHECK(answer->headers.at("content-type") == "application/json");
    CHECK(seen.method == "PUT");
    CHECK(seen.path == "/v1/services/%E9%99%80%E8%9E%BA?dry_run=1");
    CHECK(seen.body == "{\"a\":1}");
}

TEST_CASE("the principal is the user at the other end of the socket") {
    Door door;
    Question seen;
    door.tree.on_request = [&](const Question& q) {
        seen = q;
        return Reply();
    };
    door.open();
    REQUIRE(Client(door.settings.socket).ask("GET", "/v1/nodes"));
    CHECK(seen.kind == "unix");
    CHECK(seen.uid == getuid());
    CHECK(seen.gid == getgid());
    const passwd* user = getpwuid(getuid());
    CHECK(seen.name == (user ? user->pw_name : std::to_string(getuid())));
}

TEST_CASE("one connection serves many requests, also when they are sent at once") {
    Door door;
    door.tree.on_request = [&](const Question& q) { return Reply{200, 0, "\"" + q.path + "\""}; };
    door.open();
    Client client(door.settings.socket);
    std::string all;
    for (int i = 0; i < 50; ++i) all += "GET /v1/" + std::to_string(i) + " HTTP/1.1\r\nHost: g\r\n\r\n";
    REQUIRE(client.send(all));
    for (int i = 0; i < 50; ++i) {
        const auto answer = client.receive();
        REQUIRE(answer);
        CHECK(answer->body == "\"/v1/" + std::to_string(i) + "\"");
        CHECK_FALSE(answer->headers.contains("etag"));
    }
    REQUIRE(client.send("DELETE /v1/a HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n"));
    CHECK(client.receive()->headers.at("connection") == "close");
    CHECK(client.ended());
}

TEST_CASE("a body in chunks and a body that waits to be permitted are taken") {
    Door door;
    std::string body;
    door.tree.on_request = [&](const Question& q) {
        body = q.body;
        return Reply();
    };
    door.open();
    Client client(door.settings.socket);
    REQUIRE(client.send(
        "POST /v1/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"));
    REQUIRE(client.receive()->code == 200);
    CHECK(body == "abcde");
    REQUIRE(client.send("POST /v1/x HTTP/1.1\r\nHost: g\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
    REQUIRE(client.receive_head()->code == 100);
    REQUIRE(client.send("xyz"));
    CHECK(client.receive()->code == 200);
    CHECK(body == "xyz");
}

TEST_CASE("what the host does not accept is answered with its reason") {
    Door door;
    door.tree.refuse = GENERATE(GANTRY_FULL, GANTRY_DENIED, GANTRY_STALE);
    door.open();
    Client client(door.settings.socket);
    const int expected = door.tree.refuse == GANTRY_FULL ? 507 : door.tree.refuse == GANTRY_DENIED ? 403 : 503;
    for (const char* target : {"/v1/nodes", "/v1/blobs/sha256:00", "/v1/events?follow=1"}) {
        const auto answer = client.ask("GET", target);
        REQUIRE(answer);
        CHECK(answer->code == expected);
        CHECK_THAT(answer->body, Contains("{\"error\":{\"code\":\"") && Contains("\"message\":\""));
    }
}

TEST_CASE("what is no HTTP is answered 400, and others do not notice") {
    Door door;
    door.open();
    Client good(door.settings.socket);
    REQUIRE(good.ask("GET", "/v1/nodes"));
    for (const std::string& text :
         {std::string("garbage\r\n\r\n"), std::string("GET /v1/nodes\r\n\r\n"), std::string("\0\xff\x80\r\n\r\n", 7),
          std::string("GET /a HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
          std::string("POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
          std::string("POST /a HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
          std::string("GET http://x/v1/nodes HTTP/1.1\r\n\r\n")}) {
        INFO(text);
        Client bad(door.settings.socket);
        REQUIRE(bad.send(text));
        const auto answer = bad.receive();
        REQUIRE(answer);
        CHECK(answer->code == 400);
        CHECK_THAT(answer->body, Contains("\"code\":\"invalid\""));
    }
    CHECK(good.ask("GET", "/v1/nodes"));
}

TEST_CASE("limits are answered with the code that names them") {
    Door door;
    door.settings.body_max = 1000;
    door.open();
    Client client(door.settings.socket);
    SECTION("a header that is too long") {
        REQUIRE(client.send("GET /v1/nodes HTTP/1.1\r\nX: " + std::string(20'000, 'x') + "\r\n\r\n"));
        CHECK(client.receive()->code == 431);
    }
    SECTION("a header without end") {
        client.send("GET /v1/" + std::string(1 << 20, 'x'));
        CHECK(client.receive()->code == 431);
    }
    SECTION("a document that says it is too long") {
        REQUIRE(client.send("PUT /v1/x HTTP/1.1\r\nHost: g\r\nContent-Length: 1001\r\n\r\n"));
        CHECK(client.receive()->code == 413);
    }
    SECTION("a document that becomes too long") {
        REQUIRE(client.send("PUT /v1/x HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"));
        while (client.send("100\r\n" + std::string(256, 'x') + "\r\n")) continue;
        CHECK(client.receive()->code == 413);
    }
    SECTION("a document as long as the limit is taken") {
        CHECK(client.ask("PUT", "/v1/x", std::string(1000, 'x'))->code == 200);
    }
    SECTION("an unknown method") {
        const auto answer = client.ask("PATCH", "/v1/x", "{}");
        CHECK(answer->code == 405);
        CHECK(answer->headers.at("allow") == "GET, PUT, POST, DELETE");
    }
    SECTION("a condition that would not be looked at") {
        REQUIRE(client.send_request("PUT", "/v1/x", "{}", "If-Match: \"5\"\r\n"));
        CHECK(client.receive()->code == 501);
    }
}

TEST_CASE("a request that is not sent in time ends its connection") {
    Door door;
    door.settings.request_time = std::chrono::milliseconds(100);
    door.open();
    Client client(door.settings.socket);
    REQUIRE(client.send("GET /v1/no"));
    CHECK(client.receive()->code == 408);
    CHECK(client.ended());
    Client body(door.settings.socket);
    REQUIRE(body.send("PUT /v1/x HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc"));
    CHECK(body.receive()->code == 408);
}

TEST_CASE("one connection too many is turned away, and taken when another one left") {
    Door door;
    door.open();
    std::deque<Client> clients;
    for (std::size_t i = 0; i < gantry::http::kConnections; ++i) {
        clients.emplace_back(door.settings.socket);
        REQUIRE(clients.back().ask("GET", "/v1/nodes"));
    }
    Client extra(door.settings.socket);
    const auto answer = extra.receive();
    REQUIRE(answer);
    CHECK(answer->code == 503);
    for (Client& client : clients) CHECK(client.ask("GET", "/v1/nodes")->code == 200);
    clients.pop_front();
    CHECK(eventually([&] {
        const auto again = Client(door.settings.socket).ask("GET", "/v1/nodes");
        return again && again->code == 200;
    }));
}

TEST_CASE("the socket has its mode, replaces a stale one and is removed at the end") {
    Door door;
    door.settings.mode = 0600;
    {
        // What a killed process leaves: a socket without a listener.
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        door.settings.socket.copy(address.sun_path, sizeof address.sun_path - 1);
        const gantry::Fd left(socket(AF_UNIX, SOCK_STREAM, 0));
        REQUIRE(bind(left.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    }
    door.open();
    struct stat have {};
    REQUIRE(stat(door.settings.socket.c_str(), &have) == 0);
    CHECK((have.st_mode & 07777) == 0600);
    CHECK(Client(door.settings.socket).ask("GET", "/v1/nodes"));
    door.server->stop();
    CHECK(stat(door.settings.socket.c_str(), &have) != 0);
}

TEST_CASE("a socket that is in use, and a file that is no socket, are left alone") {
    Door door;
    SECTION("in use") {
        door.open();
        gantry::http::Server second(door.settings, *door.host);
        CHECK_THROWS_WITH(second.start(), Contains("another process listens"));
        CHECK(Client(door.settings.socket).ask("GET", "/v1/nodes"));
    }
    SECTION("a file") {
        std::ofstream(door.settings.socket) << "precious";
        CHECK_THROWS_WITH(door.open(), Contains("is no socket"));
        CHECK(std::filesystem::file_size(door.settings.socket) == 8);
    }
    SECTION("a path that is too long") {
        CHECK_THROWS_WITH(gantry::http::check_socket_path("/" + std::string(200, 'x')),
                          Contains("at most 107 bytes, got 201"));
        CHECK_THROWS_WITH(gantry::http::check_socket_path("api.sock"), Contains("absolute"));
    }
}

TEST_CASE("a missing group is a warning, a present one gets the socket and the folder made for it") {
    Door door;
    // Any other group will do: root may give a file to each that its user namespace has, others to those they are in.
    std::array<gid_t, 64> groups{};
    const int count = getgroups(static_cast<int>(groups.size()), groups.data());
    gid_t other = getegid();
    for (int i = 0; i < count; ++i)
        if (groups[static_cast<std::size_t>(i)] != getegid()) other = groups[static_cast<std::size_t>(i)];
    const gid_t another = getegid() == 1 ? 2 : 1;
    if (geteuid() == 0 && chown(door.folder.path.c_str(), geteuid(), another) == 0) other = another;
    const auto previous = umask(0077);
    SECTION("missing") {
        door.settings.group = "no-such-group-here";
        door.open();
        CHECK_THAT(door.tree.log_text(), Contains("no group \"no-such-group-here\" in /etc/group"));
        CHECK(Client(door.settings.socket).ask("GET", "/v1/nodes"));
    }
    SECTION("present") {
        const group* entry = getgrgid(other);
        REQUIRE(entry != nullptr);
        door.settings.group = entry->gr_name;
        door.settings.socket = door.folder.path + "/run/gantry/api.sock";
        door.open();
        for (const std::string name : {"/run", "/run/gantry", "/run/gantry/api.sock"}) {
            struct stat have {};
            REQUIRE(stat((door.folder.path + name).c_str(), &have) == 0);
            CHECK(have.st_gid == other);
            CHECK((have.st_mode & 07777) == (S_ISDIR(have.st_mode) ? 0750 : 0660));
        }
        CHECK(door.tree.log_text().empty());
    }
    SECTION("a socket for everybody, a folder that is there") {
        door.settings.mode = 0666;
        door.settings.socket = door.folder.path + "/run/api.sock";
        door.open();
        struct stat have {};
        REQUIRE(stat((door.folder.path + "/run").c_str(), &have) == 0);
        CHECK((have.st_mode & 07777) == 0755);
        REQUIRE(stat(door.folder.path.c_str(), &have) == 0);
        CHECK((have.st_mode & 07777) == 0700);
    }
    umask(previous);
}

TEST_CASE("a folder that cannot be looked into is not called a second gantryd") {
    if (geteuid() == 0) return;  // root looks everywhere
    Door door;
    door.settings.socket = door.folder.path + "/api.sock";
    {
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        door.settings.socket.copy(address.sun_path, sizeof address.sun_path - 1);
        const gantry::Fd left(socket(AF_UNIX, SOCK_STREAM, 0));
        REQUIRE(bind(left.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        REQUIRE(listen(left.get(), 1) == 0);
        REQUIRE(chmod(door.settings.socket.c_str(), 0) == 0);
        CHECK_THROWS_WITH(door.open(), Contains("cannot find out whether somebody listens") && Contains("denied"));
    }
}

TEST_CASE("targets are told apart by method and path") {
    using gantry::http::Kind;
    using gantry::http::kind_of;
    CHECK(kind_of("GET", "/v1/events", false) == Kind::kDocument);
    CHECK(kind_of("GET", "/v1/events", true) == Kind::kEvents);
    CHECK(kind_of("GET", "/v1/events?after=5&follow=1", false) == Kind::kEvents);
    CHECK(kind_of("GET", "/v1/events?follow=0", false) == Kind::kDocument);
    CHECK(kind_of("GET", "/v1/nodes?follow=1", true) == Kind::kDocument);
    CHECK(kind_of("PUT", "/v1/blobs/sha256:1", false) == Kind::kUpload);
    CHECK(kind_of("GET", "/v1/blobs/sha256:1", false) == Kind::kDownload);
    CHECK(kind_of("DELETE", "/v1/blobs/sha256:1", false) == Kind::kDocument);
    CHECK(kind_of("GET", "/v1/instances/axis.0/logs?tail=5", false) == Kind::kLogs);
    CHECK(kind_of("GET", "/v1/instances/logs", false) == Kind::kDocument);
    CHECK(kind_of("POST", "/v1/instances/axis.0/exec", false) == Kind::kExec);
    CHECK(kind_of("GET", "/v1/instances/axis.0/exec", false) == Kind::kDocument);
    CHECK(kind_of("POST", "/v1/node/containers/c1/exec", false) == Kind::kDocument);
    CHECK(gantry::http::member_number(R"({"digest":"x","size":50})", "size") == 50u);
    CHECK_FALSE(gantry::http::member_number(R"({"digest":"x"})", "size"));
    CHECK_FALSE(gantry::http::member_number(R"({"size":"x"})", "size"));
    CHECK(gantry::http::parameter("/a?b=1&c", "c") == std::string_view());
    CHECK(gantry::http::parameter("/a?bb=1&b=2", "b") == "2");
    CHECK_FALSE(gantry::http::parameter("/a", "b"));
    CHECK(gantry::http::event_text(5, "{\n}") == "id: 5\ndata: {\ndata: }\n\n");
}
