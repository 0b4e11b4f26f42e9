// SPDX-License-Identifier: Apache-2.0
#include "kernel/isolation/window.hpp"

#include <catch2/catch.hpp>

namespace gantry::isolation {
namespace {

// A plugin with room for so many bytes.
struct Plugin {
    std::size_t room = 0;
    std::string sent, closed;
    std::uint64_t told = 0;
    Backlog backlog;
    Plugin() {
        backlog.use(
            {[](void* with, std::uint64_t, std::uint32_t channel, std::string_view bytes) -> gantry_status {
                 auto& plugin = *static_cast<Plugin*>(with);
                 if (bytes.size() > plugin.room) return GANTRY_FULL;
                 plugin.room -= bytes.size();
                 plugin.sent += std::to_string(channel) + std::string(bytes) + " ";
                 return GANTRY_OK;
             },
             [](void* with, std::uint64_t peer) { static_cast<Plugin*>(with)->closed += std::to_string(peer); },
             [](void* with, std::uint64_t, std::uint64_t bytes) { static_cast<Plugin*>(with)->told += bytes; }, this},
            80);
    }
};

}  // namespace

TEST_CASE("a peer that was closed takes nothing more, and is not told of room") {
    Window window;
    window.use(100, 100);
    window.up(1);
    CHECK(window.take(1, 100) == GANTRY_OK);
    CHECK(window.take(1, 1) == GANTRY_FULL);
    window.close(1);
    CHECK(window.take(1, 1) == GANTRY_NOT_FOUND);
    window.taken(1, 100);
    CHECK(window.writable().empty());
    CHECK(window.take(1, 1) == GANTRY_NOT_FOUND);
    CHECK(window.peers().contains(1));  // its end is still to be told
    window.close(2);
}

TEST_CASE("a window is full before the plugin's queue could be, and told once when half is free") {
    Window window;
    window.use(100, 200);
    CHECK(window.take(1, 10) == GANTRY_NOT_FOUND);
    window.up(1);
    CHECK(window.take(1, 101) == GANTRY_INVALID);
    CHECK(window.take(1, 100) == GANTRY_OK);
    CHECK(window.take(1, 100) == GANTRY_OK);
    CHECK(window.take(1, 1) == GANTRY_FULL);
    window.taken(1, 60);
    CHECK(window.writable().empty());
    window.taken(1, 40);
    CHECK(window.writable() == std::vector<std::uint64_t>{1});
    CHECK(window.writable().empty());
    window.down(1);
    CHECK(window.take(1, 1) == GANTRY_NOT_FOUND);
}

TEST_CASE("a process that claims to have taken more than it got gains nothing") {
    Window window;
    window.use(100, 200);
    window.up(1);
    CHECK(window.take(1, 100) == GANTRY_OK);
    window.taken(1, UINT64_MAX);
    window.taken(7, 5);
    CHECK(window.take(1, 100) == GANTRY_OK);
    CHECK(window.take(1, 100) == GANTRY_OK);
    CHECK(window.take(1, 100) == GANTRY_FULL);
}

TEST_CASE("what the plugin has no room for waits in order, control before bulk, and is closed behind") {
    Plugin plugin;
    plugin.room = 2;
    plugin.backlog.send(1, 1, "ab");
    plugin.backlog.send(1, 1, "cd");
    plugin.backlog.send(1, 1, "ef");
    plugin.backlog.send(1, 0, "gh");
    plugin.backlog.close(1);
    CHECK(plugin.sent == "1ab ");
    CHECK(plugin.closed.empty());
    plugin.room = 4;
    plugin.backlog.writable(1);
    CHECK(plugin.sent == "1ab 0gh 1cd ");
    CHECK(plugin.closed.empty());
    plugin.room = 100;
    plugin.backlog.writable(1);
    CHECK(plugin.sent == "1ab 0gh 1cd 1ef ");
    CHECK(plugin.closed == "1");
    CHECK(plugin.told == 8);
}

TEST_CASE("what was taken is told in steps, not message by message") {
    Plugin plugin;
    plugin.room = 1'000;
    for (int i = 0; i < 4; ++i) plugin.backlog.send(1, 0, "xxx");
    CHECK(plugin.told == 12);  // a step of ten
    plugin.backlog.send(1, 0, "xxx");
    CHECK(plugin.told == 12);
    plugin.backlog.close(2);
    CHECK(plugin.closed == "2");
}

}  // namespace gantry::isolation
