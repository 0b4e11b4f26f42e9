/**
 * @file vsoa_cliauto.h
 * The automatic client: a thread of its own finds the server, connects, subscribes, watches the connection and does it
 * all again, for ever, when the server is gone or has moved.
 *
 * Callbacks (messages, connect, and those of calls made with vsoa_client_auto_handle) run in that thread. Inside them
 * only vsoa_client_auto_handle of this header may be called, and from vsoa_client.h what is allowed in callbacks; never
 * vsoa_client_sync_call.
 *
 * Threads: the functions of this header belong to one thread of the program, with the exception of
 * vsoa_client_auto_handle and vsoa_client_auto_server_address, which any thread may call. Settings are made before
 * start.
 *
 * Errors: false or NULL, with errno EINVAL for NULL and for arguments out of range; what else stands with the function.
 */
#ifndef VSOA_CLIAUTO_H
#define VSOA_CLIAUTO_H

#include "vsoa_client.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VSOA_CLIENT_AUTO_MAX_INFO 2048   /**< longest info text given to the connect callback, with its NUL */
#define VSOA_CLIENT_AUTO_MAX_PING_LOST 3 /**< more lost pings in a row end the connection */

/** An automatic client; opaque. */
typedef struct vsoa_client_auto vsoa_client_auto_t;

/** Connected, all subscriptions made (true), or connection lost (false). Messages come after the one and before the
 * other.
 *  @param info  the server's text, at most VSOA_CLIENT_AUTO_MAX_INFO - 1 bytes and NUL; "" when lost; valid until the
 *               callback returns */
typedef void (*vsoa_client_conn_func_t)(void* arg, vsoa_client_auto_t* cliauto, bool connect, const char* info);

/** Creates an automatic client that is not started.
 *  @param onmsg  gets every publish; may be NULL
 *  @param arg    handed to it
 *  @return to be freed with vsoa_client_auto_delete; NULL with errno ENOMEM, EMFILE, ENFILE */
vsoa_client_auto_t* vsoa_client_auto_create(vsoa_client_msg_func_t onmsg, void* arg);

/** Stops it, as vsoa_client_auto_stop does, and frees it; not inside a callback, where it does nothing and sets errno
 * to EDEADLK. @param cliauto NULL does nothing */
void vsoa_client_auto_delete(vsoa_client_auto_t* cliauto);

/** Sets the connect callback.
 *  @param onconn  NULL = none
 *  @param arg     handed to it
 *  @return true; false with errno EALREADY (started) */
bool vsoa_client_auto_setup(vsoa_client_auto_t* cliauto, vsoa_client_conn_func_t onconn, void* arg);

/** After every connect, calls RPC GET on each url and gives the answers to onmsg as if they had been published: the
 *  program then knows the present values, whatever it missed. Before start.
 *  @param urls         url_cnt texts terminated by NUL, each beginning with '/'; copied
 *  @param url_cnt      how many; 0 = none
 *  @param rpc_timeout  ms for each call; one that is not answered in time, or not with success, gives nothing
 *  @return true; false with errno EALREADY (started), ENOMEM */
bool vsoa_client_auto_consistent(vsoa_client_auto_t* cliauto, char* const urls[], int url_cnt,
                                 unsigned int rpc_timeout);

/** While an RPC call is outstanding, sends a tiny packet every turbo ms so that a lost packet is sent again sooner.
 *  @param turbo    0 = off, else at least 25 and at most keepalive
 *  @param max_cnt  at most so many in a row, at least 3; of no meaning when turbo is 0
 *  @return true; false with errno EALREADY (started) */
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
 *  @param reconn_delay  ms, at least 20: pause before the next attempt
 *  @return true; false with errno EALREADY (started), EINVAL (also: a period of turbo pings above keepalive), ENOMEM,
 *          EAGAIN (no thread). That the server cannot be reached is no failure of this function; the reason is told to
 *          vsoa_client_auto_on_fail (vsoa_stats.h) */
bool vsoa_client_auto_start(vsoa_client_auto_t* cliauto, const char* server, const char* passwd, const void* urls,
                            int url_cnt, unsigned int keepalive, unsigned int conn_timeout, unsigned int reconn_delay);

/** Stops the thread and disconnects; the connect callback says so if it was connected. Waits for no look-up, connect or
 *  pause: it returns as soon as a callback that is running has returned and a packet that is being sent is handed to
 *  the kernel, which takes the send timeout (vsoa_client_send_timeout, 500 ms) at most. Not inside a callback. It may
 * be started again.
 *  @return true; false with errno EALREADY (not started), EDEADLK (inside a callback) */
bool vsoa_client_auto_stop(vsoa_client_auto_t* cliauto);

/** Tells the client inside, valid from create to delete; for communication, not to connect, close or wait on.
 *  @return the client; NULL with errno EINVAL */
vsoa_client_t* vsoa_client_auto_handle(vsoa_client_auto_t* cliauto);

/** Tells the address of the connected server; best asked in the connect callback.
 *  @param addr     receives the address
 *  @param namelen  room in addr in bytes, then the address's length
 *  @return true; false with errno ENOTCONN, EINVAL (also: no room) */
bool vsoa_client_auto_server_address(vsoa_client_auto_t* cliauto, struct sockaddr* addr, socklen_t* namelen);

#ifdef __cplusplus
}
#endif

#endif
