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
 * Errors: false, NULL or a negative number, with errno; functions without a result set errno alone. Every function
 * gives EINVAL for a server that is NULL (but vsoa_server_close, which takes it) and for arguments it does not allow: a
 * url that is NULL, empty or does not begin with '/', a length without a pointer, a number out of range. Those that
 * take memory give ENOMEM. What else a function can give stands with it; "of send" means: EMSGSIZE (the packet would be
 * longer than VSOA_MAX_PACKET_LENGTH, the url than 65535 bytes), ENOTCONN (the connection is broken, or the peer did
 * not take the packet within its send timeout and was dropped).
 *
 * Parts of a struct timespec that are negative count as 0, tv_nsec above 999999999 as that.
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

#define VSOA_SERVER_BACKLOG 32                 /**< the vendor's, of a listening socket; ours is 512 */
#define VSOA_SERVER_DEF_SEND_TIMEOUT 100       /**< ms */
#define VSOA_SERVER_DEF_HANDSHAKE_TIMEOUT 5000 /**< ms from accept to a successful login */
#define VSOA_SERVER_KEEPALIVE_TIMEOUT 10       /**< s, usual keepalive of a stream */

/** A server; opaque. */
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
    bool valid;     /**< false: nothing may be done with it but closing */
    int listenfd;   /**< until accepted, else -1 */
    int clifd;      /**< after accept, else -1 */
    uint16_t tunid; /**< port, network byte order */
    void* custom;   /**< the program's, NULL at first */
} vsoa_server_stream_t;

/** Creates a server that does nothing before vsoa_server_start.
 *  @param info_json  text that every client receives at login; copied; NULL = none. The vendor's npm client closes the
 *                    connection when it is not JSON
 *  @return to be freed with vsoa_server_close; NULL with errno EMSGSIZE (info too long for a packet), ENOMEM, EMFILE,
 *          ENFILE */
vsoa_server_t* vsoa_server_create(const char* info_json);

/** Closes every connection and frees the server, started or not. No callback runs. Thread of the event loop, and not
 *  inside a callback, where it does nothing and sets errno to EDEADLK; no other thread may be inside one of its
 * functions.
 *  @param server  NULL does nothing */
void vsoa_server_close(vsoa_server_t* server);

/** Sets the password of logins from now on. Thread of the event loop.
 *  @param passwd  copied; NULL or "" = none
 *  @return true; false with errno EMSGSIZE (it does not fit into a login, which is 4096 bytes long at most: some 4000
 *          plain characters) */
bool vsoa_server_passwd(vsoa_server_t* server, const char* passwd);

/** Binds TCP and UDP to one address and port, and listens. Thread of the event loop; once.
 *
 *  Before its login a connection may send packets of 4096 bytes and has 5 s (VSOA_SERVER_DEF_HANDSHAKE_TIMEOUT). 64
 *  connections at most wait for theirs; one more ends the one that has waited longest. A client may subscribe 4096 urls
 *  of 256 KiB together; above it the answer is VSOA_STATUS_NO_MEMORY and nothing is subscribed.
 *  @param addr     IPv4 or IPv6; port 0 = a free one, see vsoa_server_address
 *  @param namelen  its length in bytes
 *  @return true; false with errno EALREADY (started), EADDRINUSE, EADDRNOTAVAIL, EACCES, EAFNOSUPPORT or another of
 *          socket(2), bind(2), listen(2) */
bool vsoa_server_start(vsoa_server_t* server, const struct sockaddr* addr, socklen_t namelen);

/** Tells the address the server listens on. Thread of the event loop.
 *  @param addr     receives the address
 *  @param namelen  room in addr in bytes, then the address's length
 *  @return true; false with errno ENOTCONN (not started), EINVAL (also: no room) */
bool vsoa_server_address(vsoa_server_t* server, struct sockaddr* addr, socklen_t* namelen);

