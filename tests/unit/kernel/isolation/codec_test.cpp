// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <random>
#include <span>

#include "kernel/isolation/members.hpp"
#include "kernel/isolation/packet.hpp"

namespace gantry::isolation {
namespace {

// A specification with something in every member.
struct Sample {
    const gantry_str args[2] = {host::str("/bin/axis"), host::str("-v")};
    const gantry_kv env[1] = {{host::str("A"), host::str("b")}};
    const gantry_mount mounts[2] = {{host::str("/s"), host::str("/t"), 1, 0}, {host::str("/u"), host::str("/v"), 0, 0}};
    gantry_container_spec spec{};
    Sample() {
        spec.struct_size = sizeof(spec);
        spec.stop_signal = 15;
        spec.name = host::str("c1");
        spec.user = host::str("7:8");
        spec.args = args;
        spec.arg_count = 2;
        spec.env = env;
        spec.env_count = 1;
        spec.mounts = mounts;
        spec.mount_size = sizeof(gantry_mount);
        spec.mount_count = 2;
        spec.memory_bytes = 1 << 30;
    }
};

std::string written(const auto& value) {
    std::string bytes;
    Writer w(bytes);
    put(w, value);
    return bytes;
}

}  // namespace

TEST_CASE("a struct of the border comes out as it went in") {
    const Sample sample;
    const std::string bytes = written(sample.spec);
    std::vector<Fd> none;
    Reader r(bytes, none);
    gantry_container_spec out{};
    take(r, out);
    REQUIRE(r.complete());
    CHECK(out.struct_size == sizeof(out));
    CHECK(out.stop_signal == 15);
    CHECK(host::view(out.name) == "c1");
    CHECK(host::view(out.hostname).empty());
    CHECK(host::view(out.user) == "7:8");
    REQUIRE(out.arg_count == 2);
    CHECK(host::view(out.args[1]) == "-v");
    CHECK(host::view(out.env[0].value) == "b");
    REQUIRE(out.mount_count == 2);
    CHECK(out.mount_size == sizeof(gantry_mount));
    CHECK(host::view(out.mounts[1].target) == "/v");
    CHECK(out.mounts[0].read_only == 1);
    CHECK(out.memory_bytes == 1 << 30);
}

TEST_CASE("a struct that is cut anywhere, or has something behind it, is not complete") {
    const Sample sample;
    const std::string bytes = written(sample.spec);
    std::vector<Fd> none;
    for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
        Reader r(std::string_view(bytes).substr(0, cut), none);
        gantry_container_spec out{};
        take(r, out);
        REQUIRE_FALSE(r.complete());
    }
    const std::string with_more = bytes + "x";
    Reader longer(with_more, none);
    gantry_container_spec out{};
    take(longer, out);
    CHECK(longer.good());
    CHECK_FALSE(longer.complete());
}

