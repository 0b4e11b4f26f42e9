// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/kept.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/host/context.hpp"
#include "tests/unit/kernel/host/bench_of_host.hpp"

namespace gantry::host {
namespace {

int internet_socket(int kind) {
    const int fd = ::socket(AF_INET, kind | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    if (kind == SOCK_STREAM) REQUIRE(::listen(fd, 8) == 0);
    return fd;
}

sockaddr_un unix_address(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    return address;
}

int unix_listener(const std::string& path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto address = unix_address(path);
    REQUIRE(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    REQUIRE(::listen(fd, 8) == 0);
    return fd;
}

bool connects(const std::string& path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const auto address = unix_address(path);
    const bool good = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return good;
}

struct Folder {
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "gantry-kept-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
    }
    ~Folder() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

}  // namespace

TEST_CASE("a socket is known by where it is bound, and only one that takes something in counts") {
    const int tcp = internet_socket(SOCK_STREAM), udp = internet_socket(SOCK_DGRAM);
    const int loose = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int pair[2], ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
    CHECK(bound_address(tcp).starts_with("tcp:127.0.0.1:"));
    CHECK(bound_address(udp).starts_with("udp:127.0.0.1:"));
    const int dialled = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    socklen_t length = sizeof at;
    REQUIRE(::getsockname(tcp, reinterpret_cast<sockaddr*>(&at), &length) == 0);
    REQUIRE(::connect(dialled, reinterpret_cast<sockaddr*>(&at), length) == 0);
    for (const int other : {loose, pair[0], ends[0], dialled, -1}) CHECK(bound_address(other).empty());
    const int six = ::socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sockaddr_in6 address{};
    address.sin6_family = AF_INET6;
    address.sin6_addr = in6addr_loopback;
    if (::bind(six, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0)
        CHECK(bound_address(six).starts_with("udp:[::1]:"));
    for (const int fd : {tcp, udp, loose, pair[0], pair[1], ends[0], ends[1], dialled, six}) ::close(fd);
}

TEST_CASE("a connection made while nobody holds the door waits for who inherits it") {
    const Folder folder;
    const std::string path = folder.path / "api.sock";
    Kept kept;
    const int first = unix_listener(path);
    REQUIRE(kept.keep("frontend.http", first));
    ::close(first);
    CHECK(connects(path));
    CHECK(kept.inherit("frontend.http", "unix:/elsewhere") == -1);
    CHECK(kept.inherit("frontend.other", "unix:" + path) == -1);
    const int second = kept.inherit("frontend.http", "unix:" + path);
    REQUIRE(second >= 0);
    const int connection = ::accept4(second, nullptr, nullptr, SOCK_CLOEXEC);
    CHECK(connection >= 0);
    ::close(connection);
    ::close(second);
}

TEST_CASE("what nobody owns is anybody's, and his from then on") {
    const Folder folder;
    const std::string path = folder.path / "api.sock";
    Kept kept;
    kept.take(unix_listener(path));
    const int fd = kept.inherit("frontend.http", "unix:" + path);
    REQUIRE(fd >= 0);
    CHECK(kept.inherit("frontend.other", "unix:" + path) == -1);
    ::close(fd);
}

TEST_CASE("a door that nobody asked for is closed, and its file goes") {
    const Folder folder;
    const std::string mine = folder.path / "mine", old = folder.path / "old", later = folder.path / "later";
    Kept kept;
    kept.take(unix_listener(mine), "frontend.http");
    kept.take(unix_listener(old), "frontend.http");
    kept.take(unix_listener(later), "frontend.crashed");
    const int fd = kept.inherit("frontend.http", "unix:" + mine);
    kept.drop_unclaimed({"frontend.crashed"});
    CHECK(connects(mine));
    CHECK(connects(later));
    CHECK_FALSE(std::filesystem::exists(old));
    ::close(fd);
}

TEST_CASE("at the end the files of sockets are gone") {
    const Folder folder;
    const std::string path = folder.path / "api.sock";
    {
        Kept kept;
        const int fd = unix_listener(path);
        REQUIRE(kept.keep("frontend.http", fd));
        REQUIRE(kept.keep("frontend.http", fd));  // once more is the same
        ::close(fd);
    }
    CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("one instance keeps a bounded number of sockets") {
    const Folder folder;
    Kept kept;
    for (std::size_t i = 0; i <= Kept::kOfOne; ++i) {
        const int fd = unix_listener(folder.path / std::to_string(i));
        const Status status = kept.keep("frontend.http", fd);
        ::close(fd);
        CHECK(status.has_value() == (i < Kept::kOfOne));
    }
    CHECK_FALSE(kept.keep("frontend.http", STDERR_FILENO));
}

// In a child, whose descriptors may be overwritten.
TEST_CASE("sockets pass to the next program as LISTEN_FDS, with their owners") {
    const Folder folder;
    const std::string path = folder.path / "api.sock", free = folder.path / "free.sock";
    const pid_t child = ::fork();
    if (child == 0) {
        Kept before;
        const int listener = unix_listener(path);
        bool good = before.keep("frontend.http", listener).has_value();
        before.take(unix_listener(free));
        good = good && before.hand_over() == 2 && std::string(::getenv("LISTEN_FDS")) == "2";
        ::setenv("LISTEN_FDNAMES", "frontend.http:gantry.socket", 1);  // as a service manager calls what it gives
        good = good && (::fcntl(3, F_GETFD) & FD_CLOEXEC) == 0;
        const auto after = Kept::from_environment();
        good = good && ::getenv("LISTEN_FDS") == nullptr && (::fcntl(3, F_GETFD) & FD_CLOEXEC) != 0;
        good = good && after->inherit("frontend.other", "unix:" + path) < 0;
        good = good && after->inherit("frontend.http", "unix:" + path) >= 0;
        good = good && after->inherit("frontend.other", "unix:" + free) >= 0;
        ::setenv("LISTEN_PID", "1", 1);  // of somebody else
        ::setenv("LISTEN_FDS", "2", 1);
        good = good && Kept::from_environment()->inherit("frontend.http", "unix:" + path) < 0;
        ::_exit(good ? 0 : 1);
    }
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(status == 0);
}

TEST_CASE("plugins keep and inherit through the io service") {
    const Folder folder;
    const std::string path = folder.path / "api.sock";
    Bench bench;
    HostOptions options;
    options.kept = std::make_shared<Kept>();
    auto core = std::make_shared<Core>(bench.io, std::move(options));
    const auto& io = *static_cast<const gantry_host_io*>(service_table(GANTRY_HOST_IO));
    const auto ask = [&](std::uint64_t handle, const std::string& address, std::int32_t* fd) {
        return io.inherit(handle, {address.data(), address.size()}, fd);
    };
    auto first = Context::make(core, "frontend.http");
    std::int32_t fd = -1;
    CHECK(ask(first->handle, "unix:" + path, &fd) == GANTRY_NOT_FOUND);
    CHECK(ask(first->handle, "unix:" + path, nullptr) == GANTRY_INVALID);
    const int listener = unix_listener(path);
    CHECK(io.keep(first->handle, STDERR_FILENO) == GANTRY_INVALID);
    CHECK(io.keep(first->handle, listener) == GANTRY_OK);
    ::close(listener);
    first->end("the test ends it");
    CHECK(io.keep(first->handle, listener) == GANTRY_STALE);
    CHECK(ask(first->handle, "unix:" + path, &fd) == GANTRY_STALE);
    auto second = Context::make(core, "frontend.http");
    REQUIRE(ask(second->handle, "unix:" + path, &fd) == GANTRY_OK);
    CHECK(connects(path));
    ::close(fd);
    second->end("the test ends");
}

}  // namespace gantry::host
