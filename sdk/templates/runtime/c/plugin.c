/* Runs each container's args as a process group of this machine: no image, no root folder, no limits, no output kept.
 * A group outlives gantryd; its record lies in the instance's folder. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gantry/abi/runtime.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "plugin.h"

#define NAME_MAX_BYTES 63
#define PATH_ROOM 4096

#ifdef __aarch64__
#define ARCHITECTURE "arm64"
#else
#define ARCHITECTURE "amd64"
#endif

/* An operation that ends when no process is left. */
struct waiting {
    struct waiting* next;
    uint64_t op;
};

struct label {
    char *key, *value;
};

struct group {
    struct group* next;
    struct runtime* of;
    char name[NAME_MAX_BYTES + 1];
    uint32_t state;                      /* GANTRY_CONTAINER_... */
    int stop_signal, exit_code, process; /* process: pidfd while it runs, else -1 */
    pid_t pid;                           /* of the first process, which is the group's number too */
    long long born;                      /* when that process began, by the kernel's count: a pid may be used again */
    int64_t started_ns;
    uint64_t watch, grace;
    struct waiting* waiting;
    char **args, **env, *cwd;
    struct label* labels;
    size_t label_count;
};

struct image {
    struct image* next;
    char* digest;
};

struct runtime {
    struct services host;
    const gantry_runtime_sink* sink;
    char* folder;
    struct group* groups;
    struct image* images;
};

static void on_end(void* arg, int32_t fd, uint32_t events);

/* ---- groups ----------------------------------------------------------------------------------------------------- */

static int runs(const struct group* group) { return group->state == GANTRY_CONTAINER_RUNNING; }

static struct group* find(struct runtime* me, gantry_str name) {
    struct group* group = me->groups;
    while (group != NULL && !equal(name, group->name)) group = group->next;
    return group;
}

static void free_texts(char** texts) {
    for (size_t i = 0; texts != NULL && texts[i] != NULL; ++i) free(texts[i]);
    free(texts);
}

static void free_group(struct group* group) {
    unwatch(&group->of->host, &group->watch);
    cancel(&group->of->host, &group->grace);
    if (group->process >= 0) close(group->process);
    while (group->waiting != NULL) {
        struct waiting* waiting = group->waiting;
        group->waiting = waiting->next;
        free(waiting);
    }
    for (size_t i = 0; i < group->label_count; ++i) free(group->labels[i].key), free(group->labels[i].value);
    free(group->labels), free_texts(group->args), free_texts(group->env), free(group->cwd), free(group);
}

static struct group* new_group(struct runtime* me, const char* name) {
    struct group* group = calloc(1, sizeof *group);
    if (group == NULL) return NULL;
    snprintf(group->name, sizeof group->name, "%s", name);
    group->of = me;
    group->process = -1;
    group->state = GANTRY_CONTAINER_CREATED;
    return group;
}

/* Field 22 of /proc/PID/stat; 0 if there is no such process. */
static long long born_of(pid_t pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE* file = fopen(path, "re");
    const size_t length = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    if (file != NULL) fclose(file);
    text[length] = '\0';
    const char* field = strrchr(text, ')'); /* the name before it may hold anything */
    for (int i = 0; field != NULL && i < 20; ++i) field = strchr(field + 1, ' ');
    return field == NULL ? 0 : strtoll(field, NULL, 10);
}

/* ---- records: what must be known after a restart ------------------------------------------------------------------
 */

static void path_of(const struct runtime* me, const char* name, const char* ending, char* out) {
    snprintf(out, PATH_ROOM, "%s/%s%s", me->folder, name, ending);
}

/* It appears whole or not at all. */
static int write_record(const struct group* group) {
    char path[PATH_ROOM], fresh[PATH_ROOM];
    path_of(group->of, group->name, "", path);
    path_of(group->of, group->name, "~", fresh);
    FILE* file = fopen(fresh, "we");
    if (file == NULL) return 0;
    fprintf(file, "%u %d %lld %d %lld %d %zu%c", group->state, (int)group->pid, group->born, group->exit_code,
            (long long)group->started_ns, group->stop_signal, group->label_count, '\0');
    for (size_t i = 0; i < group->label_count; ++i)
        fprintf(file, "%s%c%s%c", group->labels[i].key, '\0', group->labels[i].value, '\0');
    const int good = ferror(file) == 0;
    return fclose(file) == 0 && good && rename(fresh, path) == 0;
}

