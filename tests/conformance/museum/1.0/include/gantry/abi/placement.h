/* SPDX-License-Identifier: Apache-2.0
 *
 * Role placement/1: prefers one candidate over another.
 *
 * The kernel has already applied every hard rule; a candidate may be chosen. A policy is pure: it reads nothing but
 * its arguments (and its configuration), keeps nothing between calls, uses no host service, and allocates nothing
 * per call. The keys of a candidate depend on the snapshot, the request and that candidate alone, never on its
 * position or on the others: so the kernel may ask again for one candidate after it got a copy, and one call can
 * serve many instances.
 */
#ifndef GANTRY_ABI_PLACEMENT_H
#define GANTRY_ABI_PLACEMENT_H

#include <gantry/abi/base.h>

GANTRY_EXTERN_C_BEGIN

#define GANTRY_ROLE_PLACEMENT "gantry.role.placement/1"
#define GANTRY_PLACEMENT_KEYS 4

/* The cluster as a whole, the same for all candidates of a call. */
typedef struct gantry_snapshot {
    uint32_t struct_size;
    uint32_t nodes_total; /* all nodes known, ready or not */
    uint32_t nodes_ready;
    uint32_t copies_total; /* running and pending, of all services */
} gantry_snapshot;

typedef struct gantry_candidate {
    gantry_str node;
    int64_t cpu_total_milli; /* thousandths of a core */
    int64_t cpu_free_milli;  /* total less what is declared by copies there, running and pending; may be < 0 */
    int64_t memory_total_bytes;
    int64_t memory_free_bytes;  /* measured free memory less what pending copies declare; may be < 0 */
    uint32_t copies_running;    /* copies of all services that run */
    uint32_t copies_pending;    /* assigned, not running yet */
    uint32_t copies_of_service; /* of the requested service, running and pending */
    uint32_t has_image;         /* 1: the node has the image (the kernel puts the others last by itself) */
    const gantry_kv* labels;    /* sorted by key */
    size_t label_count;
} gantry_candidate;

typedef struct gantry_placement_request {
    uint32_t struct_size;
    uint32_t candidate_size; /* bytes from one candidate to the next */
    gantry_str service;
    int64_t cpu_milli; /* declared need of one instance, 0 if none */
    int64_t memory_bytes;
    uint32_t instances_wanted; /* instances that wait for a place, this one included; at least 1 */
    uint32_t reserved;
} gantry_placement_request;

typedef struct gantry_placement {
    uint32_t struct_size;
    uint32_t key_count;                          /* 1..GANTRY_PLACEMENT_KEYS keys that mean something */
    gantry_str key_names[GANTRY_PLACEMENT_KEYS]; /* for `gantry explain`: "copies", "free memory" */
    /* Writes the keys of all n candidates: smaller wins, key 0 first; unused keys are 0. Equal candidates are
     * ordered by node name, by the kernel. Errors: any status but GANTRY_OK; the instance then waits and the error
     * is shown. [loop] */
    gantry_status (*score)(void* self, const gantry_snapshot* snapshot, const gantry_placement_request* request,
                           const gantry_candidate* candidates, size_t n, int64_t (*keys)[GANTRY_PLACEMENT_KEYS],
                           gantry_error* error) GANTRY_NOEXCEPT;
} gantry_placement;

GANTRY_STATIC_ASSERT(sizeof(gantry_snapshot) == 16, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_candidate) == 80, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_placement_request) == 48, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_placement) == 80, "layout");

GANTRY_EXTERN_C_END

#endif
