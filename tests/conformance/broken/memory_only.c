/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps everything in memory.
 */
#include "tests/conformance/broken/store.h"

static gantry_status keeps(void* self, gantry_op op, const gantry_store_batch* batch) {
    struct instance* me = self;
    struct rows* rows = me->more;
    for (size_t i = 0; i < batch->count; ++i) {
        if (!as_expected(rows, change_at(batch, i))) return end(me, op, GANTRY_CONFLICT, "another revision", NULL);
    }
    const gantry_store_commit result = {sizeof(result), 0, ++rows->revision};
    for (size_t i = 0; i < batch->count; ++i) put_row(rows, change_at(batch, i), rows->revision);
    return end(me, op, GANTRY_OK, "", &result);
}

ROLE(.commit = keeps)
STORE_INSTANCE
ENTRY()