/** Ties the server to a network device, before or after start. Thread of the event loop. Needs the right to do so
 *  (CAP_NET_RAW).
 *  @param ifname  copied
 *  @return true; false with errno EPERM, ENODEV, when it is started; before, vsoa_server_start gives them */
bool vsoa_server_bind_if(vsoa_server_t* server, const char* ifname);

/** Sets the callback for clients that come and go. Thread of the event loop.
 *  @param oncli  NULL = none
 *  @param arg    handed to it */
void vsoa_server_on_cli(vsoa_server_t* server, vsoa_server_cli_func_t oncli, void* arg);

/** @return the number of clients logged in; -1 with errno EINVAL. Any thread. */
int vsoa_server_count(vsoa_server_t* server);

/** Sets the send timeout: how long a packet may wait to be taken by the network before its client is dropped. Thread of
 *  the event loop.
 *  @param cur_clis  true: of the present clients too; false: of new ones
 *  @param timeout   NULL = VSOA_SERVER_DEF_SEND_TIMEOUT
 *  @return true; false with errno EINVAL */
bool vsoa_server_send_timeout(vsoa_server_t* server, bool cur_clis, const struct timespec* timeout);

/** @return true when a publish on url would reach a client; false when not, and with errno EINVAL. Any thread. */
bool vsoa_server_is_subscribed(vsoa_server_t* server, const vsoa_url_t* url);

/** Publishes to every subscriber over TCP, clients of higher priority first. Any thread. A subscription matches when it
 *  is "/", equals url, or ends in '/' and url is it (with or without the '/') or lies below it.
 *  @param url      copied or sent
 *  @param payload  copied or sent; NULL = empty
 *  @return true, also without a subscriber and when some client is dropped; false, and nothing was sent, with errno
 *          EMSGSIZE, ENOTCONN (not started) */
bool vsoa_server_publish(vsoa_server_t* server, const vsoa_url_t* url, const vsoa_payload_t* payload);

/** The same over UDP, to subscribers that have a quick channel: fast, unordered, may be lost.
 *  @return as vsoa_server_publish; EMSGSIZE above VSOA_MAX_QPACKET_LENGTH; EOPNOTSUPP on a server that speaks TLS,
 * which has no quick channel: publish over TCP there */
bool vsoa_server_quick_publish(vsoa_server_t* server, const vsoa_url_t* url, const vsoa_payload_t* payload);

/** Sets the callback for RPC calls on url. A url that ends in '/' also takes everything below it; "/" takes what
 * nothing else takes. Exact beats prefix, a longer prefix beats a shorter one. The same url replaces. Calls that no
 * listener takes are answered VSOA_STATUS_INVALID_URL. Thread of the event loop; allowed in callbacks.
 *  @param url       copied
 *  @param callback  not NULL
 *  @param arg       handed to callback
 *  @return true; false with errno EINVAL, ENOMEM */
bool vsoa_server_add_listener(vsoa_server_t* server, const vsoa_url_t* url, vsoa_server_cmd_func_t callback, void* arg);

/** Removes a listener; one that does not exist is no failure. Thread of the event loop; not inside an RPC callback.
 *  @param url  as it was added */
void vsoa_server_remove_listener(vsoa_server_t* server, const vsoa_url_t* url);

/** Drops a client. It does not count from now on; the callback for clients runs in the event loop. Any thread.
 *  @return true; false with errno ENOENT (no such client) */
bool vsoa_server_cli_close(vsoa_server_t* server, vsoa_cli_id_t id);

/** Sets SO_LINGER of a client's connection. Thread of the event loop.
 *  @param time  seconds; 0 = reset at close; negative = off
 *  @return true; false with errno ENOENT, or of setsockopt(2) */
bool vsoa_server_cli_linger(vsoa_server_t* server, vsoa_cli_id_t id, int time);

