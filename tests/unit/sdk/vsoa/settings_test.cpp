// What a program sets for a server and its clients: interface, priority, linger, pointers of its own.
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <catch2/catch.hpp>

#include "sdk/vsoa/include/vsoa_position.h"
#include "sdk/vsoa/src/server.hpp"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

/// Subscribes to everything; the kernel notes when each packet comes.
struct Subscriber : RawPeer {
    explicit Subscriber(const vsoa::Address& to) : RawPeer(to) {
        const int on = 1;
        REQUIRE(setsockopt(fd(), SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on) == 0);
        REQUIRE(log_in());
        REQUIRE(send(packet(VSOA_TYPE_SUBSCRIBE, 1, "/")));
        REQUIRE(receive());
    }
    /// Takes what has come; the time at which it came, 0 when the kernel does not say.
    int64_t arrival() {
        REQUIRE(vsoa::wait_for(fd(), POLLIN, vsoa::now_ns() + 10'000 * vsoa::kNanosPerMs));
        uint8_t bytes[256];
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(timespec))];
        iovec piece = {bytes, sizeof bytes};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        REQUIRE(recvmsg(fd(), &message, 0) > 0);
        const cmsghdr* part = CMSG_FIRSTHDR(&message);
        if (part == nullptr || part->cmsg_type != SCM_TIMESTAMPNS) return 0;
        timespec when;
        std::memcpy(&when, CMSG_DATA(part), sizeof when);
        return when.tv_sec * 1'000'000'000LL + when.tv_nsec;
    }
};

}  // namespace

TEST_CASE("a priority is told to its client") {
    RunningServer server;
    server.start();
    RawPeer peer(server.address);
    REQUIRE(peer.log_in());
    for (const int priority : {5, 0}) {
        REQUIRE(vsoa_server_cli_priority(server.handle, peer.id, priority));
        const auto told = peer.receive();
        REQUIRE(told);
        CHECK(told->type == VSOA_TYPE_QOSSETUP);
        CHECK(told->type == 6);
        CHECK(told->reply);
        CHECK(told->status == priority);
        CHECK(told->seqno == 0);
        CHECK(vsoa::packet_length(*told->header, true) == VSOA_HDR_LENGTH);
    }
    CHECK_FALSE(vsoa_server_cli_priority(server.handle, peer.id, 6));
    CHECK_FALSE(vsoa_server_cli_priority(server.handle, peer.id, -1));
    CHECK_FALSE(vsoa_server_cli_priority(server.handle, 99, 1));
    CHECK(vsoa_server_cli_keepalive(server.handle, peer.id, 10));
}

