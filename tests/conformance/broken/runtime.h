/* SPDX-License-Identifier: Apache-2.0
 *
 * A runtime whose containers are child processes of the host, known by a file; any image is taken. It proves the
 * checks, not how to run containers: a real one outlives its host.
 */
#ifndef GANTRY_BROKEN_RUNTIME_H
#define GANTRY_BROKEN_RUNTIME_H

#include <gantry/abi/runtime.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/conformance/broken/plugin.h"

#define ROLE_ID GANTRY_ROLE_RUNTIME
#define CONTAINERS_MAX 16
#define ARGS_MAX 8

struct box {
    char name[64], args[ARGS_MAX][256], label_key[4][64], label_value[4][64];
    uint32_t state, labels;
    int32_t exit_code;
    int64_t pid;
};

/* Behind me->more; written whole into `path`. */
struct boxes {
    uint32_t count;
    struct box box[CONTAINERS_MAX];
    char image[128];
    uint64_t timer, stopping;
    int64_t kill_at;
    char stopped[64];
};

static inline gantry_status end(struct instance* me, uint64_t op, gantry_status status, const char* why,
                                const void* result) {
    me->ops->complete(me->host, op, status, text_of(why), result);
    return GANTRY_OK;
}

static inline void save(const struct instance* me) {
    FILE* file = me->path[0] == '\0' ? NULL : fopen(me->path, "wb");
    if (file == NULL) return;
    fwrite(me->more, sizeof(struct boxes), 1, file);
    fclose(file);
}

static inline struct box* find_box(struct boxes* boxes, gantry_str name) {
    for (uint32_t i = 0; i < boxes->count; ++i) {
        if (same_text(name, boxes->box[i].name)) return &boxes->box[i];
    }
    return NULL;
}

/* Takes note of every process that ended. */
static inline void reap(struct instance* me) {
    struct boxes* boxes = me->more;
    const gantry_runtime_sink* sink = me->sink;
    for (uint32_t i = 0; i < boxes->count; ++i) {
        struct box* b = &boxes->box[i];
        int status = 0;
        if (b->state != GANTRY_CONTAINER_RUNNING || waitpid((pid_t)b->pid, &status, WNOHANG) != b->pid) continue;
        b->state = GANTRY_CONTAINER_EXITED;
        b->exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        b->pid = 0;
        save(me);
        if (sink != NULL) sink->exited(me->host, text_of(b->name), b->exit_code);
    }
}

static inline void on_tick(void* arg, uint64_t timer) {
    struct instance* me = arg;
    struct boxes* boxes = me->more;
    (void)timer;
    reap(me);
    if (boxes->stopping == 0) return;
    struct box* b = find_box(boxes, text_of(boxes->stopped));
    if (b != NULL && b->state == GANTRY_CONTAINER_RUNNING) {
        if (me->clock->now(me->host) >= boxes->kill_at) kill((pid_t)-b->pid, SIGKILL);
        return;
    }
    const uint64_t op = boxes->stopping;
    boxes->stopping = 0;
    end(me, op, GANTRY_OK, "", NULL);
}