/** @return true when a publish on url would reach this client; false when not, and with errno ENOENT (no such client),
 *          EINVAL. Any thread. */
bool vsoa_server_cli_is_subscribed(vsoa_server_t* server, vsoa_cli_id_t id, const vsoa_url_t* url);

/** Tells the address of a client. Any thread.
 *  @param addr     receives the address
 *  @param namelen  room in addr in bytes, then the address's length
 *  @return true; false with errno ENOENT, EINVAL (also: no room) */
bool vsoa_server_cli_address(vsoa_server_t* server, vsoa_cli_id_t id, struct sockaddr* addr, socklen_t* namelen);

/** Answers an RPC; once for each call. Any thread, at once or later; a client that is gone meanwhile gives ENOENT.
 *  @param id       the client, from the callback
 *  @param status   VSOA_STATUS_* or an application's own, 128 to 254
 *  @param seqno    number of the request, host byte order
 *  @param tunid    tunnel id of an offered stream (vsoa_server_stream_tunid), network byte order; 0 = none
 *  @param payload  copied or sent; NULL = empty
 *  @return true; false with errno ENOENT, or of send */
bool vsoa_server_cli_reply(vsoa_server_t* server, vsoa_cli_id_t id, uint8_t status, uint32_t seqno, uint16_t tunid,
                           const vsoa_payload_t* payload);

/** Sets the priority of a client: its place in the order of publishing and its sockets' priority. The client is told
 * and does the same. Any thread.
 *  @param new_prio  0 (lowest, the default) to 5
 *  @return true; false with errno ENOENT, EINVAL, or of send */
bool vsoa_server_cli_priority(vsoa_server_t* server, vsoa_cli_id_t id, int new_prio);

/** Sets TCP keepalive of a client: without traffic a probe is sent every keepalive seconds, three lost = gone. What was
 * sent and is not acknowledged for as long ends the client as well. Any thread.
 *  @param keepalive  seconds, 0 = off, at most 32767
 *  @return true; false with errno ENOENT, EINVAL */
bool vsoa_server_cli_keepalive(vsoa_server_t* server, vsoa_cli_id_t id, int keepalive);

/** Lists clients, those of higher priority first. Any thread.
 *  @param ids      receives their numbers
 *  @param max_cnt  room in ids, at least 0
 *  @return how many were written; -1 with errno EINVAL */
int vsoa_server_cli_array(vsoa_server_t* server, vsoa_cli_id_t ids[], int max_cnt);

/** Sets the send timeout of one client, see vsoa_server_send_timeout. Any thread.
 *  @param timeout  NULL = the server's
 *  @return true; false with errno ENOENT */
bool vsoa_server_cli_send_timeout(vsoa_server_t* server, vsoa_cli_id_t id, const struct timespec* timeout);

/** Marks a client authed or not. One that is not receives no publish; RPC and datagrams work, so that a program can
 * have a login of its own. Every client is authed after its login. Any thread.
 *  @return true; false with errno ENOENT */
bool vsoa_server_cli_set_authed(vsoa_server_t* server, vsoa_cli_id_t id, bool authed);

/** @return whether a client is authed; false with errno ENOENT when there is none. Any thread. */
bool vsoa_server_cli_authed(vsoa_server_t* server, vsoa_cli_id_t id);

/** Sets a pointer of the program's for a client; NULL at first; never touched by the library. Any thread.
 *  @return true; false with errno ENOENT */
bool vsoa_server_cli_set_custom(vsoa_server_t* server, vsoa_cli_id_t id, void* custom);

/** @return that pointer; NULL with errno ENOENT when there is no such client. Any thread. */
void* vsoa_server_cli_custom(vsoa_server_t* server, vsoa_cli_id_t id);

/** Sends a datagram to a client over TCP: ordered, not answered. Any thread.
 *  @param url      copied or sent
 *  @param payload  copied or sent; NULL = empty
 *  @return true; false with errno ENOENT, or of send */
