/* Prefers nodes that carry a label, then those with the fewest copies of the service, then those with the fewest
 * copies. */
#include <gantry/abi/entry.h>
#include <gantry/abi/placement.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(literal) \
    { literal, sizeof(literal) - 1 }

struct policy {
    gantry_placement table;
    char label[64], value[64];
};

static int equal(gantry_str a, const char* b) { return a.len == strlen(b) && memcmp(a.ptr, b, a.len) == 0; }

static gantry_status refuse(gantry_error* error, const char* text) {
    const size_t length = strlen(text);
    if (error == NULL || error->text == NULL) return GANTRY_INVALID;
    error->text_len = (uint32_t)(length < error->text_cap ? length : error->text_cap);
    memcpy(error->text, text, error->text_len);
    return GANTRY_INVALID;
}

/* The candidates lie request->candidate_size bytes apart: a newer host's may be longer than ours. */
static gantry_status score(void* self, const gantry_snapshot* snapshot, const gantry_placement_request* request,
                           const gantry_candidate* candidates, size_t n, int64_t (*keys)[GANTRY_PLACEMENT_KEYS],
                           gantry_error* error) {
    const struct policy* policy = self;
    (void)snapshot, (void)error;
    for (size_t i = 0; i < n; ++i) {
        const gantry_candidate* candidate =
            (const void*)((const char*)candidates + i * (size_t)request->candidate_size);
        int preferred = 0;
        for (size_t k = 0; k < candidate->label_count; ++k) {
            if (!equal(candidate->labels[k].key, policy->label)) continue;
            preferred = policy->value[0] == '\0' || equal(candidate->labels[k].value, policy->value);
        }
        memset(keys[i], 0, sizeof keys[i]);
        keys[i][0] = !preferred;
        keys[i][1] = candidate->copies_of_service;
        keys[i][2] = (int64_t)candidate->copies_running + candidate->copies_pending;
    }
    return GANTRY_OK;
}

static gantry_status init(void* self, const gantry_config* config, gantry_error* error) {
    struct policy* policy = self;
    for (size_t i = 0; i < config->count; ++i) {
        const gantry_config_value* value = (const void*)((const char*)config->values + i * (size_t)config->value_size);
        if (value->string.len >= sizeof policy->label) return refuse(error, "label and value: at most 63 bytes");
        char* target = equal(value->key, "label") ? policy->label : equal(value->key, "value") ? policy->value : NULL;
        if (target == NULL) continue;
        if (value->string.len > 0) memcpy(target, value->string.ptr, value->string.len);
        target[value->string.len] = '\0';
    }
    return GANTRY_OK;
}

static gantry_status start(void* self, gantry_error* error) {
    (void)self, (void)error;
    return GANTRY_OK;
}

static gantry_status stop(void* self, int64_t deadline_ns, gantry_error* error) {
    (void)self, (void)deadline_ns, (void)error;
    return GANTRY_OK;
}

static void destroy(void* self) { free(self); }

static const void* query(void* self, gantry_str id) {
    const struct policy* policy = self;
    return equal(id, GANTRY_ROLE_PLACEMENT) ? &policy->table : NULL;
}

static gantry_status create(const gantry_host* host, gantry_plugin* out, gantry_error* error) {
    (void)host; /* a policy is pure: it uses no service of the host */
    if (out->struct_size < sizeof *out) return refuse(error, "the host's plugin table is too small");
    struct policy* policy = calloc(1, sizeof *policy);
    if (policy == NULL) return GANTRY_FAILED;
    policy->table =
        (gantry_placement){.struct_size = sizeof policy->table,
                           .key_count = 3,
                           .key_names = {TEXT("without the label"), TEXT("copies of the service"), TEXT("copies")},
                           .score = score};
    *out = (gantry_plugin){sizeof *out, 0, policy, init, start, stop, destroy, query};
    return GANTRY_OK;
}

/* The three names come from plugin.toml. */
__attribute__((visibility("default"))) const gantry_entry gantry_plugin_entry = {
    sizeof(gantry_entry), GANTRY_ENTRY_MAGIC,    GANTRY_ABI_MAJOR,   GANTRY_ABI_MINOR,
    GANTRY_PLUGIN_ID,     GANTRY_PLUGIN_VERSION, GANTRY_PLUGIN_ROLE, create};
