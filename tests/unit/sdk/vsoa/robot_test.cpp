// The automatic client.
#include <catch2/catch.hpp>
#include <fstream>

#include "sdk/vsoa/include/vsoa_cliauto.h"
#include "sdk/vsoa/include/vsoa_position.h"
#include "sdk/vsoa/include/vsoa_stats.h"
#include "sdk/vsoa/src/robot.hpp"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

/// Everything the automatic client says, in order.
struct Follower {
    Follower() : handle(vsoa_client_auto_create(on_message, this)) {
        REQUIRE(handle != nullptr);
        REQUIRE(vsoa_client_auto_setup(handle, on_connect, this));
        REQUIRE(vsoa_client_auto_on_fail(handle, on_fail, this));
    }
    ~Follower() { vsoa_client_auto_delete(handle); }
    bool start(const std::string& server, const char* password = "secret", unsigned keepalive = 1000,
               unsigned retry = 20) {
        static char axis[] = "/axis", more[] = "/more";
        static char* urls[] = {axis, more};
        return vsoa_client_auto_start(handle, server.c_str(), password, urls, 2, keepalive, 1000, retry);
    }
    std::string next() { return said.take().value_or("nothing"); }

    vsoa_client_auto_t* handle;
    Inbox<std::string> said;
    Inbox<int> fails;

  private:
    static void on_connect(void* arg, vsoa_client_auto_t*, bool connect, const char* info) {
        static_cast<Follower*>(arg)->said.put(connect ? std::string("up ") + info : std::string("down") + info);
    }
    static void on_fail(void* arg, vsoa_client_auto_t*, int error) { static_cast<Follower*>(arg)->fails.put(error); }
    static void on_message(void* arg, vsoa_client_t*, vsoa_url_t* u, vsoa_payload_t* p, bool) {
        static_cast<Follower*>(arg)->said.put(text(u) + ' ' + param(p));
    }
};

std::string name_of(const vsoa::Address& address) { return "127.0.0.1:" + std::to_string(address.port()); }

void publish(RunningServer& server, const char* topic, const char* p) {
    const vsoa_url_t u = url(topic);
    const vsoa_payload_t both = payload(p);
    REQUIRE(vsoa_server_publish(server.handle, &u, &both));
}

/// Connections on this machine that wait for the port to take them.
int connecting_to(uint16_t port) {
    std::ifstream table("/proc/self/net/tcp");
    char remote_and_state[32];
    std::snprintf(remote_and_state, sizeof remote_and_state, ":%04X 02 ", port);
    int count = 0;
    for (std::string line; std::getline(table, line);) count += line.find(remote_and_state) != line.npos;
    return count;
}

/// A position server that knows one service, whose place a test changes.
struct Directory {
    Directory() : handle(vsoa_position_server_create(answer, this)) {
        const vsoa::Address any = loopback();
        REQUIRE(vsoa_position_server_start(handle, any.raw(), any.length));
        const vsoa::Address mine = *vsoa::Address::local(vsoa_position_server_fd(handle));
        REQUIRE(vsoa_position_lookup_server(mine.raw(), mine.length));
        loop.start(
            [this](fd_set* set) {
                FD_SET(vsoa_position_server_fd(handle), set);
                return vsoa_position_server_fd(handle);
            },
            [this](const fd_set*) {
                vsoa_position_server_input(handle);
                return true;
            });
    }
    ~Directory() {
        loop.stop();
        vsoa_position_lookup_server(nullptr, 0);
        vsoa_position_server_close(handle);
    }
    void place(const vsoa::Address* address) { port = address != nullptr ? address->port() : 0; }
    static void answer(void* arg, int, const char* name, vsoa_position_response_t* response) {
        auto* self = static_cast<Directory*>(arg);
        const vsoa::Address where = loopback(self->port);
        const bool known = self->port != 0 && std::string(name) == "axis_server";
        vsoa_position_server_response(self->handle, response, known ? where.raw() : nullptr, known ? where.length : 0,
                                      false);
    }

    vsoa_position_server_t* handle;
    std::atomic<uint16_t> port{0};
    Loop loop;
};

}  // namespace

TEST_CASE("the automatic client connects, subscribes, then says so, then delivers") {
    RunningServer server("secret");
    server.start();
    Follower follower;
    REQUIRE(follower.start("vsoa://" + name_of(server.address)));
    CHECK(follower.next() == "up {\"name\":\"rig\"}");
    publish(server, "/axis", "1");
    publish(server, "/none", "2");
    publish(server, "/more", "3");
    CHECK(follower.next() == "/axis 1");
    CHECK(follower.next() == "/more 3");
    sockaddr_storage address;
    socklen_t length = sizeof address;
    CHECK(vsoa_client_auto_server_address(follower.handle, reinterpret_cast<sockaddr*>(&address), &length));
    CHECK_FALSE(follower.start("x"));
    CHECK(errno == EALREADY);
    CHECK(vsoa_client_auto_stop(follower.handle));
    CHECK(follower.next() == "down");
    CHECK_FALSE(vsoa_client_auto_stop(follower.handle));
    REQUIRE(follower.start(name_of(server.address)));
    CHECK(follower.next() == "up {\"name\":\"rig\"}");
}