bool vsoa_server_cli_datagram(vsoa_server_t* server, vsoa_cli_id_t id, const vsoa_url_t* url,
                              const vsoa_payload_t* payload);

/** The same over UDP: unordered, may be lost.
 *  @return true; false with errno EOPNOTSUPP (the client has no quick channel), ENOENT, EMSGSIZE (above
 *          VSOA_MAX_QPACKET_LENGTH), or of sendmsg(2) */
bool vsoa_server_cli_quick_datagram(vsoa_server_t* server, vsoa_cli_id_t id, const vsoa_url_t* url,
                                    const vsoa_payload_t* payload);

/** Sets the callback for datagrams of clients, TCP and UDP. Thread of the event loop.
 *  @param callback  NULL = none
 *  @param arg       handed to it */
void vsoa_server_on_datagram(vsoa_server_t* server, vsoa_server_dat_func_t callback, void* arg);

/** Adds the server's descriptor to rfds: one, whatever the number of clients, and always the same. Thread of the event
 *  loop.
 *  @return the highest descriptor added; -1 with errno ENOTCONN (not started), EINVAL (NULL, or the descriptor does not
 *          fit into an fd_set) */
int vsoa_server_fds(vsoa_server_t* server, fd_set* rfds);

/** Handles what is readable; all callbacks run in here. Returns without waiting when nothing is. Thread of the event
 * loop; not inside a callback.
 *  @param rfds  as select left it; NULL = handle whatever there is */
void vsoa_server_input_fds(vsoa_server_t* server, const fd_set* rfds);

/** Sets a pointer of the program's for the server; NULL at first; never touched by the library. Any thread. */
void vsoa_server_set_custom(vsoa_server_t* server, void* custom);

/** @return that pointer; NULL with errno EINVAL. Any thread. */
void* vsoa_server_custom(vsoa_server_t* server);

/** Listens for one stream on the server's own address. Put its tunid into an RPC reply, then accept. Any thread.
 * Whoever connects first is the stream's peer: nothing but the port tells it from another.
 *  @return to be freed with vsoa_server_stream_close; NULL with errno ENOTCONN (not started), ENOMEM, or of socket(2),
 *          bind(2), listen(2) */
vsoa_server_stream_t* vsoa_server_stream_create(vsoa_server_t* server);

/** Waits for the client and stops listening. To bound the wait, select on vsoa_server_stream_lfd before. Any thread.
 *  @param addr       receives the client's address; may be NULL
 *  @param namelen    room in addr in bytes, then the address's length; may be NULL when addr is
 *  @param keepalive  seconds between TCP keepalive probes, 0 = off
 *  @return the stream's descriptor, blocking, owned by the stream; -1 with errno EINVAL (NULL, accepted before), or of
 *          accept(2). On a server that speaks TLS also the errors of vsoa_tls.h and ETIMEDOUT, after which it still
 *          listens */
int vsoa_server_stream_accept(vsoa_server_stream_t* stream, struct sockaddr* addr, socklen_t* namelen, int keepalive);

/** Closes both descriptors and frees the stream. Any thread.
 *  @param stream  NULL does nothing */
void vsoa_server_stream_close(vsoa_server_stream_t* stream);

/** The descriptor that listens, to select on; -1 after accept. */
#define vsoa_server_stream_lfd(s) ((s)->listenfd)
/** The descriptor of the stream; -1 before accept. */
#define vsoa_server_stream_fd(s) ((s)->clifd)
/** The tunnel id for vsoa_server_cli_reply: the port, in network byte order. */
#define vsoa_server_stream_tunid(s) ((s)->tunid)
/** Sets a pointer of the program's. */
#define vsoa_server_stream_set_custom(s, c) ((s)->custom = (c))
/** That pointer. */
#define vsoa_server_stream_custom(s) ((s)->custom)

#ifdef __cplusplus
}
#endif

#endif
