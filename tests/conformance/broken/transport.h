/* SPDX-License-Identifier: Apache-2.0
 *
 * A transport between the instances of one process: a message is a job on the loop of whoever receives it. `path` in
 * its configuration stands for the secret.
 */
#ifndef GANTRY_BROKEN_TRANSPORT_H
#define GANTRY_BROKEN_TRANSPORT_H

#include <gantry/abi/transport.h>
#include <stdio.h>

#include "tests/conformance/broken/plugin.h"

#define ROLE_ID GANTRY_ROLE_TRANSPORT
#define MESSAGE_MAX (512 << 10)
#define QUEUE_MAX (4 << 20)

/* Set in a side's peer once it was closed: nothing can be sent to it any more. */
#define CLOSED (UINT64_C(1) << 63)

struct side {
    struct instance* of; /* NULL once it is down */
    uint64_t peer;       /* the other one, as this one calls it */
    int64_t queued;      /* bytes on their way from here */
    int blocked;
};

struct link {
    struct side side[2];
    struct link* next;
};

struct listener {
    struct instance* of;
    char address[64];
    struct listener* next;
};

static struct link* links;
static struct listener* listeners;
static uint64_t next_peer = 1;
static unsigned next_port = 20000;

struct message {
    struct link* link;
    int from;
    uint32_t channel;
    size_t len;
    char data[];
};

#ifndef ACCEPTS
#define ACCEPTS(listening, dialling) (strcmp((listening)->path, (dialling)->path) == 0)
#endif
#ifndef TELLS_OTHER
#define TELLS_OTHER 1
#endif

static inline const gantry_transport_sink* sink_of(const struct instance* me) { return me->sink; }

static inline struct side* find_side(struct instance* me, uint64_t peer, struct link** link, int* index) {
    for (struct link* l = links; l != NULL; l = l->next) {
        for (int i = 0; i < 2; ++i) {
            if (l->side[i].of != me || l->side[i].peer != peer) continue;
            *link = l;
            *index = i;
            return &l->side[i];
        }
    }
    return NULL;
}

static inline void deliver(void* arg) {
    struct message* m = arg;
    struct side *from = &m->link->side[m->from], *to = &m->link->side[1 - m->from];
    const gantry_bytes bytes = {(const uint8_t*)m->data, m->len};
    if (to->of != NULL) sink_of(to->of)->message(to->of->host, to->peer & ~CLOSED, m->channel, bytes);
    from->queued -= (int64_t)m->len;
    if (from->blocked && from->of != NULL && from->queued < QUEUE_MAX / 2) {
        from->blocked = 0;
        sink_of(from->of)->writable(from->of->host, from->peer);
    }
    free(m);
}

static inline gantry_status queue_message(struct instance* me, struct link* link, int index, uint32_t channel,
                                          gantry_bytes bytes, gantry_work_fn how) {
    struct message* m = malloc(sizeof(*m) + bytes.len);
    if (m == NULL) return GANTRY_FULL;
    m->link = link;
    m->from = index;
    m->channel = channel;
    m->len = bytes.len;
    if (bytes.len > 0) memcpy(m->data, bytes.ptr, bytes.len);
    link->side[index].queued += (int64_t)bytes.len;
    return me->io->post(link->side[1 - index].of->host, how, m);
}

static inline gantry_status good_send(void* self, uint64_t peer, uint32_t channel, gantry_bytes bytes) {
    struct link* link = NULL;
    int index = 0;
    struct side* side = find_side(self, peer, &link, &index);
    if (side == NULL || link->side[1 - index].of == NULL) return GANTRY_NOT_FOUND;
    if (bytes.len > MESSAGE_MAX) return GANTRY_INVALID;
    if (side->queued + (int64_t)bytes.len > QUEUE_MAX) {
        side->blocked = 1;
        return GANTRY_FULL;
    }
    return queue_message(self, link, index, channel, bytes, deliver);
}

struct ending {
    struct link* link;
    int side;
};

static inline void tell_down(void* arg) {
    struct ending* e = arg;
    struct side* side = &e->link->side[e->side];
    if (side->of != NULL) {
        sink_of(side->of)->down(side->of->host, side->peer & ~CLOSED, GANTRY_DOWN_CLOSED, text_of("closed"));
        side->of = NULL;
    }
    free(e);
}

/* What was sent is on the loop already, before the word that it is over. */
static inline gantry_status end_link(struct link* link, int index) {
    for (int i = 0; i < 2; ++i) {
        struct instance* of = link->side[i].of;
        struct ending* e = malloc(sizeof(*e));
        if (of == NULL || e == NULL || (i != index && !TELLS_OTHER)) {
            free(e);
            continue;
        }
        e->link = link;
        e->side = i;
        of->io->post(of->host, tell_down, e);
    }
    link->side[index].peer |= CLOSED;
    return GANTRY_OK;
}

