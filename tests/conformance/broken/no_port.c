/* SPDX-License-Identifier: Apache-2.0
 *
 * Finds a controller without a port.
 */
#include "tests/conformance/broken/discovery.h"

static gantry_status searches(void* self, const gantry_discovery_sink* sink) {
    struct instance* me = self;
    me->sink = sink;
    tell(me, 1, "10.0.0.1", 0);
    return GANTRY_OK;
}

ROLE(.start = searches)
INSTANCE()
ENTRY()
