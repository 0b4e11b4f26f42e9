/* SPDX-License-Identifier: Apache-2.0
 *
 * Prefers whoever stands first.
 */
#include "tests/conformance/broken/placement.h"

static gantry_status scores(SCORE_ARGUMENTS) {
    const gantry_status status = SOUND_SCORE;
    for (size_t i = 0; i < n; ++i) keys[i][0] += (int64_t)i;
    return status;
}

ROLE(.score = scores)
INSTANCE()
ENTRY()
