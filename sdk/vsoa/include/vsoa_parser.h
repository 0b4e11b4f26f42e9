/**
 * @file vsoa_parser.h
 * Packets of the VSOA protocol: constants, the header, building and reading one packet, cutting a TCP stream into
 * packets.
 *
 * A packet is a header of 20 bytes, then url, param, data and 0 to 3 pad bytes, back to back. Numbers are big-endian.
 * The whole packet is at most VSOA_MAX_PACKET_LENGTH bytes on TCP and VSOA_MAX_QPACKET_LENGTH in a UDP datagram.
 *
 * Threads: nothing here has state of its own; two threads may use different buffers at the same time.
 * Ownership: nothing here allocates; url and payload structures filled by a getter point into the packet.
 *
 * Errors: false, NULL or 0, with errno; functions without a result set errno alone. Every function gives EINVAL for
 * NULL where no comment allows it, and for a length without a pointer. What else it can give stands with it. The macros
 * at the end check nothing.
 */
#ifndef VSOA_PARSER_H
#define VSOA_PARSER_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VSOA_HDR_LENGTH 20                                                /**< bytes of the header */
#define VSOA_MAX_PACKET_LENGTH (256 * 1024)                               /**< whole packet on TCP, pad included */
#define VSOA_MAX_DATA_LENGTH (VSOA_MAX_PACKET_LENGTH - VSOA_HDR_LENGTH)   /**< url + param + data on TCP */
#define VSOA_MAX_QPACKET_LENGTH 65507                                     /**< whole packet on UDP, pad included */
#define VSOA_MAX_QDATA_LENGTH (VSOA_MAX_QPACKET_LENGTH - VSOA_HDR_LENGTH) /**< url + param + data on UDP */

#define VSOA_MAGIC 0x9   /**< low four bits of the first byte */
#define VSOA_VERSION 0x2 /**< high four bits of the first byte */

#define VSOA_TYPE_SERVINFO 0x00    /**< login; answered */
#define VSOA_TYPE_RPC 0x01         /**< call of a client; answered */
#define VSOA_TYPE_SUBSCRIBE 0x02   /**< of a url, or of a JSON array of urls in param; answered */
#define VSOA_TYPE_UNSUBSCRIBE 0x03 /**< the same, taken back; answered */
#define VSOA_TYPE_PUBLISH 0x04     /**< of a server, TCP or UDP */
#define VSOA_TYPE_DATAGRAM 0x05    /**< both ways, TCP or UDP */
#define VSOA_TYPE_QOSSETUP 0x06    /**< of a server: the status byte is the client's new priority */
#define VSOA_TYPE_NOOP 0xfe        /**< means nothing, is not answered */
#define VSOA_TYPE_PINGECHO 0xff    /**< asks for a sign of life; answered */

#define VSOA_FLAG_REPLY 0x01  /**< this is a reply */
#define VSOA_FLAG_TUNNEL 0x02 /**< tunid is valid */
#define VSOA_FLAG_SET 0x04    /**< RPC method SET; without it GET */

#define VSOA_PAD_MASK 0xc0 /**< the bits of the flags byte that hold the number of pad bytes */
#define VSOA_PAD_SHIFT 6   /**< where those bits begin */

/* Results in replies. Programs have 128 to 254 for their own. */
#define VSOA_STATUS_SUCCESS 0        /**< done */
#define VSOA_STATUS_PASSWORD 1       /**< wrong password, or not logged in */
#define VSOA_STATUS_ARGUMENTS 2      /**< the request cannot be understood */
#define VSOA_STATUS_INVALID_URL 3    /**< nobody serves this url */
#define VSOA_STATUS_NO_RESPONDING 4  /**< nobody answers */
#define VSOA_STATUS_NO_PERMISSIONS 5 /**< not allowed */
#define VSOA_STATUS_NO_MEMORY 6      /**< no room for it */

#define VSOA_DEBUG_PRINT_PARSER_ERROR 0 /**< the vendor's switch for a build that prints errors; not used here */

