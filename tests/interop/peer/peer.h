/*
 * libvsoa behind a line protocol, so that one set of tests drives it and the vendor's package (vendor.js) alike.
 *
 * A line is fields with a tab between them; empty ones at its end are left out. MESSAGE is three fields, URL PARAM
 * DATA: PARAM is JSON text, DATA a number of bytes of a fixed pattern ("broken N": N bytes came that are not that).
 * WHERE is "ip:port", "[v6]:port" or, for clients, a service's name.
 *
 *   server WHERE [PASSWORD]
 *       says  "port N", "client up", "client down", "datagram tcp|quick MESSAGE", "offered PORT", "stream true|false"
 *       told  publish MESSAGE, quick-publish MESSAGE; to every client: datagram MESSAGE, quick-datagram MESSAGE,
 *             priority N; release (answers what is held)
 *   client WHERE PASSWORD|- URL...    automatic: connects again for ever; pings each $INTEROP_KEEPALIVE or 500 ms
 *       says  "up INFO", "down", "message tcp|quick MESSAGE", "datagram tcp|quick MESSAGE"
 *       told  get MESSAGE, set MESSAGE (says "reply STATUS PARAM DATA"), impatient MESSAGE (a get of 300 ms; "reply
 *             none"), subscribe URL, subscribe-all URL... (one packet), unsubscribe URL, unsubscribe-all URL...
 *             ("subscribed true|false", "unsubscribed true|false"), ping ("pong true|false"), noop,
 *             datagram MESSAGE, quick-datagram MESSAGE, stream URL ("stream true|false")
 *   plain WHERE PASSWORD|- URL...     the same with an event loop of its own; connects once, ends after "down"
 *   connect WHERE PASSWORD|-          says "connected INFO" or "refused STATUS", and ends
 *   position WHERE                    says "port N"; told "place NAME WHERE" ("placed"), "remove NAME" ("removed")
 *   lookup NAME [DOMAIN]              says "found WHERE" or "not found", and ends; DOMAIN 2, or 10 for IPv6
 *
 * With INTEROP_CERT (a path without .pem and .key), INTEROP_CA or INTEROP_KEYS servers and clients speak TLS: they show
 * the certificate, trust the authority (a server then wants certificates) and take or show pre-shared keys. The
 * vendor's client takes its authority from NODE_EXTRA_CA_CERTS. "refused tls" says that a handshake failed,
 * "unsupported COMMAND" that there is no quick channel.
 *
 * A server answers /echo (what came), /method ({"method":0|1}), /status (200), /below/ and /below/deeper/ ({"url":URL,
 * "by":LISTENER}), /hold (when told to release, the newest first, {"held":N}), and /stream/UP/DOWN/client|server: it
 * offers a stream, on which the client sends UP bytes of the pattern and the server DOWN at the same time; then the
 * named side ends it.
 *
 * Every mode ends with its standard input.
 */
#ifndef INTEROP_PEER_H
#define INTEROP_PEER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vsoa_parser.h"
#include "vsoa_platform.h"
#include "vsoa_tls.h"

enum { kMaxLine = 8192, kMaxWords = 8, kMaxWhere = 64 };

/* One line of standard input, words[0] the command; what is missing is "". */
struct Command {
    char line[kMaxLine];
    char* words[kMaxWords];
    int count;
};

/* A message out of words[1..3]; the bytes are its own. */
struct Outgoing {
    vsoa_url_t url;
    vsoa_payload_t payload;
    unsigned char data[VSOA_MAX_DATA_LENGTH + 1];
};

/* An address in the form that the socket calls want. */
struct Place {
    struct sockaddr_storage address;
    socklen_t length;
};

/* What the environment says about TLS; NULL: nothing. The same object at each call. */
const vsoa_tls_t* wanted_tls(void);

/* Ends the program: a case that needs what failed cannot go on. */
int die(const char* what);

/* Says one line, in one piece, from any thread; printf's format. */
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));

/* Says "HEAD URL PARAM DATA"; without a url field when url is NULL. */
void say_message(const char* head, const vsoa_url_t* url, const vsoa_payload_t* payload);

bool next_command(struct Command* command);
bool told(const struct Command* command, const char* name);

/* The same object at each call. */
struct Outgoing* outgoing(const struct Command* command);

bool read_place(const char* where, struct Place* out);
const char* write_place(const struct sockaddr* address, char text[kMaxWhere]);
int port_of(const struct sockaddr* address);

/* Waits until one of fds, of which highest is the greatest, or standard input is readable. */
void wait_readable(fd_set* fds, int highest);

/* "/stream/UP/DOWN/client|server"; false for anything else. */
struct Streaming {
    size_t up, down;
    bool client_ends;
};
bool read_streaming(const char* url, size_t length, struct Streaming* out);

/* Sends and receives so many bytes of the pattern at the same time, then closes or waits for the peer to. */
bool exchange(int fd, size_t send_count, size_t receive_count, bool ends);

/* Runs in a thread of its own that nobody waits for. */
void detach(void* (*run)(void*), void* arg);

int run_server(const char* where, const char* password);
int run_client(const char* where, const char* password, char** urls, int count);
int run_plain(const char* where, const char* password, char** urls, int count);
int run_connect(const char* where, const char* password);
int run_position(const char* where);
int run_lookup(const char* name, const char* domain);

#endif
