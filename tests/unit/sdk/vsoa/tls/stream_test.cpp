// Streams of encrypted connections, and names that the position service knows.
#include <poll.h>

#include <catch2/catch.hpp>

#include "sdk/vsoa/include/vsoa_position.h"
#include "sdk/vsoa/include/vsoa_stats.h"
#include "tests/unit/sdk/vsoa/tls/tls_rig.hpp"

using namespace rig;

namespace {

/// Both ends of a stream, as the programs have them.
struct Stream {
    Stream(SecureServer& server, SecureClient& client) : offered(vsoa_server_stream_create(server.handle)) {
        REQUIRE(offered != nullptr);
        std::thread connects([&] {
            client_end = vsoa_client_stream_create(client.handle, vsoa_server_stream_tunid(offered), nullptr, 10);
        });
        server_end = vsoa_server_stream_accept(offered, nullptr, nullptr, 10);
        connects.join();
        REQUIRE((server_end >= 0 && client_end >= 0));
    }
    ~Stream() {
        if (offered != nullptr) vsoa_server_stream_close(offered);
        vsoa_client_stream_close(client_end);
    }
    vsoa_server_stream_t* offered;
    int server_end = -1, client_end = -1;
};

std::string pattern(size_t length) {
    std::string out(length, '\0');
    for (size_t i = 0; i < length; ++i) out[i] = static_cast<char>(i * 7 + i / 256);
    return out;
}

void send_all(int fd, const std::string& bytes) {
    for (size_t sent = 0; sent < bytes.size();) {
        const ssize_t part = ::send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
        if (part < 0) std::abort();
        sent += static_cast<size_t>(part);
    }
}

/// Until the end of the stream.
std::string receive_all(int fd) {
    std::string out;
    char bytes[10'000];
    for (;;) {
        if (!vsoa::wait_for(fd, POLLIN, vsoa::now_ns() + 10'000 * vsoa::kNanosPerMs)) return "nothing in time";
        const ssize_t got = recv(fd, bytes, sizeof bytes, 0);
        if (got <= 0) return out;
        out.append(bytes, static_cast<size_t>(got));
    }
}

struct Pair {
    Pair() : server(server_tls.cert("server").ca("ca.pem")), client(client_tls.ca("ca.pem").cert("client")) {
        REQUIRE(client.connects(server.address) == 0);
    }
    Tls server_tls, client_tls;
    SecureServer server;
    SecureClient client;
};

/// A position server that says of every name where it is and that it wants TLS, or not.
struct Directory {
    explicit Directory(const vsoa::Address& where) : place(where), handle(vsoa_position_server_create(answer, this)) {
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
    static void answer(void* arg, int, const char*, vsoa_position_response_t* response) {
        auto* self = static_cast<Directory*>(arg);
        ++self->asked;
        vsoa_position_server_response(self->handle, response, self->place.raw(), self->place.length, self->secure);
    }
    vsoa::Address place;
    vsoa_position_server_t* handle;
    std::atomic<bool> secure{true};
    std::atomic<int> asked{0};
    Loop loop;
};

struct Follower {
    explicit Follower(const Tls* tls) : handle(vsoa_client_auto_create(nullptr, nullptr)) {
        REQUIRE((tls == nullptr || vsoa_client_auto_tls(handle, &tls->config)));
        const auto connected = [](void* arg, vsoa_client_auto_t*, bool up, const char*) {
            static_cast<Follower*>(arg)->ups.put(up);
        };
        REQUIRE(vsoa_client_auto_setup(handle, connected, this));
        const auto failed = [](void* arg, vsoa_client_auto_t*, int error) {
            static_cast<Follower*>(arg)->fails.put(error);
        };
        REQUIRE(vsoa_client_auto_on_fail(handle, failed, this));
        REQUIRE(vsoa_client_auto_start(handle, "vsoa://axis_server", nullptr, nullptr, 0, 1000, 1000, 20));
    }
    ~Follower() { vsoa_client_auto_delete(handle); }
    vsoa_client_auto_t* handle;
    Inbox<bool> ups;
    Inbox<int> fails;
};

}  // namespace

TEST_CASE("a stream carries both ways at once, each direction to its own end") {
    Pair pair;
    const std::string up = pattern(3'000'000), down = pattern(1'000'000);
    Stream stream(pair.server, pair.client);
    std::string at_server, at_client;
    std::thread server_reads([&] { at_server = receive_all(stream.server_end); });
    std::thread client_reads([&] { at_client = receive_all(stream.client_end); });
    std::thread server_writes([&] {
        send_all(stream.server_end, down);
        shutdown(stream.server_end, SHUT_WR);
    });
    send_all(stream.client_end, up);
    shutdown(stream.client_end, SHUT_WR);
    for (std::thread* thread : {&server_reads, &client_reads, &server_writes}) thread->join();
    CHECK((at_server == up));
    CHECK((at_client == down));
}

TEST_CASE("the end of one side reaches the other after all it wrote, also when it closed at once") {
    Pair pair;
    const std::string bytes = pattern(500'000);
    Stream stream(pair.server, pair.client);
    std::string received;
    std::thread reads([&] { received = receive_all(stream.client_end); });
    send_all(stream.server_end, bytes);
    vsoa_server_stream_close(std::exchange(stream.offered, nullptr));
    reads.join();
    CHECK((received == bytes));
    // And what is written to nobody is refused in the end.
    CHECK(eventually([&] { return ::send(stream.client_end, "x", 1, MSG_NOSIGNAL) < 0; }));
}

TEST_CASE("a stream goes on when the connection that it came from is gone") {
    Pair pair;
    Stream stream(pair.server, pair.client);
    pair.client.close();
    send_all(stream.server_end, "still there");
    shutdown(stream.server_end, SHUT_WR);
    CHECK(receive_all(stream.client_end) == "still there");
}

TEST_CASE("who cannot prove itself does not get the stream, and it is accepted again") {
    Pair pair;
    vsoa_server_stream_t* offered = vsoa_server_stream_create(pair.server.handle);
    REQUIRE(offered != nullptr);
    const uint16_t tunid = vsoa_server_stream_tunid(offered);
    {
        RawPeer stranger(loopback(ntohs(tunid)));
        REQUIRE(stranger.send(packet(VSOA_TYPE_NOOP, 0)));
        errno = 0;
        CHECK((vsoa_server_stream_accept(offered, nullptr, nullptr, 0) == -1 && errno == EPROTO));
    }
    CHECK(pair.server_tls.fails.take().value().error == EPROTO);
    int client_end = -1;
    std::thread connects([&] { client_end = vsoa_client_stream_create(pair.client.handle, tunid, nullptr, 0); });
    const int server_end = vsoa_server_stream_accept(offered, nullptr, nullptr, 0);
    connects.join();
    REQUIRE((server_end >= 0 && client_end >= 0));
    send_all(client_end, "hello");
    char bytes[5];
    CHECK(recv(server_end, bytes, sizeof bytes, MSG_WAITALL) == 5);
    vsoa_server_stream_close(offered);
    vsoa_client_stream_close(client_end);
}

TEST_CASE("a stream whose server says nothing ends at the time limit") {
    Pair pair;
    vsoa::Fd listener = vsoa::open_socket(AF_INET, SOCK_STREAM);
    const vsoa::Address any = loopback();
    REQUIRE((bind(listener.get(), any.raw(), any.length) == 0 && listen(listener.get(), 1) == 0));
    const timespec limit = span(50ms);
    const uint16_t port = vsoa::Address::local(listener.get())->port();
    errno = 0;
    CHECK(vsoa_client_stream_create(pair.client.handle, htons(port), &limit, 0) == -1);
    CHECK(errno == ETIMEDOUT);
}

TEST_CASE("a service that is found by its name must have a certificate for that name") {
    Tls server_tls, client_tls;
    client_tls.ca("ca.pem");
    SECTION("it has") {
        SecureServer server(server_tls.cert("server"));
        Directory directory(server.address);
        Follower follower(&client_tls);
        CHECK(follower.ups.take() == true);
    }
    SECTION("it has one for another") {
        SecureServer server(server_tls.cert("elsewhere"));
        Directory directory(server.address);
        Follower follower(&client_tls);
        const Fail fail = client_tls.fails.take().value();
        CHECK((fail.error == EKEYREJECTED && fail.reason.find("\"axis_server\"") != std::string::npos));
        CHECK(follower.ups.size() == 0);
    }
}

TEST_CASE("the position service can ask for TLS, and cannot switch it off") {
    Tls server_tls, client_tls;
    SECTION("a client without it stays away, and its program is told why") {
        RunningServer server;
        server.start();
        Directory directory(server.address);
        Follower follower(nullptr);
        for (int i = 0; i < 3; ++i) CHECK(follower.fails.take() == EPROTONOSUPPORT);
        CHECK(directory.asked >= 3);
        CHECK(follower.ups.size() == 0);
        CHECK(vsoa_server_count(server.handle) == 0);
    }
    SECTION("a client with it uses it all the same") {
        SecureServer server(server_tls.cert("server"));
        Directory directory(server.address);
        directory.secure = false;
        Follower follower(&client_tls.ca("ca.pem"));
        CHECK(follower.ups.take() == true);
    }
}
