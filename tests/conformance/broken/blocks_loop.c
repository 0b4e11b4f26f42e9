/* SPDX-License-Identifier: Apache-2.0
 *
 * Holds the loop for 20 ms when a search begins.
 */
#include "tests/conformance/broken/discovery.h"

#include <time.h>

static gantry_status slow_search(void* self, const gantry_discovery_sink* sink) {
    const struct timespec nap = {0, 20000000};
    nanosleep(&nap, NULL);
    return good_search(self, sink);
}

ROLE(.start = slow_search)
INSTANCE()
ENTRY()
