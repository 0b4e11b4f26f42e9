/* SPDX-License-Identifier: Apache-2.0
 *
 * A store of at most 4,096 keys in memory, of which each commit writes a whole new file: temporary file, rename.
 */
#ifndef GANTRY_BROKEN_STORE_H
#define GANTRY_BROKEN_STORE_H

#include <gantry/abi/store.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/conformance/broken/plugin.h"

#define ROLE_ID GANTRY_ROLE_STORE
#define KEYS_MAX 4096

struct row {
    char key[128];
    uint8_t* value;
    uint64_t len, revision;
};

/* Behind me->more. */
struct rows {
    uint64_t revision, count;
    struct row row[KEYS_MAX];
};

static inline gantry_bytes bytes_of(const struct row* r) {
    const gantry_bytes out = {r->value, r->len};
    return out;
}

static inline void clear_rows(struct rows* rows) {
    for (uint64_t i = 0; i < rows->count; ++i) free(rows->row[i].value);
    rows->count = 0;
}

static inline struct row* find_row(struct rows* rows, gantry_str key) {
    for (uint64_t i = 0; i < rows->count; ++i) {
        if (same_text(key, rows->row[i].key)) return &rows->row[i];
    }
    return NULL;
}

static inline int write_rows(const struct instance* me) {
    const struct rows* rows = me->more;
    char fresh[300];
    snprintf(fresh, sizeof(fresh), "%s.new", me->path);
    FILE* file = fopen(fresh, "wb");
    if (file == NULL) return 0;
    fwrite(&rows->revision, sizeof(rows->revision), 1, file);
    fwrite(&rows->count, sizeof(rows->count), 1, file);
    for (uint64_t i = 0; i < rows->count; ++i) {
        const struct row* r = &rows->row[i];
        fwrite(r->key, sizeof(r->key), 1, file);
        fwrite(&r->len, sizeof(r->len), 1, file);
        fwrite(&r->revision, sizeof(r->revision), 1, file);
        fwrite(r->value, 1, r->len, file);
    }
    return fclose(file) == 0 && rename(fresh, me->path) == 0;
}

static inline void read_rows(const struct instance* me) {
    struct rows* rows = me->more;
    FILE* file = fopen(me->path, "rb");
    uint64_t count = 0;
    if (file == NULL) return;
    if (fread(&rows->revision, sizeof(rows->revision), 1, file) != 1) rows->revision = 0;
    if (fread(&count, sizeof(count), 1, file) != 1) count = 0;
    for (; rows->count < count; ++rows->count) {
        struct row* r = &rows->row[rows->count];
        if (fread(r->key, sizeof(r->key), 1, file) != 1 || fread(&r->len, sizeof(r->len), 1, file) != 1 ||
            fread(&r->revision, sizeof(r->revision), 1, file) != 1) {
            break;
        }
        r->value = malloc(r->len + 1);
        if (r->value == NULL || fread(r->value, 1, r->len, file) != r->len) break;
    }
    fclose(file);
}

/* Keeps the rows ordered. */
static inline gantry_status put_row(struct rows* rows, const gantry_store_change* change, uint64_t revision) {
    struct row* r = find_row(rows, change->key);
    if (change->remove != 0) {
        if (r == NULL) return GANTRY_OK;
        free(r->value);
        memmove(r, r + 1, (size_t)(rows->row + rows->count - r - 1) * sizeof(*r));
        --rows->count;
        return GANTRY_OK;
    }
    if (r == NULL) {
        if (rows->count == KEYS_MAX || change->key.len >= sizeof(r->key)) return GANTRY_FULL;
        char key[sizeof(r->key)] = "";
        memcpy(key, change->key.ptr, change->key.len);
        uint64_t at = rows->count;
        while (at > 0 && strcmp(rows->row[at - 1].key, key) > 0) --at;
        memmove(&rows->row[at + 1], &rows->row[at], (rows->count - at) * sizeof(*r));
        ++rows->count;
        r = &rows->row[at];
        memset(r, 0, sizeof(*r));
        memcpy(r->key, key, sizeof(key));
    }
    free(r->value);
    r->value = malloc(change->value.len + 1);
    r->len = change->value.len;
    r->revision = revision;
    if (r->value != NULL && r->len > 0) memcpy(r->value, change->value.ptr, r->len);
    return GANTRY_OK;
}

