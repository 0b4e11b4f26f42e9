/* SPDX-License-Identifier: Apache-2.0
 *
 * The one exported symbol of a plugin and the life of an instance:
 *
 *     create -> init(config) -> start -> stop -> destroy
 *
 * create may be followed by destroy at once. init and start are called once each. After stop returned, every call of
 * that instance into the host answers GANTRY_STALE. One file may be asked for several instances (two tables in the
 * configuration with the same `plugin`): an entry keeps no global state.
 */
#ifndef GANTRY_ABI_ENTRY_H
#define GANTRY_ABI_ENTRY_H

#include <gantry/abi/base.h>

GANTRY_EXTERN_C_BEGIN

#define GANTRY_ENTRY_MAGIC 0x59544e47u /* "GNTY" */

/* Where an instance reaches its host. Copy it in create: the pointer given lives only until create returns. */
typedef struct gantry_host {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t handle; /* first argument of every host service; a number that dies with the instance, no pointer */
    /* The table of a host service ("gantry.host.log/1") or NULL if this host has none of that name. The table lives
     * as long as the instance. [any] */
    const void* (*query)(uint64_t handle, gantry_str id)GANTRY_NOEXCEPT;
} gantry_host;

/* Types of a configuration value, as declared in plugin.toml. */
#define GANTRY_CONFIG_STRING 1   /* string */
#define GANTRY_CONFIG_INTEGER 2  /* integer */
#define GANTRY_CONFIG_NUMBER 3   /* number */
#define GANTRY_CONFIG_BOOLEAN 4  /* integer, 0 or 1 */
#define GANTRY_CONFIG_DURATION 5 /* integer, nanoseconds */
#define GANTRY_CONFIG_SIZE 6     /* integer, bytes */
#define GANTRY_CONFIG_LIST 7     /* list of strings */

typedef struct gantry_config_value {
    gantry_str key;
    uint32_t type;  /* GANTRY_CONFIG_... */
    uint32_t given; /* 1: written by the operator; 0: the default of the schema */
    int64_t integer;
    double number;
    gantry_str string;
    const gantry_str* list;
    size_t list_len;
} gantry_config_value;

/* The table of an instance, already checked against the plugin's schema: every key of the schema is present once,
 * with its default where the operator wrote none; a key without a default that was not written is absent. */
typedef struct gantry_config {
    uint32_t struct_size;
    uint32_t value_size;  /* bytes from one value to the next */
    gantry_str name;      /* the table's name, "least-loaded" */
    gantry_str state_dir; /* absolute; exists, belongs to this instance alone, survives restarts */
    const gantry_config_value* values;
    size_t count;
} gantry_config;

typedef struct gantry_plugin {
    uint32_t struct_size;
    uint32_t reserved;
    void* self;
    /* Takes the configuration. Errors: GANTRY_INVALID with the text the operator needs. [loop] */
    gantry_status (*init)(void* self, const gantry_config* config, gantry_error* error) GANTRY_NOEXCEPT;
    /* Begins to work; threads may be started from here on. [loop] */
    gantry_status (*start)(void* self, gantry_error* error) GANTRY_NOEXCEPT;
    /* Ends all work and joins the plugin's threads before deadline_ns. Called also when start failed. [worker] */
    gantry_status (*stop)(void* self, int64_t deadline_ns, gantry_error* error) GANTRY_NOEXCEPT;
    /* Frees the instance; nothing is called afterwards. [loop] */
    void (*destroy)(void* self) GANTRY_NOEXCEPT;
    /* The role's table ("gantry.role.runtime/1") or NULL. It lives until destroy. [any] */
    const void* (*query)(void* self, gantry_str id)GANTRY_NOEXCEPT;
} gantry_plugin;

typedef struct gantry_entry {
    uint32_t struct_size;
    uint32_t magic;     /* GANTRY_ENTRY_MAGIC */
    uint32_t abi_major; /* GANTRY_ABI_MAJOR of the headers the plugin was built with */
    uint32_t abi_minor;
    const char* id;      /* NUL-terminated; must equal the note's */
    const char* version; /* must equal the note's */
    const char* role;    /* "runtime/1" or "draft.store"; must equal the note's */
    /* Makes an instance: fills `out`, whose struct_size says how much the host can take. [loop] */
    gantry_status (*create)(const gantry_host* host, gantry_plugin* out, gantry_error* error) GANTRY_NOEXCEPT;
} gantry_entry;

/* Name and type of the note that carries plugin.toml as flat text (sdk/elf describes the text). */
#define GANTRY_NOTE_SECTION ".note.gantry"
#define GANTRY_NOTE_NAME "GANTRY"
#define GANTRY_NOTE_TYPE 1

#define GANTRY_ENTRY_SYMBOL "gantry_plugin_entry"

GANTRY_STATIC_ASSERT(sizeof(gantry_host) == 24, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_config_value) == 72, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_config) == 56, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_plugin) == 56, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_entry) == 48, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_entry, create) == 40, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_plugin, stop) == 32, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_plugin, query) == 48, "layout");

GANTRY_EXTERN_C_END

#endif
