// SPDX-License-Identifier: Apache-2.0
//
// A probe that takes its process down when it starts, on a thread of its own, or a little later, as its table says.
#include <chrono>
#include <cstdlib>
#include <gantry/probe.hpp>
#include <thread>

class Crasher final : public gantry::Probe {
  public:
    void init(const gantry::Config& config) override { how_ = config.string("how"); }
    void start() override {
        if (how_ == "null") *nowhere_ = 1;
        if (how_ == "abort") std::abort();
        if (how_ == "thread") std::thread([] { std::abort(); }).join();
        if (how_ == "later") host().timer(std::chrono::milliseconds(10), [] { std::abort(); });
    }
    void check(gantry::Operation<gantry::ProbeResult> op, gantry::ProbeRequest) override { op.done({}); }

  private:
    std::string how_;
    volatile int* volatile nowhere_ = nullptr;
};

GANTRY_PLUGIN(Crasher)
