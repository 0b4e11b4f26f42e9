/* SPDX-License-Identifier: Apache-2.0
 *
 * Draft role frontend: a door to the resource tree through gantry.host.control/1. Bound to the exact kernel version.
 * A frontend translates and says who asks (the principal); it opens its door in start and closes it in stop. While stop
 * runs the loop turns, as for no other role, so that answers still come: stop takes nothing new, answers what was
 * asked, ends what follows without an end (events, logs), and returns.
 */
#ifndef GANTRY_ABI_FRONTEND_H
#define GANTRY_ABI_FRONTEND_H

#include <gantry/abi/base.h>

GANTRY_EXTERN_C_BEGIN

#define GANTRY_ROLE_FRONTEND "gantry.draft.frontend"

typedef struct gantry_frontend {
    uint32_t struct_size;
    uint32_t reserved;
    /* Where the door is, for people: "unix:/run/gantry/api.sock". Valid from a successful init to destroy. [any] */
    gantry_str (*address)(void* self) GANTRY_NOEXCEPT;
} gantry_frontend;

GANTRY_STATIC_ASSERT(sizeof(gantry_frontend) == 16, "layout");

GANTRY_EXTERN_C_END

#endif
