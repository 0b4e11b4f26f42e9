/* SPDX-License-Identifier: Apache-2.0
 *
 * Logs every question.
 */
#include "tests/conformance/broken/placement.h"

static gantry_status scores(SCORE_ARGUMENTS) {
    const struct instance* me = self;
    me->log->log(me->host, GANTRY_LOG_DEBUG, text_of("asked"), NULL, 0);
    return SOUND_SCORE;
}

ROLE(.score = scores)
INSTANCE()
ENTRY()
