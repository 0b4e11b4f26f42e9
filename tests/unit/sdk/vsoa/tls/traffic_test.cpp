// What goes over an encrypted connection, slow and hostile peers, the automatic client.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>

#include "sdk/vsoa/include/vsoa_position.h"
#include "sdk/vsoa/src/server.hpp"
#include "tests/unit/sdk/vsoa/tls/tls_rig.hpp"

using namespace rig;

namespace {

constexpr size_t kLargest = VSOA_MAX_DATA_LENGTH - 64;

/// A server and a client of it, subscribed to /t.
struct Pair {
    Pair() : server(server_tls.cert("server")), client(client_tls.ca("ca.pem")) {
        REQUIRE(client.connects(server.address) == 0);
        REQUIRE(client.subscribe("/t"));
    }
    Tls server_tls, client_tls;
    SecureServer server;
    SecureClient client;
};

/// An automatic client that subscribes to /t.
struct Follower {
    explicit Follower(const Tls* tls) : handle(vsoa_client_auto_create(on_message, this)) {
        REQUIRE(vsoa_client_auto_setup(handle, on_connect, this));
        REQUIRE((tls == nullptr || vsoa_client_auto_tls(handle, &tls->config)));
    }
    ~Follower() { vsoa_client_auto_delete(handle); }
    bool start(const std::string& server) {
        static char topic[] = "/t";
        static char* urls[] = {topic};
        return vsoa_client_auto_start(handle, server.c_str(), nullptr, urls, 1, 1000, 1000, 20);
    }
    static void on_connect(void* arg, vsoa_client_auto_t*, bool up, const char*) {
        static_cast<Follower*>(arg)->said.put(up ? "up" : "down");
    }
    static void on_message(void* arg, vsoa_client_t*, vsoa_url_t*, vsoa_payload_t* p, bool) {
        static_cast<Follower*>(arg)->said.put(param(p));
    }
    vsoa_client_auto_t* handle;
    Inbox<std::string> said;
};

std::string name_of(const vsoa::Address& address) { return "127.0.0.1:" + std::to_string(address.port()); }

/// What a client of TLS sends first.
Bytes client_hello() {
    // A listener of the test's takes it down.
    vsoa::Fd listener = vsoa::open_socket(AF_INET, SOCK_STREAM);
    const vsoa::Address any = loopback();
    REQUIRE((bind(listener.get(), any.raw(), any.length) == 0 && listen(listener.get(), 1) == 0));
    Tls tls;
    SecureClient client(tls.ca("ca.pem"));
    std::thread connects([&] {
        const vsoa::Address to = *vsoa::Address::local(listener.get());
        const timespec limit = span(kDeadline);
        vsoa_client_connect(client.handle, to.raw(), to.length, &limit, nullptr, nullptr, 0);
    });
    Bytes bytes(4096);
    bool good = vsoa::wait_for(listener.get(), POLLIN, vsoa::now_ns() + 5'000 * vsoa::kNanosPerMs);
    {
        const vsoa::Fd peer(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        const ssize_t got = good ? recv(peer.get(), bytes.data(), bytes.size(), 0) : 0;
        bytes.resize(got > 0 ? static_cast<size_t>(got) : 0);
    }
    connects.join();
    REQUIRE(bytes.size() > 100);
    return bytes;
}

}  // namespace

TEST_CASE("calls, publishes and datagrams arrive as without TLS, up to the longest") {
    Pair pair;
    for (const size_t size : {size_t{0}, size_t{1}, size_t{1000}, size_t{16384}, size_t{100'000}, kLargest}) {
        CAPTURE(size);
        const std::string block(size, 'x');
        CHECK((pair.client.echo(block) == block));
        REQUIRE(pair.server.publish("/t", "{}", block));
        const Message message = pair.client.messages.take().value();
        CHECK((message.data == block && message.param == "{}" && !message.quick));
        const vsoa_url_t u = url("/d");
        const vsoa_payload_t p = payload("{}", block);
        REQUIRE(vsoa_client_datagram(pair.client.handle, &u, &p));
        CHECK((pair.server.datagrams.take().value().data == block));
        REQUIRE(vsoa_server_cli_datagram(pair.server.handle, 1, &u, &p));
        CHECK((pair.client.datagrams.take().value().data == block));
    }
}

TEST_CASE("many small messages arrive in their order, whatever shares a record") {
    Pair pair;
    for (int i = 0; i < 5000; ++i) REQUIRE(pair.server.publish("/t", std::to_string(i)));
    for (int i = 0; i < 5000; ++i) REQUIRE(pair.client.messages.take().value().param == std::to_string(i));
    // Calls on their way at once: they are answered in batches.
    static Inbox<std::string> answers;
    const vsoa_url_t u = url("/echo");
    for (int i = 0; i < 2000; ++i) {
        const std::string text = std::to_string(i);
        const vsoa_payload_t p = payload(text);
        const auto reply = [](void*, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t* got) {
            answers.put(header != nullptr ? param(got) : "none");
        };
        REQUIRE(vsoa_client_call(pair.client.handle, 0, &u, &p, reply, nullptr, nullptr));
    }
    for (int i = 0; i < 2000; ++i) REQUIRE(answers.take().value() == std::to_string(i));
}

TEST_CASE("the quick channel is off: it cannot be encrypted") {
    Pair pair;
    const vsoa_url_t u = url("/t");
    const vsoa_payload_t p = payload("{}");
    errno = 0;
    CHECK((!vsoa_server_quick_publish(pair.server.handle, &u, &p) && errno == EOPNOTSUPP));
    errno = 0;
    CHECK((!vsoa_server_cli_quick_datagram(pair.server.handle, 1, &u, &p) && errno == EOPNOTSUPP));
    errno = 0;
    CHECK((!vsoa_client_quick_datagram(pair.client.handle, &u, &p) && errno == EOPNOTSUPP));
    // And what others say over UDP counts as little as it is secret.
    const vsoa::Fd udp = vsoa::open_socket(AF_INET, SOCK_DGRAM);
    const Bytes forged = packet(VSOA_TYPE_DATAGRAM, 1, "/forged");
    REQUIRE(sendto(udp.get(), forged.data(), forged.size(), 0, pair.server.address.raw(), pair.server.address.length) >
            0);
    REQUIRE(vsoa_client_datagram(pair.client.handle, &u, &p));
    CHECK(pair.server.datagrams.take().value().url == "/t");
}

TEST_CASE("a client that does not read is dropped by its send timeout, the others served on") {
    Pair pair;
    Tls tls;
    SecureClient sleeper(tls.ca("ca.pem"));
    REQUIRE(sleeper.connects(pair.server.address) == 0);
    REQUIRE(sleeper.subscribe("/flood"));
    REQUIRE(pair.client.subscribe("/flood"));
    sleeper.loop.stop();
    const std::string block(200'000, 'x');
    for (int i = 0; i < 500 && vsoa_server_count(pair.server.handle) == 2; ++i) {
        REQUIRE(pair.server.publish("/flood", "", block));
        REQUIRE((pair.client.messages.take().value().data == block));
    }
    CHECK(vsoa_server_count(pair.server.handle) == 1);
    CHECK(pair.client.echo("still here") == "still here");
}

TEST_CASE("what a slow reader has no room for waits, and all of it arrives") {
    Pair pair;
    const timespec patience = span(kDeadline);
    REQUIRE(vsoa_server_cli_send_timeout(pair.server.handle, 1, &patience));
    const std::string block(50'000, 'x');
    std::thread publisher([&] {
        for (int i = 0; i < 400; ++i) {
            if (!pair.server.publish("/t", std::to_string(i), block)) std::abort();
        }
    });
    for (int i = 0; i < 400; ++i) {
        const Message message = pair.client.messages.take().value();
        REQUIRE(message.param == std::to_string(i));
        REQUIRE((message.data == block));
    }
    publisher.join();
}

TEST_CASE("a client that sends without end does not take the others' turns") {
    Pair pair;
    Tls tls;
    SecureClient talker(tls.ca("ca.pem"));
    REQUIRE(talker.connects(pair.server.address) == 0);
    const timespec patience = span(kDeadline);
    REQUIRE(vsoa_client_send_timeout(talker.handle, &patience));
    std::atomic<bool> stop{false};
    std::thread talks([&] {
        const std::string block(30'000, 'x');
        const vsoa_url_t u = url("/d");
        const vsoa_payload_t p = payload("", block);
        while (!stop && vsoa_client_datagram(talker.handle, &u, &p)) continue;
    });
    for (int i = 0; i < 20; ++i) CHECK(pair.client.echo("well") == "well");
    CHECK(pair.server.datagrams.take());
    stop = true;
    talks.join();
    CHECK(vsoa_client_is_connect(talker.handle));
}

TEST_CASE("a server publishes and is gone: it arrives") {
    int ports[2];
    REQUIRE(pipe(ports) == 0);
    Tls server_tls, client_tls;
    server_tls.cert("server");
    const pid_t child = fork();
    if (child == 0) {
        vsoa_server_t* server = vsoa_server_create("{}");
        const vsoa::Address any = loopback();
        bool good = vsoa_server_tls(server, &server_tls.config) && vsoa_server_start(server, any.raw(), any.length);
        vsoa::Address mine;
        mine.length = sizeof mine.storage;
        good = good && vsoa_server_address(server, mine.raw(), &mine.length);
        const uint16_t port = mine.port();
        good = good && write(ports[1], &port, sizeof port) == sizeof port;
        const vsoa_url_t u = url("/t");
        const timespec step = span(100ms);
        while (good && !vsoa_server_is_subscribed(server, &u)) {
            fd_set set;
            FD_ZERO(&set);
            const int highest = vsoa_server_fds(server, &set);
            if (pselect(highest + 1, &set, nullptr, nullptr, &step, nullptr) > 0) vsoa_server_input_fds(server, &set);
        }
        const std::string block(100'000, 'x');
        const vsoa_payload_t p = payload("last words", block);
        good = good && vsoa_server_publish(server, &u, &p);
        _exit(good ? 0 : 1);
    }
    ::close(ports[1]);  // so that a child that dies is not waited for
    uint16_t port = 0;
    REQUIRE(read(ports[0], &port, sizeof port) == sizeof port);
    SecureClient client(client_tls.ca("ca.pem"));
    REQUIRE(client.connects(loopback(port)) == 0);
    const vsoa_url_t u = url("/t");
    REQUIRE(vsoa_client_subscribe(client.handle, &u, nullptr, nullptr, nullptr));
    const auto message = client.messages.take();
    CHECK((message && message->param == "last words" && message->data.size() == 100'000));
    int status = 1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
    CHECK(client.lost.take());
    ::close(ports[0]);
}

TEST_CASE("bytes on the wire are not those of the packets") {
    // Between client and server stands one who reads along.
    Tls server_tls, client_tls;
    SecureServer server(server_tls.cert("server"), loopback(), "opensesame");
    vsoa::Fd listener = vsoa::open_socket(AF_INET, SOCK_STREAM);
    const vsoa::Address any = loopback();
    REQUIRE((bind(listener.get(), any.raw(), any.length) == 0 && listen(listener.get(), 1) == 0));
    std::string seen;
    std::thread reads_along([&] {
        if (!vsoa::wait_for(listener.get(), POLLIN, vsoa::now_ns() + 10'000 * vsoa::kNanosPerMs)) return;
        const vsoa::Fd client(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        const vsoa::Fd onwards(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        if (connect(onwards.get(), server.address.raw(), server.address.length) != 0) return;
        pollfd ends[] = {{client.get(), POLLIN, 0}, {onwards.get(), POLLIN, 0}};
        while (poll(ends, 2, 10'000) > 0) {
            for (const int from : {0, 1}) {
                char bytes[4096];
                if (ends[from].revents == 0) continue;
                const ssize_t got = recv(ends[from].fd, bytes, sizeof bytes, 0);
                if (got <= 0) return;
                seen.append(bytes, static_cast<size_t>(got));
                if (send(ends[1 - from].fd, bytes, static_cast<size_t>(got), MSG_NOSIGNAL) < 0) return;
            }
        }
    });
    {
        SecureClient client(client_tls.ca("ca.pem"));
        CHECK(client.connects(*vsoa::Address::local(listener.get()), "opensesame") == 0);
        CHECK(client.echo("a-very-plain-text") == "a-very-plain-text");
    }
    reads_along.join();
    CHECK(seen.size() > 1000);
    CHECK(seen.find("opensesame") == std::string::npos);
    CHECK(seen.find("a-very-plain-text") == std::string::npos);
}

TEST_CASE("handshakes that do not come to their end are bounded in number and time, and harm nobody") {
    Pair pair;
    const Bytes hello = client_hello();
    std::deque<RawPeer> slow;
    const int64_t begin = vsoa::now_ns();
    for (size_t i = 0; i < 2 * vsoa::kMaxStrangers; ++i) {
        slow.emplace_back(pair.server.address);
        if (i % 2 == 0) REQUIRE(slow.back().send(Bytes(hello.begin(), hello.begin() + static_cast<ptrdiff_t>(i))));
        if (i % 8 == 7) CHECK(pair.client.echo("well") == "well");
    }
    Tls tls;
    SecureClient late(tls.ca("ca.pem"));
    CHECK(late.connects(pair.server.address) == 0);
    // Those that were not replaced end when their time is over.
    CHECK(slow.back().ends());
    CHECK(vsoa::now_ns() - begin >= (VSOA_SERVER_DEF_HANDSHAKE_TIMEOUT - 100) * vsoa::kNanosPerMs);
    CHECK(pair.client.echo("well") == "well");
}

TEST_CASE("what is no TLS, or damaged, ends its connection alone") {
    Pair pair;
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    const Bytes hello = client_hello();
    for (int i = 0; i < 100; ++i) {
        Bytes bytes = hello;
        for (int n = random() % 8; n >= 0; --n) bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
        if (i % 3 == 0) bytes.resize(random() % bytes.size());
        RawPeer peer(pair.server.address);
        peer.send(bytes);
        shutdown(peer.fd(), SHUT_WR);
        CHECK((eventually([&] {
            char drain[4096];
            return recv(peer.fd(), drain, sizeof drain, 0) == 0 || (errno != EAGAIN && errno != EINTR);
        })));
    }
    CHECK(pair.client.echo("well") == "well");
}

TEST_CASE("eight threads publish, reply and close at once") {
    Pair pair;
    const timespec patience = span(kDeadline);
    REQUIRE(vsoa_server_cli_send_timeout(pair.server.handle, 1, &patience));
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            const std::string block(3000, 'x');
            while (!stop) pair.server.publish("/t", "{}", block);
        });
    }
    for (int i = 0; i < 4; ++i) {
        threads.emplace_back([&] {
            // Each its own client, again and again.
            for (int round = 0; round < 10; ++round) {
                vsoa_client_t* client = vsoa_client_create(nullptr, nullptr);
                const timespec limit = span(kDeadline);
                const vsoa::Address& to = pair.server.address;
                if (!vsoa_client_tls(client, &pair.client_tls.config) ||
                    !vsoa_client_connect(client, to.raw(), to.length, &limit, nullptr, nullptr, 0)) {
                    std::abort();
                }
                const vsoa_url_t u = url("/t");
                vsoa_client_subscribe(client, &u, nullptr, nullptr, nullptr);
                vsoa_client_input_fds(client, nullptr);
                vsoa_client_close(client);
            }
        });
    }
    for (size_t i = 4; i < 8; ++i) threads[i].join();
    CHECK(pair.client.echo("well") == "well");
    stop = true;
    for (size_t i = 0; i < 4; ++i) threads[i].join();
    CHECK(pair.client.messages.take());
}

TEST_CASE("the automatic client tries until the certificate is right") {
    Tls wrong, right, client_tls;
    SecureServer server(wrong.cert("expired"));
    Follower follower(&client_tls.ca("ca.pem"));
    REQUIRE(follower.start(name_of(server.address)));
    for (int i = 0; i < 3; ++i) CHECK(client_tls.fails.take().value().error == EKEYEXPIRED);
    CHECK(follower.said.size() == 0);
    server.loop.stop();
    REQUIRE(vsoa_server_tls(server.handle, &right.cert("server").config));
    server.run();
    CHECK(follower.said.take() == "up");
    REQUIRE(server.publish("/t", "1"));
    CHECK(follower.said.take() == "1");
    CHECK(vsoa_server_cli_close(server.handle, [&] {
        vsoa_cli_id_t id = 0;
        vsoa_server_cli_array(server.handle, &id, 1);
        return id;
    }()));
    CHECK(follower.said.take() == "down");
    CHECK(follower.said.take() == "up");
}
