/* A structure and its four functions as a generator would write them, and RPC callbacks made with the macros of
   vsoa_syncer.h in C. */
#ifndef SYNCER_MODULE_H
#define SYNCER_MODULE_H

#include "vsoa_syncer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int x;
    char* name; /* allocated by place_json_parse */
} place_t;

/* What the test looks at. */
typedef struct {
    place_t place;
    uint8_t verdict; /* the checker's */
    int checked;
    char stored[32]; /* the name that the checker kept */
    vsoa_syncer_ret last;
} place_owner_t;

extern int place_texts_alive, place_parses_alive, place_stringify_fails;

bool place_json_parse(place_t* place, const char* json, size_t length);
void place_json_parse_free(place_t* place);
char* place_json_stringify(const place_t* place);
void place_json_stringify_free(char* json);

/* RPC callbacks; arg is a place_owner_t. */
void place_call(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                vsoa_payload_t* payload);
void place_call_unchecked(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                          vsoa_payload_t* payload);
vsoa_syncer_ret place_publish(vsoa_server_t* server, const vsoa_url_t* url, const place_t* place);

#ifdef __cplusplus
}
#endif

#endif
