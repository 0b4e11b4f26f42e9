/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers before it has written: the file follows with stop.
 */
#include "tests/conformance/broken/store.h"

static gantry_status answers_first(void* self, gantry_op op, const gantry_store_batch* batch) {
    struct instance* me = self;
    struct rows* rows = me->more;
    for (size_t i = 0; i < batch->count; ++i) {
        if (!as_expected(rows, change_at(batch, i))) return end(me, op, GANTRY_CONFLICT, "another revision", NULL);
    }
    const gantry_store_commit result = {sizeof(result), 0, ++rows->revision};
    for (size_t i = 0; i < batch->count; ++i) put_row(rows, change_at(batch, i), rows->revision);
    return end(me, op, GANTRY_OK, "", &result);
}
static gantry_status writes_late(void* self, int64_t deadline_ns, gantry_error* error) {
    struct instance* me = self;
    if (me->more != NULL) write_rows(me);
    return store_stop(self, deadline_ns, error);
}

ROLE(.commit = answers_first)
INSTANCE(.start = store_start, .stop = writes_late)
ENTRY()
