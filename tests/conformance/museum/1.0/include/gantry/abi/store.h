/* SPDX-License-Identifier: Apache-2.0
 *
 * Draft role store: keeps the controller's state. Bound to the exact kernel version.
 */
#ifndef GANTRY_ABI_STORE_H
#define GANTRY_ABI_STORE_H

#include <gantry/abi/base.h>

GANTRY_EXTERN_C_BEGIN

#define GANTRY_ROLE_STORE "gantry.draft.store"

#define GANTRY_REVISION_ANY UINT64_MAX /* no condition */
#define GANTRY_REVISION_NONE 0         /* the key must not exist */

typedef struct gantry_store_entry {
    gantry_str key;
    gantry_bytes value;
    uint64_t revision; /* of the commit that wrote it */
} gantry_store_entry;

/* result of load */
typedef struct gantry_store_entries {
    uint32_t struct_size;
    uint32_t entry_size;               /* bytes from one entry to the next */
    const gantry_store_entry* entries; /* ordered by key */
    size_t count;
    uint64_t revision; /* of the newest commit */
} gantry_store_entries;

typedef struct gantry_store_change {
    gantry_str key;
    gantry_bytes value;
    uint64_t expected; /* revision the key must have, or GANTRY_REVISION_... */
    uint32_t remove;   /* 1: delete the key, value is ignored */
    uint32_t reserved;
} gantry_store_change;

typedef struct gantry_store_batch {
    uint32_t struct_size;
    uint32_t use_reserve; /* 1: may use the reserve that is kept for moves when the disk is full */
    uint32_t change_size; /* bytes from one change to the next */
    uint32_t reserved;
    const gantry_store_change* changes;
    size_t count;
} gantry_store_batch;

/* result of commit */
typedef struct gantry_store_commit {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t revision;
} gantry_store_commit;

typedef struct gantry_store {
    uint32_t struct_size;
    uint32_t reserved;
    /* Operation, result gantry_store_entries: all keys that begin with prefix. Errors: GANTRY_FAILED (corrupt or
     * written by a newer version; the file is left untouched). [loop] */
    gantry_status (*load)(void* self, gantry_op op, gantry_str prefix) GANTRY_NOEXCEPT;
    /* Operation, result gantry_store_commit: all changes or none; durable when it completes. Errors:
     * GANTRY_CONFLICT (an expected revision differs), GANTRY_FULL (nothing was written), GANTRY_OUTCOME_UNKNOWN.
     * [loop] */
    gantry_status (*commit)(void* self, gantry_op op, const gantry_store_batch* batch) GANTRY_NOEXCEPT;
    /* Operation: become the one holder of name for ttl_ns. A store for one controller answers GANTRY_UNSUPPORTED.
     * [loop] */
    gantry_status (*elect)(void* self, gantry_op op, gantry_str name, int64_t ttl_ns) GANTRY_NOEXCEPT;
} gantry_store;

GANTRY_STATIC_ASSERT(sizeof(gantry_store_entry) == 40, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_store_entries) == 32, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_store_change) == 48, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_store_batch) == 32, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_store) == 32, "layout");

GANTRY_EXTERN_C_END

#endif
