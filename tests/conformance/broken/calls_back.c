/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread of it goes on calling the host after destroy.
 */
#include "tests/conformance/broken/placement.h"

#include <pthread.h>
#include <unistd.h>

static void* go_on(void* arg) {
    const struct instance copy = *(const struct instance*)arg;
    free(arg);
    for (int i = 0; i < 100; ++i) {
        copy.log->log(copy.host, GANTRY_LOG_INFO, text_of("still here"), NULL, 0);
        usleep(5000);
    }
    return NULL;
}

static gantry_status starts_thread(void* self, gantry_error* error) {
    pthread_t thread;
    struct instance* copy = malloc(sizeof(*copy));
    if (copy == NULL) return refuse(error, GANTRY_FAILED, "out of memory");
    *copy = *(struct instance*)self;
    if (pthread_create(&thread, NULL, go_on, copy) != 0) {
        free(copy);
        return refuse(error, GANTRY_FAILED, "no thread");
    }
    pthread_detach(thread);
    return GANTRY_OK;
}

ROLE()
INSTANCE(.start = starts_thread)
ENTRY()
