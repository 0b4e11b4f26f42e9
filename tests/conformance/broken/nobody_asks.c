/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks the tree in the name of nobody.
 */
#include <gantry/abi/host.h>

static gantry_principal nobody(int fd);
#define PRINCIPAL(fd) nobody(fd)
#include "tests/conformance/broken/frontend.h"

static gantry_principal nobody(int fd) {
    const gantry_principal out = {sizeof(out), 0, TEXT("none"), {NULL, 0}, -1, -1};
    (void)fd;
    return out;
}

ROLE()
INSTANCE(.init = door_init, .start = door_start, .stop = door_stop)
ENTRY()
