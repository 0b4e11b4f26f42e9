/**
 * @file vsoa_stats.h
 * How many connections of a server ended, and why: what an operator looks at when something knocks at the port. An
 * extension: the vendor's library does not tell.
 */
#ifndef VSOA_STATS_H
#define VSOA_STATS_H

#include <stddef.h>

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

#ifdef __cplusplus
}
#endif

#endif
