/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps over candidates by the size in its own headers.
 */
#include "tests/conformance/broken/placement.h"

static gantry_status scores(SCORE_ARGUMENTS) {
    (void)self, (void)snapshot, (void)request, (void)error;
    for (size_t i = 0; i < n; ++i) {
        memset(keys[i], 0, sizeof(keys[i]));
        keys[i][0] = candidates[i].copies_running;
    }
    return GANTRY_OK;
}

ROLE(.score = scores)
INSTANCE()
ENTRY()
