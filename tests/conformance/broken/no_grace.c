/* SPDX-License-Identifier: Apache-2.0
 *
 * Kills at once what it should stop.
 */
#include "tests/conformance/broken/runtime.h"

static gantry_status stops(void* self, gantry_op op, gantry_str name, int64_t grace_ns) {
    (void)grace_ns;
    return good_kill(self, op, name);
}

ROLE(.stop = stops)
INSTANCE(.start = runtime_start)
ENTRY()
