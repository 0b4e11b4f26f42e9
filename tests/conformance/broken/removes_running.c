/* SPDX-License-Identifier: Apache-2.0
 *
 * Forgets a container that runs.
 */
#include "tests/conformance/broken/runtime.h"

static gantry_status removes(void* self, gantry_op op, gantry_str name) {
    struct instance* me = self;
    struct box* b = find_box(me->more, name);
    if (b != NULL && b->state == GANTRY_CONTAINER_RUNNING) {
        kill((pid_t)-b->pid, SIGKILL);
        waitpid((pid_t)b->pid, NULL, 0);
        b->state = GANTRY_CONTAINER_EXITED;
    }
    return good_remove(self, op, name);
}

ROLE(.remove = removes)
INSTANCE(.start = runtime_start)
ENTRY()
