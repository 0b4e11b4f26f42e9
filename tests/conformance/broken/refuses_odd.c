/* SPDX-License-Identifier: Apache-2.0
 *
 * Refuses a whole table for one record that cannot be answered.
 */
#include "tests/conformance/broken/directory.h"

static gantry_status picky(void* self, uint64_t table_no, const gantry_name_record* records, size_t size,
                           size_t count) {
    for (size_t i = 0; i < count; ++i) {
        if (!answerable(record_at(records, size, i))) return GANTRY_INVALID;
    }
    return good_replace(self, table_no, records, size, count);
}

ROLE(.replace = picky)
INSTANCE()
ENTRY()
