/* SPDX-License-Identifier: Apache-2.0
 *
 * Starts a thread and never ends it.
 */
#include "tests/conformance/broken/placement.h"

#include <pthread.h>
#include <unistd.h>

static void* sleeps(void* arg) {
    for (;;) pause();
    return arg;
}

static gantry_status starts_thread(void* self, gantry_error* error) {
    pthread_t thread;
    (void)self;
    if (pthread_create(&thread, NULL, sleeps, NULL) != 0) return refuse(error, GANTRY_FAILED, "no thread");
    pthread_detach(thread);
    return GANTRY_OK;
}

ROLE()
INSTANCE(.start = starts_thread)
ENTRY()
