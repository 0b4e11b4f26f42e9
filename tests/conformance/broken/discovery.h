/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GANTRY_BROKEN_DISCOVERY_H
#define GANTRY_BROKEN_DISCOVERY_H

#include <gantry/abi/discovery.h>

#include "tests/conformance/broken/plugin.h"

#define ROLE_ID GANTRY_ROLE_DISCOVERY

static inline void tell(struct instance* me, int found, const char* address, int64_t ttl_ns) {
    const gantry_discovery_sink* sink = me->sink;
    const gantry_discovered endpoint = {
        sizeof(endpoint), GANTRY_DISCOVERED_CONTROLLER, {NULL, 0}, {address, strlen(address)}, ttl_ns};
    (found ? sink->found : sink->gone)(me->host, &endpoint);
}

static inline gantry_status good_search(void* self, const gantry_discovery_sink* sink) {
    struct instance* me = self;
    me->sink = sink;
    tell(me, 1, "10.0.0.1:3900", 0);
    return GANTRY_OK;
}
static inline gantry_status good_end(void* self) {
    (void)self;
    return GANTRY_OK;
}
static inline gantry_status good_refresh(void* self) {
    (void)self;
    return GANTRY_OK;
}

#define ROLE(...)                                                                  \
    static const gantry_discovery role_table = {.struct_size = sizeof(role_table), \
                                                .start = good_search,              \
                                                .stop = good_end,                  \
                                                .refresh = good_refresh,           \
                                                __VA_ARGS__};

#endif
