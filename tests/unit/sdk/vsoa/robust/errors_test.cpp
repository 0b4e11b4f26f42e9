// Errors of the world, not of the program: each gives the errno that the header names, and nothing hangs past its time
// limit. What programs do wrong is in misuse_test.cpp.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>

#include <atomic>

#include "sdk/vsoa/include/vsoa_cliauto.h"
#include "sdk/vsoa/include/vsoa_position.h"
#include "sdk/vsoa/include/vsoa_stats.h"
#include "sdk/vsoa/src/position.hpp"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

/// The call failed with this errno.
template <typename Call>
bool fails(int error, Call call) {
    errno = 0;
    if constexpr (std::is_same_v<decltype(call()), int>) {
        if (call() >= 0) return false;
    } else {
        if (call()) return false;
    }
    return errno == error;
}

/// Accepts one connection and does with it what the test wants; a listening socket before that.
class Impostor {
  public:
    template <typename Serve>
    explicit Impostor(Serve serve) : listen_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        REQUIRE(bind(listen_.get(), loopback().raw(), loopback().length) == 0);
        REQUIRE(listen(listen_.get(), 4) == 0);
        address = *vsoa::Address::local(listen_.get());
        thread_ = std::thread([this, serve] {
            const vsoa::Fd peer(accept4(listen_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (peer) serve(peer.get());
        });
    }
    ~Impostor() {
        shutdown(listen_.get(), SHUT_RDWR);
        thread_.join();
    }
    vsoa::Address address;

  private:
    vsoa::Fd listen_;
    std::thread thread_;
};

void hear_login(int fd) {
    uint8_t bytes[256];
    while (recv(fd, bytes, sizeof bytes, 0) < 0) continue;
}

void say(int fd, const Bytes& bytes) {
    [[maybe_unused]] const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
}

/// Leaves this process only so many descriptors as it has now.
class NoDescriptors {
  public:
    NoDescriptors() {
        getrlimit(RLIMIT_NOFILE, &before_);
        const vsoa::Fd next(open("/dev/null", O_RDONLY | O_CLOEXEC));
        rlimit none = before_;
        none.rlim_cur = static_cast<rlim_t>(next.get());
        setrlimit(RLIMIT_NOFILE, &none);
    }
    ~NoDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

  private:
    rlimit before_{};
};

}  // namespace

TEST_CASE("a login that gets no proper answer fails for its reason") {
    RunningClient client;
    const Bytes garbage(64, 'x'), wrong = packet(VSOA_TYPE_SERVINFO, 0);
    const auto answer_with = [](const Bytes& bytes) {
        return [bytes](int fd) {
            hear_login(fd);
            say(fd, bytes);
        };
    };
    Impostor broken(answer_with(garbage)), gone(answer_with({})), no_reply(answer_with(wrong));
    CHECK_FALSE(client.connect(broken.address));
    CHECK(errno == EPROTO);
    CHECK_FALSE(client.connect(gone.address));
    CHECK(errno == ECONNRESET);
    CHECK_FALSE(client.connect(no_reply.address));
    CHECK(errno == EACCES);
}

TEST_CASE("a server that talks without end cannot hold a login past its time limit") {
    RunningClient client;
    Bytes many;
    for (int i = 0; i < 1000; ++i) many = many + packet(VSOA_TYPE_NOOP, 0);
    Impostor talker([&](int fd) {
        while (::send(fd, many.data(), many.size(), MSG_NOSIGNAL) > 0) continue;
    });
    const int64_t begin = vsoa::now_ns();
    CHECK_FALSE(client.connect(talker.address, nullptr, 200ms));
    CHECK(errno == ETIMEDOUT);
    CHECK(vsoa::now_ns() - begin < 5000 * vsoa::kNanosPerMs);
}

TEST_CASE("a position server that talks without end cannot hold a look-up past its time limit") {
    const vsoa::Fd server = vsoa::open_socket(AF_INET, SOCK_DGRAM);
    REQUIRE(bind(server.get(), loopback().raw(), loopback().length) == 0);
    std::atomic<bool> stop{false};
    std::thread talker([&] {
        char query[256];
        vsoa::Address from;
        from.length = sizeof from.storage;
        if (!vsoa::wait_for(server.get(), POLLIN, vsoa::now_ns() + 5000 * vsoa::kNanosPerMs)) return;
        if (recvfrom(server.get(), query, sizeof query, 0, from.raw(), &from.length) <= 0) return;
        while (!stop) sendto(server.get(), "no answer", 9, 0, from.raw(), from.length);
    });
    const int64_t begin = vsoa::now_ns();
    CHECK_FALSE(
        vsoa::position::look_up({*vsoa::Address::local(server.get())}, {"axis_server", -1}, 200 * vsoa::kNanosPerMs));
    CHECK(errno == ETIMEDOUT);
    CHECK(vsoa::now_ns() - begin < 5000 * vsoa::kNanosPerMs);
    stop = true;
    talker.join();
}

