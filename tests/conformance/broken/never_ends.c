/* SPDX-License-Identifier: Apache-2.0
 *
 * Goes on reporting when its search has been stopped.
 */
#include "tests/conformance/broken/discovery.h"

static void again(void* arg, uint64_t timer) {
    (void)timer;
    tell(arg, 1, "10.0.0.1:3900", 0);
}
static gantry_status searches(void* self, const gantry_discovery_sink* sink) {
    struct instance* me = self;
    uint64_t timer = 0;
    good_search(self, sink);
    return me->clock->timer(me->host, 60000000000, 60000000000, again, me, &timer);
}

ROLE(.start = searches)
INSTANCE()
ENTRY()
