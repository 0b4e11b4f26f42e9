/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GANTRY_BROKEN_PLACEMENT_H
#define GANTRY_BROKEN_PLACEMENT_H

#include <gantry/abi/placement.h>

#include "tests/conformance/broken/plugin.h"

#define ROLE_ID GANTRY_ROLE_PLACEMENT

typedef int64_t key_row[GANTRY_PLACEMENT_KEYS];

static inline const gantry_candidate* candidate_at(const gantry_candidate* first, size_t size, size_t i) {
    return (const gantry_candidate*)(const void*)((const char*)first + i * size);
}

static inline gantry_status good_score(void* self, const gantry_snapshot* snapshot,
                                       const gantry_placement_request* request, const gantry_candidate* candidates,
                                       size_t n, key_row* keys, gantry_error* error) {
    (void)self, (void)snapshot, (void)error;
    for (size_t i = 0; i < n; ++i) {
        memset(keys[i], 0, sizeof(keys[i]));
        keys[i][0] = candidate_at(candidates, request->candidate_size, i)->copies_running;
    }
    return GANTRY_OK;
}

#define ROLE(...)                                                                  \
    static const gantry_placement role_table = {.struct_size = sizeof(role_table), \
                                                .key_count = 1,                    \
                                                .key_names = {TEXT("copies")},     \
                                                .score = good_score,               \
                                                __VA_ARGS__};

/* The arguments of score, for those that begin with the sound one. */
#define SCORE_ARGUMENTS                                                                   \
    void *self, const gantry_snapshot *snapshot, const gantry_placement_request *request, \
        const gantry_candidate *candidates, size_t n, key_row *keys, gantry_error *error
#define SOUND_SCORE good_score(self, snapshot, request, candidates, n, keys, error)

#endif
