// What the interface promises about the thread of the program and about the wire, where no other test looks.
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <atomic>

#include "sdk/vsoa/include/vsoa_cliauto.h"
#include "sdk/vsoa/include/vsoa_loop.h"
#include "sdk/vsoa/include/vsoa_position.h"
#include "sdk/vsoa/include/vsoa_timer.h"
#include "sdk/vsoa/src/server.hpp"
#include "sdk/vsoa/src/thread.hpp"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

/// Counts callbacks, and those that ran at a time when the program had not called for them.
struct Witness {
    std::atomic<bool> inside{false};
    std::atomic<int> calls{0}, unasked{0};
    void saw() {
        ++calls;
        if (!inside) ++unasked;
    }
    static void saw(void* arg) { static_cast<Witness*>(arg)->saw(); }
};

/// A listener that takes one client and answers its login.
class FakeServer {
  public:
    FakeServer() : listener_(vsoa::open_socket(AF_INET, SOCK_STREAM)) {
        REQUIRE(bind(listener_.get(), loopback().raw(), loopback().length) == 0);
        REQUIRE(listen(listener_.get(), 1) == 0);
        address = *vsoa::Address::local(listener_.get());
    }
    /// data: of the answer to the login, whose tunid is returned.
    uint16_t log_in(const std::string& data) {
        REQUIRE(vsoa::wait_for(listener_.get(), POLLIN, vsoa::now_ns() + kLimit));
        peer = vsoa::Fd(accept(listener_.get(), nullptr, nullptr));
        const auto login = next();
        REQUIRE((login && login->type == VSOA_TYPE_SERVINFO));
        const uint16_t port = ntohs(login->header->tunid);
        send(packet(VSOA_TYPE_SERVINFO, 0, "", "{}", data, VSOA_FLAG_REPLY));
        return port;
    }
    void send(const Bytes& bytes) {
        REQUIRE(::send(peer.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size()));
    }
    std::optional<vsoa::Packet> next() {
        vsoa_header_t* header = nullptr;
        while (receiver_.next(header) != vsoa::Receiver::Next::kPacket) {
            if (!vsoa::wait_for(peer.get(), POLLIN, vsoa::now_ns() + kLimit)) return std::nullopt;
            const auto space = receiver_.space();
            const ssize_t got = recv(peer.get(), space.at, space.room, 0);
            if (got <= 0) return std::nullopt;
            receiver_.commit(static_cast<size_t>(got));
        }
        return vsoa::Packet(header);
    }

    vsoa::Address address;
    vsoa::Fd peer;

  private:
    static constexpr int64_t kLimit = 10'000 * vsoa::kNanosPerMs;
    vsoa::Fd listener_;
    vsoa::Receiver receiver_;
};

/// This process's socket that is connected to that address.
int socket_to(const vsoa::Address& peer) {
    for (int fd = 3; fd < 1024; ++fd) {
        const auto other = vsoa::Address::peer(fd);
        if (other && other->same(peer)) return fd;
    }
    return -1;
}

}  // namespace