TEST_CASE("the automatic client follows a server that moves") {
    Directory directory;
    Follower follower;
    REQUIRE(follower.start("vsoa://axis_server"));
    auto first = std::make_unique<RunningServer>("secret");
    first->start();
    directory.place(&first->address);
    CHECK(follower.next() == "up {\"name\":\"rig\"}");
    publish(*first, "/axis", "1");
    CHECK(follower.next() == "/axis 1");
    RunningServer second("secret");
    second.start();
    // An orderly end is noticed at once, not by a lost ping.
    const int64_t begin = vsoa::now_ns();
    directory.place(nullptr);
    first.reset();
    CHECK(follower.next() == "down");
    CHECK(vsoa::now_ns() - begin < 3000 * vsoa::kNanosPerMs);
    directory.place(&second.address);
    CHECK(follower.next() == "up {\"name\":\"rig\"}");
    publish(second, "/axis", "1");
    CHECK(follower.next() == "/axis 1");
    CHECK(vsoa_server_count(second.handle) == 1);
}

TEST_CASE("the automatic client tries again after a wrong password") {
    RunningServer server("other");
    server.start();
    Follower follower;
    REQUIRE(follower.start(name_of(server.address)));
    const int turns = server.loop.turns;
    CHECK(eventually([&] { return server.loop.turns > turns + 6; }));
    CHECK(follower.said.size() == 0);
    server.loop.stop();
    REQUIRE(vsoa_server_passwd(server.handle, "secret"));
    server.run();
    CHECK(follower.next() == "up {\"name\":\"rig\"}");
}

