/* SPDX-License-Identifier: Apache-2.0
 *
 * Cuts what is longer than its own limit.
 */
#include "tests/conformance/broken/transport.h"

static gantry_status sends(void* self, uint64_t peer, uint32_t channel, gantry_bytes bytes) {
    if (bytes.len > MESSAGE_MAX) bytes.len = MESSAGE_MAX;
    return good_send(self, peer, channel, bytes);
}

ROLE(.send = sends)
TRANSPORT_INSTANCE
ENTRY()
