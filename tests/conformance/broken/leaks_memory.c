/* SPDX-License-Identifier: Apache-2.0
 *
 * Forgets 4 KiB of memory with every instance.
 */
#include "tests/conformance/broken/placement.h"

static void forgets(void* self) { ((struct instance*)self)->more = NULL; }

static gantry_status allocates(void* self, gantry_error* error) {
    struct instance* me = self;
    (void)error;
    me->more = calloc(1, 4096);
    return GANTRY_OK;
}
static void forgets_it(void* self) {
    forgets(self);
    good_destroy(self);
}

ROLE()
INSTANCE(.start = allocates, .destroy = forgets_it)
ENTRY()
