/* SPDX-License-Identifier: Apache-2.0
 *
 * Looks whether anybody still waits between two changes of a batch.
 */
#include "tests/conformance/broken/store.h"

static gantry_status half(void* self, gantry_op op, const gantry_store_batch* batch) {
    struct instance* me = self;
    struct rows* rows = me->more;
    if (me->ops->cancelled(me->host, op.id) == 0) return good_commit(self, op, batch);
    put_row(rows, change_at(batch, 0), ++rows->revision);
    return end(me, op, GANTRY_CANCELLED, "too late", NULL);
}

ROLE(.commit = half)
STORE_INSTANCE
ENTRY()
