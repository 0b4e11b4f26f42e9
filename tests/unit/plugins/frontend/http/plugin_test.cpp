// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <gantry/testing/drivers.hpp>
#include <thread>

#include "tests/unit/plugins/frontend/http/client.hpp"

using Catch::Matchers::Contains;
using gantry::testing::FakeHost;
using gantry::testing::FrontendDriver;
using gantry::testing::Settings;

TEST_CASE("the plugin serves the host's tree at its address until it stops") {
    FakeHost host;
    const std::string path = host.folder() + "/api.sock";
    host.tree = [](gantry::testing::ControlCall call) {
        call.answer({200, 7, "{\"who\":\"" + call.request.principal.kind + "\"}"});
    };
    auto& plugin = host.load(GANTRY_PLUGIN_FILE, Settings().string("socket", path).string("group", ""));
    plugin.start();
    CHECK(FrontendDriver(plugin).address() == "unix:" + path);
    struct stat have {};
    REQUIRE(stat(path.c_str(), &have) == 0);
    CHECK((have.st_mode & 07777) == 0660);

    std::optional<Response> answer;
    std::atomic<bool> done = false;
    std::thread asker([&] {
        answer = Client(path).ask("GET", "/v1/cluster");
        done = true;
    });
    CHECK(host.run_until([&] { return done.load(); }));
    asker.join();
    REQUIRE(answer);
    CHECK(answer->code == 200);
    CHECK(answer->body == "{\"who\":\"unix\"}");
    CHECK(answer->headers.at("etag") == "\"7\"");
    plugin.stop();
    Client late(path);  // waits for whoever comes after it
    REQUIRE(late.connected());
    REQUIRE(late.send_request("GET", "/v1/nodes"));
    auto& next =
        host.load(GANTRY_PLUGIN_FILE, Settings().string("socket", path).string("group", "").string("mode", "0600"));
    next.start();
    done = false;
    asker = std::thread([&] {
        answer = late.receive();
        done = true;
    });
    CHECK(host.run_until([&] { return done.load(); }));
    asker.join();
    REQUIRE(answer);
    CHECK(answer->code == 200);
    REQUIRE(stat(path.c_str(), &have) == 0);
    CHECK((have.st_mode & 07777) == 0600);
}

TEST_CASE("a configuration that cannot work is refused before the door opens") {
    FakeHost host;
    CHECK_THROWS_WITH(host.load(GANTRY_PLUGIN_FILE, Settings().string("socket", "api.sock")),
                      Contains("absolute path"));
    CHECK_THROWS_WITH(host.load(GANTRY_PLUGIN_FILE, Settings().string("socket", "/tmp/x").string("mode", "rw-rw----")),
                      Contains("mode: expected an octal number"));
}
