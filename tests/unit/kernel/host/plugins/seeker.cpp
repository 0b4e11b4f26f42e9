// SPDX-License-Identifier: Apache-2.0
//
// A discovery that finds one endpoint for a while and one for ever, and says when it is told to end.
#include <gantry/discovery.hpp>

using namespace gantry;

class Seeker final : public Discovery {
  public:
    void begin_search() override {
        events().found({true, "brief", "127.0.0.1:1", std::chrono::milliseconds(30)});
        events().found({false, "lasting\n\xff", "127.0.0.1:2", {}});
    }
    void end_search() override { host().info("the search ended"); }
    void refresh() override { throw Failure(Code::kUnavailable, "no network to look in"); }
    void stop(Instant) override { host().info("stopped"); }
};

GANTRY_PLUGIN(Seeker)