static inline const gantry_store_change* change_at(const gantry_store_batch* batch, size_t i) {
    return (const gantry_store_change*)(const void*)((const char*)batch->changes + i * batch->change_size);
}

static inline int as_expected(struct rows* rows, const gantry_store_change* change) {
    const struct row* r = find_row(rows, change->key);
    if (change->expected == GANTRY_REVISION_ANY) return 1;
    return change->expected == (r == NULL ? GANTRY_REVISION_NONE : r->revision);
}

static inline gantry_status end(struct instance* me, gantry_op op, gantry_status status, const char* why,
                                const void* result) {
    me->ops->complete(me->host, op.id, status, text_of(why), result);
    return GANTRY_OK;
}

static inline gantry_status good_load(void* self, gantry_op op, gantry_str prefix) {
    struct instance* me = self;
    struct rows* rows = me->more;
    gantry_store_entry* entries = calloc(rows->count + 1, sizeof(*entries));
    gantry_store_entries result = {sizeof(result), sizeof(*entries), entries, 0, rows->revision};
    if (entries == NULL) return GANTRY_FAILED;
    for (uint64_t i = 0; i < rows->count; ++i) {
        const struct row* r = &rows->row[i];
        if (strlen(r->key) < prefix.len || (prefix.len > 0 && memcmp(r->key, prefix.ptr, prefix.len) != 0)) continue;
        const gantry_store_entry entry = {text_of(r->key), bytes_of(r), r->revision};
        entries[result.count++] = entry;
    }
    end(me, op, GANTRY_OK, "", &result);
    free(entries);
    return GANTRY_OK;
}

static inline gantry_status good_commit(void* self, gantry_op op, const gantry_store_batch* batch) {
    struct instance* me = self;
    struct rows* rows = me->more;
    if (me->ops->cancelled(me->host, op.id) != 0) return end(me, op, GANTRY_CANCELLED, "too late", NULL);
    for (size_t i = 0; i < batch->count; ++i) {
        if (!as_expected(rows, change_at(batch, i))) return end(me, op, GANTRY_CONFLICT, "another revision", NULL);
    }
    const gantry_store_commit result = {sizeof(result), 0, ++rows->revision};
    for (size_t i = 0; i < batch->count; ++i) put_row(rows, change_at(batch, i), rows->revision);
    if (!write_rows(me)) return end(me, op, GANTRY_FAILED, "cannot write", NULL);
    return end(me, op, GANTRY_OK, "", &result);
}

static inline gantry_status good_elect(void* self, gantry_op op, gantry_str name, int64_t ttl_ns) {
    (void)name, (void)ttl_ns;
    return end(self, op, GANTRY_UNSUPPORTED, "one controller", NULL);
}

static inline gantry_status store_start(void* self, gantry_error* error) {
    struct instance* me = self;
    me->more = calloc(1, sizeof(struct rows));
    if (me->more == NULL) return refuse(error, GANTRY_FAILED, "out of memory");
    read_rows(me);
    return GANTRY_OK;
}

static inline gantry_status store_stop(void* self, int64_t deadline_ns, gantry_error* error) {
    struct instance* me = self;
    (void)deadline_ns, (void)error;
    if (me->more != NULL) clear_rows(me->more);
    return GANTRY_OK;
}

#define ROLE(...)                                                              \
    static const gantry_store role_table = {.struct_size = sizeof(role_table), \
                                            .load = good_load,                 \
                                            .commit = good_commit,             \
                                            .elect = good_elect,               \
                                            __VA_ARGS__};

#define STORE_INSTANCE INSTANCE(.start = store_start, .stop = store_stop)

#endif
