/* SPDX-License-Identifier: Apache-2.0
 *
 * Sound in its host's process. It uses sockets and does not say so in its permissions, so in a process of its own it
 * cannot put a question, as it says truly.
 */
#include "tests/conformance/broken/probe.h"

static gantry_status check_by_socket(void* self, gantry_op op, const gantry_probe_request* request) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        answer(self, op.id, GANTRY_HEALTH_UNKNOWN, strerror(errno));
        return GANTRY_OK;
    }
    close(fd);
    return good_check(self, op, request);
}

ROLE(.check = check_by_socket)
INSTANCE(.stop = probe_stop)
ENTRY()