TEST_CASE("a count that the bytes cannot hold is not believed") {
    std::string bytes;
    Writer(bytes).number<std::uint64_t>(std::uint64_t{1} << 60);
    std::vector<Fd> none;
    bytes += std::string(1'000, '\0');
    Reader r(bytes, none);
    gantry_container_list out{};
    take(r, out);
    CHECK_FALSE(r.good());
    CHECK(out.count == 0);
}

// The address sanitizer sees what is filled beyond.
TEST_CASE("what a reader makes lies in memory that is its own, whatever its size") {
    std::vector<Fd> none;
    for (std::size_t size = 1; size < 5'000; ++size) {
        Reader reader({}, none);
        const std::span<char> made(reader.make<char>(size), size);
        REQUIRE(std::ranges::all_of(made, [](char c) { return c == 0; }));
        std::ranges::fill(made, 'x');
    }
}

TEST_CASE("bytes at random are read within their bounds, whatever they say") {
    const std::uint64_t seed = std::random_device()();
    CAPTURE(seed);
    std::mt19937_64 random(seed);
    const Sample sample;
    const std::string good = written(sample.spec);
    std::vector<Fd> none;
    for (int i = 0; i < 20'000; ++i) {
        std::string bytes = good;
        for (int n = 0; n < 3; ++n) bytes[random() % bytes.size()] = static_cast<char>(random());
        bytes.resize(random() % (bytes.size() + 1));
        Reader r(bytes, none);
        gantry_container_spec spec{};
        take(r, spec);
        Reader other(bytes, none);
        gantry_store_entries entries{};
        take(other, entries);
        Reader third(bytes, none);
        gantry_container_list list{};
        take(third, list);
    }
}

TEST_CASE("messages of any size cross whole, with their descriptors") {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    const Fd near(ends[0]), far(ends[1]);
    int pipes[2];
    REQUIRE(::pipe2(pipes, O_CLOEXEC) == 0);
    const Fd reading(pipes[0]);
    Fd writing(pipes[1]);
    Message message;
    CHECK(message.receive(far.get()) == Message::Got::kNothing);
    for (const std::size_t size : {std::size_t{2}, kPacketMax, kPacketMax + 1, std::size_t{5} << 20}) {
        const std::string bytes(size, 'm');
        const int fds[] = {writing.get()};
        REQUIRE(send_message(near.get(), bytes, fds) == Sent::kYes);
        REQUIRE(message.receive(far.get()) == Message::Got::kOne);
        CHECK(message.bytes() == bytes);
        REQUIRE(message.fds().size() == 1);
        CHECK(::write(message.fds()[0].get(), "x", 1) == 1);
    }
    writing.reset();
    CHECK(message.receive(far.get()) == Message::Got::kNothing);  // and closes what came with the last
    char four[8];
    CHECK(::read(reading.get(), four, sizeof(four)) == 4);
    CHECK(::read(reading.get(), four, sizeof(four)) == 0);
}

TEST_CASE("a large message that its writer could still change is refused") {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    const Fd near(ends[0]), far(ends[1]);
    Message message;
    const auto sent = [&](int seals, off_t size) {
        const Fd file(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
        REQUIRE(::ftruncate(file.get(), size) == 0);
        REQUIRE(::fcntl(file.get(), F_ADD_SEALS, seals) == 0);
        alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
        iovec part{const_cast<char*>(""), 1};
        msghdr raw{};
        raw.msg_iov = &part;
        raw.msg_iovlen = 1;
        raw.msg_control = control;
        raw.msg_controllen = sizeof(control);
        cmsghdr* const head = CMSG_FIRSTHDR(&raw);
        *head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        const int fd = file.get();
        std::memcpy(CMSG_DATA(head), &fd, sizeof(fd));
        REQUIRE(::sendmsg(near.get(), &raw, 0) == 1);
        return message.receive(far.get());
    };
    constexpr int kAll = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;
    CHECK(sent(kAll, 64) == Message::Got::kOne);
    CHECK(sent(F_SEAL_GROW | F_SEAL_WRITE, 64) == Message::Got::kBroken);
    CHECK(message.fault() == "it sent a large message that it can still change");
    CHECK(sent(kAll, 0) == Message::Got::kBroken);
    CHECK(sent(kAll, static_cast<off_t>(kLargeMax) + 1) == Message::Got::kBroken);
    REQUIRE(::send(near.get(), "x", 1, 0) == 1);
    CHECK(message.receive(far.get()) == Message::Got::kBroken);
    CHECK(message.fault() == "it sent a packet of one byte");
}

TEST_CASE("a second message is looked for while that pays, and at times when it does not") {
    Batch batch;
    // How many messages a turn reads when so many wait, and how often it looked for one.
    const auto turn = [&](int waiting) {
        int read = 0, looked = 0;
        do {
            ++looked;
            if (read == waiting) break;
            ++read;
        } while (batch.more());
        batch.end();
        return std::pair(read, looked);
    };
    CHECK(turn(1) == std::pair(1, 2));
    for (int i = 0; i < 31; ++i) CHECK(turn(1) == std::pair(1, 1));
    CHECK(turn(1) == std::pair(1, 2));
    CHECK(turn(100) == std::pair(1, 1));  // not seen yet
    for (int i = 0; i < 30; ++i) turn(1);
    CHECK(turn(100) == std::pair(16, 16));
    CHECK(turn(3) == std::pair(3, 4));
    CHECK(turn(1) == std::pair(1, 2));
    CHECK(turn(1) == std::pair(1, 1));
}

}  // namespace gantry::isolation
