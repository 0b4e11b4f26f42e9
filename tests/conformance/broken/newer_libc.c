/* SPDX-License-Identifier: Apache-2.0
 *
 * Needs a function that the libc of this machine does not have yet.
 */
#include "tests/conformance/broken/placement.h"

extern int gantry_of_the_future(void); /* newer_libc_stub.c */

static gantry_status needs_future(void* self, gantry_error* error) {
    (void)self, (void)error;
    return gantry_of_the_future() == 0 ? GANTRY_OK : GANTRY_FAILED;
}

ROLE()
INSTANCE(.start = needs_future)
ENTRY()
