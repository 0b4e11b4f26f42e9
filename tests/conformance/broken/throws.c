/* SPDX-License-Identifier: Apache-2.0
 *
 * Lets an exception out of a slot (throws_now.cpp throws it).
 */
#include "tests/conformance/broken/placement.h"

extern void throw_now(void);

static gantry_status throws(SCORE_ARGUMENTS) {
    throw_now();
    return SOUND_SCORE;
}

ROLE(.score = throws)
INSTANCE()
ENTRY()
