/**
 * @file vsoa_loop.h
 * Waiting and handling in one call, for programs that leave the event loop to the library. An extension: the vendor's
 * library has only vsoa_*_fds and vsoa_*_input_fds, which cost a select for each message.
 *
 *     while (vsoa_server_wait(server, NULL)) continue;
 *
 * What vsoa_*_input_fds promises holds here too: all callbacks run inside these functions, and they belong to the
 * thread of the event loop. A program may use either way, also in turn.
 */
#ifndef VSOA_LOOP_H
#define VSOA_LOOP_H

#include "vsoa_client.h"
#include "vsoa_server.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Waits until there is something to handle, and handles it.
 *  @param timeout  longest wait, rounded up to milliseconds; NULL = endless. A signal ends it earlier
 *  @return false: not started (errno ENOTCONN), or the system refused to wait (its errno) */
bool vsoa_server_wait(vsoa_server_t* server, const struct timespec* timeout);

/** The same for a client. @return false: the connection is lost, as of vsoa_client_input_fds. */
bool vsoa_client_wait(vsoa_client_t* client, const struct timespec* timeout);

#ifdef __cplusplus
}
#endif

#endif
