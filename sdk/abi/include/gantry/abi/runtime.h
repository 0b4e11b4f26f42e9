/* SPDX-License-Identifier: Apache-2.0
 *
 * Role runtime/1: runs containers on this node.
 *
 * A container is known by its name, which the kernel derives from the key (cluster, instance, epoch, attempt); it
 * matches [a-z0-9][a-z0-9.-]{0,62} and is never used twice. Every operation is idempotent by name: create of an
 * existing, start of a running, stop of a stopped, remove of an absent container succeed and change nothing.
 * Containers outlive gantryd: after a restart `list` shows them, running or exited, with the exit code. A runtime
 * lists and touches only containers that this instance (its state_dir) created.
 */
#ifndef GANTRY_ABI_RUNTIME_H
#define GANTRY_ABI_RUNTIME_H

#include <gantry/abi/base.h>

GANTRY_EXTERN_C_BEGIN

#define GANTRY_ROLE_RUNTIME "gantry.role.runtime/1"

/* capabilities */
#define GANTRY_RUNTIME_FENCEABLE 1u /* containers sit in a local cgroup of ours */
#define GANTRY_RUNTIME_PAUSE 2u
/* Since SDK 1.1: `checkpoint` and `restore` work on this node, for it was tried. */
#define GANTRY_RUNTIME_CHECKPOINT 4u
#define GANTRY_RUNTIME_EXEC 8u
#define GANTRY_RUNTIME_STATS 16u
#define GANTRY_RUNTIME_LIMITS 32u /* cpu, memory and pids limits hold */
/* Since SDK 1.1. It reads `settings` and the flags of mounts; without it the kernel passes neither. */
#define GANTRY_RUNTIME_SETTINGS 64u
/* Since SDK 1.1. `logs` reads `since_ns`; without it the kernel refuses who asks for that. */
#define GANTRY_RUNTIME_LOG_SINCE 128u

/* flags of a mount, since SDK 1.1 */
#define GANTRY_MOUNT_NOEXEC 1u /* nothing below it can be run as a program */

/* container states */
#define GANTRY_CONTAINER_CREATED 1
#define GANTRY_CONTAINER_RUNNING 2
#define GANTRY_CONTAINER_PAUSED 3
#define GANTRY_CONTAINER_EXITED 4

typedef struct gantry_runtime_facts {
    uint32_t struct_size;
    uint32_t capabilities;           /* GANTRY_RUNTIME_... */
    gantry_str system;               /* "linux", "sylixos" */
    const gantry_str* architectures; /* "amd64", "arm64": names as in OCI images */
    size_t architecture_count;
} gantry_runtime_facts;

typedef struct gantry_mount {
    gantry_str source; /* absolute path on the node; must exist */
    gantry_str target; /* absolute path in the container */
    uint32_t read_only;
    uint32_t flags; /* since SDK 1.1: GANTRY_MOUNT_...; before, it was 0 */
} gantry_mount;

typedef struct gantry_container_spec {
    uint32_t struct_size;
    uint32_t stop_signal; /* number, 0: what the image says, else SIGTERM */
    gantry_str name;
    gantry_str image;       /* manifest digest "sha256:..."; ensure_image succeeded for it */
    gantry_str hostname;    /* empty: the node's */
    gantry_str cwd;         /* empty: what the image says */
    gantry_str user;        /* "uid[:gid]", or by names of the image's own; empty: what the image says */
    const gantry_str* args; /* replaces the image's entry point and command; none: the image's */
    size_t arg_count;
    const gantry_kv* env; /* added to the image's, the same name replaces */
    size_t env_count;
    const gantry_mount* mounts;
    size_t mount_size; /* bytes from one mount to the next */
    size_t mount_count;
    int64_t cpu_milli;       /* hard limit, thousandths of a core; 0: none */
    int64_t memory_bytes;    /* hard limit; 0: none */
    int64_t pids;            /* hard limit; 0: none */
    const gantry_kv* labels; /* kept with the container: "gantry.service" = "axis_server", ... */
    size_t label_count;
    /* Since SDK 1.1, with GANTRY_RUNTIME_SETTINGS: further wishes as one JSON object, described with the role (docs:
     * plugins/runtime.md); empty: none. What is not known or cannot be done is refused (GANTRY_UNSUPPORTED,
     * GANTRY_INVALID), never passed over. */
    gantry_str settings;
} gantry_container_spec;

/* flags of an image source */
#define GANTRY_IMAGE_URGENT 1u /* a container waits for it; without it, it is only to be ready */

typedef struct gantry_image_source {
    uint32_t struct_size;
    uint32_t flags;        /* GANTRY_IMAGE_...; bits that are not known mean nothing */
    gantry_str image;      /* manifest digest */
    gantry_str layout_dir; /* an OCI image layout holding at least this manifest and all it refers to; read only */
} gantry_image_source;

