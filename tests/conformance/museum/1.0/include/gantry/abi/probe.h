/* SPDX-License-Identifier: Apache-2.0
 *
 * Role probe/1: asks one container once whether it is well. Thresholds, intervals and hysteresis are the kernel's.
 */
#ifndef GANTRY_ABI_PROBE_H
#define GANTRY_ABI_PROBE_H

#include <gantry/abi/base.h>

GANTRY_EXTERN_C_BEGIN

#define GANTRY_ROLE_PROBE "gantry.role.probe/1"

#define GANTRY_HEALTHY 1
#define GANTRY_UNHEALTHY 2
#define GANTRY_HEALTH_UNKNOWN 3 /* the question could not be put; changes nothing */

typedef struct gantry_probe_request {
    uint32_t struct_size;
    uint32_t port;
    gantry_str container;    /* runtime's name of the container */
    gantry_str address;      /* IP address without port */
    const gantry_kv* params; /* further keys of the manifest's [[probe]] and of its endpoint ("password") */
    size_t param_count;
} gantry_probe_request;

/* result of check */
typedef struct gantry_probe_result {
    uint32_t struct_size;
    uint32_t verdict;   /* GANTRY_HEALTHY, GANTRY_UNHEALTHY, GANTRY_HEALTH_UNKNOWN */
    int64_t latency_ns; /* of the answer, 0 if there was none */
    gantry_str detail;  /* one line for people: "connection refused" */
} gantry_probe_result;

typedef struct gantry_probe {
    uint32_t struct_size;
    uint32_t reserved;
    /* Operation, result gantry_probe_result. No answer before op.deadline_ns is GANTRY_UNHEALTHY, completed by the
     * probe itself. Many checks may run at once. [loop] */
    gantry_status (*check)(void* self, gantry_op op, const gantry_probe_request* request) GANTRY_NOEXCEPT;
} gantry_probe;

GANTRY_STATIC_ASSERT(sizeof(gantry_probe_request) == 56, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_probe_result) == 32, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_probe) == 16, "layout");

GANTRY_EXTERN_C_END

#endif
