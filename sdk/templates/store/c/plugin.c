/* The controller's state as a log: every commit appends one record and is durable when it is answered. A thread of the
 * plugin owns the file; the loop only hands jobs over.
 *
 * A record: length and check of what follows (8 bytes), then the revision, then the changes: '+' or '-', key, value;
 * every text with its length before it. A record that was cut by a crash was never answered and is dropped. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <gantry/abi/store.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "plugin.h"

#define RECORD_MAX (64u << 20) /* bytes */
#define JOBS_MAX 1024

struct text {
    char* bytes;
    size_t length;
};

struct entry {
    struct text key, value;
    uint64_t revision;
};

/* The store, which knows nothing of threads; an outcome's text goes to `why`. */
struct log {
    const char* path;
    int fd, doubtful;  /* doubtful: nobody knows what the last commit left on the disk */
    struct entry* all; /* by key */
    size_t count, room;
    uint64_t revision;
    char why[512];
};

/* ---- bytes ------------------------------------------------------------------------------------------------------ */

static int put(struct text* out, const void* bytes, size_t length) {
    char* grown = realloc(out->bytes, out->length + length + 1);
    if (grown == NULL) return 0;
    if (length > 0) memcpy(grown + out->length, bytes, length);
    out->bytes = grown;
    out->length += length;
    return 1;
}

static int put_text(struct text* out, const void* bytes, size_t length) {
    const uint32_t size = (uint32_t)length;
    return put(out, &size, sizeof size) && put(out, bytes, length);
}

struct reader {
    const char* at;
    size_t left;
};

static int take(struct reader* in, void* out, size_t length) {
    if (in->left < length) return 0;
    memcpy(out, in->at, length);
    in->at += length;
    in->left -= length;
    return 1;
}

static int take_text(struct reader* in, gantry_str* out) {
    uint32_t size = 0;
    if (!take(in, &size, sizeof size) || size > in->left) return 0;
    *out = (gantry_str){in->at, size};
    in->at += size;
    in->left -= size;
    return 1;
}

static uint32_t check_of(const char* bytes, size_t length) { /* FNV-1a */
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < length; ++i) hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
    return hash;
}

/* ---- entries ---------------------------------------------------------------------------------------------------- */

static int compare(gantry_str a, const struct text* b) {
    const size_t least = a.len < b->length ? a.len : b->length;
    const int bytes = least == 0 ? 0 : memcmp(a.ptr, b->bytes, least);
    return bytes != 0 ? bytes : (a.len > b->length) - (a.len < b->length);
}

