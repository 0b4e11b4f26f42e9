// SPDX-License-Identifier: Apache-2.0
//
// Files for which the crasher may be exchanged: one that works, one that does not start, one that cannot even be made.
#include <cstdlib>
#include <gantry/probe.hpp>

class Next final : public gantry::Probe {
  public:
    Next() {
        if (GANTRY_TEST_NEXT == 2) std::abort();
    }
    void start() override {
        if (GANTRY_TEST_NEXT == 1)
            throw gantry::Failure(gantry::Code::kUnavailable, "the new one has no wish to start");
    }
    void check(gantry::Operation<gantry::ProbeResult> op, gantry::ProbeRequest) override { op.done({}); }
};

GANTRY_PLUGIN(Next)
