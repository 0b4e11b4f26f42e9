/* SPDX-License-Identifier: Apache-2.0
 *
 * The five services of a host. A placement policy uses none of them. Every function takes gantry_host.handle first
 * and answers GANTRY_STALE after the instance was stopped.
 */
#ifndef GANTRY_ABI_HOST_H
#define GANTRY_ABI_HOST_H

#include <gantry/abi/base.h>

GANTRY_EXTERN_C_BEGIN

/* ---- gantry.host.log/1: log lines, events, metrics ------------------------------------------------------------ */
#define GANTRY_HOST_LOG "gantry.host.log/1"

#define GANTRY_LOG_TRACE 0
#define GANTRY_LOG_DEBUG 1
#define GANTRY_LOG_INFO 2
#define GANTRY_LOG_WARN 3
#define GANTRY_LOG_ERROR 4

#define GANTRY_METRIC_COUNTER 1 /* value is added */
#define GANTRY_METRIC_GAUGE 2   /* value replaces */

typedef struct gantry_host_log {
    uint32_t struct_size;
    uint32_t reserved;
    /* Writes one line; the host adds time, plugin and level. Lines over 4 KiB are cut; here and in events and errors,
     * control characters become blanks and what is not UTF-8 U+FFFD. [any] */
    gantry_status (*log)(uint64_t host, uint32_t level, gantry_str text, const gantry_kv* fields,
                         size_t field_count) GANTRY_NOEXCEPT;
    /* Adds an entry to the event log that operators follow. kind is lower case with dashes, "image-refused". Texts and
     * values over 4 KiB are cut. Errors: GANTRY_INVALID (more than 32 fields), GANTRY_FULL (256 of this instance wait
     * for the loop already; it is dropped). [any] */
    gantry_status (*event)(uint64_t host, gantry_str kind, gantry_str text, const gantry_kv* fields,
                           size_t field_count) GANTRY_NOEXCEPT;
    /* Records a number under name (lower case, unit last: "dial_failures_total"). [any] */
    gantry_status (*metric)(uint64_t host, gantry_str name, uint32_t kind, double value) GANTRY_NOEXCEPT;
} gantry_host_log;

/* ---- gantry.host.clock/1: time, timers, randomness ------------------------------------------------------------ */
#define GANTRY_HOST_CLOCK "gantry.host.clock/1"

typedef void (*gantry_timer_fn)(void* arg, uint64_t timer) GANTRY_NOEXCEPT;

typedef struct gantry_host_clock {
    uint32_t struct_size;
    uint32_t reserved;
    /* CLOCK_BOOTTIME in nanoseconds; virtual in a simulator. [any] */
    int64_t (*now)(uint64_t host) GANTRY_NOEXCEPT;
    /* Wall time, nanoseconds since 1970; for display only. [any] */
    int64_t (*wall)(uint64_t host) GANTRY_NOEXCEPT;
    /* Calls fn(arg) on the loop after delay_ns, then every period_ns (0: once). *timer names it, never 0. [any] */
    gantry_status (*timer)(uint64_t host, int64_t delay_ns, int64_t period_ns, gantry_timer_fn fn, void* arg,
                           uint64_t* timer) GANTRY_NOEXCEPT;
    /* Ends a timer. On the loop: fn is not called again once this returned. GANTRY_NOT_FOUND if it is over. [any] */
    gantry_status (*cancel)(uint64_t host, uint64_t timer) GANTRY_NOEXCEPT;
    /* Fills len bytes with randomness (seeded in a simulator; fit for keys in a daemon). [any] */
    gantry_status (*random)(uint64_t host, void* bytes, size_t len) GANTRY_NOEXCEPT;
} gantry_host_clock;

/* ---- gantry.host.io/1: descriptors, worker pool, the loop ------------------------------------------------------ */
#define GANTRY_HOST_IO "gantry.host.io/1"

#define GANTRY_IO_READ 1u
#define GANTRY_IO_WRITE 2u

