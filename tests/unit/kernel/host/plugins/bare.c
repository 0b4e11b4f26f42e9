/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin in plain C whose table ends before its only slot.
 */
#include <gantry/abi/entry.h>
#include <gantry/abi/probe.h>
#include <string.h>

static const gantry_probe table = {8, 0, NULL};

static gantry_status init(void* self, const gantry_config* config, gantry_error* error) {
    (void)self, (void)config, (void)error;
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
static void destroy(void* self) { (void)self; }
static const void* query(void* self, gantry_str id) {
    (void)self;
    return id.len == strlen(GANTRY_ROLE_PROBE) && memcmp(id.ptr, GANTRY_ROLE_PROBE, id.len) == 0 ? &table : NULL;
}

static gantry_status create(const gantry_host* host, gantry_plugin* out, gantry_error* error) {
    const gantry_plugin plugin = {sizeof(gantry_plugin), 0, NULL, init, start, stop, destroy, query};
    (void)host, (void)error;
    *out = plugin;
    return GANTRY_OK;
}

__attribute__((visibility("default"))) const gantry_entry gantry_plugin_entry = {
    sizeof(gantry_entry), GANTRY_ENTRY_MAGIC,    GANTRY_ABI_MAJOR,   GANTRY_ABI_MINOR,
    GANTRY_PLUGIN_ID,     GANTRY_PLUGIN_VERSION, GANTRY_PLUGIN_ROLE, create};
