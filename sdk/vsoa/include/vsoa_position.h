/**
 * @file vsoa_position.h
 * Position service: which address has the service of this name. One JSON text in one UDP datagram each way.
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

typedef struct vsoa_position_server vsoa_position_server_t;
typedef struct vsoa_position_response vsoa_position_response_t;

/** Somebody asks for a name. Answer once, now or later, with vsoa_position_server_response. Above 1024 queries without
 *  an answer the oldest is forgotten; answering one that was forgotten does nothing.
 *  @param domain      AF_INET, AF_INET6 or -1 for any
 *  @param query_name  valid until the callback returns; compare without regard to case */
typedef void (*vsoa_position_query_func_t)(void* arg, int domain, const char* query_name,
                                           vsoa_position_response_t* response);

/** Creates a position server. @return NULL on failure; free with vsoa_position_server_close. */
vsoa_position_server_t* vsoa_position_server_create(vsoa_position_query_func_t query, void* arg);

/** Closes it; unanswered queries are freed and must not be answered afterwards. */
void vsoa_position_server_close(vsoa_position_server_t* server);

/** Binds the UDP socket (usual port: 54). Answers leave from the address that was asked, also on 0.0.0.0 or ::. */
bool vsoa_position_server_start(vsoa_position_server_t* server, const struct sockaddr* pos_addr, socklen_t addr_len);

/** Descriptor to wait on for reading; -1 before start. */
int vsoa_position_server_fd(vsoa_position_server_t* server);

/** Handles what has arrived; the query callback runs in here. Does not wait. */
void vsoa_position_server_input(vsoa_position_server_t* server);

/** Answers a query and frees it; from any thread.
 *  @param vsoa_serv  address of the service; NULL = there is none of that name
 *  @param sec        the service wants TLS */
void vsoa_position_server_response(vsoa_position_server_t* server, vsoa_position_response_t* response,
                                   const struct sockaddr* vsoa_serv, socklen_t addr_len, bool sec);

/** A pointer of the program's. */
void vsoa_position_server_set_custom(vsoa_position_server_t* server, void* custom);
void* vsoa_position_server_custom(vsoa_position_server_t* server);

/** Fixes the position server that this process asks; NULL = back to the environment and the file. Any thread. */
bool vsoa_position_lookup_server(const struct sockaddr* pos_addr, socklen_t addr_len);

/** Looks a name up; waits. Any thread. Asked are the server fixed by vsoa_position_lookup_server; else those in the
 *  environment variable VSOA_POS_SERVER ("ip:port,[v6]:port,ip"); else those in /etc/vsoa.pos (lines "ip port"). The
 *  first one that knows the name decides; one that is silent for a moment does not hold up the next.
 *  @param domain     AF_INET, AF_INET6 or -1 for any
 *  @param addr_len   room in serv_addr, then the length of the address
 *  @param sec        true: the service wants TLS; may be NULL
 *  @param timeout    for all of it; NULL = 2 s
 *  @return false with errno ENOENT no service of that name, ETIMEDOUT no answer, EDESTADDRREQ no position server is
 *          configured, EINVAL */
bool vsoa_position_lookup(int domain, const char* serv_name, struct sockaddr* serv_addr, socklen_t* addr_len, bool* sec,
                          const struct timespec* timeout);

#ifdef __cplusplus
}
#endif

#endif
