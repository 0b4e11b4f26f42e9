/* SPDX-License-Identifier: Apache-2.0
 *
 * Refuses a table with more keys than it knows.
 */
#include "tests/conformance/broken/placement.h"

static gantry_status picky(void* self, const gantry_config* config, gantry_error* error) {
    if (config->count > 2) return refuse(error, GANTRY_INVALID, "more than 2 keys");
    return good_init(self, config, error);
}

ROLE()
INSTANCE(.init = picky)
ENTRY()
