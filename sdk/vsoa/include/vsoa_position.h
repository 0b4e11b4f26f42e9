/**
 * @file vsoa_position.h
 * Position service: which address has the service of this name. One JSON text in one UDP datagram each way.
 *
 * Threads: start, fd, input and close of a position server belong to one thread; response, set_custom, custom and both
 * look-up functions may be called from any.
 *
 * Errors: false, NULL or -1, with errno; functions without a result set errno alone. EINVAL: NULL where no comment
 * allows it, and arguments out of range. What else stands with the function.
 */
#ifndef VSOA_POSITION_H
#define VSOA_POSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VSOA_POSITION_MAX_NAME_LEN 512 /**< longest name, bytes */

/** A position server; opaque. */
typedef struct vsoa_position_server vsoa_position_server_t;

/** A query that waits for its answer; opaque. */
typedef struct vsoa_position_response vsoa_position_response_t;

/** Somebody asks for a name. Runs in vsoa_position_server_input. Answer once, now or later, with
 * vsoa_position_server_response. Above 1024 queries without an answer the oldest is forgotten; answering one that was
 * forgotten does nothing.
 *  @param domain      AF_INET, AF_INET6 or -1 for any
 *  @param query_name  at most VSOA_POSITION_MAX_NAME_LEN bytes and NUL; valid until the callback returns; compare
 * without regard to case
 *  @param response    for vsoa_position_server_response */
typedef void (*vsoa_position_query_func_t)(void* arg, int domain, const char* query_name,
                                           vsoa_position_response_t* response);

/** Creates a position server that is not started.
 *  @param query  not NULL
 *  @param arg    handed to it
 *  @return to be freed with vsoa_position_server_close; NULL with errno EINVAL, ENOMEM */
vsoa_position_server_t* vsoa_position_server_create(vsoa_position_query_func_t query, void* arg);

/** Closes it; unanswered queries are freed and must not be answered afterwards. Not inside a callback, where it does
 *  nothing and sets errno to EDEADLK.
 *  @param server  NULL does nothing */
void vsoa_position_server_close(vsoa_position_server_t* server);

/** Binds the UDP socket; once. Answers leave from the address that was asked, also on 0.0.0.0 or ::.
 *  @param pos_addr  IPv4 or IPv6; the usual port is 54, and below 1024 it takes a privilege
 *  @param addr_len  its length in bytes
 *  @return true; false with errno EALREADY (started), EADDRINUSE, EACCES or another of socket(2) and bind(2) */
bool vsoa_position_server_start(vsoa_position_server_t* server, const struct sockaddr* pos_addr, socklen_t addr_len);

/** As vsoa_position_server_start, on a UDP socket that is bound already: by who started this program, or by the program
 * that it takes over from. An extension of this library.
 *  @param fd  IPv4 or IPv6; the server's from here on, if this succeeds
 *  @return true; false with errno EALREADY (started), EINVAL (no such socket), EBADF, ENOTSOCK */
bool vsoa_position_server_start_fd(vsoa_position_server_t* server, int fd);

/** @return the descriptor to wait on for reading; -1 before start, and with errno EINVAL */
int vsoa_position_server_fd(vsoa_position_server_t* server);

/** Handles what has arrived; the query callback runs in here. Does not wait. */
void vsoa_position_server_input(vsoa_position_server_t* server);

/** Answers a query and frees it; from any thread.
 *  @param response   from the callback; one that was forgotten does nothing
 *  @param vsoa_serv  address of the service, IPv4 or IPv6; NULL = there is none of that name
 *  @param addr_len   its length in bytes
 *  @param sec        the service wants TLS */
void vsoa_position_server_response(vsoa_position_server_t* server, vsoa_position_response_t* response,
                                   const struct sockaddr* vsoa_serv, socklen_t addr_len, bool sec);

/** Sets a pointer of the program's; NULL at first; never touched by the library. */
void vsoa_position_server_set_custom(vsoa_position_server_t* server, void* custom);

/** @return that pointer; NULL with errno EINVAL */
void* vsoa_position_server_custom(vsoa_position_server_t* server);

/** Fixes the position server that this process asks.
 *  @param pos_addr  IPv4 or IPv6; NULL = back to the environment and the file
 *  @param addr_len  its length in bytes
 *  @return true; false with errno EINVAL */
bool vsoa_position_lookup_server(const struct sockaddr* pos_addr, socklen_t addr_len);

/** Looks a name up; waits. Any thread. Asked are the server fixed by vsoa_position_lookup_server; else those in the
 *  environment variable VSOA_POS_SERVER ("ip:port,[v6]:port,ip"); else those in /etc/vsoa.pos (lines "ip port"). The
 *  first one that knows the name decides; one that is silent for a moment does not hold up the next.
 *  @param domain     AF_INET, AF_INET6 or -1 for any
 *  @param serv_name  at most VSOA_POSITION_MAX_NAME_LEN bytes
 *  @param serv_addr  receives the address
 *  @param addr_len   room in serv_addr in bytes, then the length of the address
 *  @param sec        true: the service wants TLS; may be NULL
 *  @param timeout    for all of it; NULL = 2 s
 *  @return true; false with errno ENOENT (no service of that name), ETIMEDOUT (no answer), ECONNREFUSED (no server
 *          there), EDESTADDRREQ (no position server is configured), EINVAL (also: no room), ENOMEM, or of socket(2) */
bool vsoa_position_lookup(int domain, const char* serv_name, struct sockaddr* serv_addr, socklen_t* addr_len, bool* sec,
                          const struct timespec* timeout);

#ifdef __cplusplus
}
#endif

#endif
