/* SPDX-License-Identifier: Apache-2.0
 *
 * init refuses the defaults of its own schema.
 */
#include "tests/conformance/broken/placement.h"

static gantry_status refuses(void* self, const gantry_config* config, gantry_error* error) {
    (void)self, (void)config;
    return refuse(error, GANTRY_INVALID, "level: 3 is no good level");
}

ROLE()
INSTANCE(.init = refuses)
ENTRY()
