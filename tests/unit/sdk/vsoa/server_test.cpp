// A server against peers that send exact bytes: logins, what is answered to what, bad input.
#include <catch2/catch.hpp>
#include <random>

#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

void echo(void*, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t*, vsoa_payload_t* p) {
    vsoa_server_cli_reply(server, id, 0, vsoa_parser_get_seqno(header), 0, p);
}

void add_echo(vsoa_server_t* server, const char* topic) {
    const vsoa_url_t u = url(topic);
    REQUIRE(vsoa_server_add_listener(server, &u, echo, nullptr));
}

/// What the server answers to one packet of a client that is logged in.
uint8_t status_of(RawPeer& peer, const Bytes& bytes) {
    REQUIRE(peer.send(bytes));
    const auto reply = peer.receive();
    REQUIRE(reply);
    REQUIRE(reply->reply);
    return reply->status;
}

}  // namespace

TEST_CASE("a login is answered with the server's info and a client id from 1") {
    RunningServer server;
    server.start();
    RawPeer first(server.address), second(server.address);
    REQUIRE(first.send(packet(VSOA_TYPE_SERVINFO, 0xdeadbeef, "", "{}", "", 0, 4242)));
    const auto reply = first.receive();
    REQUIRE(reply);
    CHECK(reply->type == VSOA_TYPE_SERVINFO);
    CHECK((reply->header->flags & ~VSOA_PAD_MASK) == VSOA_FLAG_REPLY);
    CHECK(reply->status == 0);
    CHECK(reply->seqno == 0xdeadbeef);
    CHECK(reply->header->tunid == 0);
    CHECK(reply->url.url_len == 0);
    CHECK(reply->param_text() == "{\"name\":\"rig\"}");
    CHECK(data(&reply->payload) == std::string("\0\0\0\1", 4));
    REQUIRE(second.log_in());
    CHECK(second.id == 2);
    CHECK(vsoa_server_count(server.handle) == 2);
}

TEST_CASE("a password must match exactly") {
    RunningServer server("123456");
    server.start();
    for (const char* param : {"", "{}", "{\"passwd\":\"12345\"}", "{\"passwd\":123456}", "{\"passwd\":\"1234567\"}",
                              "{\"passwd\":\"123456\"", "[\"passwd\"]", "{\"Passwd\":\"123456\"}"}) {
        CAPTURE(param);
        RawPeer peer(server.address);
        REQUIRE(peer.send(packet(VSOA_TYPE_SERVINFO, 5, "", param)));
        const auto reply = peer.receive();
        REQUIRE(reply);
        CHECK(reply->status == VSOA_STATUS_PASSWORD);
        CHECK(reply->seqno == 5);
        CHECK(peer.ends());
    }
    RawPeer good(server.address);
    CHECK(good.log_in("123456"));
    RawPeer escaped(server.address);
    REQUIRE(escaped.send(packet(VSOA_TYPE_SERVINFO, 0, "", R"({"x":[{}],"passwd":"12345\u0036"})")));
    CHECK(escaped.receive().value().status == 0);
    CHECK(vsoa_server_count(server.handle) == 2);
}

TEST_CASE("before the login only a login is served") {
    RunningServer server;
    add_echo(server.handle, "/echo");
    server.start();
    for (const uint8_t type : {VSOA_TYPE_RPC, VSOA_TYPE_SUBSCRIBE, VSOA_TYPE_UNSUBSCRIBE, VSOA_TYPE_PINGECHO}) {
        CAPTURE(int(type));
        RawPeer peer(server.address);
        REQUIRE(peer.send(packet(VSOA_TYPE_NOOP, 1 << 16) + packet(type, 3, "/echo")));
        const auto reply = peer.receive();
        REQUIRE(reply);
        CHECK(reply->type == type);
        CHECK(reply->status == VSOA_STATUS_PASSWORD);
        CHECK(peer.ends());
    }
    CHECK(vsoa_server_count(server.handle) == 0);
}

