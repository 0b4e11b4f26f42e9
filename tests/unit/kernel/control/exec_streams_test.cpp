// SPDX-License-Identifier: Apache-2.0
//
// A command in a container on its way between the node and the person: both ends, and what they keep of each other.
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "kernel/control/files.hpp"
#include "kernel/control/log_streams.hpp"
#include "tests/unit/kernel/control/still_runtime.hpp"

using namespace gantry;

namespace {

std::string read_all(int fd) {
    std::string out;
    char chunk[4096];
    for (ssize_t n = 0; (n = ::recv(fd, chunk, sizeof chunk, MSG_DONTWAIT)) > 0;)
        out.append(chunk, static_cast<std::size_t>(n));
    return out;
}

// The node's end, over a runtime whose command is played by the test.
struct Node {
    Node() {
        runtime.on_exec = [this](auto&& name, auto&& args, int fd, auto&&, host::Done<int> then) {
            asked = name + ":" + args.at(0);
            theirs = control::FileDescriptor(fd);
            done = std::move(then);
        };
    }
    void begin(bool input = true, bool terminal = false) {
        core::ExecOpen open{5, {}, {"/bin/x"}, terminal, input, 33, 111};
        all.exec(7, open, runtime, "gantry-c1");
        turn();
    }
    void turn() {
        io.restart();
        io.poll();
    }
    void write(const std::string& text) {
        REQUIRE(::write(theirs.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
        turn();
    }
    std::string output() const {
        std::string out;
        for (const auto& [data, text] : sent) out += text;
        return out;
    }

    boost::asio::io_context io;
    control::Outbox outbox;
    StillRuntime runtime;
    std::string asked;
    control::FileDescriptor theirs;
    host::Done<int> done;
    std::vector<std::pair<core::LogData, std::string>> sent;
    control::LogReaders all{io, outbox, [this](host::PeerId, const core::LogData& data, std::string_view text) {
                                sent.emplace_back(data, text);
                            }};
};

// The controller's end.
struct Desk {
    Desk() {
        int ends[2] = {-1, -1};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        reader = control::FileDescriptor(ends[0]);
        all.on_abandoned([this](std::uint64_t, host::PeerId) { ++abandoned; });
        all.on_taken([this](std::uint64_t, host::PeerId, std::uint64_t bytes) { taken = bytes; });
        stream = all.open(7, ends[1], true);
    }
    std::string turn() {
        io.restart();
        io.poll();
        return read_all(reader.get());
    }

    boost::asio::io_context io;
    control::FileDescriptor reader;
    control::LogWriters all{io};
    std::uint64_t stream = 0, taken = 0;
    int abandoned = 0;
};

std::string frame(char kind, const std::string& body) {
    return std::string{kind, '\0', '\0', '\0', static_cast<char>(body.size())} + body;
}

}  // namespace

TEST_CASE("a command's words, what it was given and its status are sent, the status last") {
    Node n;
    n.begin();
    CHECK(n.asked == "gantry-c1:/bin/x");
    n.write("hello");
    CHECK(n.output() == "hello");
    n.all.input(7, {5}, "word");
    n.turn();
    CHECK(read_all(n.theirs.get()) == "word");
    CHECK(n.sent.back().first.taken == 4);
    n.done(3);
    CHECK_FALSE(n.sent.back().first.end);  // there may be more of it
    n.write("last");
    n.theirs = control::FileDescriptor();
    n.turn();
    CHECK(n.output() == "hellolast");
    CHECK(n.sent.back().first.end);
    CHECK(n.sent.back().first.exit_code == 3);
}

TEST_CASE("a command's input ends when nobody types, or has typed all of it") {
    Node n;
    n.begin(false);
    char byte = 0;
    CHECK(::recv(n.theirs.get(), &byte, 1, MSG_DONTWAIT) == 0);
    Node typed;
    typed.begin();
    typed.all.input(7, {5}, "all");
    typed.all.input(7, {5, true}, "");
    typed.turn();
    CHECK(read_all(typed.theirs.get()) == "all");
    CHECK(::recv(typed.theirs.get(), &byte, 1, MSG_DONTWAIT) == 0);
}

TEST_CASE("a command waits for its reader, and is read on when the reader has taken more") {
    Node n;
    n.begin();
    const std::string piece(64 << 10, 'x');
    for (int i = 0; i < 64; ++i) {
        if (::send(n.theirs.get(), piece.data(), piece.size(), MSG_DONTWAIT) < 0) break;
        n.turn();
    }
    const auto ahead = n.output().size();
    CHECK(ahead > 1 << 20);
    CHECK(ahead < (1 << 20) + (64 << 10));
    n.all.input(7, {5, false, ahead}, "");
    CHECK([&] {
        for (int i = 0; i < 1'000 && n.output().size() == ahead; ++i) {
            n.io.restart();
            n.io.run_one_for(std::chrono::milliseconds(50));
        }
        return n.output().size() > ahead;
    }());
}

TEST_CASE("more input than a command takes is refused, and the command is ended") {
    Node n;
    n.begin();
    const std::string piece(64 << 10, 'x');
    for (int i = 0; i < 40; ++i) n.all.input(7, {5}, piece);
    REQUIRE(n.sent.back().first.end);
    CHECK(n.sent.back().first.error.find("more input") != std::string::npos);
    n.turn();
    char byte = 0;
    while (::recv(n.theirs.get(), &byte, 1, MSG_DONTWAIT) > 0) {
    }
    CHECK(::recv(n.theirs.get(), &byte, 1, MSG_DONTWAIT) == 0);  // closed
    CHECK(n.sent.size() == 1);
}

TEST_CASE("a command with a terminal has one, of the size that is asked for") {
    Node n;
    n.begin(true, true);
    CHECK(n.runtime.last_terminal);
    REQUIRE(::isatty(n.theirs.get()) == 1);
    winsize size{};
    REQUIRE(::ioctl(n.theirs.get(), TIOCGWINSZ, &size) == 0);
    CHECK((size.ws_row == 33 && size.ws_col == 111));
    n.all.input(7, {5, false, 0, 44, 222}, "");
    REQUIRE(::ioctl(n.theirs.get(), TIOCGWINSZ, &size) == 0);
    CHECK((size.ws_row == 44 && size.ws_col == 222));
    n.write("to be seen");
    n.theirs = control::FileDescriptor();
    n.turn();
    n.done(fail(Code::kNotFound, "no such program"));
    CHECK(n.output() == "to be seen");
    CHECK(n.sent.back().first.end);
    CHECK(n.sent.back().first.error.find("no such program") != std::string::npos);
    CHECK_FALSE(n.sent.back().first.exit_code);
}

TEST_CASE("who reads a command gets frames") {
    Desk d;
    d.all.say(d.stream, 's', json::object{{"exec", 1}});
    CHECK(d.turn() == frame('s', R"({"exec":1})"));
    CHECK(d.all.command(d.stream) == 7);
    CHECK_FALSE(d.all.command(d.stream + 1));
    d.all.data(7, {{}, d.stream, false, "", {}, 9}, "words");
    CHECK(d.turn() == frame('o', "words") + frame('i', R"({"taken":9})"));
    d.all.data(7, {{}, d.stream, true, "", 3}, "");
    CHECK(d.turn() == frame('e', R"({"exit_code":3})"));
    CHECK(d.all.size() == 0);
    Desk lost;
    lost.all.peer_down(7);
    CHECK(lost.turn().find("the connection to the node was lost") != std::string::npos);
    CHECK_FALSE(lost.all.command(lost.stream));
    CHECK(lost.abandoned == 0);
}

TEST_CASE("the node is told what a command's reader has taken, and that the reader is gone") {
    Desk d;
    const std::string piece(48 << 10, 'x');
    for (int i = 0; i < 4; ++i) {
        d.all.data(7, {{}, d.stream, false, ""}, piece);
        d.turn();
    }
    CHECK(d.taken >= 128 << 10);
    CHECK(d.taken <= 192 << 10);
    d.reader = control::FileDescriptor();
    d.turn();
    CHECK(d.abandoned == 1);
}
