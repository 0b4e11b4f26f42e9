/* SPDX-License-Identifier: Apache-2.0
 *
 * All instances share one, which dies with the first of them.
 */
#include "tests/conformance/broken/placement.h"

static struct instance* the_one;

static gantry_status takes_over(void* self, gantry_error* error) {
    (void)error;
    the_one = self;
    return GANTRY_OK;
}
static void kills_it(void* self) {
    the_one = NULL;
    good_destroy(self);
}
static gantry_status asks_it(SCORE_ARGUMENTS) {
    ++*(volatile int64_t*)&the_one->count;
    return SOUND_SCORE;
}

ROLE(.score = asks_it)
INSTANCE(.start = takes_over, .destroy = kills_it)
ENTRY()
