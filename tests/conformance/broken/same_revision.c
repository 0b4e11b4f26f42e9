/* SPDX-License-Identifier: Apache-2.0
 *
 * Gives every commit the same revision.
 */
#include "tests/conformance/broken/store.h"

static gantry_status stands(void* self, gantry_op op, const gantry_store_batch* batch) {
    struct instance* me = self;
    ((struct rows*)me->more)->revision = 0;
    return good_commit(self, op, batch);
}

ROLE(.commit = stands)
STORE_INSTANCE
ENTRY()
