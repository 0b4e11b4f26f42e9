/* SPDX-License-Identifier: Apache-2.0
 *
 * Does not report that a container ended.
 */
#include "tests/conformance/broken/runtime.h"

static gantry_status ignores(void* self, const gantry_runtime_sink* sink) {
    (void)self, (void)sink;
    return GANTRY_OK;
}

ROLE(.bind = ignores)
INSTANCE(.start = runtime_start)
ENTRY()
