/**
 * @file vsoa_client.h
 * A VSOA client that the program drives: connects, subscribes, calls RPC, exchanges datagrams, opens streams.
 * (vsoa_cliauto.h has one that drives itself.)
 *
 * The program owns the event loop: vsoa_client_fds, select or pselect, vsoa_client_input_fds when readable. Every
 * callback runs inside vsoa_client_input_fds. The set holds one descriptor that also becomes readable when the time
 * limit of a call is over, so the wait may be endless.
 *
 * Threads. From any thread, callbacks included: ping, subscribe, unsubscribe, multi_subscribe, multi_unsubscribe, call,
 * datagram, quick_datagram, is_connect, send_timeout, set_custom, custom, stream_create, stream_close and, from any
 * thread but that of the event loop, sync_call. Everything else belongs to the thread of the event loop. Close the
 * client only when no other thread is inside one of its functions, and never inside a callback.
 *
 * url and payload arguments are copied or sent before a function returns. A timeout of NULL means 60 s.
 *
 * Errors: false, NULL or a negative number, with errno: EINVAL arguments, ENOTCONN not connected, EMSGSIZE packet too
 * long, EAGAIN 65536 calls are already outstanding, ENOMEM, or what the system call said.
 */
#ifndef VSOA_CLIENT_H
#define VSOA_CLIENT_H

#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>

#include "vsoa_parser.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VSOA_CLIENT_TIMER_PERIOD 10      /**< ms; the vendor's timer tick, this library's timers are exact */
#define VSOA_CLIENT_DEF_TIMEOUT 60000    /**< ms, of a call */
#define VSOA_CLIENT_DEF_SEND_TIMEOUT 500 /**< ms */
#define VSOA_CLIENT_KEEPALIVE_TIMEOUT 10 /**< s, usual keepalive of a stream */
#define VSOA_CLIENT_RPC_METHOD_GET 0
#define VSOA_CLIENT_RPC_METHOD_SET 1

typedef struct vsoa_client vsoa_client_t;
typedef struct vsoa_client_sync_call vsoa_client_sync_call_t;

/** A publish arrived; quick: over UDP. Valid until the callback returns; pointers are never NULL. */
typedef void (*vsoa_client_msg_func_t)(void* arg, vsoa_client_t* client, vsoa_url_t* url, vsoa_payload_t* payload,
                                       bool quick);

/** An RPC call ended. vsoa_hdr and payload are NULL when there was no answer (time over or link lost), else valid until
 *  the callback returns; the result is vsoa_parser_get_status(vsoa_hdr). */
typedef void (*vsoa_client_rpc_func_t)(void* arg, vsoa_client_t* client, vsoa_header_t* vsoa_hdr,
                                       vsoa_payload_t* payload);

/** A ping, subscribe or unsubscribe ended. False: refused, time over or link lost. */
typedef void (*vsoa_client_res_func_t)(void* arg, vsoa_client_t* client, bool success);

/** A datagram of the server arrived; quick: over UDP. Valid until the callback returns. */
typedef void (*vsoa_client_dat_func_t)(void* arg, vsoa_client_t* client, vsoa_url_t* url, vsoa_payload_t* payload,
                                       bool quick);

/** Creates a client. @param onmsg gets every publish, may be NULL. @return NULL on failure; free with close. */
vsoa_client_t* vsoa_client_create(vsoa_client_msg_func_t onmsg, void* arg);

/** Disconnects and frees the client. No callback runs. */
void vsoa_client_close(vsoa_client_t* client);

/** SO_LINGER of the present connection, in seconds; 0 = reset at close; negative = off. Again after each connect. */
bool vsoa_client_linger(vsoa_client_t* client, int time);

/** Connects and logs in; waits for the answer.
 *  @param timeout  for all of it; NULL = 60 s
 *  @param passwd   NULL or "" = none
 *  @param info     receives the server's info text, cut to sz_info bytes with the NUL; may be NULL
 *  @return false with errno EACCES wrong password, ETIMEDOUT, EPROTO the peer does not speak VSOA, EISCONN already
 *          connected, ECONNREFUSED and others of connect(2). Subscriptions end with a connection. */
bool vsoa_client_connect(vsoa_client_t* client, const struct sockaddr* server, socklen_t namelen,
                         const struct timespec* timeout, const char* passwd, char* info, size_t sz_info);

/** Closes the connection; outstanding calls end without answer in the next vsoa_client_input_fds. */
bool vsoa_client_disconnect(vsoa_client_t* client);

bool vsoa_client_is_connect(vsoa_client_t* client);

/** Cuts a url into its components: returns the next one (not terminated), its length in *len, and moves url behind it.
 *  NULL at the end. No memory is changed. */
