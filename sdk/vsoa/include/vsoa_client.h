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
 * Errors: false, NULL or a negative number, with errno; functions without a result set errno alone. Every function
 * gives EINVAL for a client that is NULL (but vsoa_client_close, which takes it) and for arguments it does not allow: a
 * url that is NULL, empty or does not begin with '/', a length without a pointer, a number out of range. Those that
 * take memory give ENOMEM. What else a function can give stands with it; "of send" means: ENOTCONN (not connected, or
 * the server did not take the packet within the send timeout, which ends the connection), EMSGSIZE (the packet would be
 * longer than VSOA_MAX_PACKET_LENGTH, the url than 65535 bytes); "of call" means these and EAGAIN (65536 calls are
 * already outstanding).
 *
 * Parts of a struct timespec that are negative count as 0, tv_nsec above 999999999 as that.
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
#define VSOA_CLIENT_RPC_METHOD_GET 0     /**< read */
#define VSOA_CLIENT_RPC_METHOD_SET 1     /**< change */

/** A client; opaque. */
typedef struct vsoa_client vsoa_client_t;

/** What a thread needs for synchronous calls; opaque. */
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

/** Creates a client that is not connected.
 *  @param onmsg  gets every publish; may be NULL
 *  @param arg    handed to it
 *  @return to be freed with vsoa_client_close; NULL with errno ENOMEM, EMFILE, ENFILE */
vsoa_client_t* vsoa_client_create(vsoa_client_msg_func_t onmsg, void* arg);

/** Disconnects and frees the client. No callback runs. Thread of the event loop, not inside a callback, where it does
 *  nothing and sets errno to EDEADLK.
 *  @param client  NULL does nothing */
void vsoa_client_close(vsoa_client_t* client);

/** Sets SO_LINGER of the present connection; again after each connect. Thread of the event loop.
 *  @param time  seconds; 0 = reset at close; negative = off
 *  @return true; false with errno ENOTCONN, or of setsockopt(2) */
bool vsoa_client_linger(vsoa_client_t* client, int time);

/** Connects and logs in; waits for the answer. Thread of the event loop, not inside a callback. Subscriptions end with
 * a connection: subscribe again after each connect.
 *  @param server   IPv4 or IPv6
 *  @param namelen  its length in bytes
 *  @param timeout  for all of it; NULL = 60 s
 *  @param passwd   NULL or "" = none
 *  @param info     receives the server's info text, cut to sz_info bytes with the NUL; may be NULL
 *  @param sz_info  room in info in bytes
 *  @return true; false with errno EACCES (wrong password), ETIMEDOUT, EPROTO (the peer does not speak VSOA), ECONNRESET
 *          (it closed before it answered), EISCONN (connected already), EMSGSIZE (password too long for a packet),
 *          ECONNREFUSED and others of socket(2) and connect(2); with TLS those of vsoa_tls.h */
bool vsoa_client_connect(vsoa_client_t* client, const struct sockaddr* server, socklen_t namelen,
                         const struct timespec* timeout, const char* passwd, char* info, size_t sz_info);

/** Closes the connection; outstanding calls end without answer in the next vsoa_client_input_fds. Thread of the event
 *  loop.
 *  @return true; false with errno ENOTCONN when there was no connection (any more) */
bool vsoa_client_disconnect(vsoa_client_t* client);

/** @return whether the client is connected. Any thread. */
bool vsoa_client_is_connect(vsoa_client_t* client);

/** Cuts a url into its components. No memory but *url is changed. Any thread.
 *  @param client  not used, may be NULL
 *  @param url     what is left to cut; moved behind the component
 *  @param len     receives the component's length in bytes; may be NULL
 *  @return the next component, within the url's text and not terminated; NULL at the end */
char* vsoa_client_path_token(vsoa_client_t* client, vsoa_url_t* url, size_t* len);

/** Sets how long a packet may wait to be taken by the network before the connection counts as broken. Any thread.
 *  @param timeout  NULL = VSOA_CLIENT_DEF_SEND_TIMEOUT
 *  @return true; false with errno EINVAL */
bool vsoa_client_send_timeout(vsoa_client_t* client, const struct timespec* timeout);

/** Adds the client's descriptor to rfds: always the same, connected or not. Thread of the event loop.
 *  @return the highest descriptor added; -1 with errno EINVAL (NULL, or it does not fit into an fd_set) */
int vsoa_client_fds(vsoa_client_t* client, fd_set* rfds);

/** Handles what is readable; all callbacks run in here. Does not wait. Thread of the event loop, not inside a callback.
 *  @param rfds  as select left it; NULL = handle whatever there is
 *  @return true; false: there is no connection (any more). Outstanding calls have then ended without answer */
bool vsoa_client_input_fds(vsoa_client_t* client, const fd_set* rfds);

/** Asks the server for a sign of life. Any thread.
 *  @param callback  gets the result; NULL: a NOOP is sent, which is not answered
 *  @param arg       handed to it
 *  @param timeout   until callback gets false; NULL = 60 s
 *  @return true; false, and callback will not run, with errno of call */
bool vsoa_client_ping(vsoa_client_t* client, vsoa_client_res_func_t callback, void* arg,
                      const struct timespec* timeout);