/** The header as it is on the wire. Members of more than one byte are in network byte order. */
typedef struct {
    uint8_t magic_ver;  /**< VSOA_VERSION in the high four bits, VSOA_MAGIC in the low four */
    uint8_t type;       /**< VSOA_TYPE_* */
    uint8_t flags;      /**< low six bits VSOA_FLAG_*, high two bits number of pad bytes */
    uint8_t status;     /**< VSOA_STATUS_* in replies */
    uint32_t seqno;     /**< a reply has that of its request; the client's number in its datagrams over UDP */
    uint16_t tunid;     /**< port of a stream, or of the client's UDP socket in its login; with VSOA_FLAG_TUNNEL */
    uint16_t url_len;   /**< bytes */
    uint32_t param_len; /**< bytes */
    uint32_t data_len;  /**< bytes */
} vsoa_header_t;

/** State of a stream receiver. Large: do not put it on a small stack. */
typedef struct {
    uint32_t cur_len;   /**< bytes of the unfinished packet held in buffer */
    uint32_t total_len; /**< length of the unfinished packet with pad, 0 while its header is incomplete */
    uint8_t buffer[VSOA_MAX_PACKET_LENGTH]; /**< the unfinished packet */
} vsoa_recv_t;

/** A URL; bytes, starts with '/', not terminated by NUL when it was received. */
typedef struct {
    char* url;      /**< read only where the library gives it */
    size_t url_len; /**< bytes */
} vsoa_url_t;

/** What a packet carries: param is text (normally JSON), data any bytes. A length of 0 means absent. */
typedef struct {
    char* param;      /**< not terminated by NUL when it was received */
    size_t param_len; /**< bytes */
    void* data;       /**< not aligned when it was received */
    size_t data_len;  /**< bytes */
} vsoa_payload_t;

/** An empty url. */
#define VSOA_URL_INITIALIZER \
    { NULL, 0 }
/** Sets both fields of the url behind pointer u. */
#define VSOA_URL_SET(u, p, len) \
    do {                        \
        (u)->url = (p);         \
        (u)->url_len = (len);   \
    } while (0)

/** An empty payload. */
#define VSOA_PAYLOAD_INITIALIZER \
    { NULL, 0, NULL, 0 }
/** Sets all fields of the payload behind pointer pl. */
#define VSOA_PAYLOAD_SET(pl, p, plen, d, dlen) \
    do {                                       \
        (pl)->param = (p);                     \
        (pl)->param_len = (plen);              \
        (pl)->data = (d);                      \
        (pl)->data_len = (dlen);               \
    } while (0)

/** Called for every packet of a stream; vsoa_hdr is valid until it returns. Returning false ends the stream. */
typedef bool (*vsoa_input_callback_t)(void* arg, vsoa_header_t* vsoa_hdr);

/** Writes a fresh header: no url, no payload, tunid 0.
 *  @param outb   room for the whole packet: VSOA_MAX_PACKET_LENGTH bytes, or what vsoa_parser_calc_size() says;
 *                aligned to 4 bytes
 *  @param type   VSOA_TYPE_*
 *  @param flags  VSOA_FLAG_*; pad bits are ignored
 *  @param status VSOA_STATUS_*
 *  @param seqno  host byte order
 *  @return outb; NULL with errno EINVAL */
vsoa_header_t* vsoa_parser_init_header(void* outb, uint8_t type, uint8_t flags, uint8_t status, uint32_t seqno);

/** Resets a stream receiver: the next byte is the first of a packet. */
void vsoa_parser_init_recv(vsoa_recv_t* recv);

/** Finishes a packet: writes the pad bytes, which are 0, and their number. Call it last.
 *  @return the number of bytes to send; 0 with errno EINVAL */
size_t vsoa_parser_fixp_length(vsoa_header_t* vsoa_hdr);

/** Size of a packet with this url and payload (either may be NULL), pad included.
 *  @param pad  receives the number of pad bytes; may be NULL
 *  @return bytes; 0 with errno EMSGSIZE when that is more than VSOA_MAX_PACKET_LENGTH or the url is longer than 65535
 *          bytes */
size_t vsoa_parser_calc_size(const vsoa_url_t* url, const vsoa_payload_t* payload, uint8_t* pad);

