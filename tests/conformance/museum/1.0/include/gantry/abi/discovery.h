/* SPDX-License-Identifier: Apache-2.0
 *
 * Draft role discovery: says where controllers are (agents dial them) and which nodes are expected (only shown). Bound
 * to the exact kernel version.
 */
#ifndef GANTRY_ABI_DISCOVERY_H
#define GANTRY_ABI_DISCOVERY_H

#include <gantry/abi/base.h>

GANTRY_EXTERN_C_BEGIN

#define GANTRY_ROLE_DISCOVERY "gantry.draft.discovery"

#define GANTRY_DISCOVERED_CONTROLLER 1
#define GANTRY_DISCOVERED_NODE 2

typedef struct gantry_discovered {
    uint32_t struct_size;
    uint32_t kind;      /* GANTRY_DISCOVERED_... */
    gantry_str name;    /* node name, may be empty for a controller */
    gantry_str address; /* "10.0.0.1:3900", "[fd00::1]:3900" */
    int64_t ttl_ns;     /* forgotten if not repeated for so long; 0: never */
} gantry_discovered;

typedef struct gantry_discovery_sink {
    uint32_t struct_size;
    uint32_t reserved;
    /* Repeating an endpoint renews it. [any] */
    gantry_status (*found)(uint64_t host, const gantry_discovered* endpoint) GANTRY_NOEXCEPT;
    /* The endpoint is no more. [any] */
    gantry_status (*gone)(uint64_t host, const gantry_discovered* endpoint) GANTRY_NOEXCEPT;
} gantry_discovery_sink;

typedef struct gantry_discovery {
    uint32_t struct_size;
    uint32_t reserved;
    /* Notification: begin to report to sink, which lives as long as the instance; once, after the instance's start.
     * What it knows already is reported at once, what it learns later when it does. Errors (logged, nothing is
     * retried): GANTRY_UNAVAILABLE (no network to look in), GANTRY_FAILED. [loop] */
    gantry_status (*start)(void* self, const gantry_discovery_sink* sink) GANTRY_NOEXCEPT;
    /* Notification: no report after this returned; the host calls it before it stops the instance. [loop] */
    gantry_status (*stop)(void* self) GANTRY_NOEXCEPT;
    /* Notification: look again now. [loop] */
    gantry_status (*refresh)(void* self) GANTRY_NOEXCEPT;
} gantry_discovery;

GANTRY_STATIC_ASSERT(sizeof(gantry_discovered) == 48, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_discovery_sink) == 24, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_discovery) == 32, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_discovery, refresh) == 24, "layout");

GANTRY_EXTERN_C_END

#endif