/* A text up to its zero; NULL at the end. To be freed. */
static char* next_text(FILE* file) {
    char* text = NULL;
    size_t room = 0;
    const ssize_t length = getdelim(&text, &room, '\0', file);
    if (length > 0 && text[length - 1] == '\0') return text;
    free(text);
    return NULL;
}

static void read_record(struct group* group) {
    char path[PATH_ROOM];
    path_of(group->of, group->name, "", path);
    FILE* file = fopen(path, "re");
    char* head = file == NULL ? NULL : next_text(file);
    int pid = 0;
    unsigned state = 0;
    long long started = 0;
    size_t labels = 0;
    const int good = head != NULL && sscanf(head, "%u %d %lld %d %lld %d %zu", &state, &pid, &group->born,
                                            &group->exit_code, &started, &group->stop_signal, &labels) == 7;
    free(head);
    group->state = good && state == GANTRY_CONTAINER_RUNNING ? GANTRY_CONTAINER_RUNNING : GANTRY_CONTAINER_EXITED;
    group->pid = pid;
    group->started_ns = started;
    group->labels = good ? calloc(labels + 1, sizeof *group->labels) : NULL;
    while (group->labels != NULL && group->label_count < labels) {
        struct label label = {next_text(file), NULL};
        if (label.key != NULL) label.value = next_text(file);
        if (label.value == NULL) {
            free(label.key);
            break;
        }
        group->labels[group->label_count++] = label;
    }
    if (file != NULL) fclose(file);
}

/* ---- processes -------------------------------------------------------------------------------------------------- */

static int follow(struct group* group) {
    const struct services* host = &group->of->host;
    group->process = (int)syscall(SYS_pidfd_open, group->pid, 0);
    if (group->process < 0) return 0;
    if (host->io->watch(host->handle, group->process, GANTRY_IO_READ, on_end, group, &group->watch) == GANTRY_OK)
        return 1;
    close(group->process);
    group->process = -1;
    return 0;
}

/* The process leads a group and a session of its own and has nothing of gantryd's but its user. */
static int spawn(struct group* group) {
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t all;
    sigfillset(&all);
    posix_spawn_file_actions_init(&files);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&files, 0, 1);
    posix_spawn_file_actions_adddup2(&files, 0, 2);
    posix_spawn_file_actions_addclosefrom_np(&files, 3);
    posix_spawn_file_actions_addchdir_np(&files, group->cwd[0] == '\0' ? "/" : group->cwd);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigdefault(&attributes, &all);
    const int failed = posix_spawnp(&group->pid, group->args[0], &files, &attributes, group->args, group->env);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (failed != 0) return failed;
    group->state = GANTRY_CONTAINER_RUNNING;
    group->born = born_of(group->pid);
    group->started_ns = group->of->host.clock->now(group->of->host.handle);
    return 0;
}

/* The first process has ended: the others of its group go with it. */
static void on_end(void* arg, int32_t fd, uint32_t events) {
    struct group* group = arg;
    struct runtime* me = group->of;
    siginfo_t info = {0};
    (void)fd, (void)events;
    const int ours = waitid(P_PID, (id_t)group->pid, &info, WEXITED | WNOWAIT) == 0;
    if (ours) {
        kill(-group->pid, SIGKILL);
        waitid(P_PID, (id_t)group->pid, &info, WEXITED);
    }
    unwatch(&me->host, &group->watch);
    cancel(&me->host, &group->grace);
    close(group->process);
    group->process = -1;
    group->exit_code = !ours ? -1 : info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    /* Killed while the number cannot be another's, they are gone in no time; a loop may wait that long. */
    for (int i = 0; i < 20 && kill(-group->pid, 0) == 0; ++i) usleep(100);
    group->state = GANTRY_CONTAINER_EXITED;
    if (!write_record(group)) say(&me->host, GANTRY_LOG_ERROR, "the record of %s cannot be written", group->name);
    me->sink->exited(me->host.handle, str(group->name), group->exit_code);
    while (group->waiting != NULL) {
        struct waiting* waiting = group->waiting;
        group->waiting = waiting->next;
        complete(&me->host, waiting->op, GANTRY_OK, "", NULL);
        free(waiting);
    }
}