static inline gantry_status good_box(void* self, gantry_op op, const gantry_container_spec* spec) {
    struct instance* me = self;
    struct boxes* boxes = me->more;
    if (find_box(boxes, spec->name) != NULL) return end(me, op.id, GANTRY_OK, "", NULL);
    if (!same_text(spec->image, boxes->image)) return end(me, op.id, GANTRY_NOT_FOUND, "no such image", NULL);
    for (size_t i = 0; i < spec->mount_count; ++i) {
        char source[256];
        snprintf(source, sizeof(source), "%.*s", (int)spec->mounts[i].source.len, spec->mounts[i].source.ptr);
        if (access(source, F_OK) != 0) return end(me, op.id, GANTRY_INVALID, "a mount's source is missing", NULL);
    }
    if (boxes->count == CONTAINERS_MAX) return end(me, op.id, GANTRY_FULL, "16 containers", NULL);
    struct box* b = &boxes->box[boxes->count++];
    memset(b, 0, sizeof(*b));
    b->state = GANTRY_CONTAINER_CREATED;
    snprintf(b->name, sizeof(b->name), "%.*s", (int)spec->name.len, spec->name.ptr);
    for (size_t i = 0; i < spec->arg_count && i < ARGS_MAX - 1; ++i) {
        snprintf(b->args[i], sizeof(b->args[i]), "%.*s", (int)spec->args[i].len, spec->args[i].ptr);
    }
    for (size_t i = 0; i < spec->label_count && i < 4; ++i) {
        const gantry_kv* kv = &spec->labels[i];
        snprintf(b->label_key[i], sizeof(b->label_key[i]), "%.*s", (int)kv->key.len, kv->key.ptr);
        snprintf(b->label_value[i], sizeof(b->label_value[i]), "%.*s", (int)kv->value.len, kv->value.ptr);
        ++b->labels;
    }
    save(me);
    return end(me, op.id, GANTRY_OK, "", NULL);
}

static inline gantry_status good_run(void* self, gantry_op op, gantry_str name) {
    struct instance* me = self;
    struct box* b = find_box(me->more, name);
    if (b == NULL) return end(me, op.id, GANTRY_NOT_FOUND, "no such container", NULL);
    if (b->state == GANTRY_CONTAINER_RUNNING) return end(me, op.id, GANTRY_OK, "", NULL);
    if (b->state == GANTRY_CONTAINER_EXITED) return end(me, op.id, GANTRY_CONFLICT, "it has ended", NULL);
    const pid_t pid = fork();
    if (pid == 0) {
        char* args[ARGS_MAX] = {NULL};
        for (size_t i = 0; i < ARGS_MAX - 1 && b->args[i][0] != '\0'; ++i) args[i] = b->args[i];
        setpgid(0, 0);
        execvp(args[0], args);
        _exit(127);
    }
    if (pid < 0) return end(me, op.id, GANTRY_FAILED, "no process", NULL);
    setpgid(pid, pid);
    b->pid = pid;
    b->state = GANTRY_CONTAINER_RUNNING;
    save(me);
    return end(me, op.id, GANTRY_OK, "", NULL);
}

static inline gantry_status stop_with(struct instance* me, gantry_op op, gantry_str name, int first, int64_t grace_ns) {
    struct boxes* boxes = me->more;
    struct box* b = find_box(boxes, name);
    if (b == NULL) return end(me, op.id, GANTRY_NOT_FOUND, "no such container", NULL);
    reap(me);
    if (b->state == GANTRY_CONTAINER_EXITED) return end(me, op.id, GANTRY_OK, "", NULL);
    if (b->state == GANTRY_CONTAINER_CREATED) {
        b->state = GANTRY_CONTAINER_EXITED;
        return end(me, op.id, GANTRY_OK, "", NULL);
    }
    if (boxes->stopping != 0) return end(me, op.id, GANTRY_FULL, "one stop at a time", NULL);
    kill((pid_t)-b->pid, first);
    boxes->stopping = op.id;
    boxes->kill_at = me->clock->now(me->host) + grace_ns;
    strcpy(boxes->stopped, b->name);
    return GANTRY_OK;
}

static inline gantry_status good_end(void* self, gantry_op op, gantry_str name, int64_t grace_ns) {
    return stop_with(self, op, name, SIGTERM, grace_ns);
}
static inline gantry_status good_kill(void* self, gantry_op op, gantry_str name) {
    return stop_with(self, op, name, SIGKILL, 0);
}

