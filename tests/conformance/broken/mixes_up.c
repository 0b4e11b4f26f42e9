/* SPDX-License-Identifier: Apache-2.0
 *
 * Keeps the check under way in one place, where the next one takes it.
 */
#include "tests/conformance/broken/probe.h"

static void answers(void* arg) {
    struct instance* me = arg;
    answer(me, (uint64_t)me->count, GANTRY_UNHEALTHY, "refused");
}
static gantry_status check_later(void* self, gantry_op op, const gantry_probe_request* request) {
    struct instance* me = self;
    (void)request;
    me->count = (int64_t)op.id;
    return me->io->post(me->host, answers, me);
}

ROLE(.check = check_later)
INSTANCE()
ENTRY()
