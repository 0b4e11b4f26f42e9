/* SPDX-License-Identifier: Apache-2.0
 *
 * Allocates for every question.
 */
#include "tests/conformance/broken/placement.h"

static gantry_status scores(SCORE_ARGUMENTS) {
    void* volatile copy = malloc(n * sizeof(key_row));
    const gantry_status status = SOUND_SCORE;
    free(copy);
    return status;
}

ROLE(.score = scores)
INSTANCE()
ENTRY()
