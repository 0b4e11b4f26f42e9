/* SPDX-License-Identifier: Apache-2.0
 *
 * Once an operation was cancelled it answers none any more.
 */
#include "tests/conformance/broken/probe.h"

struct later {
    struct instance* of;
    uint64_t op;
};

static void answers(void* arg) {
    struct later* l = arg;
    if (l->of->ops->cancelled(l->of->host, l->op) != 0) l->of->count = 1;
    if (l->of->count == 0) answer(l->of, l->op, GANTRY_UNHEALTHY, "refused");
    free(l);
}
static gantry_status check_later(void* self, gantry_op op, const gantry_probe_request* request) {
    struct instance* me = self;
    if (request->port != 1) return good_check(self, op, request);
    struct later* l = malloc(sizeof(*l));
    if (l == NULL) return GANTRY_FULL;
    l->of = me;
    l->op = op.id;
    if (me->io->post(me->host, answers, l) == GANTRY_OK) return GANTRY_OK;
    free(l);
    return GANTRY_FULL;
}

ROLE(.check = check_later)
INSTANCE(.stop = probe_stop)
ENTRY()