static gantry_status end_group(struct group* group, uint64_t op, int signal) {
    struct waiting* waiting = calloc(1, sizeof *waiting);
    if (waiting == NULL) return GANTRY_FULL;
    *waiting = (struct waiting){group->waiting, op};
    group->waiting = waiting;
    kill(-group->pid, signal);
    return GANTRY_OK;
}

static void on_grace(void* arg, uint64_t timer) {
    struct group* group = arg;
    (void)timer;
    group->grace = 0;
    if (runs(group)) kill(-group->pid, SIGKILL);
}

/* ---- the role's slots: images -------------------------------------------------------------------------------------
 */

static gantry_status done(struct runtime* me, gantry_op op) {
    complete(&me->host, op.id, GANTRY_OK, "", NULL);
    return GANTRY_OK;
}

/* Accepted, and failed for that reason. */
__attribute__((format(printf, 4, 5))) static gantry_status failed(struct runtime* me, gantry_op op,
                                                                  gantry_status status, const char* format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    complete(&me->host, op.id, status, text, NULL);
    return GANTRY_OK;
}

static gantry_status no_container(struct runtime* me, gantry_op op, gantry_str name) {
    return failed(me, op, GANTRY_NOT_FOUND, "there is no container %.*s", (int)name.len, name.len > 0 ? name.ptr : "");
}

static struct image** find_image(struct runtime* me, gantry_str digest) {
    struct image** at = &me->images;
    while (*at != NULL && !equal(digest, (*at)->digest)) at = &(*at)->next;
    return at;
}

/* Only its name counts: no image is run here. */
static gantry_status ensure_image(void* self, gantry_op op, const gantry_image_source* source) {
    struct runtime* me = self;
    struct image** at = find_image(me, source->image);
    if (*at != NULL) return done(me, op);
    struct image* image = calloc(1, sizeof *image);
    if (image != NULL) image->digest = copy_of(source->image);
    if (image == NULL || image->digest == NULL) return free(image), GANTRY_FULL;
    *at = image;
    return done(me, op);
}

static gantry_status images(void* self, gantry_op op) {
    struct runtime* me = self;
    size_t count = 0, i = 0;
    for (const struct image* image = me->images; image != NULL; image = image->next) ++count;
    gantry_str* all = calloc(count + 1, sizeof *all);
    if (all == NULL) return GANTRY_FULL;
    for (const struct image* image = me->images; image != NULL; image = image->next) all[i++] = str(image->digest);
    const gantry_image_list result = {sizeof result, 0, all, count};
    complete(&me->host, op.id, GANTRY_OK, "", &result);
    free(all);
    return GANTRY_OK;
}

static gantry_status remove_image(void* self, gantry_op op, gantry_str digest) {
    struct image **at = find_image(self, digest), *image = *at;
    if (image != NULL) {
        *at = image->next;
        free(image->digest), free(image);
    }
    return done(self, op);
}

/* ---- the role's slots: containers ---------------------------------------------------------------------------------
 */

/* 0 without memory, or for a text with a zero in it. */
static int take_spec(struct group* group, const gantry_container_spec* spec) {
    group->stop_signal = (int)spec->stop_signal;
    group->cwd = copy_of(spec->cwd);
    group->args = calloc(spec->arg_count + 1, sizeof *group->args);
    group->env = calloc(spec->env_count + 2, sizeof *group->env);
    group->labels = calloc(spec->label_count + 1, sizeof *group->labels);
    if (group->cwd == NULL || group->args == NULL || group->env == NULL || group->labels == NULL) return 0;
    for (size_t i = 0; i < spec->arg_count; ++i) {
        if ((group->args[i] = copy_of(spec->args[i])) == NULL) return 0;
    }
    group->env[0] = strdup("PATH=/usr/local/bin:/usr/bin:/bin");
    for (size_t i = 0; i < spec->env_count; ++i) {
        const gantry_kv* pair = &spec->env[i];
        if (asprintf(&group->env[i + 1], "%.*s=%.*s", (int)pair->key.len, pair->key.ptr, (int)pair->value.len,
                     pair->value.len > 0 ? pair->value.ptr : "") < 0) {
            group->env[i + 1] = NULL;
            return 0;
        }
    }
    for (size_t i = 0; i < spec->label_count; ++i) {
        struct label* label = &group->labels[group->label_count++];
        *label = (struct label){copy_of(spec->labels[i].key), copy_of(spec->labels[i].value)};
        if (label->key == NULL || label->value == NULL) return 0;
    }
    return group->env[0] != NULL;
}

