/* SPDX-License-Identifier: Apache-2.0
 *
 * Dies of a text that is empty.
 */
#include "tests/conformance/broken/placement.h"

static gantry_status picky(void* self, const gantry_config* config, gantry_error* error) {
    const gantry_config_value* label = config_value(config, "label");
    if (label != NULL && label->type == GANTRY_CONFIG_STRING && label->string.len == 0) abort();
    return good_init(self, config, error);
}

ROLE()
INSTANCE(.init = picky)
ENTRY()
