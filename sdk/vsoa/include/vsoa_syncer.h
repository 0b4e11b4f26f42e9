/**
 * @file vsoa_syncer.h
 * A structure of the program's that clients read and write as JSON: GET of its url answers the present value, SET takes
 * a new one and publishes it under the same url. Macros only; they need GNU C or GNU C++ (statement expressions).
 *
 * For a module (a name) and its structure T the program has four functions, written by hand or by a generator:
 *
 *     bool MODULE_json_parse(T* struc, const char* json, size_t len);  // fills *struc; false: not such a structure
 *     void MODULE_json_parse_free(T* struc);                           // frees what lies behind pointers in *struc
 *     char* MODULE_json_stringify(const T* struc);                     // text with NUL, or NULL
 *     void MODULE_json_stringify_free(char* json);
 *
 * Threads: a macro is as safe as these four functions and access to the structure; of the server it uses what is
 * allowed from any thread. Every argument is evaluated once.
 */
#ifndef VSOA_SYNCER_H
#define VSOA_SYNCER_H

#include <errno.h>
#include <string.h>

#include "vsoa_parser.h"
#include "vsoa_server.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Value of the macros. */
typedef enum vsoa_syncer_ret {
    VSOA_SYNCER_PUB_OK = 0, /**< published */
    VSOA_SYNCER_SET_OK = 1, /**< a SET was taken, answered and published */
    VSOA_SYNCER_GET_OK = 2, /**< a GET was answered with the value */
    VSOA_SYNCER_ERROR = -1  /**< none of it; each macro says why */
} vsoa_syncer_ret;

/** Part of VSOA_PARAM_SYNCER_PUBLISH. @param json NULL = failed; not freed */
static inline vsoa_syncer_ret vsoa_syncer_publish_text(vsoa_server_t* server, const vsoa_url_t* url, char* json,
                                                       void* bin, size_t bin_len) {
    vsoa_payload_t payload;
    if (json == NULL) return VSOA_SYNCER_ERROR;
    VSOA_PAYLOAD_SET(&payload, json, strlen(json), bin, bin_len);
    return vsoa_server_publish(server, url, &payload) ? VSOA_SYNCER_PUB_OK : VSOA_SYNCER_ERROR;
}

/** Part of VSOA_PARAM_SYNCER_RPC: answers, and after a SET publishes. @param json of the value, may be NULL; not freed
 */
static inline vsoa_syncer_ret vsoa_syncer_answer(vsoa_server_t* server, vsoa_cli_id_t id, const vsoa_header_t* header,
                                                 uint8_t status, char* json) {
    const uint32_t seqno = vsoa_parser_get_seqno(header);
    const bool set = (vsoa_parser_get_flags(header) & VSOA_FLAG_SET) != 0;
    vsoa_payload_t payload;
    vsoa_url_t url;
    if (status == VSOA_STATUS_SUCCESS && json == NULL && !set) status = VSOA_STATUS_NO_MEMORY;
    if (status != VSOA_STATUS_SUCCESS) {
        vsoa_server_cli_reply(server, id, status, seqno, 0, NULL);
        return VSOA_SYNCER_ERROR;
    }
    VSOA_PAYLOAD_SET(&payload, json, json != NULL ? strlen(json) : 0, NULL, 0);
    if (!set) {
        if (vsoa_server_cli_reply(server, id, status, seqno, 0, &payload)) return VSOA_SYNCER_GET_OK;
        if (errno == EMSGSIZE) vsoa_server_cli_reply(server, id, VSOA_STATUS_NO_MEMORY, seqno, 0, NULL);
        return VSOA_SYNCER_ERROR;
    }
    vsoa_server_cli_reply(server, id, status, seqno, 0, NULL);
    if (json == NULL || !vsoa_parser_get_url(header, &url)) return VSOA_SYNCER_ERROR;
    return vsoa_server_publish(server, &url, &payload) ? VSOA_SYNCER_SET_OK : VSOA_SYNCER_ERROR;
}

#ifdef __cplusplus
}
#endif

/** Publishes a structure as JSON when somebody has subscribed to url; param is the JSON, data is bin.
 *  @param server   vsoa_server_t*
 *  @param url      const vsoa_url_t*
 *  @param module   the name before _json_stringify
 *  @param struc    T*
 *  @param bin      bytes that go along as data; NULL = none
 *  @param bin_len  their number
 *  @return VSOA_SYNCER_PUB_OK; VSOA_SYNCER_ERROR when nobody has subscribed, MODULE_json_stringify gave NULL or
 *          vsoa_server_publish failed (errno is its) */