TEST_CASE("the automatic client says why each attempt came to nothing") {
    RunningServer server("secret");
    server.start();
    Follower follower;
    SECTION("a wrong password") {
        REQUIRE(follower.start(name_of(server.address), "guess"));
        for (int i = 0; i < 2; ++i) CHECK(follower.fails.take() == EACCES);
    }
    SECTION("nobody is there") {
        const std::string there = name_of(server.address);
        server.close();
        REQUIRE(follower.start(there));
        CHECK(follower.fails.take() == ECONNREFUSED);
    }
    SECTION("a name that is not known, until it is") {
        Directory directory;
        REQUIRE(follower.start("axis_server"));
        CHECK(follower.fails.take() == ENOENT);
        directory.place(&server.address);
        CHECK(follower.next() == "up {\"name\":\"rig\"}");
    }
    SECTION("more than may be subscribed") {
        std::vector<std::string> texts;
        std::vector<char*> urls;
        for (char name = 'a'; name < 'f'; ++name) texts.push_back('/' + std::string(60'000, name));
        for (std::string& text : texts) urls.push_back(text.data());
        REQUIRE(vsoa_client_auto_start(follower.handle, name_of(server.address).c_str(), "secret", urls.data(), 5, 1000,
                                       1000, 20));
        CHECK(follower.fails.take() == EPERM);
    }
}

TEST_CASE("the automatic client ends at once, whatever it waits for") {
    // Somebody who never answers: a position server, a server that takes no connection, one that takes no login.
    const vsoa::Fd silent = vsoa::open_socket(AF_INET, SOCK_DGRAM), full = vsoa::open_socket(AF_INET, SOCK_STREAM);
    for (const vsoa::Fd* fd : {&silent, &full}) REQUIRE(bind(fd->get(), loopback().raw(), loopback().length) == 0);
    const std::string what = GENERATE("look-up", "connect", "login");
    CAPTURE(what);
    const vsoa::Address where = *vsoa::Address::local(full.get());
    REQUIRE(listen(full.get(), what == "connect" ? 0 : 8) == 0);
    std::vector<vsoa::Fd> waiting;
    for (int i = 0; what == "connect" && i < 3; ++i) {  // a full backlog takes no more
        waiting.push_back(vsoa::open_socket(AF_INET, SOCK_STREAM));
        connect(waiting.back().get(), where.raw(), where.length);
    }
    const vsoa::Address asked = *vsoa::Address::local(silent.get());
    if (what == "look-up") REQUIRE(vsoa_position_lookup_server(asked.raw(), asked.length));

    const int before = connecting_to(where.port());
    vsoa_client_auto_t* handle = vsoa_client_auto_create(nullptr, nullptr);
    const std::string server = what == "look-up" ? "axis_server" : name_of(where);
    REQUIRE(vsoa_client_auto_start(handle, server.c_str(), nullptr, nullptr, 0, 1000, 60'000, 60'000));
    vsoa::Fd accepted;
    if (what == "connect") CHECK(eventually([&] { return connecting_to(where.port()) > before; }));
    if (what == "look-up") CHECK(vsoa::wait_for(silent.get(), POLLIN, vsoa::now_ns() + 10'000 * vsoa::kNanosPerMs));
    if (what == "login") {
        REQUIRE(vsoa::wait_for(full.get(), POLLIN, vsoa::now_ns() + 10'000 * vsoa::kNanosPerMs));
        accepted = vsoa::Fd(accept(full.get(), nullptr, nullptr));
        CHECK(vsoa::wait_for(accepted.get(), POLLIN, vsoa::now_ns() + 10'000 * vsoa::kNanosPerMs));
    }
    const int64_t begin = vsoa::now_ns();
    vsoa_client_auto_delete(handle);
    CHECK(vsoa::now_ns() - begin < 10'000 * vsoa::kNanosPerMs);
    vsoa_position_lookup_server(nullptr, 0);
}

TEST_CASE("the automatic client notices a server that hangs") {
    RunningServer server("secret");
    server.start();
    Follower follower;
    REQUIRE(follower.start(name_of(server.address), "secret", 50));
    CHECK(follower.next() == "up {\"name\":\"rig\"}");
    server.loop.stop();
    CHECK(follower.next() == "down");
    server.run();
    CHECK(follower.next() == "up {\"name\":\"rig\"}");
}

TEST_CASE("the automatic client asks for the values it may have missed") {
    RunningServer server("secret");
    const vsoa_url_t u = url("/axis");
    const auto value = [](void*, vsoa_server_t* s, vsoa_cli_id_t id, vsoa_header_t* h, vsoa_url_t*, vsoa_payload_t*) {
        const std::string now = "now";
        const vsoa_payload_t p = payload(now);
        vsoa_server_cli_reply(s, id, 0, vsoa_parser_get_seqno(h), 0, &p);
    };
    REQUIRE(vsoa_server_add_listener(server.handle, &u, value, nullptr));
    server.start();
    Follower follower;
    char axis[] = "/axis", unknown[] = "/unknown";
    char* const urls[] = {unknown, axis};
    REQUIRE(vsoa_client_auto_consistent(follower.handle, urls, 2, 1000));
    REQUIRE(vsoa_client_auto_ping_turbo(follower.handle, 25, 3));
    REQUIRE(follower.start(name_of(server.address)));
    CHECK(follower.next() == "up {\"name\":\"rig\"}");
    CHECK(follower.next() == "/axis now");
}

TEST_CASE("the automatic client's handle calls from other threads") {
    RunningServer server("secret");
    const vsoa_url_t u = url("/echo");
    const auto echo = [](void*, vsoa_server_t* s, vsoa_cli_id_t id, vsoa_header_t* h, vsoa_url_t*, vsoa_payload_t* p) {
        vsoa_server_cli_reply(s, id, 0, vsoa_parser_get_seqno(h), 0, p);
    };
    REQUIRE(vsoa_server_add_listener(server.handle, &u, echo, nullptr));
    server.start();
    Follower follower;
    REQUIRE(follower.start(name_of(server.address)));
    CHECK(follower.next() == "up {\"name\":\"rig\"}");
    vsoa_client_sync_call_t* sync = vsoa_client_sync_create(true);
    vsoa_header_t* reply = nullptr;
    const vsoa_payload_t p = payload("hello");
    REQUIRE(vsoa_client_sync_call(vsoa_client_auto_handle(follower.handle), 0, &u, &p, sync, &reply, nullptr));
    REQUIRE(reply != nullptr);
    vsoa_client_sync_delete(sync);
}

TEST_CASE("the server's name is read in all its forms") {
    const auto read = [](const char* text) {
        vsoa::Robot::Settings s;
        if (!vsoa::Robot::read_server(text, s)) return std::string("refused");
        return s.address ? s.address->ip() + '#' + std::to_string(s.address->port()) : s.host;
    };
    CHECK(read("1.2.3.4:5") == "1.2.3.4#5");
    CHECK(read("vsoa://1.2.3.4:5/path") == "1.2.3.4#5");
    CHECK(read("VSOA://[::1]:5") == "::1#5");
    CHECK(read("localhost:80") == "127.0.0.1#80");
    CHECK(read("vsoa://axis_server") == "axis_server");
    CHECK(read("axis_server:3002/x") == "axis_server");
    for (const char* bad : {"", "vsoa://", "1.2.3.4", "[::1]", "localhost", "vsoa:///x"}) {
        CAPTURE(bad);
        CHECK(read(bad) == "refused");
    }
    Follower follower;
    char bad_url[] = "axis";
    char* const urls[] = {bad_url};
    CHECK_FALSE(vsoa_client_auto_start(follower.handle, "a", nullptr, urls, 1, 1000, 1000, 1000));
    CHECK_FALSE(vsoa_client_auto_start(follower.handle, "a", nullptr, nullptr, 0, 49, 1000, 1000));
    CHECK_FALSE(vsoa_client_auto_start(follower.handle, "a", nullptr, nullptr, 0, 1000, 19, 1000));
    CHECK_FALSE(vsoa_client_auto_start(follower.handle, "a", nullptr, nullptr, 0, 1000, 1000, 19));
    CHECK(errno == EINVAL);
}
