/* SPDX-License-Identifier: Apache-2.0
 *
 * Knows nothing of the containers of the run before.
 */
#include "tests/conformance/broken/runtime.h"

static gantry_status begins(void* self, gantry_error* error) {
    struct instance* me = self;
    if (me->path[0] != '\0') unlink(me->path);
    return runtime_start(self, error);
}

ROLE()
INSTANCE(.start = begins)
ENTRY()
