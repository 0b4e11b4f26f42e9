/**
 * @file vsoa_tls.h
 * TLS on the TCP channel of servers and clients. An extension: the vendor's C library has none; its Node.js, Go and
 * Python packages have, and are the same on the wire.
 *
 *     vsoa_tls_t tls = VSOA_TLS_INITIALIZER;
 *     tls.ca_file = "/etc/axis/ca.pem";
 *     tls.server_name = "axis_server";
 *     if (!vsoa_client_tls(client, &tls)) perror("tls");
 *
 * TLS 1.3 where the peer has it, else 1.2; no renegotiation, no resumption. Who is who is proved by certificates, by a
 * pre-shared key, or, on a server that has both, by either. What is sent over a connection, how it is queued and when
 * it is dropped stays as without TLS; the handshake counts to the time limit of the login and of vsoa_client_connect.
 *
 * The quick channel is UDP and cannot be encrypted, so it is off: vsoa_server_quick_publish,
 * vsoa_server_cli_quick_datagram and vsoa_client_quick_datagram give EOPNOTSUPP, and datagrams that come over UDP are
 * not taken.
 *
 * Streams are encrypted as their connection is, with the same certificates or key. Their descriptor is then one end of
 * a local socket pair whose other end a thread of the library carries to the peer: read, write, poll, shutdown and
 * close work, getpeername and socket options do not reach the network. A handshake that fails makes
 * vsoa_server_stream_accept and vsoa_client_stream_create give the errors below; after the former the stream still
 * listens and may be accepted again.
 *
 * OpenSSL is in a library of its own, libvsoa-tls.so.1, which is loaded by the first function of this header that is
 * called; programs are not linked with it. Without it the functions give ELIBACC, and ELIBBAD when it is of another
 * version than libvsoa. A program that is linked with libvsoa.a has no TLS: ELIBACC.
 *
 * Errors of a connection, in errno and for onfail: EKEYREJECTED (the peer's certificate or key is not trusted, is for
 * another name, or the peer did not accept ours), EKEYEXPIRED (the peer's certificate is not valid at this time),
 * ENOKEY (the server wants a certificate and none was given), EPROTO (the peer does not speak TLS, or another version,
 * or wants new keys more than 32 times a minute), ECONNRESET (it closed in the handshake).
 */
#ifndef VSOA_TLS_H
#define VSOA_TLS_H

#include "vsoa_cliauto.h"
#include "vsoa_server.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Of vsoa_tls_t: a client takes any certificate, whoever shows it. Who can change what the network carries can then
 * read and change everything; for trials only. */
#define VSOA_TLS_NO_VERIFY 0x1u

/** Why a handshake or an encrypted connection failed, for the log of whoever runs the program.
 *  @param arg      of vsoa_tls_t
 *  @param peer     the other side; NULL when it is the program's own files that are wrong
 *  @param peerlen  its length in bytes, 0 for NULL
 *  @param error    errno
 *  @param reason   one line of text, valid until the callback returns */
typedef void (*vsoa_tls_fail_func_t)(void* arg, const struct sockaddr* peer, socklen_t peerlen, int error,
                                     const char* reason);

/** What a side shows and what it wants to see. All texts may be NULL; they are used before the function returns. Files
 * are read then, too: call the function again after they have changed. */
typedef struct {
    /** Of this structure: later versions add members at the end. */
    size_t size;
    /** PEM, authorities. Client: of servers; NULL without psk_file = those of the system. Server: given, every client
     * must show a certificate of one of them, or the key. */
    const char* ca_file;
    /** PEM, own certificate and those that lead to its authority; needs key_file. */
    const char* cert_file;
    /** PEM, its private key, not encrypted. */
    const char* key_file;
    /** Client: DNS name or IP address that the server's certificate must have as subjectAltName; NULL = the service
     * name that vsoa_client_auto_start was given, else the IP address that is connected to. Not used by a server. */
    const char* server_name;
    /** VSOA_TLS_NO_VERIFY or 0. */
    uint32_t flags;
    /** Pre-shared keys, as psktool(1) writes them: lines IDENTITY:KEY, the key 16 to 64 bytes in hexadecimal. A server
     * takes any of them, a client shows the first. */
    const char* psk_file;
    /** NULL = none. Runs where the callbacks of the client or server run, inside vsoa_client_connect, and in the thread
     * that opens or accepts a stream. */
    vsoa_tls_fail_func_t onfail;
    /** Handed to onfail; valid as long as the client or server, and streams that it opened. */
    void* arg;
} vsoa_tls_t;

/** To begin with. */
#define VSOA_TLS_INITIALIZER \
    { sizeof(vsoa_tls_t), NULL, NULL, NULL, NULL, 0, NULL, NULL, NULL }

/** Makes a server speak TLS: before vsoa_server_start, or on a server that does already, whose new connections then use
 * the new files. Thread of the event loop.
 *  @param tls  with cert_file and key_file, with psk_file, or with all three. NULL = no TLS
 *  @return true; false, and everything is as before, with errno EALREADY (started without TLS, or tls is NULL and it is
 *          started), ENOENT, EACCES or another of open(2) for one of the files, EBADMSG (a file is not what it should
 *          be, or the key does not belong to the certificate; onfail is told which), ELIBACC, ELIBBAD, ENOMEM */
bool vsoa_server_tls(vsoa_server_t* server, const vsoa_tls_t* tls);

/** Makes a client speak TLS on connections from now on. Thread of the event loop.
 *  @param tls  NULL = no TLS
 *  @return true; false, and everything is as before, with errno as of vsoa_server_tls, without EALREADY */
bool vsoa_client_tls(vsoa_client_t* client, const vsoa_tls_t* tls);

/** The same for an automatic client, started or not: its next connection counts. It then never connects without TLS,
 * whatever the position server says; without TLS it does not connect to services whose position says that they want it
 * (vsoa_client_auto_on_fail of vsoa_stats.h is told EPROTONOSUPPORT). A handshake that fails is a failed attempt:
 * onfail is told, and after the pause it tries again. As the other settings it belongs to one thread of the program;
 * not inside a callback. */
bool vsoa_client_auto_tls(vsoa_client_auto_t* cliauto, const vsoa_tls_t* tls);

#ifdef __cplusplus
}
#endif

#endif
