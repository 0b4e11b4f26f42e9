/* SPDX-License-Identifier: Apache-2.0
 *
 * Draft role directory: answers names from the table it was given. A name that is not in the table is answered with
 * "not found", never with silence. Bound to the exact kernel version.
 */
#ifndef GANTRY_ABI_DIRECTORY_H
#define GANTRY_ABI_DIRECTORY_H

#include <gantry/abi/base.h>

GANTRY_EXTERN_C_BEGIN

#define GANTRY_ROLE_DIRECTORY "gantry.draft.directory"

typedef struct gantry_name_record {
    gantry_str name;    /* compared without regard to ASCII case */
    gantry_str address; /* IP address without port */
    uint32_t port;
    uint32_t secure; /* 1: the service wants TLS */
    uint32_t local;  /* 1: runs on this node */
    uint32_t reserved;
} gantry_name_record;

typedef struct gantry_directory_facts {
    uint32_t struct_size;
    uint32_t port;          /* where it answers; the kernel adds the node's address */
    gantry_str environment; /* variable that tells containers whom to ask, "VSOA_POS_SERVER": its value becomes
                               ADDRESS:PORT of this node, then what the operator added, divided by commas */
} gantry_directory_facts;

typedef struct gantry_directory {
    uint32_t struct_size;
    uint32_t reserved;
    const gantry_directory_facts* facts; /* valid from a successful init to destroy */
    /* Notification: from now on names answer from these records and no others; all at once. Of one name, records in
     * the address family that was asked for go before others, among them those of the own node, and equals are
     * answered in turn. table_no grows; a lower one is ignored. A record that cannot be answered (no
     * IP address, no port) is left out. Errors (logged; the table before goes on): GANTRY_FAILED. [loop] */
    gantry_status (*replace)(void* self, uint64_t table_no, const gantry_name_record* records, size_t record_size,
                             size_t count) GANTRY_NOEXCEPT;
} gantry_directory;

GANTRY_STATIC_ASSERT(sizeof(gantry_name_record) == 48, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_directory_facts) == 24, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_directory) == 24, "layout");

GANTRY_EXTERN_C_END

#endif