static gantry_status create_container(void* self, gantry_op op, const gantry_container_spec* spec) {
    struct runtime* me = self;
    if (find(me, spec->name) != NULL) return done(me, op);
    if (spec->arg_count == 0 || spec->mount_count > 0 || spec->user.len > 0)
        return failed(me, op, GANTRY_INVALID,
                      "expected container.args, and neither mounts nor user: no image is run here");
    if (*find_image(me, spec->image) == NULL)
        return failed(me, op, GANTRY_NOT_FOUND, "there is no image %.*s", (int)spec->image.len,
                      spec->image.len > 0 ? spec->image.ptr : "");
    char* name = copy_of(spec->name);
    struct group* group = name == NULL || strlen(name) > NAME_MAX_BYTES ? NULL : new_group(me, name);
    free(name);
    if (group == NULL || !take_spec(group, spec)) {
        if (group != NULL) free_group(group);
        return failed(me, op, GANTRY_FAILED, "no memory, or a zero in a text");
    }
    group->next = me->groups;
    me->groups = group;
    return done(me, op);
}

static gantry_status start_container(void* self, gantry_op op, gantry_str name) {
    struct runtime* me = self;
    struct group* group = find(me, name);
    if (group == NULL) return no_container(me, op, name);
    if (runs(group)) return done(me, op);
    if (group->state == GANTRY_CONTAINER_EXITED)
        return failed(me, op, GANTRY_CONFLICT, "%s has ended already", group->name);
    const int error = spawn(group);
    if (error != 0) return failed(me, op, GANTRY_FAILED, "%s: %s", group->args[0], strerror(error));
    if (write_record(group) && follow(group)) return done(me, op);
    /* What nobody can follow must not run. */
    kill(-group->pid, SIGKILL);
    waitpid(group->pid, NULL, 0);
    group->state = GANTRY_CONTAINER_EXITED;
    group->exit_code = -1;
    write_record(group);
    return failed(me, op, GANTRY_FAILED, "%s cannot be recorded or followed", group->name);
}

static gantry_status stop_container(void* self, gantry_op op, gantry_str name, int64_t grace_ns) {
    struct runtime* me = self;
    struct group* group = find(me, name);
    if (group == NULL) return no_container(me, op, name);
    if (!runs(group)) return done(me, op);
    cancel(&me->host, &group->grace);
    const gantry_status timed = me->host.clock->timer(me->host.handle, grace_ns, 0, on_grace, group, &group->grace);
    if (timed != GANTRY_OK) return timed;
    return end_group(group, op.id, group->stop_signal == 0 ? SIGTERM : group->stop_signal);
}

static gantry_status kill_container(void* self, gantry_op op, gantry_str name) {
    struct group* group = find(self, name);
    if (group == NULL) return no_container(self, op, name);
    return runs(group) ? end_group(group, op.id, SIGKILL) : done(self, op);
}

static gantry_status remove_container(void* self, gantry_op op, gantry_str name) {
    struct runtime* me = self;
    struct group** at = &me->groups;
    while (*at != NULL && !equal(name, (*at)->name)) at = &(*at)->next;
    struct group* group = *at;
    if (group == NULL) return done(me, op);
    if (runs(group)) return failed(me, op, GANTRY_CONFLICT, "%s runs", group->name);
    char path[PATH_ROOM];
    path_of(me, group->name, "", path);
    if (unlink(path) != 0 && errno != ENOENT) return failed(me, op, GANTRY_FAILED, "%s: %s", path, strerror(errno));
    *at = group->next;
    free_group(group);
    return done(me, op);
}

static void describe(const struct group* group, gantry_container* out, gantry_kv* labels) {
    for (size_t i = 0; i < group->label_count; ++i)
        labels[i] = (gantry_kv){str(group->labels[i].key), str(group->labels[i].value)};
    *out = (gantry_container){str(group->name),  group->state, group->exit_code, runs(group) ? group->pid : 0,
                              group->started_ns, str(""),      labels,           group->label_count};
}