/** Sets the number of pad bytes, as vsoa_parser_calc_size() gave it, and writes them.
 *  @param pad  0 to 3
 *  @return true; false with errno EINVAL */
bool vsoa_parser_set_pad(vsoa_header_t* vsoa_hdr, uint8_t pad);

/** Sets the tunnel id and flag VSOA_FLAG_TUNNEL. @param tunid network byte order @return true; false with errno EINVAL
 */
bool vsoa_parser_set_tunid(vsoa_header_t* vsoa_hdr, uint16_t tunid);

/** Copies the url behind the header; before vsoa_parser_set_payload().
 *  @param url  at most 65535 bytes
 *  @return true; false, nothing changed, with errno EMSGSIZE, EINVAL */
bool vsoa_parser_set_url(vsoa_header_t* vsoa_hdr, const vsoa_url_t* url);

/** Copies param and data behind the url.
 *  @return true; false, nothing changed, with errno EMSGSIZE (the packet would exceed VSOA_MAX_PACKET_LENGTH), EINVAL
 */
bool vsoa_parser_set_payload(vsoa_header_t* vsoa_hdr, const vsoa_payload_t* payload);

/** @return the length of the packet in bytes, without pad; 0 with errno EINVAL */
size_t vsoa_parser_get_length(vsoa_header_t* vsoa_hdr);

/** Points url into the packet.
 *  @return true; false when the packet has none (url then has length 0), and with errno EINVAL */
bool vsoa_parser_get_url(const vsoa_header_t* vsoa_hdr, vsoa_url_t* url);

/** Points payload into the packet.
 *  @return true; false when the packet has neither param nor data (both lengths are then 0), and with errno EINVAL */
bool vsoa_parser_get_payload(const vsoa_header_t* vsoa_hdr, vsoa_payload_t* payload);

/** Feeds bytes of a TCP stream, cut anywhere; callback runs for every packet that got complete.
 *  @param recv      of this connection
 *  @param buf       buf_len bytes; may be NULL when there are none
 *  @param callback  its false ends the input
 *  @param arg       handed to callback
 *  @return true; false with errno EPROTO when the bytes are not VSOA or a packet is longer than VSOA_MAX_PACKET_LENGTH,
 *          and when callback returned false: close the connection. recv must then be reset before it is used again. */
bool vsoa_parser_input(vsoa_recv_t* recv, void* buf, size_t buf_len, vsoa_input_callback_t callback, void* arg);

/** Checks one datagram.
 *  @param buf  buf_len bytes, aligned to 4 bytes
 *  @return its header, which is buf; NULL with errno EPROTO when it is not one whole VSOA packet */
vsoa_header_t* vsoa_parser_packet_input(void* buf, size_t buf_len);

/** @return the version of the vendor's protocol code that this library speaks, a constant text */
const char* vsoa_parser_version(void);

/** Prints a header to standard output, with data_detail also url, param and the data in hexadecimal. For debugging. */
void vsoa_parser_print_header(const vsoa_header_t* vsoa_hdr, bool data_detail);

/** Sets the number of a packet, host byte order. */
#define vsoa_parser_set_seqno(h, n) ((h)->seqno = htonl(n))
/** The number of a packet, host byte order. */
#define vsoa_parser_get_seqno(h) ntohl((h)->seqno)
/** The type of a packet, VSOA_TYPE_*. */
#define vsoa_parser_get_type(h) ((h)->type)
/** The whole flags byte: VSOA_FLAG_* and the pad bits. */
#define vsoa_parser_get_flags(h) ((h)->flags)
/** The status of a reply. */
#define vsoa_parser_get_status(h) ((h)->status)
/** The tunnel id, network byte order. It means something when the flags have VSOA_FLAG_TUNNEL. */
#define vsoa_parser_get_tunid(h) ((h)->tunid)
/** Bytes of the url. */
#define vsoa_parser_get_url_len(h) ntohs((h)->url_len)
/** Bytes of param. */
#define vsoa_parser_get_param_len(h) ntohl((h)->param_len)
/** Bytes of data. */
#define vsoa_parser_get_data_len(h) ntohl((h)->data_len)

#ifdef __cplusplus
}
#endif

#endif
