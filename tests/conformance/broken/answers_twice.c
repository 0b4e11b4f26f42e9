/* SPDX-License-Identifier: Apache-2.0
 *
 * Completes some operations a second time.
 */
#include "tests/conformance/broken/probe.h"

static gantry_status twice(void* self, gantry_op op, const gantry_probe_request* request) {
    struct instance* me = self;
    answer(me, op.id, GANTRY_HEALTH_UNKNOWN, "cannot be asked");
    answer(me, op.id, GANTRY_HEALTHY, "or can it");
    (void)request;
    return GANTRY_OK;
}
static gantry_status sometimes_twice(void* self, gantry_op op, const gantry_probe_request* request) {
    return request->port == 1 ? twice(self, op, request) : good_check(self, op, request);
}

ROLE(.check = sometimes_twice)
INSTANCE(.stop = probe_stop)
ENTRY()
