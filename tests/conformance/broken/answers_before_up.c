/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers dial before it reports the peer as up.
 */
#include "tests/conformance/broken/transport.h"

static gantry_status dials(void* self, gantry_op op, gantry_str address) { return dial_in_order(self, op, address, 0); }

ROLE(.dial = dials)
TRANSPORT_INSTANCE
ENTRY()