char* vsoa_client_path_token(vsoa_client_t* client, vsoa_url_t* url, size_t* len);

/** How long a packet may wait to be taken by the network before the connection counts as broken. NULL = 500 ms. */
bool vsoa_client_send_timeout(vsoa_client_t* client, const struct timespec* timeout);

/** Adds the client's descriptor to rfds. @return the highest descriptor added, -1 when it does not fit an fd_set. */
int vsoa_client_fds(vsoa_client_t* client, fd_set* rfds);

/** Handles what is readable; all callbacks run in here. @return false: there is no connection (any more). */
bool vsoa_client_input_fds(vsoa_client_t* client, const fd_set* rfds);

/** Asks for a sign of life. With callback NULL a NOOP is sent, which is not answered. */
bool vsoa_client_ping(vsoa_client_t* client, vsoa_client_res_func_t callback, void* arg,
                      const struct timespec* timeout);

/** Subscribes to a url; see vsoa_server_publish for what matches. callback may be NULL. */
bool vsoa_client_subscribe(vsoa_client_t* client, const vsoa_url_t* url, vsoa_client_res_func_t callback, void* arg,
                           const struct timespec* timeout);

/** Takes a subscription back; url as it was subscribed. */
bool vsoa_client_unsubscribe(vsoa_client_t* client, const vsoa_url_t* url, vsoa_client_res_func_t callback, void* arg,
                             const struct timespec* timeout);

/** Subscribes to several urls (UTF-8, terminated by NUL) with one packet. The vendor's Go server does not know this
 *  form; use vsoa_client_subscribe with servers you do not know. */
bool vsoa_client_multi_subscribe(vsoa_client_t* client, char* const urls[], int cnt, vsoa_client_res_func_t callback,
                                 void* arg, const struct timespec* timeout);
bool vsoa_client_multi_unsubscribe(vsoa_client_t* client, char* const urls[], int cnt, vsoa_client_res_func_t callback,
                                   void* arg, const struct timespec* timeout);

/** Calls an RPC. @param method VSOA_CLIENT_RPC_METHOD_*. @param callback NULL = the answer does not matter. */
bool vsoa_client_call(vsoa_client_t* client, int method, const vsoa_url_t* url, const vsoa_payload_t* payload,
                      vsoa_client_rpc_func_t callback, void* arg, const struct timespec* timeout);

/** Sends a datagram over TCP: ordered, not answered. */
bool vsoa_client_datagram(vsoa_client_t* client, const vsoa_url_t* url, const vsoa_payload_t* payload);

/** The same over UDP. False with EOPNOTSUPP when the server has no quick channel. */
bool vsoa_client_quick_datagram(vsoa_client_t* client, const vsoa_url_t* url, const vsoa_payload_t* payload);

/** Sets the callback for datagrams of the server, TCP and UDP. */
void vsoa_client_on_datagram(vsoa_client_t* client, vsoa_client_dat_func_t callback, void* arg);

/** A pointer of the program's. */
void vsoa_client_set_custom(vsoa_client_t* client, void* custom);
void* vsoa_client_custom(vsoa_client_t* client);

/** Connects to a stream that the server offered in an RPC reply.
 *  @param tunid      vsoa_parser_get_tunid of that reply, network byte order
 *  @param timeout    NULL = 10 s
 *  @param keepalive  seconds, 0 = off
 *  @return a blocking descriptor for vsoa_client_stream_close; negative on failure */
int vsoa_client_stream_create(vsoa_client_t* client, uint16_t tunid, const struct timespec* timeout, int keepalive);
void vsoa_client_stream_close(int stream);

/** Creates what one thread needs for synchronous calls.
 *  @param dynamic  true: memory for each reply as long as it is; false: one buffer of the largest packet */
vsoa_client_sync_call_t* vsoa_client_sync_create(bool dynamic);

/** Frees it and its last reply; not during a call. */
bool vsoa_client_sync_delete(vsoa_client_sync_call_t* sync);

/* In C++ the function hides the constructor of the structure with the same name; nobody constructs that one. */
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif
/** Calls an RPC and waits for the answer. Another thread must run the client's event loop.
 *  @param vsoa_hdr_reply  the reply, valid until the next call with sync or its deletion; NULL: no answer in time or
 *                         link lost
 *  @return false when the call could not be sent */
bool vsoa_client_sync_call(vsoa_client_t* client, int method, const vsoa_url_t* url, const vsoa_payload_t* payload,
                           vsoa_client_sync_call_t* sync, vsoa_header_t** vsoa_hdr_reply,
                           const struct timespec* timeout);
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

#ifdef __cplusplus
}
#endif

#endif
