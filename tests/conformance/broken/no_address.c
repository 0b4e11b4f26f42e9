/* SPDX-License-Identifier: Apache-2.0
 *
 * Does not say where its door is.
 */
#include "tests/conformance/broken/frontend.h"

static gantry_str nowhere(void* self) {
    (void)self;
    return text_of("");
}

ROLE(.address = nowhere)
INSTANCE(.init = door_init, .start = door_start, .stop = door_stop)
ENTRY()