/* The first entry whose key is not below. */
static size_t place_of(const struct log* log, gantry_str key) {
    size_t low = 0, high = log->count;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (compare(key, &log->all[middle].key) > 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct entry* find(const struct log* log, gantry_str key) {
    const size_t at = place_of(log, key);
    return at < log->count && compare(key, &log->all[at].key) == 0 ? &log->all[at] : NULL;
}

static void free_entry(struct entry* entry) { free(entry->key.bytes), free(entry->value.bytes); }

static void remove_entry(struct log* log, struct entry* entry) {
    const size_t behind = (size_t)(log->all + log->count - entry) - 1;
    free_entry(entry);
    memmove(entry, entry + 1, behind * sizeof *entry);
    --log->count;
}

static int set_entry(struct log* log, gantry_str key, gantry_str value, uint64_t revision) {
    struct entry fresh = {.revision = revision};
    if (!put(&fresh.key, key.ptr, key.len) || !put(&fresh.value, value.ptr, value.len)) return free_entry(&fresh), 0;
    struct entry* old = find(log, key);
    if (old != NULL) {
        free_entry(old);
        *old = fresh;
        return 1;
    }
    if (log->count == log->room) {
        struct entry* grown = realloc(log->all, (2 * log->room + 16) * sizeof *grown);
        if (grown == NULL) return free_entry(&fresh), 0;
        log->all = grown;
        log->room = 2 * log->room + 16;
    }
    const size_t at = place_of(log, key);
    memmove(&log->all[at + 1], &log->all[at], (log->count - at) * sizeof *log->all);
    log->all[at] = fresh;
    ++log->count;
    return 1;
}

static void forget_all(struct log* log) {
    for (size_t i = 0; i < log->count; ++i) free_entry(&log->all[i]);
    free(log->all);
    log->all = NULL;
    log->count = log->room = 0;
    log->revision = 0;
}

/* ---- the log ---------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 3, 4))) static gantry_status say_why(struct log* log, gantry_status status,
                                                                   const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(log->why, sizeof log->why, format, arguments);
    va_end(arguments);
    return status;
}

static int apply(struct log* log, struct reader body) {
    uint64_t revision = 0;
    if (!take(&body, &revision, sizeof revision)) return 0;
    while (body.left > 0) {
        char kind = 0;
        gantry_str key, value;
        if (!take(&body, &kind, 1) || (kind != '+' && kind != '-') || !take_text(&body, &key) ||
            !take_text(&body, &value))
            return 0;
        struct entry* old = kind == '-' ? find(log, key) : NULL;
        if (old != NULL) remove_entry(log, old);
        if (kind == '+' && !set_entry(log, key, value, revision)) return 0;
    }
    log->revision = revision;
    return 1;
}

/* The whole file; NULL: it cannot be read. */
static char* read_all(struct log* log, size_t* length) {
    struct stat info;
    if (log->fd >= 0) close(log->fd);
    log->fd = open(log->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log->fd < 0 || fstat(log->fd, &info) != 0) return NULL;
    *length = (size_t)info.st_size;
    char* all = malloc(*length + 1);
    for (size_t have = 0; all != NULL && have < *length;) {
        const ssize_t n = pread(log->fd, all + have, *length - have, (off_t)have);
        if (n <= 0) return free(all), NULL;
        have += (size_t)n;
    }
    return all;
}

/* Reads the whole log. What is damaged before its end is left as it is, and refused. */
static gantry_status open_log(struct log* log) {
    size_t length = 0;
    char* all = read_all(log, &length);
    if (all == NULL) return say_why(log, GANTRY_FAILED, "%s cannot be read: %s", log->path, strerror(errno));
    forget_all(log);
    gantry_status status = GANTRY_OK;
    struct reader rest = {all, length};
    while (rest.left > 0) {
        struct reader at = rest;
        uint32_t size = 0, check = 0;
        const int complete = take(&at, &size, sizeof size) && take(&at, &check, sizeof check) && size <= at.left;
        if (complete && check_of(at.at, size) == check && apply(log, (struct reader){at.at, size})) {
            rest = (struct reader){at.at + size, at.left - size};
            continue;
        }
        /* Cut short, or the last one and never finished: both were not answered. */
        const off_t good = (off_t)(length - rest.left);
        if (complete && size < at.left) {
            status = say_why(log, GANTRY_FAILED, "%s is damaged at byte %lld, before its end; restore a copy",
                             log->path, (long long)good);
        } else if (ftruncate(log->fd, good) != 0) {
            status = say_why(log, GANTRY_FAILED, "%s cannot be cut: %s", log->path, strerror(errno));
        }
        break;
    }
    free(all);
    log->doubtful = status != GANTRY_OK;
    return status;
}

static gantry_status append(struct log* log, const struct text* body) {
    const uint32_t size = (uint32_t)body->length, check = check_of(body->bytes, body->length);
    struct text record = {NULL, 0};
    const off_t end = lseek(log->fd, 0, SEEK_END);
    if (!put(&record, &size, sizeof size) || !put(&record, &check, sizeof check) ||
        !put(&record, body->bytes, body->length))
        return free(record.bytes), say_why(log, GANTRY_FULL, "no memory for a record");
    size_t done = 0;
    while (done < record.length) {
        const ssize_t n = write(log->fd, record.bytes + done, record.length - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        done += (size_t)n;
    }
    const int why = errno, cut_off = done < record.length;
    free(record.bytes);
    if (cut_off) {
        log->doubtful = end < 0 || ftruncate(log->fd, end) != 0;
        const gantry_status status = why == ENOSPC || why == EDQUOT ? GANTRY_FULL : GANTRY_FAILED;
        return say_why(log, log->doubtful ? GANTRY_OUTCOME_UNKNOWN : status, "%s: %s", log->path, strerror(why));
    }
    if (fdatasync(log->fd) == 0) return GANTRY_OK;
    log->doubtful = 1;
    return say_why(log, GANTRY_OUTCOME_UNKNOWN, "%s may or may not be on the disk: %s", log->path, strerror(errno));
}

/* `changes` is the body of a record but for its revision; `expected` one number for each of them. */
static gantry_status commit_changes(struct log* log, const struct text* changes, const uint64_t* expected) {
    if (log->doubtful) return say_why(log, GANTRY_FAILED, "the last commit's outcome is unknown: load first");
    struct reader rest = {changes->bytes, changes->length};
    for (size_t i = 0; rest.left > 0; ++i) {
        char kind = 0;
        gantry_str key, value;
        if (!take(&rest, &kind, 1) || !take_text(&rest, &key) || !take_text(&rest, &value)) return GANTRY_INVALID;
        const struct entry* entry = find(log, key);
        const uint64_t now = entry == NULL ? GANTRY_REVISION_NONE : entry->revision;
        if (expected[i] != GANTRY_REVISION_ANY && expected[i] != now)
            return say_why(log, GANTRY_CONFLICT, "%.*s is at revision %llu, expected %llu", (int)key.len, key.ptr,
                           (unsigned long long)now, (unsigned long long)expected[i]);
    }
    struct text body = {NULL, 0};
    const uint64_t revision = log->revision + 1;
    gantry_status status = GANTRY_FULL;
    if (changes->length > RECORD_MAX) {
        say_why(log, status, "the batch is larger than 64 MiB");
    } else if (put(&body, &revision, sizeof revision) && put(&body, changes->bytes, changes->length)) {
        status = append(log, &body);
    }
    /* On the disk but not in memory: the next load reads it from there. */
    if (status == GANTRY_OK && !apply(log, (struct reader){body.bytes, body.length})) log->doubtful = 1;
    free(body.bytes);
    return status;
}

/* ---- jobs ------------------------------------------------------------------------------------------------------- */

struct job {
    struct job* next;
    uint64_t op;
    int is_commit;
    struct text text; /* a prefix, or the changes */
    uint64_t* expected;
};

struct store {
    struct services host;
    char* path;
    struct log log; /* of the thread while it runs */
    pthread_t thread;
    int runs;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t wake;
    struct job *first, **last;
    size_t waiting;
    int ending;
};

static void free_job(struct job* job) {
    if (job == NULL) return;
    free(job->text.bytes), free(job->expected), free(job);
}

static void do_load(struct store* me, const struct job* job) {
    struct log* log = &me->log;
    const gantry_str prefix = {job->text.bytes, job->text.length};
    const gantry_status status = log->doubtful ? open_log(log) : GANTRY_OK; /* the disk knows what happened */
    if (status != GANTRY_OK) return complete(&me->host, job->op, status, log->why, NULL);
    gantry_store_entry* out = calloc(log->count + 1, sizeof *out);
    if (out == NULL) return complete(&me->host, job->op, GANTRY_FULL, "no memory for what is loaded", NULL);
    size_t count = 0;
    for (size_t i = place_of(log, prefix); i < log->count; ++i) {
        const struct entry* entry = &log->all[i];
        if (entry->key.length < prefix.len || (prefix.len > 0 && memcmp(entry->key.bytes, prefix.ptr, prefix.len) != 0))
            break;
        out[count++] = (gantry_store_entry){{entry->key.bytes, entry->key.length},
                                            {(const uint8_t*)entry->value.bytes, entry->value.length},
                                            entry->revision};
    }
    const gantry_store_entries result = {sizeof result, sizeof *out, out, count, log->revision};
    complete(&me->host, job->op, GANTRY_OK, "", &result);
    free(out);
}

static void do_commit(struct store* me, const struct job* job) {
    /* Past its deadline the host called it unknown and loads again: writing it now would surprise it. */
    if (me->host.ops->cancelled(me->host.handle, job->op))
        return complete(&me->host, job->op, GANTRY_CANCELLED, "nobody waits for this commit any more", NULL);
    me->log.why[0] = '\0';
    const gantry_status status = commit_changes(&me->log, &job->text, job->expected);
    const gantry_store_commit result = {sizeof result, 0, me->log.revision};
    complete(&me->host, job->op, status, me->log.why, status == GANTRY_OK ? &result : NULL);
}

static void* work(void* arg) {
    struct store* me = arg;
    pthread_mutex_lock(&me->mutex);
    for (;;) {
        while (me->first == NULL && !me->ending) pthread_cond_wait(&me->wake, &me->mutex);
        struct job* job = me->first;
        if (job == NULL) break;
        me->first = job->next;
        if (me->first == NULL) me->last = &me->first;
        --me->waiting;
        pthread_mutex_unlock(&me->mutex);
        job->is_commit ? do_commit(me, job) : do_load(me, job);
        free_job(job);
        pthread_mutex_lock(&me->mutex);
    }
    pthread_mutex_unlock(&me->mutex);
    return NULL;
}

/* Takes the job over. */
static gantry_status hand_over(struct store* me, struct job* job) {
    pthread_mutex_lock(&me->mutex);
    const gantry_status status = me->ending ? GANTRY_UNAVAILABLE : me->waiting >= JOBS_MAX ? GANTRY_FULL : GANTRY_OK;
    if (status == GANTRY_OK) {
        *me->last = job;
        me->last = &job->next;
        ++me->waiting;
        pthread_cond_signal(&me->wake);
    }
    pthread_mutex_unlock(&me->mutex);
    if (status != GANTRY_OK) free_job(job);
    return status;
}

/* ---- the role's slots ------------------------------------------------------------------------------------------- */

static gantry_status load(void* self, gantry_op op, gantry_str prefix) {
    struct job* job = calloc(1, sizeof *job);
    if (job == NULL || !put(&job->text, prefix.ptr, prefix.len)) return free_job(job), GANTRY_FULL;
    job->op = op.id;
    return hand_over(self, job);
}

/* What the arguments point to is gone when this returns: the job has copies. */
static gantry_status commit(void* self, gantry_op op, const gantry_store_batch* batch) {
    struct job* job = calloc(1, sizeof *job);
    if (job != NULL) job->expected = calloc(batch->count + 1, sizeof *job->expected);
    if (job == NULL || job->expected == NULL) return free_job(job), GANTRY_FULL;
    job->op = op.id;
    job->is_commit = 1;
    for (size_t i = 0; i < batch->count; ++i) {
        const gantry_store_change* change = (const void*)((const char*)batch->changes + i * (size_t)batch->change_size);
        job->expected[i] = change->expected;
        if (!put(&job->text, change->remove ? "-" : "+", 1) ||
            !put_text(&job->text, change->key.ptr, change->key.len) ||
            !put_text(&job->text, change->value.ptr, change->remove ? 0 : change->value.len))
            return free_job(job), GANTRY_FULL;
    }
    return hand_over(self, job);
}

static gantry_status elect(void* self, gantry_op op, gantry_str name, int64_t ttl_ns) {
    (void)self, (void)op, (void)name, (void)ttl_ns;
    return GANTRY_UNSUPPORTED; /* it is for one controller */
}

/* ---- the instance ---------------------------------------------------------------------------------------------- */

static gantry_status init(void* self, const gantry_config* config, gantry_error* error) {
    struct store* me = self;
    me->path = path_setting(config, "path", "log", 4095, error);
    me->log.path = me->path;
    return me->path == NULL ? GANTRY_INVALID : GANTRY_OK;
}

static gantry_status start(void* self, gantry_error* error) {
    struct store* me = self;
    gantry_status status = whole(&me->host, error);
    if (status != GANTRY_OK) return status;
    status = open_log(&me->log);
    if (status != GANTRY_OK) return refuse(error, status, "%s", me->log.why);
    const int failed = pthread_create(&me->thread, NULL, work, me);
    if (failed != 0) return refuse(error, GANTRY_FAILED, "no thread for the disk: %s", strerror(failed));
    me->runs = 1;
    return GANTRY_OK;
}

/* What waits is still written. */
static gantry_status stop(void* self, int64_t deadline_ns, gantry_error* error) {
    struct store* me = self;
    (void)deadline_ns, (void)error;
    pthread_mutex_lock(&me->mutex);
    me->ending = 1;
    pthread_cond_signal(&me->wake);
    pthread_mutex_unlock(&me->mutex);
    if (me->runs) pthread_join(me->thread, NULL);
    me->runs = 0;
    return GANTRY_OK;
}

static void destroy(void* self) {
    struct store* me = self;
    forget_all(&me->log);
    if (me->log.fd >= 0) close(me->log.fd);
    while (me->first != NULL) { /* of a start that failed */
        struct job* job = me->first;
        me->first = job->next;
        free_job(job);
    }
    pthread_cond_destroy(&me->wake);
    pthread_mutex_destroy(&me->mutex);
    free(me->path), free(me);
}

static const void* query(void* self, gantry_str id) {
    static const gantry_store table = {sizeof table, 0, load, commit, elect};
    (void)self;
    return equal(id, GANTRY_ROLE_STORE) ? &table : NULL;
}

static gantry_status create(const gantry_host* host, gantry_plugin* out, gantry_error* error) {
    if (out->struct_size < sizeof *out) return refuse(error, GANTRY_INVALID, "the host's plugin table is too small");
    struct store* me = calloc(1, sizeof *me);
    if (me == NULL) return GANTRY_FAILED;
    me->host = services_of(host);
    me->log.fd = -1;
    me->last = &me->first;
    pthread_mutex_init(&me->mutex, NULL);
    pthread_cond_init(&me->wake, NULL);
    *out = (gantry_plugin){sizeof *out, 0, me, init, start, stop, destroy, query};
    return GANTRY_OK;
}

PLUGIN_ENTRY(create)