typedef struct gantry_container {
    gantry_str name;
    uint32_t state;     /* GANTRY_CONTAINER_... */
    int32_t exit_code;  /* with state exited: 0..255, 128 + signal when killed; -1 if it could not be recorded */
    int64_t pid;        /* of the container's first process, 0 if none */
    int64_t started_ns; /* CLOCK_BOOTTIME, 0 if unknown */
    /* Why it ended, if more is known than the code: "out of memory". Since SDK 1.1 with state paused: that it is
     * checkpointed, and how large that is; empty: it only stands still. */
    gantry_str detail;
    const gantry_kv* labels;
    size_t label_count;
} gantry_container;

/* result of list */
typedef struct gantry_container_list {
    uint32_t struct_size;
    uint32_t container_size; /* bytes from one container to the next */
    const gantry_container* containers;
    size_t count;
} gantry_container_list;

/* result of images */
typedef struct gantry_image_list {
    uint32_t struct_size;
    uint32_t reserved;
    const gantry_str* images; /* manifest digests that create accepts at once */
    size_t count;
} gantry_image_list;

/* result of stats */
typedef struct gantry_container_stats {
    uint32_t struct_size;
    uint32_t reserved;
    int64_t cpu_ns;       /* used since start */
    int64_t memory_bytes; /* in use now */
    int64_t pids;
} gantry_container_stats;

typedef struct gantry_log_request {
    uint32_t struct_size;
    uint32_t follow; /* 1: go on until the container is removed or the reader closes */
    gantry_str name;
    int64_t tail_lines; /* -1: from the beginning */
    int32_t fd;         /* where the text is written; belongs to the runtime from an accepted call on */
    uint32_t reserved;
    /* Since SDK 1.1, with GANTRY_RUNTIME_LOG_SINCE: only from the first line on that was written at this time of the
     * node's clock (nanoseconds since 1970) or later; of these the last tail_lines. 0: whenever it was written. */
    int64_t since_ns;
} gantry_log_request;

typedef struct gantry_exec_request {
    uint32_t struct_size;
    uint32_t terminal;
    gantry_str name;
    const gantry_str* args;
    size_t arg_count;
    int32_t fd; /* one stream, both ways; belongs to the runtime from an accepted call on */
    uint32_t reserved;
} gantry_exec_request;

/* result of exec */
typedef struct gantry_exec_result {
    uint32_t struct_size;
    int32_t exit_code;
} gantry_exec_result;

typedef struct gantry_runtime_sink {
    uint32_t struct_size;
    uint32_t reserved;
    /* A hint: the container's first process ended. The truth is `list`. [any] */
    gantry_status (*exited)(uint64_t host, gantry_str name, int32_t exit_code) GANTRY_NOEXCEPT;
    /* A hint: something was missed (queue overflow, engine restart): list again. [any] */
    gantry_status (*changed)(uint64_t host) GANTRY_NOEXCEPT;
} gantry_runtime_sink;

