/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes for granted that the host has a job slot free.
 */
#include "tests/conformance/broken/probe.h"

static void answers(void* arg) {
    void** pair = arg;
    answer(pair[0], (uint64_t)(uintptr_t)pair[1], GANTRY_UNHEALTHY, "refused");
    free(pair);
}
static gantry_status check_later(void* self, gantry_op op, const gantry_probe_request* request) {
    struct instance* me = self;
    if (request->port != 1) return good_check(self, op, request);
    void** pair = malloc(2 * sizeof(void*));
    if (pair == NULL) return GANTRY_FULL;
    pair[0] = me;
    pair[1] = (void*)(uintptr_t)op.id;
    if (me->io->post(me->host, answers, pair) != GANTRY_OK) abort();
    return GANTRY_OK;
}

ROLE(.check = check_later)
INSTANCE(.stop = probe_stop)
ENTRY()