TEST_CASE("keepalive also bounds what a client leaves unacknowledged") {
    RunningServer server;
    server.start();
    RawPeer peer(server.address);
    REQUIRE(peer.log_in());
    const auto read = [&](int level, int name) {
        int value = -1;
        socklen_t length = sizeof value;
        server.handle->core.with_client(
            peer.id, [&](vsoa::Link& link) { return getsockopt(link.fd.get(), level, name, &value, &length) == 0; });
        return value;
    };
    REQUIRE(vsoa_server_cli_keepalive(server.handle, peer.id, 2));
    CHECK(read(SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(read(IPPROTO_TCP, TCP_KEEPIDLE) == 2);
    CHECK(read(IPPROTO_TCP, TCP_USER_TIMEOUT) == 8000);  // ms: the first probe and three that are lost
    REQUIRE(vsoa_server_cli_keepalive(server.handle, peer.id, 0));
    CHECK(read(SOL_SOCKET, SO_KEEPALIVE) == 0);
    CHECK(read(IPPROTO_TCP, TCP_USER_TIMEOUT) == 0);
}

TEST_CASE("clients of higher priority are published to first") {
    RunningServer server;
    server.start();
    Subscriber first(server.address), second(server.address);
    const vsoa_url_t u = url("/a");
    const auto publish = [&](int64_t& at_first, int64_t& at_second) {
        REQUIRE(vsoa_server_publish(server.handle, &u, nullptr));
        at_first = first.arrival();
        at_second = second.arrival();
        return at_first != 0 && at_second != 0;
    };
    int64_t at_first, at_second;
    // The kernel begins to take times some time after it was told to.
    REQUIRE(eventually([&] { return publish(at_first, at_second); }));
    for (const auto& [of_first, of_second] : {std::pair(1, 5), std::pair(5, 1), std::pair(0, 2), std::pair(4, 3)}) {
        CAPTURE(of_first, of_second);
        REQUIRE(vsoa_server_cli_priority(server.handle, first.id, of_first));
        REQUIRE(vsoa_server_cli_priority(server.handle, second.id, of_second));
        REQUIRE(first.receive());
        REQUIRE(second.receive());
        for (int i = 0; i < 5; ++i) {
            REQUIRE(publish(at_first, at_second));
            CHECK((at_first < at_second) == (of_first > of_second));
        }
    }
}

TEST_CASE("a server is tied to an interface") {
    RunningServer server;
    REQUIRE(vsoa_server_bind_if(server.handle, "lo"));
    server.start();
    char name[16] = {};
    socklen_t length = sizeof name;
    RunningClient client;
    REQUIRE(client.connect(server.address));
    server.handle->core.with_client(1, [&](vsoa::Link& link) {
        return getsockopt(link.fd.get(), SOL_SOCKET, SO_BINDTODEVICE, name, &length) == 0;
    });
    CHECK(std::string(name) == "lo");

    CHECK_FALSE(vsoa_server_bind_if(server.handle, ""));
    CHECK_FALSE(vsoa_server_bind_if(server.handle, nullptr));
    CHECK(errno == EINVAL);
    vsoa_server_t* nowhere = vsoa_server_create(nullptr);
    REQUIRE(vsoa_server_bind_if(nowhere, "no-such-device"));
    const vsoa::Address where = loopback();
    CHECK_FALSE(vsoa_server_start(nowhere, where.raw(), where.length));
    CHECK(errno == ENODEV);
    vsoa_server_close(nowhere);
}

TEST_CASE("a client's linger is set, and reset") {
    RunningServer server;
    server.start();
    RawPeer peer(server.address);
    REQUIRE(peer.log_in());
    const auto now = [&] {
        linger value{};
        socklen_t length = sizeof value;
        server.handle->core.with_client(peer.id, [&](vsoa::Link& link) {
            return getsockopt(link.fd.get(), SOL_SOCKET, SO_LINGER, &value, &length) == 0;
        });
        return std::pair(value.l_onoff, value.l_linger);
    };
    CHECK(now().first == 0);
    CHECK(vsoa_server_cli_linger(server.handle, peer.id, 3));
    CHECK(now() == std::pair(1, 3));
    CHECK(vsoa_server_cli_linger(server.handle, peer.id, -1));
    CHECK(now().first == 0);
    CHECK(vsoa_server_cli_linger(server.handle, peer.id, 0));
    CHECK(now() == std::pair(1, 0));
    CHECK(vsoa_server_cli_close(server.handle, peer.id));
    CHECK(peer.ends());
    CHECK_FALSE(vsoa_server_cli_linger(server.handle, peer.id, 0));
    CHECK(errno == ENOENT);
}

TEST_CASE("pointers of the program's stay with whom they were given") {
    RunningServer server;
    server.start();
    RunningClient client, other;
    REQUIRE(client.connect(server.address));
    REQUIRE(other.connect(server.address));
    vsoa_position_server_t* position =
        vsoa_position_server_create([](void*, int, const char*, vsoa_position_response_t*) {}, nullptr);
    int a = 0, b = 0, c = 0, d = 0, e = 0;
    CHECK(vsoa_server_custom(server.handle) == nullptr);
    CHECK(vsoa_server_cli_custom(server.handle, 1) == nullptr);
    CHECK(vsoa_client_custom(client.handle) == nullptr);
    CHECK(vsoa_position_server_custom(position) == nullptr);
    vsoa_server_set_custom(server.handle, &a);
    CHECK(vsoa_server_cli_set_custom(server.handle, 1, &b));
    CHECK(vsoa_server_cli_set_custom(server.handle, 2, &c));
    vsoa_client_set_custom(client.handle, &d);
    vsoa_position_server_set_custom(position, &e);
    CHECK(vsoa_server_custom(server.handle) == &a);
    CHECK(vsoa_server_cli_custom(server.handle, 1) == &b);
    CHECK(vsoa_server_cli_custom(server.handle, 2) == &c);
    CHECK(vsoa_client_custom(client.handle) == &d);
    CHECK(vsoa_client_custom(other.handle) == nullptr);
    CHECK(vsoa_position_server_custom(position) == &e);
    CHECK_FALSE(vsoa_server_cli_set_custom(server.handle, 3, &c));
    CHECK(vsoa_server_cli_custom(server.handle, 3) == nullptr);
    vsoa_server_stream_t* stream = vsoa_server_stream_create(server.handle);
    REQUIRE(stream != nullptr);
    vsoa_server_stream_set_custom(stream, &a);
    CHECK(vsoa_server_stream_custom(stream) == &a);
    vsoa_server_stream_close(stream);
    vsoa_position_server_close(position);
}

TEST_CASE("another thread may publish while the server starts") {
    vsoa_server_t* server = vsoa_server_create(nullptr);
    const vsoa_url_t u = url("/a");
    std::atomic<bool> waits{false};
    bool published = false;
    std::thread publisher([&] {
        published = eventually([&] {
            waits = true;
            return vsoa_server_publish(server, &u, nullptr) && vsoa_server_quick_publish(server, &u, nullptr);
        });
    });
    eventually([&] { return waits.load(); });
    const vsoa::Address where = loopback();
    CHECK(vsoa_server_start(server, where.raw(), where.length));
    publisher.join();
    CHECK(published);
    vsoa_server_close(server);
}
