/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes a key that has no name.
 */
#include "tests/conformance/broken/placement.h"

static gantry_status scores(SCORE_ARGUMENTS) {
    const gantry_status status = SOUND_SCORE;
    for (size_t i = 0; i < n; ++i) keys[i][2] = (int64_t)candidate_at(candidates, request->candidate_size, i)->node.len;
    return status;
}

ROLE(.score = scores)
INSTANCE()
ENTRY()