typedef void (*gantry_io_fn)(void* arg, int32_t fd, uint32_t events) GANTRY_NOEXCEPT;
typedef void (*gantry_work_fn)(void* arg) GANTRY_NOEXCEPT;

typedef struct gantry_host_io {
    uint32_t struct_size;
    uint32_t reserved;
    /* Calls fn on the loop whenever fd is ready for one of events (GANTRY_IO_...; level-triggered), with one event in
     * each call. The descriptor stays the plugin's: unwatch before closing it (the host watches a duplicate, so a watch
     * would go on). Watching makes the open file non-blocking (O_NONBLOCK), for every descriptor and process that
     * shares it. *watch names it, never 0. Errors: GANTRY_INVALID (no descriptor, a regular file, a folder),
     * GANTRY_FULL. [any] */
    gantry_status (*watch)(uint64_t host, int32_t fd, uint32_t events, gantry_io_fn fn, void* arg,
                           uint64_t* watch) GANTRY_NOEXCEPT;
    /* Changes what is waited for; 0 pauses. [any] */
    gantry_status (*change)(uint64_t host, uint64_t watch, uint32_t events) GANTRY_NOEXCEPT;
    /* Ends a watch. On the loop: fn is not called again once this returned. [any] */
    gantry_status (*unwatch)(uint64_t host, uint64_t watch) GANTRY_NOEXCEPT;
    /* Runs fn(arg) once on a thread of the pool; GANTRY_FULL if too much waits already. [any] */
    gantry_status (*work)(uint64_t host, gantry_work_fn fn, void* arg) GANTRY_NOEXCEPT;
    /* Runs fn(arg) once on the loop, in a later turn. [any] */
    gantry_status (*post)(uint64_t host, gantry_work_fn fn, void* arg) GANTRY_NOEXCEPT;
    /* Since SDK 1.1. Keeps a duplicate of a bound socket (of streams: one that listens) for whoever comes after this
     * instance: the plugin of the same table after an exchange, after its own process ended, after gantryd started anew
     * on itself. Until gantryd ends nobody who connects is refused: connections and datagrams wait in the socket's
     * queue. The file of a Unix socket is the host's from here on: it removes it when gantryd ends, the plugin does
     * not. fd stays the plugin's. Errors: GANTRY_INVALID (no such socket), GANTRY_FULL (16 are kept for this
     * instance). [any] */
    gantry_status (*keep)(uint64_t host, int32_t fd) GANTRY_NOEXCEPT;
    /* Since SDK 1.1. A socket that was kept, or that gantryd was started with (LISTEN_FDS of systemd), by where it is
     * bound: "unix:/run/gantry/api.sock", "tcp:10.0.0.1:3900", "tcp:[fd00::1]:3900", "udp:0.0.0.0:54", addresses as
     * inet_ntop(3) writes them. *fd is the plugin's, close-on-exec, and a duplicate stays kept. Ask before you bind.
     * GANTRY_NOT_FOUND: none, bind as usual. [any] */
    gantry_status (*inherit)(uint64_t host, gantry_str address, int32_t* fd) GANTRY_NOEXCEPT;
} gantry_host_io;

/* ---- gantry.host.ops/1: how operations end ---------------------------------------------------------------------- */
#define GANTRY_HOST_OPS "gantry.host.ops/1"

typedef struct gantry_host_ops {
    uint32_t struct_size;
    uint32_t reserved;
    /* Ends operation op. text explains a failure. result is the type that the slot's comment names, or NULL; it is
     * copied before the call returns. The first call wins; a later one, or one after the deadline, answers
     * GANTRY_STALE and does nothing. The caller of the slot hears of it in a later turn of the loop. [any] */
    gantry_status (*complete)(uint64_t host, uint64_t op, gantry_status status, gantry_str text,
                              const void* result) GANTRY_NOEXCEPT;
    /* 1 once nobody waits for op any more (cancelled, past its deadline, ended), else 0. A wish: a plugin may
     * finish. What it does not end within a second of being cancelled ends as GANTRY_OUTCOME_UNKNOWN. [any] */
    int32_t (*cancelled)(uint64_t host, uint64_t op) GANTRY_NOEXCEPT;
} gantry_host_ops;

