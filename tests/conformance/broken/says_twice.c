/* SPDX-License-Identifier: Apache-2.0
 *
 * Reports a controller once for each of two ways to it.
 */
#include "tests/conformance/broken/discovery.h"

static gantry_status searches(void* self, const gantry_discovery_sink* sink) {
    good_search(self, sink);
    return good_search(self, sink);
}

ROLE(.start = searches)
INSTANCE()
ENTRY()
