/* SPDX-License-Identifier: Apache-2.0
 *
 * stop joins a thread that a start which failed, or none at all, never made.
 */
#include "tests/conformance/broken/placement.h"

#include <pthread.h>
#include <stdio.h>

static void* nothing(void* arg) { return arg; }

static gantry_status starts_thread(void* self, gantry_error* error) {
    struct instance* me = self;
    pthread_t* thread = malloc(sizeof(*thread));
    if (thread == NULL || pthread_create(thread, NULL, nothing, NULL) != 0) {
        free(thread);
        return refuse(error, GANTRY_FAILED, "no thread");
    }
    me->more = thread;
    return GANTRY_OK;
}
static gantry_status joins(void* self, int64_t deadline_ns, gantry_error* error) {
    (void)deadline_ns, (void)error;
    pthread_join(*(pthread_t*)((struct instance*)self)->more, NULL);
    return GANTRY_OK;
}

ROLE()
INSTANCE(.start = starts_thread, .stop = joins)
ENTRY()
