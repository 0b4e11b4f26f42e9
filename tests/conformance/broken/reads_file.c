/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads a file for every question.
 */
#include "tests/conformance/broken/placement.h"

#include <fcntl.h>
#include <unistd.h>

static gantry_status scores(SCORE_ARGUMENTS) {
    const int fd = open("/proc/loadavg", O_RDONLY | O_CLOEXEC);
    if (fd >= 0) close(fd);
    return SOUND_SCORE;
}

ROLE(.score = scores)
INSTANCE()
ENTRY()
