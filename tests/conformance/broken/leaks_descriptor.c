/* SPDX-License-Identifier: Apache-2.0
 *
 * Opens a file in start and never closes it.
 */
#include "tests/conformance/broken/placement.h"

#include <fcntl.h>

static gantry_status opens(void* self, gantry_error* error) {
    (void)self, (void)error;
    return open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0 ? GANTRY_OK : GANTRY_FAILED;
}

ROLE()
INSTANCE(.start = opens)
ENTRY()