static inline gantry_status good_close(void* self, uint64_t peer) {
    struct link* link = NULL;
    int index = 0;
    if (find_side(self, peer, &link, &index) == NULL) return GANTRY_OK;
    return end_link(link, index);
}

static inline gantry_status good_listen(void* self, gantry_op op, gantry_str address) {
    struct instance* me = self;
    struct listener* l = calloc(1, sizeof(*l));
    if (l == NULL) return GANTRY_FULL;
    snprintf(l->address, sizeof(l->address), "%.*s", (int)address.len, address.ptr);
    if (strcmp(l->address, "127.0.0.1:0") == 0) snprintf(l->address, sizeof(l->address), "127.0.0.1:%u", next_port++);
    for (struct listener* other = listeners; other != NULL; other = other->next) {
        if (strcmp(other->address, l->address) != 0) continue;
        free(l);
        me->ops->complete(me->host, op.id, GANTRY_UNAVAILABLE, text_of("somebody listens there"), NULL);
        return GANTRY_OK;
    }
    l->of = me;
    l->next = listeners;
    listeners = l;
    const gantry_listen_result result = {sizeof(result), 0, text_of(l->address)};
    me->ops->complete(me->host, op.id, GANTRY_OK, text_of(""), &result);
    return GANTRY_OK;
}

static inline struct link* connect_to(struct instance* me, struct listener* l, const char* local) {
    struct link* link = calloc(1, sizeof(*link));
    if (link == NULL) return NULL;
    link->side[0].of = me;
    link->side[0].peer = next_peer++;
    link->side[1].of = l->of;
    link->side[1].peer = next_peer++;
    link->next = links;
    links = link;
    sink_of(l->of)->up(l->of->host, link->side[1].peer, 1, text_of(local), text_of(l->address));
    return link;
}

static inline gantry_status dial_in_order(void* self, gantry_op op, gantry_str address, int up_first) {
    struct instance* me = self;
    char local[64];
    struct listener* l = listeners;
    while (l != NULL && !same_text(address, l->address)) l = l->next;
    snprintf(local, sizeof(local), "127.0.0.1:%u", next_port++);
    if (l == NULL) {
        me->ops->complete(me->host, op.id, GANTRY_UNAVAILABLE, text_of("nobody listens there"), NULL);
        return GANTRY_OK;
    }
    if (!ACCEPTS(l->of, me)) {
        sink_of(l->of)->refused(l->of->host, text_of(local), GANTRY_DOWN_REFUSED, text_of("the secrets differ"));
        me->ops->complete(me->host, op.id, GANTRY_DENIED, text_of("the secrets differ"), NULL);
        return GANTRY_OK;
    }
    struct link* link = connect_to(me, l, local);
    if (link == NULL) return GANTRY_FULL;
    const gantry_dial_result result = {sizeof(result), 0, link->side[0].peer};
    if (up_first) sink_of(me)->up(me->host, link->side[0].peer, 0, text_of(l->address), text_of(local));
    me->ops->complete(me->host, op.id, GANTRY_OK, text_of(""), &result);
    if (!up_first) sink_of(me)->up(me->host, link->side[0].peer, 0, text_of(l->address), text_of(local));
    return GANTRY_OK;
}

static inline gantry_status good_dial(void* self, gantry_op op, gantry_str address) {
    return dial_in_order(self, op, address, 1);
}

static inline gantry_status good_bind(void* self, const gantry_transport_sink* sink) {
    ((struct instance*)self)->sink = sink;
    return GANTRY_OK;
}

static inline gantry_status transport_stop(void* self, int64_t deadline_ns, gantry_error* error) {
    (void)deadline_ns, (void)error;
    for (struct listener** at = &listeners; *at != NULL;) {
        struct listener* l = *at;
        if (l->of != self) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        free(l);
    }
    for (struct link* l = links; l != NULL; l = l->next) {
        for (int i = 0; i < 2; ++i) {
            if (l->side[i].of != self) continue;
            end_link(l, i);
            l->side[i].of = NULL;
        }
    }
    return GANTRY_OK;
}

static const gantry_transport_facts good_facts = {sizeof(good_facts), 1, MESSAGE_MAX, QUEUE_MAX};

#define ROLE(...)                                                                  \
    static const gantry_transport role_table = {.struct_size = sizeof(role_table), \
                                                .facts = &good_facts,              \
                                                .bind = good_bind,                 \
                                                .listen = good_listen,             \
                                                .dial = good_dial,                 \
                                                .send = good_send,                 \
                                                .close = good_close,               \
                                                __VA_ARGS__};

#define TRANSPORT_INSTANCE INSTANCE(.stop = transport_stop)

#endif
