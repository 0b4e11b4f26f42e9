/**
 * @file vsoa_plistener.h
 * RPC listeners that run in worker threads, so that a call that takes long does not hold up the server's event loop.
 *
 * A parallel listener owns up to VSOA_SERVER_MAX_RPC_WORKER_THDS threads. vsoa_server_plistener_handler makes, out of
 * an ordinary RPC callback, the pair that vsoa_server_add_listener takes. The event loop copies each call and goes on;
 * a worker runs the callback, which answers with vsoa_server_cli_reply as everywhere.
 *
 * Threads: the functions may be called from any thread. Callbacks run in the workers, which take no signals; from
 * vsoa_server.h they may call what is allowed from any thread.
 *
 * Order: remove the listeners (or end the event loop), delete the parallel listener, close the server.
 *
 * Errors: errno EINVAL arguments, ENOMEM, EAGAIN threads could not be started.
 */
#ifndef VSOA_PLISTENER_H
#define VSOA_PLISTENER_H

#include "vsoa_server.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Most worker threads of one parallel listener. */
#define VSOA_SERVER_MAX_RPC_WORKER_THDS 8

/** A parallel listener; opaque. */
typedef struct vsoa_plistener vsoa_plistener_t;

/** What vsoa_server_add_listener takes. */
typedef struct {
    vsoa_server_cmd_func_t callback; /**< NULL: there is none, see errno */
    void* arg;                       /**< the library's */
} vsoa_plistener_handler_t;

/** Creates a parallel listener and starts its threads.
 *  @param thd_cnt  1 to VSOA_SERVER_MAX_RPC_WORKER_THDS
 *  @return to be freed with vsoa_server_plistener_delete; NULL with errno EINVAL, EAGAIN (no thread), ENOMEM */
vsoa_plistener_t* vsoa_server_plistener_create(int thd_cnt);

/** Ends the workers and frees the parallel listener with its handlers, which must no longer be listeners of a server
 *  whose loop runs. Callbacks that run are waited for; calls that still wait in a queue are not run but answered with
 *  VSOA_STATUS_NO_RESPONDING, so the server must not be closed yet when calls may wait. An event loop that waits for
 *  room in a queue goes on. Within a callback of this parallel listener it waits for the other workers only, and the
 *  memory is freed when the callback has returned.
 *  @param plistener  NULL does nothing */
void vsoa_server_plistener_delete(vsoa_plistener_t* plistener);

/** Makes a handler. It lives as long as the parallel listener.
 *  @param parallel    true: the callback may run in several workers at once; calls begin in the order they came.
 *                     false: one after the other, in the order they came
 *  @param max_queued  most calls that wait for a worker; above it the event loop of the server waits, and with it all
 *                     its clients; 0 = unlimited; at least 0
 *  @param callback    not NULL. Header, url and payload it gets are copies, valid until it returns, and lie in one
 * whole packet as they do in an ordinary callback. When there is no memory for the copy, the library answers
 * VSOA_STATUS_NO_MEMORY itself
 *  @param arg         handed to callback
 *  @return callback NULL with errno EINVAL, ENOMEM when it failed */
vsoa_plistener_handler_t vsoa_server_plistener_handler(vsoa_plistener_t* plistener, bool parallel, int max_queued,
                                                       vsoa_server_cmd_func_t callback, void* arg);

#ifdef __cplusplus
}
#endif

#endif
