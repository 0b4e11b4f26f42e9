// SPDX-License-Identifier: Apache-2.0
//
// Fixture: a runtime plugin in a fake host with a small image (busybox), for the tests that every runtime must pass
// (contract_test.cpp) and those of one. Whatever a test leaves running is ended and removed at its end.
#pragma once

#include <functional>
#include <gantry/testing/drivers.hpp>
#include <gantry/testing/fake_host.hpp>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/plugins/runtime/image_builder.hpp"

namespace runtime_test {

// What the program's own file says about the runtime under test.
struct Traits {
    std::string plugin_file;
    std::function<void(gantry::testing::Settings&)> settings;
    // Everything that is still there of a container although it was removed; empty: nothing.
    std::function<std::string()> left_over;
};
const Traits& traits();

class Fixture {
  public:
    // log_size_max: bytes; 0: the plugin's default.
    explicit Fixture(std::int64_t log_size_max = 0);
    ~Fixture();

    // The daemon goes away without a word to its containers, and is back.
    void restart();
    void stop();
    void begin();
    // Between stop and begin.
    std::filesystem::path state_dir() const { return scratch_.path() / "state"; }
    std::filesystem::path scratch() const { return scratch_.path(); }

    // A spec that runs a shell script; `$B APPLET` in it runs busybox.
    gantry::ContainerSpec script(const std::string& name, const std::string& text) const;
    // create and start; both must succeed.
    void run(const gantry::ContainerSpec& spec);
    // Waits until it has ended.
    gantry::Container wait_exit(const std::string& name);
    gantry::Container find(const std::string& name);  // fails the test if it is not listed
    std::vector<std::string> names();
    std::string logs(const std::string& name, std::int64_t tail = -1, std::int64_t since_ns = 0);
    // Waits until the log holds the text.
    bool logged(const std::string& name, const std::string& text);

    gantry::testing::FakeHost& host() { return *host_; }
    gantry::testing::RuntimeDriver& driver() { return *driver_; }
    const std::string& image() const { return image_; }
    std::string import(image_builder::Layout& layout);

  private:
    std::int64_t log_size_max_;
    image_builder::Scratch scratch_;
    std::unique_ptr<gantry::testing::FakeHost> host_;
    gantry::testing::Instance* instance_ = nullptr;
    std::unique_ptr<gantry::testing::RuntimeDriver> driver_;
    std::string image_;
};

// How many times longer than the limits in the tests say everything may take: what asks for a limit ends well before it
// on an idle machine, while a disk that is busy with something else takes a multiple (each layer of an image is
// flushed). GANTRY_TEST_PATIENCE, as tests/vm/run has it, says another number.
int patience();

// Waits for a condition outside of the host, at most ten seconds.
bool eventually(const std::function<bool()>& condition);

// True if a process with this number lives (a zombie does not).
bool alive(std::int64_t pid);
std::int64_t parent_of(std::int64_t pid);

}  // namespace runtime_test
