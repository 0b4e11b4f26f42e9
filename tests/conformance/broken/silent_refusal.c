/* SPDX-License-Identifier: Apache-2.0
 *
 * Refuses an odd text without a word.
 */
#include "tests/conformance/broken/placement.h"

static gantry_status picky(void* self, const gantry_config* config, gantry_error* error) {
    const gantry_config_value* label = config_value(config, "label");
    if (label != NULL && label->type == GANTRY_CONFIG_STRING && label->string.len > 64) return GANTRY_INVALID;
    return good_init(self, config, error);
}

ROLE()
INSTANCE(.init = picky)
ENTRY()
