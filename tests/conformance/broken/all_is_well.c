/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls everything healthy.
 */
#include "tests/conformance/broken/probe.h"

static gantry_status all_well(void* self, gantry_op op, const gantry_probe_request* request) {
    (void)request;
    answer(self, op.id, GANTRY_HEALTHY, "well");
    return GANTRY_OK;
}

ROLE(.check = all_well)
INSTANCE()
ENTRY()
