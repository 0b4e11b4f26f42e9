/* SPDX-License-Identifier: Apache-2.0
 *
 * Its answers depend on how often it was asked.
 */
#include "tests/conformance/broken/placement.h"

static gantry_status scores(SCORE_ARGUMENTS) {
    struct instance* me = self;
    const gantry_status status = SOUND_SCORE;
    for (size_t i = 0; i < n; ++i) keys[i][0] += ++me->count;
    return status;
}

ROLE(.score = scores)
INSTANCE()
ENTRY()
