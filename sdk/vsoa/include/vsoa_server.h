/**
 * @file vsoa_server.h
 * A VSOA server: publishes, answers RPC, exchanges datagrams, opens streams.
 *
 * The program owns the event loop. It asks for the descriptors (vsoa_server_fds), waits with select or pselect and
 * calls vsoa_server_input_fds when something is readable. Every callback runs inside vsoa_server_input_fds. The set
 * holds one descriptor that also becomes readable when a time limit of the server is over, so the wait may be endless.
 *
 * Threads. From any thread: count, is_subscribed, publish, quick_publish, cli_close, cli_is_subscribed, cli_address,
 * cli_reply, cli_priority, cli_keepalive, cli_array, cli_datagram, cli_quick_datagram, cli_send_timeout,
 * cli_set_authed, cli_authed, set_custom, custom, stream_create, stream_accept, stream_close; these are also allowed
 * inside callbacks. Everything else belongs to the thread of the event loop. Close the server only when no other thread
 * is inside one of its functions, and never inside a callback.
 *
 * Sending never waits for the peer as long as that peer's queue has room; what the kernel does not take at once is
 * queued (1 MiB for each client) and sent by a thread of the library. A client that does not take a packet within its
 * send timeout is dropped. When its queue is full the sender waits for room, at most that send timeout.
 *
 * Errors: false, NULL or a negative number, with errno: EINVAL arguments, ENOENT no such client, EMSGSIZE packet too
 * long, ENOTCONN not started or client gone, ENOMEM, or what the system call said.
 */
#ifndef VSOA_SERVER_H
#define VSOA_SERVER_H

#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>

#include "vsoa_parser.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VSOA_SERVER_BACKLOG 32                 /**< of the listening socket */
#define VSOA_SERVER_DEF_SEND_TIMEOUT 100       /**< ms */
#define VSOA_SERVER_DEF_HANDSHAKE_TIMEOUT 5000 /**< ms from accept to a successful login */
#define VSOA_SERVER_KEEPALIVE_TIMEOUT 10       /**< s, usual keepalive of a stream */

typedef struct vsoa_server vsoa_server_t;

/** Number of a client, unique among the living clients of a server, never 0. */
typedef uint32_t vsoa_cli_id_t;

/** A client logged in (connect true) or is gone (false; its id is no longer valid). */
typedef void (*vsoa_server_cli_func_t)(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, bool connect);

/** A client calls an RPC. Answer it once, now or later, with vsoa_server_cli_reply and the number
 *  vsoa_parser_get_seqno(vsoa_hdr). The method is SET when vsoa_parser_get_flags(vsoa_hdr) has VSOA_FLAG_SET. Header,
 *  url and payload are valid until the callback returns; their pointers are never NULL. */
typedef void (*vsoa_server_cmd_func_t)(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* vsoa_hdr,
                                       vsoa_url_t* url, vsoa_payload_t* payload);

/** A client sent a datagram; quick: over UDP. url may be empty. Valid until the callback returns. */
typedef void (*vsoa_server_dat_func_t)(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_url_t* url,
                                       vsoa_payload_t* payload, bool quick);

/** A server's end of a stream. Use the macros below. */
typedef struct vsoa_server_stream {
    bool valid;
    int listenfd;   /**< until accepted, else -1 */
    int clifd;      /**< after accept, else -1 */
    uint16_t tunid; /**< port, network byte order */
    void* custom;
} vsoa_server_stream_t;

/** Creates a server. @param info_json text (JSON) that every client receives at login; copied; NULL = none.
 *  @return NULL on failure. Free it with vsoa_server_close. Not at the same time as another create or close. */
vsoa_server_t* vsoa_server_create(const char* info_json);

/** Closes every connection and frees the server, started or not. No callback runs. */
void vsoa_server_close(vsoa_server_t* server);

/** Sets the password of logins from now on; copied; NULL or "" = none. False with EMSGSIZE when it does not fit into a
 *  login, which is 4096 bytes long at most (some 4000 plain characters). */