TEST_CASE("whoever does not log in is closed after the time limit, by a loop that waits without limit") {
    RunningServer server;
    server.start();
    RawPeer idle(server.address);
    RawPeer client(server.address);
    REQUIRE(client.log_in());
    const int64_t begin = vsoa::now_ns();
    CHECK(idle.ends());
    const int64_t ms = (vsoa::now_ns() - begin) / vsoa::kNanosPerMs;
    CHECK(ms >= VSOA_SERVER_DEF_HANDSHAKE_TIMEOUT - 200);
    CHECK(ms < VSOA_SERVER_DEF_HANDSHAKE_TIMEOUT + 2000);
    CHECK(status_of(client, packet(VSOA_TYPE_PINGECHO, 1)) == 0);
}

TEST_CASE("packets are answered however they are cut or glued") {
    RunningServer server;
    add_echo(server.handle, "/echo");
    server.start();
    RawPeer slow(server.address);
    for (const uint8_t byte : packet(VSOA_TYPE_SERVINFO, 0) + packet(VSOA_TYPE_PINGECHO, 9)) REQUIRE(slow.send({byte}));
    REQUIRE(slow.receive());
    CHECK(slow.receive().value().seqno == 9);
    Bytes many = packet(VSOA_TYPE_SERVINFO, 0);
    for (uint32_t i = 1; i <= 300; ++i) many = many + packet(VSOA_TYPE_RPC, i, "/echo", std::to_string(i));
    RawPeer fast(server.address);
    REQUIRE(fast.send(many));
    REQUIRE(fast.receive());
    for (uint32_t i = 1; i <= 300; ++i) {
        const auto reply = fast.receive();
        REQUIRE(reply);
        REQUIRE(reply->seqno == i);
        REQUIRE(reply->param_text() == std::to_string(i));
    }
}

TEST_CASE("bad packets end their own connection and no other") {
    RunningServer server;
    server.start();
    RawPeer good(server.address);
    REQUIRE(good.log_in());
    Bytes huge = packet(VSOA_TYPE_RPC, 1, "/x");
    std::memset(huge.data() + 16, 0xff, 4);
    Bytes both = huge;
    std::memset(both.data() + 12, 0xff, 4);
    Bytes over = packet(VSOA_TYPE_RPC, 1, "/x");
    over[17] = 4;  // data_len 262144
    const Bytes version = {0x39}, text = {'G', 'E', 'T', ' ', '/'};
    for (const bool logged_in : {false, true}) {
        for (const Bytes& bad : {huge, both, over, version, text}) {
            RawPeer peer(server.address);
            if (logged_in) REQUIRE(peer.log_in());
            REQUIRE(peer.send(bad));
            CHECK(peer.ends());
            CHECK(status_of(good, packet(VSOA_TYPE_PINGECHO, 1)) == 0);
        }
        RawPeer truncated(server.address);
        if (logged_in) REQUIRE(truncated.log_in());
        REQUIRE(truncated.send({0x29, VSOA_TYPE_RPC, 0}));
        REQUIRE(shutdown(truncated.fd(), SHUT_WR) == 0);
        CHECK(truncated.ends());
    }
    CHECK(eventually([&] { return vsoa_server_count(server.handle) == 1; }));
}

TEST_CASE("random packets never hurt the others") {
    RunningServer server;
    add_echo(server.handle, "/");
    server.start();
    RawPeer good(server.address);
    REQUIRE(good.log_in());
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    for (int round = 0; round < 60; ++round) {
        RawPeer peer(server.address);
        REQUIRE(peer.log_in());
        for (int i = 0; i < 20; ++i) {
            Bytes bytes = packet(static_cast<uint8_t>(random() % 9), random(), "/a", "[\"/b\"]", "data",
                                 static_cast<uint8_t>(random() % 64));
            if (random() % 3 == 0) bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
            if (!peer.send(bytes)) break;
        }
    }
    CHECK(status_of(good, packet(VSOA_TYPE_PINGECHO, 1)) == 0);
    CHECK(eventually([&] { return vsoa_server_count(server.handle) == 1; }));
}

