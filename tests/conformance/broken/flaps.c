/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes back what it found whenever it looks again, and finds it once more.
 */
#include "tests/conformance/broken/discovery.h"

static gantry_status looks(void* self) {
    tell(self, 0, "10.0.0.1:3900", 0);
    tell(self, 1, "10.0.0.1:3900", 0);
    return GANTRY_OK;
}

ROLE(.refresh = looks)
INSTANCE()
ENTRY()
