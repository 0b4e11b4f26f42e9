/* SPDX-License-Identifier: Apache-2.0
 *
 * Adds the new table to the one before it.
 */
#include "tests/conformance/broken/directory.h"

static gantry_status adds(void* self, uint64_t table_no, const gantry_name_record* records, size_t size, size_t count) {
    struct instance* me = self;
    if ((int64_t)table_no < me->count) return GANTRY_OK;
    me->count = (int64_t)table_no;
    return write_table(me, "a", records, size, count);
}

ROLE(.replace = adds)
INSTANCE()
ENTRY()
