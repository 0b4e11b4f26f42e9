// SPDX-License-Identifier: Apache-2.0
//
// A runtime of which only what a test sets does anything.
#pragma once

#include "kernel/host/roles.hpp"

namespace gantry {

struct StillRuntime : host::Runtime {
    host::RuntimeFacts facts() const override { return known; }
    void begin(std::function<void(std::string, int)>, std::function<void()>) override {}
    void ensure_image(const std::string&, const std::string&, bool, Duration, host::Done<void>) override {}
    void images(Duration, host::Done<std::vector<std::string>>) override {}
    void remove_image(const std::string&, Duration, host::Done<void>) override {}
    void create(const host::ContainerSpec&, Duration, host::Done<void>) override {}
    void start(const std::string&, Duration, host::Done<void>) override {}
    void stop(const std::string&, Duration, Duration, host::Done<void>) override {}
    void kill(const std::string&, Duration, host::Done<void>) override {}
    void pause(const std::string&, bool, bool, Duration, host::Done<void>) override {}
    void remove(const std::string&, Duration, host::Done<void>) override {}
    void list(Duration, host::Done<std::vector<host::Container>>) override {}
    void stats(const std::string&, Duration, host::Done<host::ContainerStats>) override {}
    std::uint64_t logs(const std::string&, bool, std::int64_t, std::int64_t, int, host::Done<void>) override {
        return 0;
    }
    void stop_logs(std::uint64_t) override {}
    std::uint64_t exec(const std::string& name, const std::vector<std::string>& args, bool terminal, int fd,
                       Duration limit, host::Done<int> done) override {
        last_terminal = terminal;
        on_exec(name, args, fd, limit, std::move(done));
        return 1;
    }

    host::RuntimeFacts known;
    bool last_terminal = false;
    std::function<void(const std::string&, const std::vector<std::string>&, int, Duration, host::Done<int>)> on_exec;
};

}  // namespace gantry
