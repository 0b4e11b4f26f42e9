/* SPDX-License-Identifier: Apache-2.0
 *
 * Aborts when a value is of another type than its schema says.
 */
#include "tests/conformance/broken/placement.h"

static gantry_status picky(void* self, const gantry_config* config, gantry_error* error) {
    const gantry_config_value* label = config_value(config, "label");
    if (label != NULL && label->type != GANTRY_CONFIG_STRING) abort();
    return good_init(self, config, error);
}

ROLE()
INSTANCE(.init = picky)
ENTRY()
