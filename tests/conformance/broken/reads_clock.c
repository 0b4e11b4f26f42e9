/* SPDX-License-Identifier: Apache-2.0
 *
 * Prefers nodes by what the clock says.
 */
#include "tests/conformance/broken/placement.h"

#include <time.h>

static gantry_status scores(SCORE_ARGUMENTS) {
    const gantry_status status = SOUND_SCORE;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    for (size_t i = 0; i < n; ++i) keys[i][0] ^= now.tv_nsec & 1;
    return status;
}

ROLE(.score = scores)
INSTANCE()
ENTRY()
