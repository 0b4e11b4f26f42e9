/* SPDX-License-Identifier: Apache-2.0
 *
 * Waits for a target for as long as it takes.
 */
#include "tests/conformance/broken/probe.h"

static gantry_status waits(void* self, gantry_op op, const gantry_probe_request* request) {
    op.deadline_ns += 3600000000000;
    return good_check(self, op, request);
}

ROLE(.check = waits)
INSTANCE(.stop = probe_stop)
ENTRY()