TEST_CASE("calls are matched exactly, then by the longest folder, then by the default") {
    Inbox<std::string> taken;
    RunningServer server;
    struct Listener {
        Inbox<std::string>* taken;
        std::string name;
    };
    Listener listeners[] = {{&taken, "/a"}, {&taken, "/a/"}, {&taken, "/a/b/"}, {&taken, "/c/"}};
    for (Listener& l : listeners) {
        const vsoa_url_t u = url(l.name.c_str());
        const auto note = [](void* arg, vsoa_server_t* s, vsoa_cli_id_t id, vsoa_header_t* h, vsoa_url_t*,
                             vsoa_payload_t*) {
            static_cast<Listener*>(arg)->taken->put(static_cast<Listener*>(arg)->name);
            vsoa_server_cli_reply(s, id, 200, vsoa_parser_get_seqno(h), 0, nullptr);
        };
        REQUIRE(vsoa_server_add_listener(server.handle, &u, note, &l));
    }
    server.start();
    RawPeer peer(server.address);
    REQUIRE(peer.log_in());
    const std::pair<const char*, const char*> cases[] = {{"/a", "/a"},      {"/a/", "/a/"},      {"/a/x", "/a/"},
                                                         {"/a/b", "/a/b/"}, {"/a/b/c", "/a/b/"}, {"/a/bc", "/a/"},
                                                         {"/c", "/c/"},     {"/c/d/e", "/c/"}};
    for (const auto& [asked, expected] : cases) {
        CAPTURE(asked);
        CHECK(status_of(peer, packet(VSOA_TYPE_RPC, 1, asked)) == 200);
        CHECK(taken.take() == std::string(expected));
    }
    CHECK(status_of(peer, packet(VSOA_TYPE_RPC, 1, "/d")) == VSOA_STATUS_INVALID_URL);
    CHECK(status_of(peer, packet(VSOA_TYPE_RPC, 1, "/cd")) == VSOA_STATUS_INVALID_URL);
    CHECK(status_of(peer, packet(VSOA_TYPE_RPC, 1, "")) == VSOA_STATUS_ARGUMENTS);
    CHECK(status_of(peer, packet(VSOA_TYPE_RPC, 1, "a")) == VSOA_STATUS_ARGUMENTS);
    // Replies, publishes and unknown types are nothing to answer.
    REQUIRE(peer.send(packet(VSOA_TYPE_RPC, 1, "/a", "", "", VSOA_FLAG_REPLY) + packet(VSOA_TYPE_PUBLISH, 0, "/a") +
                      packet(0x42, 1, "/a") + packet(VSOA_TYPE_QOSSETUP, 0) + packet(VSOA_TYPE_NOOP, 1 << 16)));
    CHECK(status_of(peer, packet(VSOA_TYPE_PINGECHO, 77)) == 0);
    CHECK(taken.size() == 0);
}

TEST_CASE("subscriptions take what they name and no bad item") {
    RunningServer server;
    server.start();
    RawPeer peer(server.address);
    REQUIRE(peer.log_in());
    const auto reaches = [&](const char* topic) {
        const vsoa_url_t u = url(topic);
        return vsoa_server_cli_is_subscribed(server.handle, peer.id, &u);
    };
    CHECK(status_of(peer, packet(VSOA_TYPE_SUBSCRIBE, 1, "/a")) == 0);
    CHECK(status_of(peer, packet(VSOA_TYPE_SUBSCRIBE, 1, "", R"(["/b/","/c"])")) == 0);
    CHECK(reaches("/a"));
    CHECK_FALSE(reaches("/a/"));
    CHECK_FALSE(reaches("/a/x"));
    CHECK(reaches("/b"));
    CHECK(reaches("/b/"));
    CHECK(reaches("/b/x/y"));
    CHECK_FALSE(reaches("/bx"));
    CHECK(status_of(peer, packet(VSOA_TYPE_SUBSCRIBE, 1, "", R"(["/d","e"])")) == VSOA_STATUS_ARGUMENTS);
    CHECK_FALSE(reaches("/d"));
    for (const char* bad : {"", "[]", "{}", "\"/x\"", "[1]", "nonsense"}) {
        CHECK(status_of(peer, packet(VSOA_TYPE_SUBSCRIBE, 1, "", bad)) == VSOA_STATUS_ARGUMENTS);
    }
    CHECK(status_of(peer, packet(VSOA_TYPE_SUBSCRIBE, 1, "a")) == VSOA_STATUS_ARGUMENTS);
    CHECK(status_of(peer, packet(VSOA_TYPE_UNSUBSCRIBE, 1, "a")) == VSOA_STATUS_ARGUMENTS);
    CHECK(status_of(peer, packet(VSOA_TYPE_UNSUBSCRIBE, 1, "/never")) == 0);
    CHECK(reaches("/c"));
    CHECK(status_of(peer, packet(VSOA_TYPE_UNSUBSCRIBE, 1, "", R"(["/c","/b/"])")) == 0);
    CHECK_FALSE(reaches("/c"));
    CHECK_FALSE(reaches("/b/x"));
    CHECK(status_of(peer, packet(VSOA_TYPE_SUBSCRIBE, 1, "/")) == 0);
    CHECK(reaches("/anything"));
    CHECK(status_of(peer, packet(VSOA_TYPE_UNSUBSCRIBE, 1)) == 0);
    CHECK_FALSE(reaches("/a"));
    CHECK_FALSE(reaches("/anything"));
}

