/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls a function that no library has.
 */
#include "tests/conformance/broken/placement.h"

extern int gantry_nowhere_to_be_found(void);

static gantry_status calls_nothing(void* self, gantry_error* error) {
    (void)self, (void)error;
    return gantry_nowhere_to_be_found() == 0 ? GANTRY_OK : GANTRY_FAILED;
}

ROLE()
INSTANCE(.start = calls_nothing)
ENTRY()
