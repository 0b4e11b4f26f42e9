// SPDX-License-Identifier: Apache-2.0
//
// Its entry says another version than its note.
#include <gantry/probe.hpp>

class Liar final : public gantry::Probe {
  public:
    void check(gantry::Operation<gantry::ProbeResult> op, gantry::ProbeRequest) override { op.done({}); }
};

#undef GANTRY_PLUGIN_VERSION
#define GANTRY_PLUGIN_VERSION "2.0.0"
GANTRY_PLUGIN(Liar)
