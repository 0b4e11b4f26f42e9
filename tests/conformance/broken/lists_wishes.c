/* SPDX-License-Identifier: Apache-2.0
 *
 * Goes on listing a container as running that has ended.
 */
#include "tests/conformance/broken/runtime.h"

static gantry_status lists(void* self, gantry_op op) { return list_boxes(self, op, GANTRY_CONTAINER_RUNNING); }

ROLE(.list = lists)
INSTANCE(.start = runtime_start)
ENTRY()