/** Subscribes to a url; see vsoa_server_publish for what matches. Any thread.
 *  @param url       copied or sent
 *  @param callback  gets the result; may be NULL
 *  @param arg       handed to it
 *  @param timeout   until callback gets false; NULL = 60 s
 *  @return true; false, and callback will not run, with errno of call */
bool vsoa_client_subscribe(vsoa_client_t* client, const vsoa_url_t* url, vsoa_client_res_func_t callback, void* arg,
                           const struct timespec* timeout);

/** Takes a subscription back; url as it was subscribed. Arguments and result as of vsoa_client_subscribe. */
bool vsoa_client_unsubscribe(vsoa_client_t* client, const vsoa_url_t* url, vsoa_client_res_func_t callback, void* arg,
                             const struct timespec* timeout);

/** Subscribes to several urls with one packet. The vendor's Go server does not know this form and subscribes the client
 * to everything; use vsoa_client_subscribe with servers you do not know. Any thread.
 *  @param urls  UTF-8, terminated by NUL, each beginning with '/'; copied or sent
 *  @param cnt   how many, at least 1
 *  The others, and the result, as of vsoa_client_subscribe. */
bool vsoa_client_multi_subscribe(vsoa_client_t* client, char* const urls[], int cnt, vsoa_client_res_func_t callback,
                                 void* arg, const struct timespec* timeout);

/** Takes several subscriptions back with one packet. Arguments and result as of vsoa_client_multi_subscribe. */
bool vsoa_client_multi_unsubscribe(vsoa_client_t* client, char* const urls[], int cnt, vsoa_client_res_func_t callback,
                                   void* arg, const struct timespec* timeout);

/** Calls an RPC. Any thread.
 *  @param method    VSOA_CLIENT_RPC_METHOD_GET or VSOA_CLIENT_RPC_METHOD_SET
 *  @param url       copied or sent
 *  @param payload   copied or sent; NULL = empty
 *  @param callback  gets the answer; NULL = it does not matter
 *  @param arg       handed to callback
 *  @param timeout   until callback is told there is no answer; NULL = 60 s
 *  @return true; false, and callback will not run, with errno of call */
bool vsoa_client_call(vsoa_client_t* client, int method, const vsoa_url_t* url, const vsoa_payload_t* payload,
                      vsoa_client_rpc_func_t callback, void* arg, const struct timespec* timeout);

/** Sends a datagram over TCP: ordered, not answered. Any thread.
 *  @param url      copied or sent
 *  @param payload  copied or sent; NULL = empty
 *  @return true; false with errno of send */
bool vsoa_client_datagram(vsoa_client_t* client, const vsoa_url_t* url, const vsoa_payload_t* payload);

/** The same over UDP: unordered, may be lost.
 *  @return true; false with errno EOPNOTSUPP (the connection has no quick channel), EMSGSIZE (above
 *          VSOA_MAX_QPACKET_LENGTH), ENOTCONN, or of sendmsg(2) */
bool vsoa_client_quick_datagram(vsoa_client_t* client, const vsoa_url_t* url, const vsoa_payload_t* payload);

/** Sets the callback for datagrams of the server, TCP and UDP. Thread of the event loop.
 *  @param callback  NULL = none
 *  @param arg       handed to it */
void vsoa_client_on_datagram(vsoa_client_t* client, vsoa_client_dat_func_t callback, void* arg);

/** Sets a pointer of the program's; NULL at first; never touched by the library. Any thread. */
void vsoa_client_set_custom(vsoa_client_t* client, void* custom);

/** @return that pointer; NULL with errno EINVAL. Any thread. */
void* vsoa_client_custom(vsoa_client_t* client);

/** Connects to a stream that the server offered in an RPC reply; waits. Any thread.
 *  @param tunid      vsoa_parser_get_tunid of that reply, network byte order; not 0
 *  @param timeout    NULL = 10 s
 *  @param keepalive  seconds between TCP keepalive probes, 0 = off
 *  @return a blocking descriptor for vsoa_client_stream_close; -1 with errno ENOTCONN (the client is not connected),
 *          ETIMEDOUT, ECONNREFUSED or another of connect(2); with TLS those of vsoa_tls.h */
int vsoa_client_stream_create(vsoa_client_t* client, uint16_t tunid, const struct timespec* timeout, int keepalive);

/** Closes a stream. Any thread. @param stream negative does nothing */
void vsoa_client_stream_close(int stream);

/** Creates what one thread needs for synchronous calls.
 *  @param dynamic  true: memory for each reply as long as it is; false: one buffer of the largest packet (256 KiB)
 *  @return to be freed with vsoa_client_sync_delete; NULL with errno ENOMEM */
vsoa_client_sync_call_t* vsoa_client_sync_create(bool dynamic);

/** Frees it and its last reply; not during a call. @return true; false with errno EINVAL for NULL */
bool vsoa_client_sync_delete(vsoa_client_sync_call_t* sync);

/* In C++ the function hides the constructor of the structure with the same name; nobody constructs that one. */
#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif
/** Calls an RPC and waits for the answer. Another thread must run the client's event loop: any thread but that one, so
 *  never inside a callback.
 *  @param method          as of vsoa_client_call, and so url, payload and timeout
 *  @param sync            this thread's
 *  @param vsoa_hdr_reply  the reply, valid until the next call with sync or its deletion; NULL: no answer in time or
 *                         link lost
 *  @return true; false, and nothing was sent, with errno EDEADLK (inside a callback) or of call */
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