TEST_CASE("callbacks of servers and clients run only when the program calls for them") {
    Witness server_sees, client_sees;
    vsoa_server_t* server = vsoa_server_create("{}");
    vsoa_server_on_cli(
        server, [](void* arg, vsoa_server_t*, vsoa_cli_id_t, bool) { Witness::saw(arg); }, &server_sees);
    vsoa_server_on_datagram(
        server, [](void* arg, vsoa_server_t*, vsoa_cli_id_t, vsoa_url_t*, vsoa_payload_t*, bool) { Witness::saw(arg); },
        &server_sees);
    const vsoa_url_t u = url("/a");
    const auto called = [](void* arg, vsoa_server_t* s, vsoa_cli_id_t id, vsoa_header_t* h, vsoa_url_t*,
                           vsoa_payload_t*) {
        Witness::saw(arg);
        vsoa_server_cli_reply(s, id, 0, vsoa_parser_get_seqno(h), 0, nullptr);
    };
    REQUIRE(vsoa_server_add_listener(server, &u, called, &server_sees));
    const vsoa::Address any = loopback();
    REQUIRE(vsoa_server_start(server, any.raw(), any.length));
    vsoa::Address address;
    address.length = sizeof address.storage;
    REQUIRE(vsoa_server_address(server, address.raw(), &address.length));
    vsoa_client_t* client = vsoa_client_create(
        [](void* arg, vsoa_client_t*, vsoa_url_t*, vsoa_payload_t*, bool) { Witness::saw(arg); }, &client_sees);
    vsoa_client_on_datagram(
        client, [](void* arg, vsoa_client_t*, vsoa_url_t*, vsoa_payload_t*, bool) { Witness::saw(arg); }, &client_sees);
    std::atomic<bool> stop{false};
    const timespec moment = span(20ms), limit = span(10s);
    std::thread loop([&] {
        while (!stop) {
            fd_set set;
            FD_ZERO(&set);
            const int highest = vsoa_server_fds(server, &set);
            if (pselect(highest + 1, &set, nullptr, nullptr, &moment, nullptr) <= 0) continue;
            server_sees.inside = true;
            vsoa_server_input_fds(server, &set);
            server_sees.inside = false;
        }
    });
    REQUIRE(vsoa_client_connect(client, address.raw(), address.length, &limit, nullptr, nullptr, 0));
    const auto result = [](void* arg, vsoa_client_t*, bool) { Witness::saw(arg); };
    const auto reply = [](void* arg, vsoa_client_t*, vsoa_header_t*, vsoa_payload_t*) { Witness::saw(arg); };
    REQUIRE(vsoa_client_subscribe(client, &u, result, &client_sees, &limit));
    REQUIRE(vsoa_client_ping(client, result, &client_sees, &limit));
    REQUIRE(vsoa_client_call(client, 0, &u, nullptr, reply, &client_sees, &limit));
    REQUIRE(vsoa_client_call(client, 0, &u, nullptr, reply, &client_sees, &moment));
    REQUIRE(vsoa_client_datagram(client, &u, nullptr));
    REQUIRE(vsoa_client_quick_datagram(client, &u, nullptr));
    CHECK(eventually([&] { return server_sees.calls >= 5; }));  // login, 2 calls, 2 datagrams
    REQUIRE(vsoa_server_publish(server, &u, nullptr));
    REQUIRE(vsoa_server_cli_datagram(server, 1, &u, nullptr));
    REQUIRE(vsoa_server_cli_quick_datagram(server, 1, &u, nullptr));
    CHECK(client_sees.calls == 0);  // all of it is there, and a time limit is over
    CHECK(eventually([&] {
        client_sees.inside = true;
        vsoa_client_wait(client, &moment);
        client_sees.inside = false;
        return client_sees.calls >= 7;
    }));
    vsoa_client_close(client);
    CHECK(eventually([&] { return server_sees.calls >= 6; }));
    stop = true;
    loop.join();
    vsoa_server_close(server);
    CHECK(server_sees.unasked == 0);
    CHECK(client_sees.unasked == 0);
}

TEST_CASE("callbacks of timers run in a thread of their own, one for all") {
    Inbox<std::thread::id> threads;
    const auto rang = [](void* arg, vsoa_timer_t*, void*) {
        static_cast<Inbox<std::thread::id>*>(arg)->put(std::this_thread::get_id());
    };
    REQUIRE(vsoa_timer_init());
    vsoa_timer_t* const timers[] = {vsoa_timer_create(), vsoa_timer_create()};
    for (vsoa_timer_t* timer : timers) REQUIRE(vsoa_timer_start_ms(timer, 1, 0, rang, &threads));
    const auto first = threads.take(), second = threads.take();
    CHECK((first && second && *first == *second && *first != std::this_thread::get_id()));
    for (vsoa_timer_t* timer : timers) vsoa_timer_delete(timer);
}