#define VSOA_PARAM_SYNCER_PUBLISH(server, url, module, struc, bin, bin_len)                                      \
    __extension__({                                                                                              \
        vsoa_server_t* const syncer_server_ = (server);                                                          \
        const vsoa_url_t* const syncer_url_ = (url);                                                             \
        vsoa_syncer_ret syncer_ret_ = VSOA_SYNCER_ERROR;                                                         \
        if (vsoa_server_is_subscribed(syncer_server_, syncer_url_)) {                                            \
            char* const syncer_json_ = module##_json_stringify(struc);                                           \
            syncer_ret_ = vsoa_syncer_publish_text(syncer_server_, syncer_url_, syncer_json_, (bin), (bin_len)); \
            if (syncer_json_ != NULL) module##_json_stringify_free(syncer_json_);                                \
        }                                                                                                        \
        syncer_ret_;                                                                                             \
    })

/** The whole of an RPC callback: GET answers the structure as JSON. SET parses param into the structure, asks checker,
 *  answers, and publishes the new value under the url of the call. After a SET what MODULE_json_parse allocated is
 * freed again: pointers in the structure must not be used afterwards, so checker takes from it what the program keeps.
 *  @param server    vsoa_server_t*
 *  @param cli_id    vsoa_cli_id_t, who calls
 *  @param module    the name before _json_parse
 *  @param struc     T*
 *  @param vsoa_hdr  vsoa_header_t* of the call, followed by its packet as in an RPC callback
 *  @param payload   vsoa_payload_t* of the call
 *  @param checker   uint8_t checker(void* arg, T* struc, vsoa_payload_t* payload): 0 = take it, else the status to
 * answer with; NULL = take everything
 *  @param arg       handed to checker
 *  @return VSOA_SYNCER_SET_OK or VSOA_SYNCER_GET_OK; VSOA_SYNCER_ERROR when the client was answered with a status other
 *          than success (VSOA_STATUS_ARGUMENTS: param did not parse; VSOA_STATUS_NO_MEMORY: GET, and no text could be
 *          made or sent; checker's), or the answer to a GET or the publish after a SET failed (errno is the server's)
 */
#define VSOA_PARAM_SYNCER_RPC(server, cli_id, module, struc, vsoa_hdr, payload, checker, arg)                          \
    __extension__({                                                                                                    \
        const vsoa_header_t* const syncer_hdr_ = (vsoa_hdr);                                                           \
        vsoa_payload_t* const syncer_in_ = (payload);                                                                  \
        __typeof__(struc) const syncer_struc_ = (struc);                                                               \
        uint8_t (*const syncer_check_)(void*, __typeof__(struc), vsoa_payload_t*) =                                    \
            (uint8_t(*)(void*, __typeof__(struc), vsoa_payload_t*))(checker);                                          \
        const bool syncer_set_ = (vsoa_parser_get_flags(syncer_hdr_) & VSOA_FLAG_SET) != 0;                            \
        const bool syncer_parsed_ = syncer_set_ && syncer_in_->param_len > 0 && syncer_in_->param != NULL &&           \
                                    module##_json_parse(syncer_struc_, syncer_in_->param, syncer_in_->param_len);      \
        uint8_t syncer_status_ = syncer_set_ && !syncer_parsed_ ? VSOA_STATUS_ARGUMENTS : VSOA_STATUS_SUCCESS;         \
        char* syncer_json_ = NULL;                                                                                     \
        vsoa_syncer_ret syncer_ret_;                                                                                   \
        if (syncer_parsed_ && syncer_check_ != NULL) syncer_status_ = syncer_check_((arg), syncer_struc_, syncer_in_); \
        if (syncer_status_ == VSOA_STATUS_SUCCESS) syncer_json_ = module##_json_stringify(syncer_struc_);              \
        syncer_ret_ = vsoa_syncer_answer((server), (cli_id), syncer_hdr_, syncer_status_, syncer_json_);               \
        if (syncer_json_ != NULL) module##_json_stringify_free(syncer_json_);                                          \
        if (syncer_parsed_) module##_json_parse_free(syncer_struc_);                                                   \
        syncer_ret_;                                                                                                   \
    })

#endif
