// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <gantry/testing/drivers.hpp>

#include "tests/unit/plugins/transport/vsoa/raw_peer.hpp"

using namespace std::chrono_literals;
using gantry::Channel;
using gantry::Code;
using gantry::Down;
using gantry::testing::FakeHost;
using gantry::testing::Settings;
using gantry::testing::TransportDriver;

inline const std::string kSecret = "a secret of more than 16 bytes";

inline gantry::testing::Options real_time() {
    gantry::testing::Options out;
    out.real_time = true;
    return out;
}

inline std::string write_file(FakeHost& host, const std::string& name, const std::string& text, mode_t mode = 0600) {
    const std::string file = host.folder() + "/" + name;
    std::ofstream(file) << text;
    ::chmod(file.c_str(), mode);
    return file;
}

// One transport in a host of its own thread's loop.
struct Node {
    explicit Node(FakeHost& in, Settings settings = {}, const std::string& secret = kSecret)
        : host(in),
          instance(in.load(GANTRY_PLUGIN_FILE, settings.string("secret_file", write_file(in, "secret", secret)))),
          driver(instance) {
        instance.start();
    }
    Node(FakeHost& in, gantry::testing::Instance& loaded) : host(in), instance(loaded), driver(loaded) {
        instance.start();
    }
    std::string listen(const std::string& where = "127.0.0.1:0") {
        const auto answer = driver.listen(where).wait();
        REQUIRE(answer.text == "");
        return answer.result.address;
    }
    // Dials and waits until both are up.
    gantry::PeerId reach(Node& server, const std::string& address) {
        const auto before = server.driver.ups.size();
        auto dialled = driver.dial(address);
        REQUIRE(host.run_until([&] { return dialled.ended() && server.driver.ups.size() > before; }));
        const auto answer = dialled.wait();
        REQUIRE(answer.text == "");
        return answer.result.peer;
    }
    FakeHost& host;
    gantry::testing::Instance& instance;
    TransportDriver driver;
};
