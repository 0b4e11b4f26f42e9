/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes what it has no room for, and drops it.
 */
#include "tests/conformance/broken/transport.h"

static gantry_status sends(void* self, uint64_t peer, uint32_t channel, gantry_bytes bytes) {
    const gantry_status status = good_send(self, peer, channel, bytes);
    return status == GANTRY_FULL ? GANTRY_OK : status;
}

ROLE(.send = sends)
TRANSPORT_INSTANCE
ENTRY()
