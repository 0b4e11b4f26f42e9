// SPDX-License-Identifier: Apache-2.0
//
// Both ends of a log that goes while the loop still has something of it to do.
#include "kernel/control/log_streams.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <boost/asio/post.hpp>
#include <catch2/catch.hpp>
#include <filesystem>
#include <vector>

#include "kernel/control/files.hpp"
#include "kernel/host/host.hpp"

using namespace gantry;

namespace {

struct Writers {
    Writers() {
        std::array<int, 2> ends{};
        REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
        reader = control::FileDescriptor(ends[0]);
        all = std::make_unique<control::LogWriters>(io);
        all->on_abandoned([this](std::uint64_t, host::PeerId) { ++abandoned; });
        stream = all->open(7, ends[1]);
    }
    // What became ready in this turn comes behind the destruction.
    void end_in_the_next_turn() {
        boost::asio::post(io, [this] { all.reset(); });
        io.poll();
        CHECK(abandoned == 0);
    }
    boost::asio::io_context io;
    control::FileDescriptor reader;
    std::unique_ptr<control::LogWriters> all;
    std::uint64_t stream = 0;
    int abandoned = 0;
};

struct Readers {
    Readers() : host(io, options()) {
        host::PluginTable table;
        table.role = "runtime";
        table.name = table.plugin = "scripted";
        REQUIRE(host.configure({table}));
        REQUIRE(host.start());
        all = std::make_unique<control::LogReaders>(
            io, outbox, [this](host::PeerId, const core::LogData& data, std::string_view text) {
                sent.push_back(data.end ? "end" : std::string(text));
            });
    }
    static host::HostOptions options() {
        host::HostOptions out;
        out.plugin_path = {GANTRY_TEST_PLUGINS};
        out.trust.package = GANTRY_TEST_PLUGINS;
        out.log = [](host::LogLevel, std::string_view, std::string_view) {};
        out.event = [](std::string, std::string, json::object) {};
        return out;
    }
    void open(bool follow) {
        core::LogOpen request;
        request.stream = 3;
        request.follow = follow;
        all->open(7, request, *host.runtime("scripted"), "one");
    }
    bool until(const std::function<bool()>& condition) {
        const auto end = host::boottime_now() + seconds(10);
        while (!condition()) {
            if (host::boottime_now() >= end) return false;
            io.restart();
            io.run_one_for(std::chrono::milliseconds(5));
        }
        return true;
    }
    boost::asio::io_context io;
    host::Host host;
    control::Outbox outbox;
    std::unique_ptr<control::LogReaders> all;
    std::vector<std::string> sent;
};

}  // namespace

TEST_CASE_METHOD(Writers, "a log's writer that goes closes its readers, with a write under way") {
    all->data(7, {{}, stream, false, ""}, std::string(1 << 20, 'x'));  // more than the socket takes
    io.poll();
    end_in_the_next_turn();
    std::string text(1 << 20, '\0');
    ssize_t last = 0;
    while ((last = recv(reader.get(), text.data(), text.size(), MSG_DONTWAIT)) > 0) {
    }
    CHECK(last == 0);
}

TEST_CASE_METHOD(Writers, "a reader that leaves in the turn in which a log's writer goes is nobody's any more") {
    io.poll();
    reader = control::FileDescriptor();
    end_in_the_next_turn();
}

TEST_CASE_METHOD(Readers, "a log that is read when its reader goes is sent no further") {
    const bool follow = GENERATE(true, false);
    open(follow);
    REQUIRE(until([&] { return !sent.empty(); }));
    CHECK(sent == std::vector<std::string>{"hello\n"});
    boost::asio::post(io, [this] { all.reset(); });
    boost::asio::steady_timer later(io, std::chrono::milliseconds(60));  // what an end waits for its words, and more
    bool over = false;
    later.async_wait([&](auto) { over = true; });
    CHECK(until([&] { return over; }));
    CHECK(sent.size() == 1);
    host.stop();
}

TEST_CASE_METHOD(Readers, "a log whose end waits for its words when its reader goes says nothing any more") {
    open(false);
    REQUIRE(until([&] { return !sent.empty() && host.plugins().front().operations_pending == 0; }));
    io.restart();
    io.poll();  // the end of the pipe
    all.reset();
    boost::asio::steady_timer later(io, std::chrono::milliseconds(60));
    bool over = false;
    later.async_wait([&](auto) { over = true; });
    CHECK(until([&] { return over; }));
    CHECK(sent.size() == 1);
    host.stop();
}