bool vsoa_server_passwd(vsoa_server_t* server, const char* passwd);

/** Binds TCP and UDP to addr (IPv4 or IPv6) and listens. Port 0: a free one, see vsoa_server_address.
 *
 *  Before its login a connection may send packets of 4096 bytes and has 5 s. 64 connections at most wait for theirs;
 * one more ends the one that has waited longest. A client may subscribe 4096 urls of 256 KiB together; above it the
 * answer is VSOA_STATUS_NO_MEMORY and nothing is subscribed. */
bool vsoa_server_start(vsoa_server_t* server, const struct sockaddr* addr, socklen_t namelen);

/** Address the server listens on. @param namelen room in addr, then its length. False before start. */
bool vsoa_server_address(vsoa_server_t* server, struct sockaddr* addr, socklen_t* namelen);

/** Ties the server to a network device, before or after start. Needs the right to do so (CAP_NET_RAW). */
bool vsoa_server_bind_if(vsoa_server_t* server, const char* ifname);

/** Sets the callback for clients that come and go; NULL = none. */
void vsoa_server_on_cli(vsoa_server_t* server, vsoa_server_cli_func_t oncli, void* arg);

/** Number of clients logged in. */
int vsoa_server_count(vsoa_server_t* server);

/** Sets the send timeout of new clients and, with cur_clis, of the present ones. NULL = 100 ms. */
bool vsoa_server_send_timeout(vsoa_server_t* server, bool cur_clis, const struct timespec* timeout);

/** True when a publish on url would reach a client. */
bool vsoa_server_is_subscribed(vsoa_server_t* server, const vsoa_url_t* url);

/** Publishes to every subscriber over TCP, clients of higher priority first. payload may be NULL.
 *  A subscription matches when it is "/", equals url, or ends in '/' and url is it (with or without the '/') or lies
 *  below it. @return false: nothing was sent (arguments, length, not started). No subscriber is no failure. */
bool vsoa_server_publish(vsoa_server_t* server, const vsoa_url_t* url, const vsoa_payload_t* payload);

/** The same over UDP: fast, unordered, may be lost; whole packet at most VSOA_MAX_QPACKET_LENGTH. */
bool vsoa_server_quick_publish(vsoa_server_t* server, const vsoa_url_t* url, const vsoa_payload_t* payload);

/** Sets the callback for RPC calls on url (copied). A url that ends in '/' also takes everything below it; "/" takes
 *  what nothing else takes. Exact beats prefix, a longer prefix beats a shorter one. The same url replaces. */
bool vsoa_server_add_listener(vsoa_server_t* server, const vsoa_url_t* url, vsoa_server_cmd_func_t callback, void* arg);

/** Removes a listener; not inside an RPC callback. */
void vsoa_server_remove_listener(vsoa_server_t* server, const vsoa_url_t* url);

/** Drops a client. It does not count from now on; the callback for clients runs in the event loop. */
bool vsoa_server_cli_close(vsoa_server_t* server, vsoa_cli_id_t id);

/** SO_LINGER of a client's connection, in seconds; 0 = reset at close; negative = off. */
bool vsoa_server_cli_linger(vsoa_server_t* server, vsoa_cli_id_t id, int time);

/** True when a publish on url would reach this client. */
bool vsoa_server_cli_is_subscribed(vsoa_server_t* server, vsoa_cli_id_t id, const vsoa_url_t* url);

/** Address of a client. @param namelen room in addr, then the address's length. */
bool vsoa_server_cli_address(vsoa_server_t* server, vsoa_cli_id_t id, struct sockaddr* addr, socklen_t* namelen);

/** Answers an RPC.
 *  @param status   VSOA_STATUS_* or an application's own, 128 to 254
 *  @param seqno    number of the request, host byte order
 *  @param tunid    tunnel id of an offered stream (vsoa_server_stream_tunid), network byte order; 0 = none
 *  @param payload  copied; may be NULL */