typedef struct gantry_runtime {
    uint32_t struct_size;
    uint32_t reserved;
    const gantry_runtime_facts* facts; /* valid from a successful init to destroy */
    /* Notification: where to report exits; once, before start. sink lives as long as the instance. [loop] */
    gantry_status (*bind)(void* self, const gantry_runtime_sink* sink) GANTRY_NOEXCEPT;
    /* Operation: make the image ready for create. Verifies digests, unpacks; half-unpacked is never used. Where images
     * wait for each other, urgent ones go first; an urgent call for one that waits makes its earlier calls urgent too.
     * What has begun need not be interrupted. Errors: GANTRY_INVALID (broken or hostile image: which layer, what),
     * GANTRY_FULL, GANTRY_FAILED. [loop] */
    gantry_status (*ensure_image)(void* self, gantry_op op, const gantry_image_source* source) GANTRY_NOEXCEPT;
    /* Operation, result gantry_image_list. [loop] */
    gantry_status (*images)(void* self, gantry_op op) GANTRY_NOEXCEPT;
    /* Operation: drop what is kept of an image; one that is not here succeeds. Errors: GANTRY_CONFLICT while a
     * container uses it. [loop] */
    gantry_status (*remove_image)(void* self, gantry_op op, gantry_str image) GANTRY_NOEXCEPT;
    /* Operation: prepare, do not run. Errors: GANTRY_NOT_FOUND (image), GANTRY_INVALID (mount source missing, ...),
     * GANTRY_FAILED; a failed create leaves nothing behind. [loop] */
    gantry_status (*create)(void* self, gantry_op op, const gantry_container_spec* spec) GANTRY_NOEXCEPT;
    /* Operation: ends when the first process runs. Errors: GANTRY_NOT_FOUND; GANTRY_FAILED with the engine's words.
     * [loop] */
    gantry_status (*start)(void* self, gantry_op op, gantry_str name) GANTRY_NOEXCEPT;
    /* Operation: stop signal, after grace_ns SIGKILL; ends when no process is left. [loop] */
    gantry_status (*stop)(void* self, gantry_op op, gantry_str name, int64_t grace_ns) GANTRY_NOEXCEPT;
    /* Operation: SIGKILL to all its processes; ends when none is left. [loop] */
    gantry_status (*kill)(void* self, gantry_op op, gantry_str name) GANTRY_NOEXCEPT;
    /* Operation: freeze all processes of a running container, which then keeps memory and sockets; a paused one stays
     * so. Errors: GANTRY_NOT_FOUND, GANTRY_CONFLICT (it does not run), GANTRY_UNSUPPORTED without GANTRY_RUNTIME_PAUSE.
     * [loop] */
    gantry_status (*pause)(void* self, gantry_op op, gantry_str name) GANTRY_NOEXCEPT;
    /* Operation: let a paused container go on; a running one goes on. Errors as of pause. [loop] */
    gantry_status (*resume)(void* self, gantry_op op, gantry_str name) GANTRY_NOEXCEPT;
    /* Operation: forget a stopped container: files, cgroup, mounts. GANTRY_CONFLICT while it runs. [loop] */
    gantry_status (*remove)(void* self, gantry_op op, gantry_str name) GANTRY_NOEXCEPT;
    /* Operation, result gantry_container_list: every container of this instance. [loop] */
    gantry_status (*list)(void* self, gantry_op op) GANTRY_NOEXCEPT;
    /* Operation, result gantry_container_stats: what a running or paused container uses now. Errors: GANTRY_NOT_FOUND,
     * GANTRY_CONFLICT (it does not run), GANTRY_UNSUPPORTED without GANTRY_RUNTIME_STATS. [loop] */
    gantry_status (*stats)(void* self, gantry_op op, gantry_str name) GANTRY_NOEXCEPT;
    /* Operation: write the container's output to request->fd, then close it and complete. Cancelled when nobody
     * reads. [loop] */
    gantry_status (*logs)(void* self, gantry_op op, const gantry_log_request* request) GANTRY_NOEXCEPT;
    /* Operation, result gantry_exec_result: runs one more process in a running container, with request->fd as its
     * input and output (a terminal if asked for); ends, having closed fd, when that process has ended, and kills it
     * when the other end of fd is closed or the operation is cancelled. Errors: GANTRY_NOT_FOUND (container or
     * program), GANTRY_CONFLICT (it does not run), GANTRY_UNSUPPORTED without GANTRY_RUNTIME_EXEC; when the slot itself
     * refuses, fd stays the caller's. [loop] */
    gantry_status (*exec)(void* self, gantry_op op, const gantry_exec_request* request) GANTRY_NOEXCEPT;
    /* Since SDK 1.1. Operation: write what the processes of a running container have in memory to the node's disk, then
     * end them; ends when none is left. The container is then listed as paused, with its detail and without a process,
     * until it is restored, stopped or killed, or the node boots: then it has ended. A checkpointed one stays so. What
     * fails leaves it running; only when the processes could not be let go in time it has ended. Errors:
     * GANTRY_NOT_FOUND, GANTRY_CONFLICT (it does not run, is paused, or an exec is under way in it), GANTRY_FULL,
     * GANTRY_FAILED (with what cannot be written), GANTRY_UNSUPPORTED without GANTRY_RUNTIME_CHECKPOINT, with the
     * reason. [loop] */
    gantry_status (*checkpoint)(void* self, gantry_op op, gantry_str name) GANTRY_NOEXCEPT;
    /* Since SDK 1.1. Operation: let a checkpointed container go on from where it was, once: what was written is used
     * up. Errors: as of checkpoint; GANTRY_CONFLICT also for one that is not checkpointed. One that fails stays
     * checkpointed; only one of which it is not known whether it went on for a moment has ended. [loop] */
    gantry_status (*restore)(void* self, gantry_op op, gantry_str name) GANTRY_NOEXCEPT;
} gantry_runtime;

GANTRY_STATIC_ASSERT(sizeof(gantry_runtime_facts) == 40, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_mount) == 40, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_container_spec) == 200, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_container) == 72, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_container_list) == 24, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_container_stats) == 32, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_log_request) == 48, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_exec_request) == 48, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_runtime) == 152, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_container_spec, mount_size) == 128, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_container_spec, labels) == 168, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_runtime, create) == 48, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_runtime, list) == 104, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_runtime, exec) == 128, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_runtime, checkpoint) == 136, "layout");

GANTRY_EXTERN_C_END

#endif