TEST_CASE("a server says of everything about a client that there is none") {
    RunningServer server;
    server.start();
    const vsoa_url_t u = url("/a");
    const timespec second{1, 0};
    sockaddr_storage address;
    socklen_t length = sizeof address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    vsoa_server_t* const s = server.handle;
    const vsoa_cli_id_t nobody = 99;
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_close(s, nobody); }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_linger(s, nobody, 0); }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_is_subscribed(s, nobody, &u); }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_address(s, nobody, raw, &length); }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_reply(s, nobody, 0, 1, 0, nullptr); }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_priority(s, nobody, 1); }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_keepalive(s, nobody, 1); }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_send_timeout(s, nobody, &second); }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_set_authed(s, nobody, true); }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_authed(s, nobody); }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_set_custom(s, nobody, s); }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_custom(s, nobody) != nullptr; }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_datagram(s, nobody, &u, nullptr); }));
    CHECK(fails(ENOENT, [&] { return vsoa_server_cli_quick_datagram(s, nobody, &u, nullptr); }));
    CHECK(fails(EALREADY, [&] { return vsoa_server_start(s, server.address.raw(), server.address.length); }));
}

TEST_CASE("who has no quick channel is sent nothing quick, and the sender is told") {
    RunningServer server;
    server.start();
    RawPeer slow(server.address);
    REQUIRE(slow.log_in());
    const vsoa_url_t u = url("/a");
    CHECK(fails(EOPNOTSUPP, [&] { return vsoa_server_cli_quick_datagram(server.handle, slow.id, &u, nullptr); }));
    CHECK(vsoa_server_quick_publish(server.handle, &u, nullptr));

    RunningClient client;
    Impostor plain([](int fd) {
        hear_login(fd);
        vsoa::Frame frame(VSOA_TYPE_SERVINFO, VSOA_FLAG_REPLY);
        Bytes bytes;
        frame.append_to(bytes);
        say(fd, bytes);
        hear_login(fd);  // until the client is gone
    });
    REQUIRE(client.connect(plain.address));
    CHECK(fails(EOPNOTSUPP, [&] { return vsoa_client_quick_datagram(client.handle, &u, nullptr); }));
    const std::string large(70'000, 'x');
    const vsoa_payload_t too_long = payload("", large);
    CHECK(fails(EMSGSIZE, [&] { return vsoa_client_quick_datagram(client.handle, &u, &too_long); }));
    const std::string huge(VSOA_MAX_DATA_LENGTH + 1, 'x');
    const vsoa_payload_t too_huge = payload("", huge);
    CHECK(fails(EMSGSIZE, [&] { return vsoa_client_datagram(client.handle, &u, &too_huge); }));
    CHECK(
        fails(EMSGSIZE, [&] { return vsoa_client_call(client.handle, 0, &u, &too_huge, nullptr, nullptr, nullptr); }));
    client.close();
}

TEST_CASE("a client refuses the call for which it has no number left") {
    RunningServer server;
    std::atomic<int> ended{0};
    const auto silent = [](void*, vsoa_server_t*, vsoa_cli_id_t, vsoa_header_t*, vsoa_url_t*, vsoa_payload_t*) {};
    const auto end = [](void* arg, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t*) {
        if (header == nullptr) ++*static_cast<std::atomic<int>*>(arg);
    };
    const vsoa_url_t u = url("/silent");
    REQUIRE(vsoa_server_add_listener(server.handle, &u, silent, nullptr));
    server.start();
    RunningClient client;
    REQUIRE(client.connect(server.address));
    int taken = 0;
    while (taken < 65'536 && vsoa_client_call(client.handle, 0, &u, nullptr, end, &ended, nullptr)) ++taken;
    CHECK(taken == 65'536);
    CHECK(fails(EAGAIN, [&] { return vsoa_client_call(client.handle, 0, &u, nullptr, end, &ended, nullptr); }));
    CHECK(vsoa_client_call(client.handle, 0, &u, nullptr, nullptr, nullptr, nullptr));  // needs none
    server.close();
    CHECK(client.lost.take());
    CHECK(ended == taken);
}

TEST_CASE("without descriptors nothing is made, and what is there goes on") {
    RunningServer server;
    server.start();
    RunningClient client;
    REQUIRE(client.connect(server.address));
    vsoa_client_t* waiting = vsoa_client_create(nullptr, nullptr);
    REQUIRE(waiting != nullptr);
    {
        const NoDescriptors none;
        CHECK(fails(EMFILE, [] { return vsoa_server_create(nullptr) != nullptr; }));
        CHECK(fails(EMFILE, [] { return vsoa_client_create(nullptr, nullptr) != nullptr; }));
        CHECK(fails(EMFILE, [] { return vsoa_client_auto_create(nullptr, nullptr) != nullptr; }));
        CHECK(fails(EMFILE, [&] { return vsoa_server_stream_create(server.handle) != nullptr; }));
        CHECK(fails(EMFILE, [&] {
            return vsoa_client_connect(waiting, server.address.raw(), server.address.length, nullptr, nullptr, nullptr,
                                       0);
        }));
        CHECK(fails(EMFILE, [&] { return vsoa_client_stream_create(client.handle, htons(1), nullptr, 0); }));
        CHECK(client.subscribe("/a"));
    }
    CHECK(vsoa_client_connect(waiting, server.address.raw(), server.address.length, nullptr, nullptr, nullptr, 0));
    vsoa_client_close(waiting);
}

TEST_CASE("descriptors that do not fit into an fd_set are refused, not written behind it") {
    rlimit limit{};
    REQUIRE(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    const rlimit before = limit;
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 2 * FD_SETSIZE);
    if (limit.rlim_cur < 2 * FD_SETSIZE) return;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    {
        std::vector<vsoa::Fd> taken;
        while (taken.empty() || taken.back().get() < FD_SETSIZE) taken.emplace_back(dup(0));
        fd_set set;
        FD_ZERO(&set);
        vsoa_client_t* client = vsoa_client_create(nullptr, nullptr);
        REQUIRE(client != nullptr);
        CHECK(fails(EINVAL, [&] { return vsoa_client_fds(client, &set); }));
        vsoa_client_close(client);
        RunningServer server;
        const vsoa::Address any = loopback();
        REQUIRE(vsoa_server_start(server.handle, any.raw(), any.length));
        CHECK(fails(EINVAL, [&] { return vsoa_server_fds(server.handle, &set); }));
    }
    CHECK(setrlimit(RLIMIT_NOFILE, &before) == 0);
}

TEST_CASE("the settings of an automatic client that runs are left as they are") {
    char topic[] = "/a";
    char* topics[] = {topic};
    vsoa_client_auto_t* robot = vsoa_client_auto_create(nullptr, nullptr);
    REQUIRE(robot != nullptr);
    const auto start = [&] { return vsoa_client_auto_start(robot, "127.0.0.1:1", nullptr, topics, 1, 50, 20, 20); };
    REQUIRE(start());
    CHECK(fails(EALREADY, start));
    CHECK(fails(EALREADY, [&] { return vsoa_client_auto_setup(robot, nullptr, nullptr); }));
    CHECK(fails(EALREADY, [&] { return vsoa_client_auto_on_fail(robot, nullptr, nullptr); }));
    CHECK(fails(EALREADY, [&] { return vsoa_client_auto_consistent(robot, topics, 1, 100); }));
    CHECK(fails(EALREADY, [&] { return vsoa_client_auto_ping_turbo(robot, 25, 3); }));
    CHECK(vsoa_client_auto_stop(robot));
    vsoa_client_auto_delete(robot);
}

TEST_CASE("a position server that cannot start says why, and one that is not there is told apart from a silent one") {
    const auto no_answer = [](void*, int, const char*, vsoa_position_response_t*) {};
    vsoa_position_server_t *first = vsoa_position_server_create(no_answer, nullptr),
                           *second = vsoa_position_server_create(no_answer, nullptr);
    const vsoa::Address any = loopback();
    REQUIRE(vsoa_position_server_start(first, any.raw(), any.length));
    const vsoa::Address taken = *vsoa::Address::local(vsoa_position_server_fd(first));
    CHECK(fails(EALREADY, [&] { return vsoa_position_server_start(first, any.raw(), any.length); }));
    CHECK(fails(EADDRINUSE, [&] { return vsoa_position_server_start(second, taken.raw(), taken.length); }));
    vsoa_position_server_close(first);
    vsoa_position_server_close(second);

    sockaddr_storage address;
    socklen_t length = sizeof address;
    const timespec limit = span(2s);
    REQUIRE(vsoa_position_lookup_server(taken.raw(), taken.length));
    CHECK(fails(ECONNREFUSED, [&] {
        return vsoa_position_lookup(-1, "axis_server", reinterpret_cast<sockaddr*>(&address), &length, nullptr, &limit);
    }));
    CHECK(vsoa_position_lookup_server(nullptr, 0));
}

TEST_CASE("a stream that nobody offers is refused, and one that has its two ends takes no third") {
    RunningServer server;
    server.start();
    RunningClient client;
    REQUIRE(client.connect(server.address));
    vsoa_server_stream_t* stream = vsoa_server_stream_create(server.handle);
    REQUIRE(stream != nullptr);
    const uint16_t tunid = vsoa_server_stream_tunid(stream);
    const timespec limit = span(2s);
    const int fd = vsoa_client_stream_create(client.handle, tunid, &limit, 0);
    REQUIRE(fd >= 0);
    REQUIRE(vsoa_server_stream_accept(stream, nullptr, nullptr, 0) >= 0);
    CHECK(fails(EINVAL, [&] { return vsoa_server_stream_accept(stream, nullptr, nullptr, 0); }));
    CHECK(fails(ECONNREFUSED, [&] { return vsoa_client_stream_create(client.handle, tunid, &limit, 0); }));
    vsoa_client_stream_close(fd);
    vsoa_server_stream_close(stream);
}
