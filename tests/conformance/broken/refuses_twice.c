/* SPDX-License-Identifier: Apache-2.0
 *
 * Refuses to make a container that is there.
 */
#include "tests/conformance/broken/runtime.h"

static gantry_status creates(void* self, gantry_op op, const gantry_container_spec* spec) {
    struct instance* me = self;
    if (find_box(me->more, spec->name) != NULL) return end(me, op.id, GANTRY_EXISTS, "it is there", NULL);
    return good_box(self, op, spec);
}

ROLE(.create = creates)
INSTANCE(.start = runtime_start)
ENTRY()
