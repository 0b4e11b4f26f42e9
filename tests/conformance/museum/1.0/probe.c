/* SPDX-License-Identifier: Apache-2.0
 *
 * A probe of SDK 1.0 in plain C11. A check goes once through every service of the host: log, a watched pipe, a timer, a
 * posted call, the resource tree, a job on the pool, which ends it.
 */
#define _POSIX_C_SOURCE 200809L
#include <gantry/abi/entry.h>
#include <gantry/abi/host.h>
#include <gantry/abi/probe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct plugin {
    uint64_t host;
    const gantry_host_log* log;
    const gantry_host_clock* clock;
    const gantry_host_io* io;
    const gantry_host_ops* ops;
    const gantry_host_control* control;
};

struct tour {
    struct plugin* plugin;
    uint64_t op, watch;
    int64_t began_ns;
    int pipe[2];
    int32_t code;
    char detail[128];
};

static gantry_str str(const char* text) {
    const gantry_str out = {text, strlen(text)};
    return out;
}

static void finish(struct tour* tour, gantry_status status, const char* text) {
    struct plugin* const p = tour->plugin;
    gantry_probe_result result;
    memset(&result, 0, sizeof(result));
    result.struct_size = sizeof(result);
    result.verdict = GANTRY_HEALTHY;
    result.latency_ns = p->clock->now(p->host) - tour->began_ns;
    result.detail = str(tour->detail);
    p->ops->complete(p->host, tour->op, status, str(text), status == GANTRY_OK ? &result : NULL);
    free(tour);
}

/* [worker] */
static void on_work(void* arg) {
    struct tour* const tour = arg;
    struct plugin* const p = tour->plugin;
    if (p->ops->cancelled(p->host, tour->op) != 0) return finish(tour, GANTRY_CANCELLED, "cancelled");
    snprintf(tour->detail, sizeof(tour->detail), "watch, timer, post, control %d, work", (int)tour->code);
    finish(tour, GANTRY_OK, "");
}

static void on_answer(void* arg, const gantry_control_response* response) {
    struct tour* const tour = arg;
    struct plugin* const p = tour->plugin;
    tour->code = response->code;
    if (p->io->work(p->host, on_work, tour) != GANTRY_OK) finish(tour, GANTRY_FULL, "no job");
}

static void on_post(void* arg) {
    struct tour* const tour = arg;
    struct plugin* const p = tour->plugin;
    gantry_principal principal;
    gantry_control_request request;
    memset(&principal, 0, sizeof(principal));
    memset(&request, 0, sizeof(request));
    principal.struct_size = sizeof(principal);
    principal.kind = str("unix");
    principal.name = str("museum");
    principal.uid = principal.gid = -1;
    request.struct_size = sizeof(request);
    request.principal = &principal;
    request.method = str("GET");
    request.path = str("/v1/museum");
    if (p->control->request(p->host, &request, on_answer, tour) != GANTRY_OK) finish(tour, GANTRY_FAILED, "no tree");
}

static void on_timer(void* arg, uint64_t timer) {
    struct tour* const tour = arg;
    (void)timer;
    if (tour->plugin->io->post(tour->plugin->host, on_post, tour) != GANTRY_OK) finish(tour, GANTRY_FAILED, "no post");
}

static void on_ready(void* arg, int32_t fd, uint32_t events) {
    struct tour* const tour = arg;
    struct plugin* const p = tour->plugin;
    uint64_t timer = 0;
    (void)fd, (void)events;
    p->io->unwatch(p->host, tour->watch);
    close(tour->pipe[0]);
    close(tour->pipe[1]);
    if (p->clock->timer(p->host, 1000000, 0, on_timer, tour, &timer) != GANTRY_OK || timer == 0) {
        finish(tour, GANTRY_FAILED, "no timer");
    }
}

static gantry_status check(void* self, gantry_op op, const gantry_probe_request* request) {
    struct plugin* const p = self;
    const gantry_kv field = {str("container"), request->container};
    struct tour* tour;
    if (request->container.len == 0) return GANTRY_INVALID;
    tour = calloc(1, sizeof(*tour));
    if (tour == NULL) return GANTRY_FAILED;
    tour->plugin = p;
    tour->op = op.id;
    tour->began_ns = p->clock->now(p->host);
    p->log->log(p->host, GANTRY_LOG_INFO, str("a check begins"), &field, 1);
    p->log->event(p->host, str("museum-check"), str("a check begins"), &field, 1);
    p->log->metric(p->host, str("checks_total"), GANTRY_METRIC_COUNTER, 1);
    if (pipe(tour->pipe) != 0 || write(tour->pipe[1], "x", 1) != 1 ||
        p->io->watch(p->host, tour->pipe[0], GANTRY_IO_READ, on_ready, tour, &tour->watch) != GANTRY_OK) {
        free(tour);
        return GANTRY_FAILED;
    }
    return GANTRY_OK;
}

static gantry_status init(void* self, const gantry_config* config, gantry_error* error) {
    struct plugin* const p = self;
    unsigned char noise[16];
    if (config->count == 0 && p->clock->wall(p->host) > 0 &&
        p->clock->random(p->host, noise, sizeof(noise)) == GANTRY_OK) {
        return GANTRY_OK;
    }
    error->text_len = (uint32_t)snprintf(error->text, error->text_cap, "the clock is not what SDK 1.0 promised");
    return GANTRY_INVALID;
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
    static const gantry_probe table = {sizeof(gantry_probe), 0, check};
    (void)self;
    return id.len == strlen(GANTRY_ROLE_PROBE) && memcmp(id.ptr, GANTRY_ROLE_PROBE, id.len) == 0 ? &table : NULL;
}

static gantry_status create(const gantry_host* host, gantry_plugin* out, gantry_error* error) {
    gantry_plugin table = {sizeof(gantry_plugin), 0, NULL, init, start, stop, destroy, query};
    struct plugin* const p = calloc(1, sizeof(*p));
    (void)error;
    if (p == NULL) return GANTRY_FAILED;
    p->host = host->handle;
    p->log = host->query(host->handle, str(GANTRY_HOST_LOG));
    p->clock = host->query(host->handle, str(GANTRY_HOST_CLOCK));
    p->io = host->query(host->handle, str(GANTRY_HOST_IO));
    p->ops = host->query(host->handle, str(GANTRY_HOST_OPS));
    p->control = host->query(host->handle, str(GANTRY_HOST_CONTROL));
    if (!GANTRY_HAS(p->log, metric) || !GANTRY_HAS(p->clock, random) || !GANTRY_HAS(p->io, post) ||
        !GANTRY_HAS(p->ops, cancelled) || !GANTRY_HAS(p->control, open)) {
        free(p);
        return GANTRY_UNSUPPORTED;
    }
    table.self = p;
    *out = table;
    return GANTRY_OK;
}

__attribute__((visibility("default"))) const gantry_entry gantry_plugin_entry = {sizeof(gantry_entry),
                                                                                 GANTRY_ENTRY_MAGIC,
                                                                                 GANTRY_ABI_MAJOR,
                                                                                 GANTRY_ABI_MINOR,
                                                                                 "org.gantry.museum.probe",
                                                                                 "1.0.0",
                                                                                 "probe/1",
                                                                                 create};