TEST_CASE("what belongs outside of callbacks does nothing inside, and says so") {
    Inbox<int> errors;
    static Inbox<int>* told;
    told = &errors;
    RunningServer server;
    const auto close_server = [](void*, vsoa_server_t* s, vsoa_cli_id_t, vsoa_url_t*, vsoa_payload_t*, bool) {
        errno = 0;
        vsoa_server_close(s);
        told->put(errno);
    };
    vsoa_server_on_datagram(server.handle, close_server, nullptr);
    server.start();
    const vsoa_url_t u = url("/a");
    SECTION("of a server and a client") {
        RunningClient client;
        REQUIRE(client.connect(server.address));
        REQUIRE(vsoa_client_datagram(client.handle, &u, nullptr));
        CHECK(errors.take() == EDEADLK);
        const auto pong = [](void*, vsoa_client_t* c, bool) {
            const vsoa_url_t asked = url("/a");
            vsoa_client_sync_call_t* sync = vsoa_client_sync_create(true);
            vsoa_header_t* header = nullptr;
            const bool called = vsoa_client_sync_call(c, 0, &asked, nullptr, sync, &header, nullptr);
            told->put(called ? 0 : errno);
            vsoa_client_sync_delete(sync);
            errno = 0;
            vsoa_client_close(c);
            told->put(errno);
        };
        for (int i = 0; i < 2; ++i) {  // and it goes on
            REQUIRE(vsoa_client_ping(client.handle, pong, nullptr, nullptr));
            CHECK(errors.take() == EDEADLK);
            CHECK(errors.take() == EDEADLK);
        }
    }
    SECTION("of an automatic client") {
        vsoa_client_auto_t* robot = vsoa_client_auto_create(nullptr, nullptr);
        const auto connected = [](void*, vsoa_client_auto_t* self, bool up, const char*) {
            if (!up) return;
            const vsoa_url_t asked = url("/a");
            vsoa_client_sync_call_t* sync = vsoa_client_sync_create(true);
            vsoa_header_t* header = nullptr;
            const bool called =
                vsoa_client_sync_call(vsoa_client_auto_handle(self), 0, &asked, nullptr, sync, &header, nullptr);
            told->put(called ? 0 : errno);
            vsoa_client_sync_delete(sync);
            told->put(vsoa_client_auto_stop(self) ? 0 : errno);
            errno = 0;
            vsoa_client_auto_delete(self);
            told->put(errno);
        };
        REQUIRE(vsoa_client_auto_setup(robot, connected, nullptr));
        const std::string where = "127.0.0.1:" + std::to_string(server.address.port());
        REQUIRE(vsoa_client_auto_start(robot, where.c_str(), nullptr, nullptr, 0, 1000, 1000, 20));
        for (int i = 0; i < 3; ++i) CHECK(errors.take() == EDEADLK);
        CHECK(vsoa_client_auto_stop(robot));
        vsoa_client_auto_delete(robot);
    }
    SECTION("of a position server") {
        const auto query = [](void* arg, int, const char*, vsoa_position_response_t* response) {
            auto* self = *static_cast<vsoa_position_server_t**>(arg);
            errno = 0;
            vsoa_position_server_close(self);
            told->put(errno);
            vsoa_position_server_response(self, response, nullptr, 0, false);
        };
        vsoa_position_server_t* position = nullptr;
        position = vsoa_position_server_create(query, &position);
        REQUIRE(vsoa_position_server_start(position, loopback().raw(), loopback().length));
        const vsoa::Address where = *vsoa::Address::local(vsoa_position_server_fd(position));
        const vsoa::Fd asks = vsoa::open_socket(AF_INET, SOCK_DGRAM);
        REQUIRE(sendto(asks.get(), "{\"name\":\"a\"}", 12, 0, where.raw(), where.length) == 12);
        REQUIRE(vsoa::wait_for(vsoa_position_server_fd(position), POLLIN, vsoa::now_ns() + 10'000 * vsoa::kNanosPerMs));
        vsoa_position_server_input(position);
        CHECK(errors.take() == EDEADLK);
        vsoa_position_server_close(position);
    }
}

TEST_CASE("a server has more clients than an fd_set has room for, and its program waits for one descriptor") {
    constexpr int kClients = FD_SETSIZE + 50;
    rlimit before{};
    REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
    const rlimit more = {std::max<rlim_t>(before.rlim_cur, 2 * kClients + 100), before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &more) == 0);
    {
        RunningServer server;
        server.handle->core.accept_interval(0);
        server.start();
        std::vector<std::unique_ptr<RawPeer>> clients;
        for (int i = 0; i < kClients; ++i) {
            clients.push_back(std::make_unique<RawPeer>(server.address));
            REQUIRE(clients.back()->log_in());
        }
        CHECK(vsoa_server_count(server.handle) == kClients);
        for (RawPeer* peer : {clients.front().get(), clients.back().get()}) {
            REQUIRE(peer->send(packet(VSOA_TYPE_PINGECHO, 9)));
            CHECK(peer->receive().value().seqno == 9);
        }
    }
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST_CASE("a connection that should have logged in ends though the program does not come to its event loop") {
    RunningServer server;
    server.start();
    RawPeer client(server.address), silent(server.address), half(server.address);
    REQUIRE(client.log_in());
    const Bytes login = packet(VSOA_TYPE_SERVINFO, 0);
    REQUIRE(half.send(Bytes(login.begin(), login.end() - 1)));
    REQUIRE(client.send(packet(VSOA_TYPE_PINGECHO, 1)));
    REQUIRE(client.receive());  // so the others have been accepted
    server.loop.stop();
    CHECK(silent.ends());
    CHECK(half.ends());
    CHECK(vsoa_server_count(server.handle) == 1);
    server.run();
    REQUIRE(client.send(packet(VSOA_TYPE_PINGECHO, 2)));
    CHECK(client.receive().value().seqno == 2);
}

TEST_CASE("what was published before the program ends at once arrives") {
    int ports[2];
    REQUIRE(pipe(ports) == 0);
    const pid_t child = fork();
    if (child == 0) {
        vsoa_server_t* server = vsoa_server_create("{}");
        vsoa::Address mine = loopback();
        const vsoa_url_t u = url("/t");
        bool good = vsoa_server_start(server, mine.raw(), mine.length);
        good = good && vsoa_server_address(server, mine.raw(), &mine.length);
        const uint16_t port = mine.port();
        good = good && write(ports[1], &port, sizeof port) == sizeof port;
        while (good && !vsoa_server_is_subscribed(server, &u)) vsoa_server_wait(server, nullptr);
        const std::string block(200'000, 'x');
        const vsoa_payload_t p = payload("last words", block);
        good = good && vsoa_server_publish(server, &u, &p);
        _exit(good ? 0 : 1);
    }
    ::close(ports[1]);  // so that a child that dies is not waited for
    uint16_t port = 0;
    REQUIRE(read(ports[0], &port, sizeof port) == sizeof port);
    ::close(ports[0]);
    RunningClient client;
    REQUIRE(client.connect(loopback(port)));
    const vsoa_url_t u = url("/t");
    REQUIRE(vsoa_client_subscribe(client.handle, &u, nullptr, nullptr, nullptr));
    const auto message = client.messages.take();
    CHECK((message && message->param == "last words" && message->data.size() == 200'000));
    int status = 1;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}

TEST_CASE("a stream listens where its server does, ends in one direction at a time, and is kept alive") {
    RunningServer server;
    server.start();
    RunningClient client;
    REQUIRE(client.connect(server.address));
    vsoa_server_stream_t* stream = vsoa_server_stream_create(server.handle);
    REQUIRE(stream != nullptr);
    CHECK(vsoa::Address::local(vsoa_server_stream_lfd(stream))->ip() == "127.0.0.1");
    const int fd = vsoa_client_stream_create(client.handle, vsoa_server_stream_tunid(stream), nullptr, 7);
    REQUIRE(fd >= 0);
    const int other = vsoa_server_stream_accept(stream, nullptr, nullptr, 7);
    REQUIRE(other >= 0);
    for (const int end : {fd, other}) {
        int on = 0, idle = 0;
        socklen_t length = sizeof on;
        REQUIRE(getsockopt(end, SOL_SOCKET, SO_KEEPALIVE, &on, &length) == 0);
        REQUIRE(getsockopt(end, IPPROTO_TCP, 4 /* TCP_KEEPIDLE */, &idle, &length) == 0);
        CHECK((on == 1 && idle == 7));
    }
    char text[8] = {};
    REQUIRE(write(fd, "all", 3) == 3);
    REQUIRE(shutdown(fd, SHUT_WR) == 0);
    CHECK(read(other, text, sizeof text) == 3);
    CHECK(read(other, text, sizeof text) == 0);
    REQUIRE(write(other, "more", 4) == 4);
    CHECK(read(fd, text, sizeof text) == 4);
    vsoa_server_stream_close(stream);
    CHECK(read(fd, text, sizeof text) == 0);
    vsoa_client_stream_close(fd);
}

TEST_CASE("a client sends quick datagrams where the server says, from the port that it told") {
    FakeServer server;
    const vsoa::Fd udp = vsoa::open_socket(AF_INET, SOCK_DGRAM);
    REQUIRE(bind(udp.get(), loopback().raw(), loopback().length) == 0);
    const uint16_t port = vsoa::Address::local(udp.get())->port();
    RunningClient client;
    std::thread connects([&] { client.connect(server.address); });
    const uint16_t told =
        server.log_in(std::string("\0\0\1\2", 4) + static_cast<char>(port >> 8) + static_cast<char>(port));
    connects.join();
    const vsoa_url_t u = url("/q");
    REQUIRE(vsoa_client_quick_datagram(client.handle, &u, nullptr));
    REQUIRE(vsoa::wait_for(udp.get(), POLLIN, vsoa::now_ns() + 10'000 * vsoa::kNanosPerMs));
    vsoa::Address from;
    from.length = sizeof from.storage;
    alignas(vsoa_header_t) uint8_t bytes[64];
    const ssize_t got = recvfrom(udp.get(), bytes, sizeof bytes, 0, from.raw(), &from.length);
    vsoa_header_t* header = got > 0 ? vsoa::check_datagram(bytes, static_cast<size_t>(got)) : nullptr;
    REQUIRE(header != nullptr);
    CHECK(ntohl(header->seqno) == 0x102);
    CHECK(from.port() == told);
}

TEST_CASE("a client takes the priorities of every vendor's server, and no others") {
    FakeServer server;
    RunningClient client;
    std::thread connects([&] { client.connect(server.address); });
    server.log_in(std::string("\0\0\0\1", 4));
    connects.join();
    const int fd = socket_to(server.address);
    REQUIRE(fd >= 0);
    const auto tos = [fd] {
        int value = -1;
        socklen_t length = sizeof value;
        getsockopt(fd, IPPROTO_IP, IP_TOS, &value, &length);
        return value;
    };
    const auto priority = [](uint8_t value, uint8_t flags) {
        Bytes bytes = packet(VSOA_TYPE_QOSSETUP, 0, "", "", "", flags);
        bytes[3] = value;
        return bytes;
    };
    server.send(priority(3, VSOA_FLAG_REPLY));
    CHECK(eventually([&] { return tos() == (3 << 5 | 8); }));
    server.send(priority(7, 0));
    CHECK(eventually([&] { return tos() == (7 << 5 | 8); }));
    server.send(priority(8, 0) + packet(VSOA_TYPE_PUBLISH, 0, "/after"));
    CHECK(client.messages.take().value().url == "/after");
    CHECK(tos() == (7 << 5 | 8));
}

TEST_CASE("turbo pings are sent while a call is outstanding, and no more in a row than was asked for") {
    FakeServer server;
    vsoa_client_auto_t* robot = vsoa_client_auto_create(nullptr, nullptr);
    REQUIRE(vsoa_client_auto_ping_turbo(robot, 25, 3));
    const std::string where = "127.0.0.1:" + std::to_string(server.address.port());
    REQUIRE(vsoa_client_auto_start(robot, where.c_str(), nullptr, nullptr, 0, 300, 5000, 20));
    server.log_in(std::string("\0\0\0\1", 4));
    const auto count = [&](uint8_t until) {
        int noops = 0;
        for (auto p = server.next(); p && p->type != until; p = server.next()) {
            noops += p->type == VSOA_TYPE_NOOP && (p->seqno & 0xffff) == 0 && p->seqno != 0;
        }
        return noops;
    };
    CHECK(count(VSOA_TYPE_PINGECHO) == 0);
    const vsoa_url_t u = url("/slow");
    const auto ignore = [](void*, vsoa_client_t*, vsoa_header_t*, vsoa_payload_t*) {};
    REQUIRE(vsoa_client_call(vsoa_client_auto_handle(robot), 0, &u, nullptr, ignore, nullptr, nullptr));
    CHECK(count(VSOA_TYPE_PINGECHO) == 3);  // in up to 300 ms, one every 25
    CHECK(count(VSOA_TYPE_PINGECHO) == 0);
    vsoa_client_auto_delete(robot);
}

TEST_CASE("a listener that is removed is not called, and the info that does not fit is cut") {
    RunningServer server;
    const vsoa_url_t u = url("/a");
    const auto echo = [](void*, vsoa_server_t* s, vsoa_cli_id_t id, vsoa_header_t* h, vsoa_url_t*, vsoa_payload_t* p) {
        vsoa_server_cli_reply(s, id, 0, vsoa_parser_get_seqno(h), 0, p);
    };
    REQUIRE(vsoa_server_add_listener(server.handle, &u, echo, nullptr));
    server.start();
    RawPeer peer(server.address);
    REQUIRE(peer.log_in());
    REQUIRE(peer.send(packet(VSOA_TYPE_RPC, 1, "/a")));
    CHECK(peer.receive().value().status == VSOA_STATUS_SUCCESS);
    server.loop.stop();
    vsoa_server_remove_listener(server.handle, &u);
    server.run();
    REQUIRE(peer.send(packet(VSOA_TYPE_RPC, 2, "/a")));
    CHECK(peer.receive().value().status == VSOA_STATUS_INVALID_URL);

    char info[8];
    std::memset(info, '#', sizeof info);
    vsoa_client_t* client = vsoa_client_create(nullptr, nullptr);
    const timespec limit = span(5s);
    REQUIRE(vsoa_client_connect(client, server.address.raw(), server.address.length, &limit, nullptr, info, 7));
    CHECK(std::string(info, 8) == std::string("{\"name\0#", 8));
    vsoa_client_close(client);
}

TEST_CASE("a thread of the library is known from its first moment on") {
    for (int i = 0; i < 2'000; ++i) {
        bool known = false;
        std::thread thread;
        REQUIRE(vsoa::start_thread(thread, [&] { known = thread.get_id() == std::this_thread::get_id(); }));
        thread.join();
        REQUIRE(known);
    }
}
