/* SPDX-License-Identifier: Apache-2.0
 *
 * Works for the first instance of a process alone: it keeps a global.
 */
#include "tests/conformance/broken/placement.h"

static int used;

static gantry_status only_once(void* self, gantry_error* error) {
    (void)self;
    return used++ == 0 ? GANTRY_OK : refuse(error, GANTRY_FAILED, "was started before");
}

ROLE()
INSTANCE(.start = only_once)
ENTRY()
