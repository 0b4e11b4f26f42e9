/**
 * @file vsoa_stats.h
 * What an operator looks at when clients and servers do not come together: how many connections of a server ended and
 * why, and why an automatic client has none. An extension: the vendor's library does not tell.
 */
#ifndef VSOA_STATS_H
#define VSOA_STATS_H

#include <stddef.h>

#include "vsoa_cliauto.h"
#include "vsoa_server.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Counts since the server was created. A connection ends for one reason. */
typedef struct {
    /** Of this structure: later versions add members at the end. */
    size_t size;
    /** Connections that were accepted. */
    uint64_t accepted;
    /** Clients that logged in. */
    uint64_t logins;
    /** Ended: what came is not VSOA, or longer than a packet may be. */
    uint64_t broken;
    /** Ended: a wrong password, or a request before the login. */
    uint64_t refused;
    /** Ended: a TLS handshake failed, or what came was not acceptable to TLS (vsoa_tls.h). */
    uint64_t insecure;
    /** Ended: no login in time, or it gave way to newer connections. */
    uint64_t late;
    /** Ended: the client did not take a packet within its send timeout. */
    uint64_t slow;
} vsoa_server_stats_t;

/** To begin with. */
#define VSOA_SERVER_STATS_INITIALIZER \
    { sizeof(vsoa_server_stats_t), 0, 0, 0, 0, 0, 0, 0 }

/** Tells the counts. Any thread.
 *  @param stats  size says how much of it is filled in
 *  @return true; false with errno EINVAL (NULL, or a size of less than the first version) */
bool vsoa_server_stats(vsoa_server_t* server, vsoa_server_stats_t* stats);

/** An attempt of an automatic client to connect came to nothing; after its pause it makes the next. Runs in its thread,
 * as its other callbacks do.
 *  @param error  errno: EPROTONOSUPPORT (the service's position says that it wants TLS, which the program did not ask
 *                for with vsoa_client_auto_tls), EPERM (a url could not be subscribed), ECONNRESET (the connection was
 *                lost before all were), ENOENT (the position servers do not know the name), EDESTADDRREQ (there is no
 *                position server), what else vsoa_position_lookup and vsoa_client_connect give, and what vsoa_tls.h
 *                lists */
typedef void (*vsoa_client_auto_fail_func_t)(void* arg, vsoa_client_auto_t* cliauto, int error);

/** Sets who is told of failed attempts. Thread as vsoa_client_auto_setup.
 *  @param onfail  NULL = nobody
 *  @param arg     handed to it
 *  @return true; false with errno EALREADY (started), EINVAL (NULL) */
bool vsoa_client_auto_on_fail(vsoa_client_auto_t* cliauto, vsoa_client_auto_fail_func_t onfail, void* arg);

#ifdef __cplusplus
}
#endif

#endif