bool vsoa_server_cli_reply(vsoa_server_t* server, vsoa_cli_id_t id, uint8_t status, uint32_t seqno, uint16_t tunid,
                           const vsoa_payload_t* payload);

/** Priority of a client, 0 (lowest, the default) to 5: order of publishing, socket priority; the client is told. */
bool vsoa_server_cli_priority(vsoa_server_t* server, vsoa_cli_id_t id, int new_prio);

/** TCP keepalive of a client: a probe every keepalive seconds, three lost = gone; 0 = off. */
bool vsoa_server_cli_keepalive(vsoa_server_t* server, vsoa_cli_id_t id, int keepalive);

/** Writes up to max_cnt ids of clients; returns how many. */
int vsoa_server_cli_array(vsoa_server_t* server, vsoa_cli_id_t ids[], int max_cnt);

/** Send timeout of one client; NULL = the server's. */
bool vsoa_server_cli_send_timeout(vsoa_server_t* server, vsoa_cli_id_t id, const struct timespec* timeout);

/** A client that is not authed receives no publish; RPC and datagrams work. Every client is authed at login. */
bool vsoa_server_cli_set_authed(vsoa_server_t* server, vsoa_cli_id_t id, bool authed);
bool vsoa_server_cli_authed(vsoa_server_t* server, vsoa_cli_id_t id);

/** A pointer of the program's for a client; never touched by the library. */
bool vsoa_server_cli_set_custom(vsoa_server_t* server, vsoa_cli_id_t id, void* custom);
void* vsoa_server_cli_custom(vsoa_server_t* server, vsoa_cli_id_t id);

/** Sends a datagram to a client over TCP: ordered, not answered. */
bool vsoa_server_cli_datagram(vsoa_server_t* server, vsoa_cli_id_t id, const vsoa_url_t* url,
                              const vsoa_payload_t* payload);

/** The same over UDP. False with EOPNOTSUPP when the client has no quick channel. */
bool vsoa_server_cli_quick_datagram(vsoa_server_t* server, vsoa_cli_id_t id, const vsoa_url_t* url,
                                    const vsoa_payload_t* payload);

/** Sets the callback for datagrams of clients, TCP and UDP. */
void vsoa_server_on_datagram(vsoa_server_t* server, vsoa_server_dat_func_t callback, void* arg);

/** Adds the server's descriptor to rfds. @return the highest descriptor added; -1 when not started, or when the
 *  descriptor does not fit into an fd_set. */
int vsoa_server_fds(vsoa_server_t* server, fd_set* rfds);

/** Handles what is readable; all callbacks run in here. Returns without waiting when nothing is. */
void vsoa_server_input_fds(vsoa_server_t* server, const fd_set* rfds);

/** A pointer of the program's for the server. */
void vsoa_server_set_custom(vsoa_server_t* server, void* custom);
void* vsoa_server_custom(vsoa_server_t* server);

/** Listens for one stream on the server's own address. Put its tunid into an RPC reply, then accept.
 *  @return NULL on failure; free it with vsoa_server_stream_close. */
vsoa_server_stream_t* vsoa_server_stream_create(vsoa_server_t* server);

/** Waits for the client and stops listening. To bound the wait, select on vsoa_server_stream_lfd before.
 *  @param addr, namelen  the client's address, both may be NULL
 *  @param keepalive      seconds, 0 = off
 *  @return the stream's descriptor, owned by the stream; negative on failure */
int vsoa_server_stream_accept(vsoa_server_stream_t* stream, struct sockaddr* addr, socklen_t* namelen, int keepalive);

/** Closes both descriptors and frees the stream. */
void vsoa_server_stream_close(vsoa_server_stream_t* stream);

#define vsoa_server_stream_lfd(s) ((s)->listenfd)
#define vsoa_server_stream_fd(s) ((s)->clifd)
#define vsoa_server_stream_tunid(s) ((s)->tunid)
#define vsoa_server_stream_set_custom(s, c) ((s)->custom = (c))
#define vsoa_server_stream_custom(s) ((s)->custom)

#ifdef __cplusplus
}
#endif

#endif