/* ---- gantry.host.control/1: the resource tree, for frontends ----------------------------------------------------- */
#define GANTRY_HOST_CONTROL "gantry.host.control/1"

/* Who asks. The frontend vouches for it. */
typedef struct gantry_principal {
    uint32_t struct_size;
    uint32_t reserved;
    gantry_str kind; /* "unix": a local user; "token"; "none": nobody said */
    gantry_str name; /* user name or token's name */
    int64_t uid;     /* -1 if it does not apply */
    int64_t gid;
} gantry_principal;

typedef struct gantry_control_request {
    uint32_t struct_size;
    uint32_t reserved;
    const gantry_principal* principal;
    gantry_str method; /* GET, PUT, POST, DELETE */
    gantry_str path;   /* "/v1/services/axis_server", with the query behind '?' where there is one */
    gantry_str body;   /* a JSON document or empty; at most 1 MiB */
} gantry_control_request;

typedef struct gantry_control_response {
    uint32_t struct_size;
    int32_t code;      /* of HTTP: 200, 404, ... */
    uint64_t revision; /* of the document, 0 if it has none */
    gantry_str body;   /* a JSON document or empty */
} gantry_control_response;

/* response lives until fn returns. Called exactly once per accepted request, on the loop. */
typedef void (*gantry_control_fn)(void* arg, const gantry_control_response* response) GANTRY_NOEXCEPT;
/* One event as a JSON document. Called on the loop until unwatch. */
typedef void (*gantry_control_event_fn)(void* arg, uint64_t number, gantry_str event) GANTRY_NOEXCEPT;

typedef struct gantry_host_control {
    uint32_t struct_size;
    uint32_t reserved;
    /* Asks the resource tree. [any] */
    gantry_status (*request)(uint64_t host, const gantry_control_request* request, gantry_control_fn fn,
                             void* arg) GANTRY_NOEXCEPT;
    /* Follows the event log from the first event numbered above `after`. prefix selects by path ("/v1/events").
     * *watch names it. Errors: GANTRY_FULL (64 follow already), GANTRY_UNAVAILABLE (this host has no tree yet). [any]
     */
    gantry_status (*watch)(uint64_t host, const gantry_principal* principal, gantry_str prefix, uint64_t after,
                           gantry_control_event_fn fn, void* arg, uint64_t* watch) GANTRY_NOEXCEPT;
    /* Ends it; on the loop, fn is not called again once this returned. [any] */
    gantry_status (*unwatch)(uint64_t host, uint64_t watch) GANTRY_NOEXCEPT;
    /* Like request, with a stream of bytes beside it: for uploads the host reads fd to its end, for downloads and
     * logs it writes fd and closes it at the end. fd must be a pipe or socket; it belongs to the host from the call
     * on, also when it fails. A response of 200 comes when an upload was taken whole, or before a download's first
     * byte. [any] */
    gantry_status (*open)(uint64_t host, const gantry_control_request* request, int32_t fd, gantry_control_fn fn,
                          void* arg) GANTRY_NOEXCEPT;
} gantry_host_control;

GANTRY_STATIC_ASSERT(sizeof(gantry_host_log) == 32, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_host_clock) == 48, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_host_io) == 64, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_host_ops) == 24, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_host_control) == 40, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_host_log, metric) == 24, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_host_clock, random) == 40, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_host_io, work) == 32, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_host_io, inherit) == 56, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_host_ops, cancelled) == 16, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_host_control, open) == 32, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_principal) == 56, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_control_request) == 64, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_control_response) == 32, "layout");

GANTRY_EXTERN_C_END

#endif