static inline gantry_status good_remove(void* self, gantry_op op, gantry_str name) {
    struct instance* me = self;
    struct boxes* boxes = me->more;
    struct box* b = find_box(boxes, name);
    if (b == NULL) return end(me, op.id, GANTRY_OK, "", NULL);
    if (b->state == GANTRY_CONTAINER_RUNNING) return end(me, op.id, GANTRY_CONFLICT, "it runs", NULL);
    *b = boxes->box[--boxes->count];
    save(me);
    return end(me, op.id, GANTRY_OK, "", NULL);
}

static inline gantry_status list_boxes(struct instance* me, gantry_op op, uint32_t as_running) {
    struct boxes* boxes = me->more;
    gantry_container list[CONTAINERS_MAX];
    gantry_kv labels[CONTAINERS_MAX][4];
    reap(me);
    for (uint32_t i = 0; i < boxes->count; ++i) {
        const struct box* b = &boxes->box[i];
        const gantry_container c = {text_of(b->name),
                                    b->state == GANTRY_CONTAINER_EXITED ? as_running : b->state,
                                    b->exit_code,
                                    b->pid,
                                    0,
                                    {NULL, 0},
                                    labels[i],
                                    b->labels};
        for (uint32_t k = 0; k < b->labels; ++k) {
            labels[i][k].key = text_of(b->label_key[k]);
            labels[i][k].value = text_of(b->label_value[k]);
        }
        list[i] = c;
    }
    const gantry_container_list result = {sizeof(result), sizeof(list[0]), list, boxes->count};
    return end(me, op.id, GANTRY_OK, "", &result);
}

static inline gantry_status good_list(void* self, gantry_op op) {
    return list_boxes(self, op, GANTRY_CONTAINER_EXITED);
}

static inline gantry_status good_image(void* self, gantry_op op, const gantry_image_source* source) {
    struct instance* me = self;
    struct boxes* boxes = me->more;
    snprintf(boxes->image, sizeof(boxes->image), "%.*s", (int)source->image.len, source->image.ptr);
    return end(me, op.id, GANTRY_OK, "", NULL);
}
static inline gantry_status good_images(void* self, gantry_op op) {
    struct instance* me = self;
    const gantry_str image = text_of(((struct boxes*)me->more)->image);
    const gantry_image_list result = {sizeof(result), 0, &image, image.len > 0 ? 1 : 0};
    return end(me, op.id, GANTRY_OK, "", &result);
}
static inline gantry_status good_bind(void* self, const gantry_runtime_sink* sink) {
    ((struct instance*)self)->sink = sink;
    return GANTRY_OK;
}

static inline gantry_status runtime_start(void* self, gantry_error* error) {
    struct instance* me = self;
    struct boxes* boxes = me->more = calloc(1, sizeof(struct boxes));
    if (boxes == NULL) return refuse(error, GANTRY_FAILED, "out of memory");
    FILE* file = me->path[0] == '\0' ? NULL : fopen(me->path, "rb");
    if (file != NULL) {
        if (fread(boxes, sizeof(*boxes), 1, file) != 1) memset(boxes, 0, sizeof(*boxes));
        fclose(file);
    }
    boxes->stopping = 0;
    if (me->clock->timer(me->host, 5000000, 5000000, on_tick, me, &boxes->timer) == GANTRY_OK) return GANTRY_OK;
    return refuse(error, GANTRY_UNAVAILABLE, "the host gives no timer");
}

static const gantry_str good_architectures[] = {TEXT("amd64"), TEXT("arm64")};
static const gantry_runtime_facts good_facts = {sizeof(good_facts), 0, TEXT("linux"), good_architectures, 2};

#define ROLE(...)                                                                \
    static const gantry_runtime role_table = {.struct_size = sizeof(role_table), \
                                              .facts = &good_facts,              \
                                              .bind = good_bind,                 \
                                              .ensure_image = good_image,        \
                                              .images = good_images,             \
                                              .create = good_box,                \
                                              .start = good_run,                 \
                                              .stop = good_end,                  \
                                              .kill = good_kill,                 \
                                              .remove = good_remove,             \
                                              .list = good_list,                 \
                                              __VA_ARGS__};

#endif
