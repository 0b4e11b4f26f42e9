/* SPDX-License-Identifier: Apache-2.0
 *
 * Refuses the greatest value that its schema allows.
 */
#include "tests/conformance/broken/placement.h"

static gantry_status picky(void* self, const gantry_config* config, gantry_error* error) {
    const gantry_config_value* level = config_value(config, "level");
    if (level != NULL && level->integer == 10) return refuse(error, GANTRY_INVALID, "level: 10 is too much");
    return good_init(self, config, error);
}

ROLE()
INSTANCE(.init = picky)
ENTRY()
