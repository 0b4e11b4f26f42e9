/**
 * @file vsoa_cliauto.h
 * The automatic client: a thread of its own finds the server, connects, subscribes, watches the connection and does it
 * all again, for ever, when the server is gone or has moved.
 *
 * Callbacks (messages, connect, and those of calls made with vsoa_client_auto_handle) run in that thread. Inside them
 * only vsoa_client_auto_handle of this header may be called, and from vsoa_client.h what is allowed in callbacks; never
 * vsoa_client_sync_call.
 *
 * Errors: false with errno: EINVAL arguments out of range, EALREADY started, ENOMEM.
 */
#ifndef VSOA_CLIAUTO_H
#define VSOA_CLIAUTO_H

#include "vsoa_client.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VSOA_CLIENT_AUTO_MAX_INFO 2048   /**< longest info text given to the connect callback, with its NUL */
#define VSOA_CLIENT_AUTO_MAX_PING_LOST 3 /**< more lost pings in a row end the connection */

typedef struct vsoa_client_auto vsoa_client_auto_t;

/** Connected, all subscriptions made (true), or connection lost (false). info: the server's text; "" when lost. */
typedef void (*vsoa_client_conn_func_t)(void* arg, vsoa_client_auto_t* cliauto, bool connect, const char* info);

/** Creates an automatic client. @return NULL on failure; free with vsoa_client_auto_delete. */
vsoa_client_auto_t* vsoa_client_auto_create(vsoa_client_msg_func_t onmsg, void* arg);

/** Stops it, as vsoa_client_auto_stop does, and frees it. */
void vsoa_client_auto_delete(vsoa_client_auto_t* cliauto);

/** Sets the connect callback; before start. */
bool vsoa_client_auto_setup(vsoa_client_auto_t* cliauto, vsoa_client_conn_func_t onconn, void* arg);

/** After every connect, calls RPC GET on each url and gives the answers to onmsg as if they had been published: the
 *  program then knows the present values, whatever it missed. Before start.
 *  @param urls  copied  @param rpc_timeout  ms */
bool vsoa_client_auto_consistent(vsoa_client_auto_t* cliauto, char* const urls[], int url_cnt,
                                 unsigned int rpc_timeout);

/** While an RPC call is outstanding, sends a tiny packet every turbo ms so that a lost packet is sent again sooner.
 *  @param turbo    0 = off, else at least 25 and at most keepalive
 *  @param max_cnt  at most so many in a row, at least 3 */
bool vsoa_client_auto_ping_turbo(vsoa_client_auto_t* cliauto, unsigned int turbo, unsigned int max_cnt);

/** Starts the thread and returns at once.
 *  @param server        "address:port" ("[v6]:port"), a service name, or either behind "vsoa://"; a name is looked up
 *                       (vsoa_position_lookup) before every attempt to connect
 *  @param passwd        NULL = none; copied
 *  @param urls          url_cnt strings (char *const[]) to subscribe; copied. Declared as const void * so that programs
 *                       written for the vendor's header, which cast this argument to other pointer types, compile
 *                       without warnings
 *  @param keepalive     ms, at least 50: period and time limit of pings
 *  @param conn_timeout  ms, at least 20: limit of one look-up and of one connect
 *  @param reconn_delay  ms, at least 20: pause before the next attempt */
bool vsoa_client_auto_start(vsoa_client_auto_t* cliauto, const char* server, const char* passwd, const void* urls,
                            int url_cnt, unsigned int keepalive, unsigned int conn_timeout, unsigned int reconn_delay);

/** Stops the thread and disconnects; the connect callback says so if it was connected. Waits for no look-up, connect or
 *  pause: it returns as soon as a callback that is running has returned and a packet that is being sent is handed to
 * the kernel, which takes the send timeout (vsoa_client_send_timeout, 500 ms) at most. */
bool vsoa_client_auto_stop(vsoa_client_auto_t* cliauto);

/** The client inside, from create to delete; for communication, not to connect, close or wait on. */
vsoa_client_t* vsoa_client_auto_handle(vsoa_client_auto_t* cliauto);

/** Address of the connected server. @param namelen room in addr, then its length. False when not connected. */
bool vsoa_client_auto_server_address(vsoa_client_auto_t* cliauto, struct sockaddr* addr, socklen_t* namelen);

#ifdef __cplusplus
}
#endif

#endif