static gantry_status list(void* self, gantry_op op) {
    struct runtime* me = self;
    size_t count = 0, label_count = 0;
    for (const struct group* group = me->groups; group != NULL; group = group->next) {
        ++count;
        label_count += group->label_count;
    }
    gantry_container* all = calloc(count + 1, sizeof *all);
    gantry_kv* labels = calloc(label_count + 1, sizeof *labels);
    if (all == NULL || labels == NULL) return free(all), free(labels), GANTRY_FULL;
    size_t i = 0, used = 0;
    for (const struct group* group = me->groups; group != NULL; group = group->next) {
        describe(group, &all[i++], labels + used);
        used += group->label_count;
    }
    const gantry_container_list result = {sizeof result, sizeof *all, all, count};
    complete(&me->host, op.id, GANTRY_OK, "", &result);
    free(all), free(labels);
    return GANTRY_OK;
}

static gantry_status bind_sink(void* self, const gantry_runtime_sink* sink) {
    ((struct runtime*)self)->sink = sink;
    return GANTRY_OK;
}

/* ---- the instance ---------------------------------------------------------------------------------------------- */

static gantry_status init(void* self, const gantry_config* config, gantry_error* error) {
    struct runtime* me = self;
    me->folder = copy_of(config->state_dir);
    if (me->folder != NULL && strlen(me->folder) + NAME_MAX_BYTES + 3 < PATH_ROOM) return GANTRY_OK;
    return refuse(error, GANTRY_INVALID, "the path of its folder is too long");
}

/* What ran when gantryd ended may run still; how it ended meanwhile nobody knows. */
static void adopt(struct runtime* me, const char* name) {
    struct group* group = new_group(me, name);
    if (group == NULL) return;
    read_record(group);
    if (runs(group) && (group->born == 0 || group->born != born_of(group->pid) || !follow(group))) {
        group->state = GANTRY_CONTAINER_EXITED;
        group->exit_code = -1;
    }
    group->next = me->groups;
    me->groups = group;
}

static gantry_status start(void* self, gantry_error* error) {
    struct runtime* me = self;
    const gantry_status status = whole(&me->host, error);
    if (status != GANTRY_OK) return status;
    DIR* folder = opendir(me->folder);
    if (folder == NULL) return refuse(error, GANTRY_FAILED, "%s: %s", me->folder, strerror(errno));
    for (const struct dirent* item = NULL; (item = readdir(folder)) != NULL;) {
        const size_t length = strlen(item->d_name);
        if (item->d_name[0] == '.' || item->d_name[length - 1] == '~' || length > NAME_MAX_BYTES) continue;
        adopt(me, item->d_name);
    }
    closedir(folder);
    return GANTRY_OK;
}

static gantry_status stop(void* self, int64_t deadline_ns, gantry_error* error) {
    struct runtime* me = self;
    (void)deadline_ns, (void)error;
    for (struct group* group = me->groups; group != NULL; group = group->next) {
        unwatch(&me->host, &group->watch);
        cancel(&me->host, &group->grace);
    }
    return GANTRY_OK;
}

static void destroy(void* self) {
    struct runtime* me = self;
    while (me->groups != NULL) {
        struct group* group = me->groups;
        me->groups = group->next;
        free_group(group);
    }
    while (me->images != NULL) {
        struct image* image = me->images;
        me->images = image->next;
        free(image->digest), free(image);
    }
    free(me->folder), free(me);
}

static const void* query(void* self, gantry_str id) {
    static const gantry_str architecture = {ARCHITECTURE, sizeof ARCHITECTURE - 1};
    static const gantry_runtime_facts facts = {sizeof facts, 0, {"linux", 5}, &architecture, 1};
    /* A slot that is not there answers GANTRY_UNSUPPORTED. */
    static const gantry_runtime table = {.struct_size = sizeof table,
                                         .facts = &facts,
                                         .bind = bind_sink,
                                         .ensure_image = ensure_image,
                                         .images = images,
                                         .remove_image = remove_image,
                                         .create = create_container,
                                         .start = start_container,
                                         .stop = stop_container,
                                         .kill = kill_container,
                                         .remove = remove_container,
                                         .list = list};
    (void)self;
    return equal(id, GANTRY_ROLE_RUNTIME) ? &table : NULL;
}

static gantry_status create(const gantry_host* host, gantry_plugin* out, gantry_error* error) {
    if (out->struct_size < sizeof *out) return refuse(error, GANTRY_INVALID, "the host's plugin table is too small");
    struct runtime* me = calloc(1, sizeof *me);
    if (me == NULL) return GANTRY_FAILED;
    me->host = services_of(host);
    *out = (gantry_plugin){sizeof *out, 0, me, init, start, stop, destroy, query};
    return GANTRY_OK;
}

PLUGIN_ENTRY(create)
