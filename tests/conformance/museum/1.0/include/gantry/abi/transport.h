/* SPDX-License-Identifier: Apache-2.0
 *
 * Role transport/1: carries messages between agents and controllers.
 *
 * Contract: messages of one peer and channel arrive in the order they were sent, whole, at most once; channel 0 goes
 * before channel 1 where both wait. Nothing is delivered after down. Every peer has proved that it knows the cluster
 * secret before up; everything on the wire is encrypted. Limits and back-pressure are part of the contract.
 */
#ifndef GANTRY_ABI_TRANSPORT_H
#define GANTRY_ABI_TRANSPORT_H

#include <gantry/abi/base.h>

GANTRY_EXTERN_C_BEGIN

#define GANTRY_ROLE_TRANSPORT "gantry.role.transport/1"

#define GANTRY_CHANNEL_CONTROL 0
#define GANTRY_CHANNEL_BULK 1

/* why a peer went down, or a connection did not come up */
#define GANTRY_DOWN_CLOSED 1  /* closed in order, by either side */
#define GANTRY_DOWN_RESET 2   /* the connection broke */
#define GANTRY_DOWN_REFUSED 3 /* the other side could not prove that it knows the secret */
#define GANTRY_DOWN_TIMEOUT 4 /* no progress for the transport's own limit */

typedef struct gantry_transport_facts {
    uint32_t struct_size;
    uint32_t encrypted;        /* 1 for everything that leaves the process */
    int64_t message_max_bytes; /* longest message that send takes */
    int64_t queue_max_bytes;   /* per peer; above it send answers GANTRY_FULL until writable */
} gantry_transport_facts;

typedef struct gantry_transport_sink {
    uint32_t struct_size;
    uint32_t reserved;
    /* peer can be sent to. inbound: it dialled us. address: of the other side, "10.0.0.2:41234"; local_address: ours
     * on that connection. [any], in order per peer */
    gantry_status (*up)(uint64_t host, uint64_t peer, uint32_t inbound, gantry_str address,
                        gantry_str local_address) GANTRY_NOEXCEPT;
    gantry_status (*message)(uint64_t host, uint64_t peer, uint32_t channel, gantry_bytes bytes) GANTRY_NOEXCEPT;
    /* The last word about peer; reason GANTRY_DOWN_... */
    gantry_status (*down)(uint64_t host, uint64_t peer, uint32_t reason, gantry_str text) GANTRY_NOEXCEPT;
    /* After GANTRY_FULL: there is room again. */
    gantry_status (*writable)(uint64_t host, uint64_t peer) GANTRY_NOEXCEPT;
    /* An incoming connection was turned away before up. The host limits how often it is logged. */
    gantry_status (*refused)(uint64_t host, gantry_str address, uint32_t reason, gantry_str text) GANTRY_NOEXCEPT;
    /* The peer opened a stream; fd belongs to the host. */
    gantry_status (*stream)(uint64_t host, uint64_t peer, gantry_str name, int32_t fd) GANTRY_NOEXCEPT;
} gantry_transport_sink;

/* result of listen */
typedef struct gantry_listen_result {
    uint32_t struct_size;
    uint32_t reserved;
    gantry_str address; /* with the real port where 0 was asked for */
} gantry_listen_result;

/* result of dial */
typedef struct gantry_dial_result {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t peer;
} gantry_dial_result;

typedef struct gantry_transport {
    uint32_t struct_size;
    uint32_t reserved;
    const gantry_transport_facts* facts; /* valid from a successful init to destroy */
    /* Notification: where to report; once, before start. sink lives as long as the instance. [loop] */
    gantry_status (*bind)(void* self, const gantry_transport_sink* sink) GANTRY_NOEXCEPT;
    /* Operation, result gantry_listen_result. address "ip:port". Errors: GANTRY_UNAVAILABLE (in use, not ours).
     * [loop] */
    gantry_status (*listen)(void* self, gantry_op op, gantry_str address) GANTRY_NOEXCEPT;
    /* Operation, result gantry_dial_result: up comes first, then the completion. Errors: GANTRY_UNAVAILABLE,
     * GANTRY_DENIED (the secrets differ), GANTRY_DEADLINE. [loop] */
    gantry_status (*dial)(void* self, gantry_op op, gantry_str address) GANTRY_NOEXCEPT;
    /* Notification: GANTRY_OK took the bytes over; GANTRY_FULL (wait for writable), GANTRY_NOT_FOUND (peer is down),
     * GANTRY_INVALID (longer than message_max_bytes). [loop] */
    gantry_status (*send)(void* self, uint64_t peer, uint32_t channel, gantry_bytes bytes) GANTRY_NOEXCEPT;
    /* Notification: flush what is queued for at most a second, then close; down follows.
     * For a peer that is down, or never was up, it does nothing. Errors: none but GANTRY_FAILED. [loop] */
    gantry_status (*close)(void* self, uint64_t peer) GANTRY_NOEXCEPT;
    /* Operation: connects fd (a socket, the transport's from an accepted call on) to a stream at the peer. [loop] */
    gantry_status (*open_stream)(void* self, gantry_op op, uint64_t peer, gantry_str name, int32_t fd) GANTRY_NOEXCEPT;
} gantry_transport;

GANTRY_STATIC_ASSERT(sizeof(gantry_transport_facts) == 24, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_transport_sink) == 56, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_listen_result) == 24, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_dial_result) == 16, "layout");
GANTRY_STATIC_ASSERT(sizeof(gantry_transport) == 64, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_transport, send) == 40, "layout");
GANTRY_STATIC_ASSERT(offsetof(gantry_transport_sink, refused) == 40, "layout");

GANTRY_EXTERN_C_END

#endif
