/* SPDX-License-Identifier: Apache-2.0
 *
 * stop waits for answers that the loop, which stands, would have to bring.
 */
#include "tests/conformance/broken/probe.h"

struct later {
    struct instance* of;
    uint64_t op;
};

static void answers(void* arg) {
    struct later* l = arg;
    answer(l->of, l->op, GANTRY_UNHEALTHY, "refused");
    __atomic_sub_fetch(&l->of->count, 1, __ATOMIC_SEQ_CST);
    free(l);
}
static gantry_status check_later(void* self, gantry_op op, const gantry_probe_request* request) {
    struct instance* me = self;
    struct later* l = malloc(sizeof(*l));
    if (l == NULL) return GANTRY_FULL;
    (void)request;
    l->of = me;
    l->op = op.id;
    __atomic_add_fetch(&me->count, 1, __ATOMIC_SEQ_CST);
    if (me->io->post(me->host, answers, l) != GANTRY_OK) {
        __atomic_sub_fetch(&me->count, 1, __ATOMIC_SEQ_CST);
        free(l);
        return GANTRY_FULL;
    }
    return GANTRY_OK;
}
static gantry_status waits(void* self, int64_t deadline_ns, gantry_error* error) {
    struct instance* me = self;
    (void)deadline_ns, (void)error;
    while (__atomic_load_n(&me->count, __ATOMIC_SEQ_CST) != 0) usleep(1000);
    return GANTRY_OK;
}

ROLE(.check = check_later)
INSTANCE(.stop = waits)
ENTRY()
