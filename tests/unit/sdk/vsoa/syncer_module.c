#include "syncer_module.h"

#include <stdio.h>
#include <stdlib.h>

int place_texts_alive, place_parses_alive, place_stringify_fails;

bool place_json_parse(place_t* place, const char* json, size_t length) {
    char text[128], name[32];
    int x;
    if (length >= sizeof text) return false;
    memcpy(text, json, length);
    text[length] = '\0';
    if (sscanf(text, "{\"x\":%d,\"name\":\"%31[a-z]\"}", &x, name) != 2) return false;
    place->x = x;
    place->name = (char*)malloc(strlen(name) + 1);
    strcpy(place->name, name);
    ++place_parses_alive;
    return true;
}

void place_json_parse_free(place_t* place) {
    free(place->name);
    place->name = NULL;
    --place_parses_alive;
}

char* place_json_stringify(const place_t* place) {
    char* text;
    if (place_stringify_fails) return NULL;
    text = (char*)malloc(64);
    snprintf(text, 64, "{\"x\":%d,\"name\":\"%s\"}", place->x, place->name != NULL ? place->name : "");
    ++place_texts_alive;
    return text;
}

void place_json_stringify_free(char* json) {
    free(json);
    --place_texts_alive;
}

static uint8_t check(void* arg, place_t* place, vsoa_payload_t* payload) {
    place_owner_t* owner = (place_owner_t*)arg;
    (void)payload;
    ++owner->checked;
    snprintf(owner->stored, sizeof owner->stored, "%s", place->name);
    return owner->verdict;
}

void place_call(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                vsoa_payload_t* payload) {
    place_owner_t* owner = (place_owner_t*)arg;
    (void)url;
    owner->last = VSOA_PARAM_SYNCER_RPC(server, id, place, &owner->place, header, payload, check, arg);
}

void place_call_unchecked(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                          vsoa_payload_t* payload) {
    place_owner_t* owner = (place_owner_t*)arg;
    /* Twice in one function: the macro has no labels that could meet. */
    if (url->url_len == 0) {
        owner->last = VSOA_PARAM_SYNCER_RPC(server, id, place, &owner->place, header, payload, NULL, NULL);
    } else {
        owner->last = VSOA_PARAM_SYNCER_RPC(server, id, place, &owner->place, header, payload, NULL, NULL);
    }
}

vsoa_syncer_ret place_publish(vsoa_server_t* server, const vsoa_url_t* url, const place_t* place) {
    static char bytes[] = "bin";
    return VSOA_PARAM_SYNCER_PUBLISH(server, url, place, place, bytes, 3);
}
