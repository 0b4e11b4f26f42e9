/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes the changes before the one whose condition does not hold.
 */
#include "tests/conformance/broken/store.h"

static gantry_status half(void* self, gantry_op op, const gantry_store_batch* batch) {
    struct instance* me = self;
    struct rows* rows = me->more;
    for (size_t i = 0; i < batch->count; ++i) {
        if (as_expected(rows, change_at(batch, i))) continue;
        for (size_t k = 0; k < i; ++k) put_row(rows, change_at(batch, k), rows->revision);
    }
    return good_commit(self, op, batch);
}

ROLE(.commit = half)
STORE_INSTANCE
ENTRY()
