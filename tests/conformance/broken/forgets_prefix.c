/* SPDX-License-Identifier: Apache-2.0
 *
 * Loads every key, whatever the prefix.
 */
#include "tests/conformance/broken/store.h"

static gantry_status loads_all(void* self, gantry_op op, gantry_str prefix) {
    prefix.len = 0;
    return good_load(self, op, prefix);
}

ROLE(.load = loads_all)
STORE_INSTANCE
ENTRY()
