/* SPDX-License-Identifier: Apache-2.0
 *
 * Breaks nothing: what the others are made from.
 */
#include "tests/conformance/broken/frontend.h"

ROLE()
INSTANCE(.init = door_init, .start = door_start, .stop = door_stop)
ENTRY()
