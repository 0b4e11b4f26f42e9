/* SPDX-License-Identifier: Apache-2.0
 *
 * Lets every tenth message come after those behind it.
 */
#include "tests/conformance/broken/transport.h"

static void deliver_later(void* arg) {
    struct message* m = arg;
    struct instance* to = m->link->side[1 - m->from].of;
    if (to != NULL) to->io->post(to->host, deliver, m);
}
static gantry_status sends(void* self, uint64_t peer, uint32_t channel, gantry_bytes bytes) {
    struct instance* me = self;
    struct link* link = NULL;
    int index = 0;
    if (me->count++ % 10 != 5 || find_side(self, peer, &link, &index) == NULL) {
        return good_send(self, peer, channel, bytes);
    }
    return queue_message(self, link, index, channel, bytes, deliver_later);
}

ROLE(.send = sends)
TRANSPORT_INSTANCE
ENTRY()
