/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes checks and never answers.
 */
#include "tests/conformance/broken/probe.h"

static gantry_status takes(void* self, gantry_op op, const gantry_probe_request* request) {
    (void)self, (void)op, (void)request;
    return GANTRY_OK;
}

ROLE(.check = takes)
INSTANCE()
ENTRY()
