/* SPDX-License-Identifier: Apache-2.0
 *
 * A directory that answers by a file: a line "NAME ADDRESS:PORT" for each record. directory.toml looks names up there.
 */
#ifndef GANTRY_BROKEN_DIRECTORY_H
#define GANTRY_BROKEN_DIRECTORY_H

#include <arpa/inet.h>
#include <gantry/abi/directory.h>
#include <stdio.h>

#include "tests/conformance/broken/plugin.h"

#define ROLE_ID GANTRY_ROLE_DIRECTORY

static const gantry_directory_facts good_facts = {sizeof(good_facts), 53, TEXT("GANTRY_NAMES")};

static inline const gantry_name_record* record_at(const gantry_name_record* first, size_t size, size_t i) {
    return (const gantry_name_record*)(const void*)((const char*)first + i * size);
}

static inline int answerable(const gantry_name_record* r) {
    char ip[64] = "";
    unsigned char out[16];
    if (r->address.len == 0 || r->address.len >= sizeof(ip) || r->name.len == 0 || r->port == 0) return 0;
    memcpy(ip, r->address.ptr, r->address.len);
    return inet_pton(AF_INET, ip, out) == 1 || inet_pton(AF_INET6, ip, out) == 1;
}

static inline gantry_status write_table(struct instance* me, const char* mode, const gantry_name_record* records,
                                        size_t size, size_t count) {
    char fresh[300];
    snprintf(fresh, sizeof(fresh), "%s.new", me->path);
    FILE* file = fopen(mode[0] == 'a' ? me->path : fresh, mode);
    if (file == NULL) return GANTRY_FAILED;
    for (size_t i = 0; i < count; ++i) {
        const gantry_name_record* r = record_at(records, size, i);
        if (!answerable(r)) continue;
        fprintf(file, "%.*s %.*s:%u\n", (int)r->name.len, r->name.ptr, (int)r->address.len, r->address.ptr, r->port);
    }
    fclose(file);
    if (mode[0] == 'a') return GANTRY_OK;
    return rename(fresh, me->path) == 0 ? GANTRY_OK : GANTRY_FAILED;
}

static inline gantry_status good_replace(void* self, uint64_t table_no, const gantry_name_record* records, size_t size,
                                         size_t count) {
    struct instance* me = self;
    if ((int64_t)table_no < me->count) return GANTRY_OK;
    me->count = (int64_t)table_no;
    return write_table(me, "w", records, size, count);
}

#define ROLE(...)                                \
    static const gantry_directory role_table = { \
        .struct_size = sizeof(role_table), .facts = &good_facts, .replace = good_replace, __VA_ARGS__};

#endif