TEST_CASE("a quick datagram counts only with number and source of one client") {
    Inbox<Message> got;
    RunningServer server;
    vsoa_server_on_datagram(
        server.handle,
        [](void* arg, vsoa_server_t*, vsoa_cli_id_t, vsoa_url_t* u, vsoa_payload_t* p, bool quick) {
            static_cast<Inbox<Message>*>(arg)->put({text(u), param(p), data(p), quick});
        },
        &got);
    server.start();
    const vsoa::Fd mine = vsoa::open_socket(AF_INET, SOCK_DGRAM), foreign = vsoa::open_socket(AF_INET, SOCK_DGRAM);
    for (const vsoa::Fd* fd : {&mine, &foreign}) {
        REQUIRE(connect(fd->get(), server.address.raw(), server.address.length) == 0);
    }
    RawPeer peer(server.address);
    REQUIRE(peer.log_in(nullptr, vsoa::Address::local(mine.get())->port()));
    const auto say = [&](const vsoa::Fd& from, const Bytes& bytes) {
        REQUIRE(send(from.get(), bytes.data(), bytes.size(), 0) >= 0);
    };
    say(foreign, packet(VSOA_TYPE_DATAGRAM, peer.id, "/foreign"));
    say(mine, packet(VSOA_TYPE_DATAGRAM, peer.id + 1, "/number"));
    say(mine, packet(VSOA_TYPE_RPC, peer.id, "/type"));
    say(mine, {1, 2, 3});
    Bytes liar = packet(VSOA_TYPE_DATAGRAM, peer.id, "/liar");
    std::memset(liar.data() + 12, 0xff, 8);
    say(mine, liar);
    say(mine, packet(VSOA_TYPE_DATAGRAM, peer.id, "/right", "{}", "data"));
    const auto message = got.take();
    REQUIRE(message);
    CHECK(message->url == "/right");
    CHECK(message->param == "{}");
    CHECK(message->data == "data");
    CHECK(message->quick);
    CHECK(got.size() == 0);
}

TEST_CASE("a server listens on IPv6") {
    RunningServer server;
    server.start(*vsoa::Address::make("::1", 0));
    CHECK(server.address.family() == AF_INET6);
    RawPeer peer(server.address);
    CHECK(peer.log_in());
}

TEST_CASE("functions refuse what makes no sense") {
    RunningServer server;
    const vsoa_url_t good = url("/a"), bad = url("a"), null = {nullptr, 3};
    const vsoa_payload_t null_payload = {nullptr, 4, nullptr, 0};
    CHECK_FALSE(vsoa_server_publish(server.handle, &good, nullptr));
    CHECK(errno == ENOTCONN);
    server.start();
    CHECK(vsoa_server_publish(server.handle, &good, nullptr));
    CHECK_FALSE(vsoa_server_publish(server.handle, &bad, nullptr));
    CHECK_FALSE(vsoa_server_publish(server.handle, &null, nullptr));
    CHECK_FALSE(vsoa_server_publish(server.handle, &good, &null_payload));
    const std::string large(70000, 'x');
    const vsoa_payload_t too_long = payload("", large);
    CHECK(vsoa_server_publish(server.handle, &good, &too_long));
    CHECK_FALSE(vsoa_server_quick_publish(server.handle, &good, &too_long));
    CHECK(errno == EMSGSIZE);
    CHECK_FALSE(vsoa_server_cli_reply(server.handle, 99, 0, 0, 0, nullptr));
    CHECK(errno == ENOENT);
    vsoa_server_t* second = vsoa_server_create(nullptr);
    CHECK_FALSE(vsoa_server_start(second, server.address.raw(), server.address.length));
    CHECK(errno == EADDRINUSE);
    vsoa_server_close(second);
}
