/* The vendor's interface as the reference lists it, apart from our headers: a name that is missing, a prototype, a
   value or a field that differs does not compile. Compiled as C11 and as C++17; inventory_test.py compares the names
   with what the headers declare and the library exports. */
#include <vsoa_cliauto.h>
#include <vsoa_plistener.h>
#include <vsoa_position.h>
#include <vsoa_regulator.h>
#include <vsoa_syncer.h>
#include <vsoa_timer.h>
/* After the others: it may not be needed by them. */
#include <vsoa_platform.h>

#ifdef __cplusplus
#define SURE(condition) static_assert(condition, #condition)
#define SAME_TYPE(a, b) SURE((std::is_same<a, b>::value))
#include <type_traits>
#else
#define SURE(condition) _Static_assert(condition, #condition)
#define SAME_TYPE(a, b) SURE(_Generic((a*)0, b * : 1, default : 0))
#endif

/* FUNCTION(result, name, (parameters)): there is a function of exactly this type. */
#define FUNCTION(result, name, parameters)    \
    typedef result name##_is_ parameters;     \
    extern name##_is_* const name##_address_; \
    name##_is_* const name##_address_ = name

/* vsoa_parser.h */
FUNCTION(vsoa_header_t*, vsoa_parser_init_header, (void*, uint8_t, uint8_t, uint8_t, uint32_t));
FUNCTION(void, vsoa_parser_init_recv, (vsoa_recv_t*));
FUNCTION(size_t, vsoa_parser_fixp_length, (vsoa_header_t*));
FUNCTION(size_t, vsoa_parser_calc_size, (const vsoa_url_t*, const vsoa_payload_t*, uint8_t*));
FUNCTION(bool, vsoa_parser_set_pad, (vsoa_header_t*, uint8_t));
FUNCTION(bool, vsoa_parser_set_tunid, (vsoa_header_t*, uint16_t));
FUNCTION(bool, vsoa_parser_set_url, (vsoa_header_t*, const vsoa_url_t*));
FUNCTION(bool, vsoa_parser_set_payload, (vsoa_header_t*, const vsoa_payload_t*));
FUNCTION(size_t, vsoa_parser_get_length, (vsoa_header_t*));
FUNCTION(bool, vsoa_parser_get_url, (const vsoa_header_t*, vsoa_url_t*));
FUNCTION(bool, vsoa_parser_get_payload, (const vsoa_header_t*, vsoa_payload_t*));
FUNCTION(bool, vsoa_parser_input, (vsoa_recv_t*, void*, size_t, vsoa_input_callback_t, void*));
FUNCTION(vsoa_header_t*, vsoa_parser_packet_input, (void*, size_t));
FUNCTION(const char*, vsoa_parser_version, (void));
FUNCTION(void, vsoa_parser_print_header, (const vsoa_header_t*, bool));

/* vsoa_server.h */
FUNCTION(vsoa_server_t*, vsoa_server_create, (const char*));
FUNCTION(void, vsoa_server_close, (vsoa_server_t*));
FUNCTION(bool, vsoa_server_passwd, (vsoa_server_t*, const char*));
FUNCTION(bool, vsoa_server_start, (vsoa_server_t*, const struct sockaddr*, socklen_t));
FUNCTION(bool, vsoa_server_address, (vsoa_server_t*, struct sockaddr*, socklen_t*));
FUNCTION(bool, vsoa_server_bind_if, (vsoa_server_t*, const char*));
FUNCTION(void, vsoa_server_on_cli, (vsoa_server_t*, vsoa_server_cli_func_t, void*));
FUNCTION(int, vsoa_server_count, (vsoa_server_t*));
FUNCTION(bool, vsoa_server_send_timeout, (vsoa_server_t*, bool, const struct timespec*));
FUNCTION(bool, vsoa_server_is_subscribed, (vsoa_server_t*, const vsoa_url_t*));
FUNCTION(bool, vsoa_server_publish, (vsoa_server_t*, const vsoa_url_t*, const vsoa_payload_t*));
FUNCTION(bool, vsoa_server_quick_publish, (vsoa_server_t*, const vsoa_url_t*, const vsoa_payload_t*));
FUNCTION(bool, vsoa_server_add_listener, (vsoa_server_t*, const vsoa_url_t*, vsoa_server_cmd_func_t, void*));
FUNCTION(void, vsoa_server_remove_listener, (vsoa_server_t*, const vsoa_url_t*));
FUNCTION(bool, vsoa_server_cli_close, (vsoa_server_t*, vsoa_cli_id_t));
FUNCTION(bool, vsoa_server_cli_linger, (vsoa_server_t*, vsoa_cli_id_t, int));
FUNCTION(bool, vsoa_server_cli_is_subscribed, (vsoa_server_t*, vsoa_cli_id_t, const vsoa_url_t*));
FUNCTION(bool, vsoa_server_cli_address, (vsoa_server_t*, vsoa_cli_id_t, struct sockaddr*, socklen_t*));
FUNCTION(bool, vsoa_server_cli_reply,
         (vsoa_server_t*, vsoa_cli_id_t, uint8_t, uint32_t, uint16_t, const vsoa_payload_t*));
FUNCTION(bool, vsoa_server_cli_priority, (vsoa_server_t*, vsoa_cli_id_t, int));
FUNCTION(bool, vsoa_server_cli_keepalive, (vsoa_server_t*, vsoa_cli_id_t, int));
FUNCTION(int, vsoa_server_cli_array, (vsoa_server_t*, vsoa_cli_id_t[], int));
FUNCTION(bool, vsoa_server_cli_send_timeout, (vsoa_server_t*, vsoa_cli_id_t, const struct timespec*));
FUNCTION(bool, vsoa_server_cli_set_authed, (vsoa_server_t*, vsoa_cli_id_t, bool));
FUNCTION(bool, vsoa_server_cli_authed, (vsoa_server_t*, vsoa_cli_id_t));
FUNCTION(bool, vsoa_server_cli_set_custom, (vsoa_server_t*, vsoa_cli_id_t, void*));
FUNCTION(void*, vsoa_server_cli_custom, (vsoa_server_t*, vsoa_cli_id_t));
FUNCTION(bool, vsoa_server_cli_datagram, (vsoa_server_t*, vsoa_cli_id_t, const vsoa_url_t*, const vsoa_payload_t*));
FUNCTION(bool, vsoa_server_cli_quick_datagram,
         (vsoa_server_t*, vsoa_cli_id_t, const vsoa_url_t*, const vsoa_payload_t*));
FUNCTION(void, vsoa_server_on_datagram, (vsoa_server_t*, vsoa_server_dat_func_t, void*));
FUNCTION(int, vsoa_server_fds, (vsoa_server_t*, fd_set*));
FUNCTION(void, vsoa_server_input_fds, (vsoa_server_t*, const fd_set*));
FUNCTION(void, vsoa_server_set_custom, (vsoa_server_t*, void*));
FUNCTION(void*, vsoa_server_custom, (vsoa_server_t*));
FUNCTION(vsoa_server_stream_t*, vsoa_server_stream_create, (vsoa_server_t*));
FUNCTION(int, vsoa_server_stream_accept, (vsoa_server_stream_t*, struct sockaddr*, socklen_t*, int));
FUNCTION(void, vsoa_server_stream_close, (vsoa_server_stream_t*));

/* vsoa_client.h */
FUNCTION(vsoa_client_t*, vsoa_client_create, (vsoa_client_msg_func_t, void*));
FUNCTION(void, vsoa_client_close, (vsoa_client_t*));
FUNCTION(bool, vsoa_client_linger, (vsoa_client_t*, int));
FUNCTION(bool, vsoa_client_connect,
         (vsoa_client_t*, const struct sockaddr*, socklen_t, const struct timespec*, const char*, char*, size_t));
FUNCTION(bool, vsoa_client_disconnect, (vsoa_client_t*));
FUNCTION(bool, vsoa_client_is_connect, (vsoa_client_t*));
FUNCTION(char*, vsoa_client_path_token, (vsoa_client_t*, vsoa_url_t*, size_t*));
FUNCTION(bool, vsoa_client_send_timeout, (vsoa_client_t*, const struct timespec*));
FUNCTION(int, vsoa_client_fds, (vsoa_client_t*, fd_set*));
FUNCTION(bool, vsoa_client_input_fds, (vsoa_client_t*, const fd_set*));
FUNCTION(bool, vsoa_client_ping, (vsoa_client_t*, vsoa_client_res_func_t, void*, const struct timespec*));
FUNCTION(bool, vsoa_client_subscribe,
         (vsoa_client_t*, const vsoa_url_t*, vsoa_client_res_func_t, void*, const struct timespec*));
FUNCTION(bool, vsoa_client_unsubscribe,
         (vsoa_client_t*, const vsoa_url_t*, vsoa_client_res_func_t, void*, const struct timespec*));
FUNCTION(bool, vsoa_client_multi_subscribe,
         (vsoa_client_t*, char* const[], int, vsoa_client_res_func_t, void*, const struct timespec*));
FUNCTION(bool, vsoa_client_multi_unsubscribe,
         (vsoa_client_t*, char* const[], int, vsoa_client_res_func_t, void*, const struct timespec*));
FUNCTION(bool, vsoa_client_call,
         (vsoa_client_t*, int, const vsoa_url_t*, const vsoa_payload_t*, vsoa_client_rpc_func_t, void*,
          const struct timespec*));
FUNCTION(bool, vsoa_client_datagram, (vsoa_client_t*, const vsoa_url_t*, const vsoa_payload_t*));
FUNCTION(bool, vsoa_client_quick_datagram, (vsoa_client_t*, const vsoa_url_t*, const vsoa_payload_t*));
FUNCTION(void, vsoa_client_on_datagram, (vsoa_client_t*, vsoa_client_dat_func_t, void*));
FUNCTION(void, vsoa_client_set_custom, (vsoa_client_t*, void*));
FUNCTION(void*, vsoa_client_custom, (vsoa_client_t*));
FUNCTION(int, vsoa_client_stream_create, (vsoa_client_t*, uint16_t, const struct timespec*, int));
FUNCTION(void, vsoa_client_stream_close, (int));
FUNCTION(vsoa_client_sync_call_t*, vsoa_client_sync_create, (bool));
FUNCTION(bool, vsoa_client_sync_delete, (vsoa_client_sync_call_t*));
FUNCTION(bool, vsoa_client_sync_call,
         (vsoa_client_t*, int, const vsoa_url_t*, const vsoa_payload_t*, vsoa_client_sync_call_t*, vsoa_header_t**,
          const struct timespec*));

/* vsoa_cliauto.h; urls of start as const void*: see the header */
FUNCTION(vsoa_client_auto_t*, vsoa_client_auto_create, (vsoa_client_msg_func_t, void*));
FUNCTION(void, vsoa_client_auto_delete, (vsoa_client_auto_t*));
FUNCTION(bool, vsoa_client_auto_setup, (vsoa_client_auto_t*, vsoa_client_conn_func_t, void*));
FUNCTION(bool, vsoa_client_auto_consistent, (vsoa_client_auto_t*, char* const[], int, unsigned int));
FUNCTION(bool, vsoa_client_auto_ping_turbo, (vsoa_client_auto_t*, unsigned int, unsigned int));
FUNCTION(bool, vsoa_client_auto_start,
         (vsoa_client_auto_t*, const char*, const char*, const void*, int, unsigned int, unsigned int, unsigned int));
FUNCTION(bool, vsoa_client_auto_stop, (vsoa_client_auto_t*));
FUNCTION(vsoa_client_t*, vsoa_client_auto_handle, (vsoa_client_auto_t*));
FUNCTION(bool, vsoa_client_auto_server_address, (vsoa_client_auto_t*, struct sockaddr*, socklen_t*));

/* vsoa_position.h */
FUNCTION(vsoa_position_server_t*, vsoa_position_server_create, (vsoa_position_query_func_t, void*));
FUNCTION(void, vsoa_position_server_close, (vsoa_position_server_t*));
FUNCTION(bool, vsoa_position_server_start, (vsoa_position_server_t*, const struct sockaddr*, socklen_t));
FUNCTION(int, vsoa_position_server_fd, (vsoa_position_server_t*));
FUNCTION(void, vsoa_position_server_input, (vsoa_position_server_t*));
FUNCTION(void, vsoa_position_server_response,
         (vsoa_position_server_t*, vsoa_position_response_t*, const struct sockaddr*, socklen_t, bool));
FUNCTION(void, vsoa_position_server_set_custom, (vsoa_position_server_t*, void*));
FUNCTION(void*, vsoa_position_server_custom, (vsoa_position_server_t*));
FUNCTION(bool, vsoa_position_lookup_server, (const struct sockaddr*, socklen_t));
FUNCTION(bool, vsoa_position_lookup, (int, const char*, struct sockaddr*, socklen_t*, bool*, const struct timespec*));

/* vsoa_timer.h */
FUNCTION(bool, vsoa_timer_init, (void));
FUNCTION(vsoa_timer_t*, vsoa_timer_create, (void));
FUNCTION(void, vsoa_timer_delete, (vsoa_timer_t*));
FUNCTION(bool, vsoa_timer_start, (vsoa_timer_t*, int64_t, int64_t, vsoa_timer_ontime_func_t, void*));
FUNCTION(bool, vsoa_timer_start_ms, (vsoa_timer_t*, int64_t, int64_t, vsoa_timer_ontime_func_t, void*));
FUNCTION(void, vsoa_timer_stop, (vsoa_timer_t*));
FUNCTION(bool, vsoa_timer_is_started, (vsoa_timer_t*));
FUNCTION(void, vsoa_timer_set_custom, (vsoa_timer_t*, void*));
FUNCTION(void*, vsoa_timer_custom, (vsoa_timer_t*));

/* vsoa_regulator.h */
FUNCTION(vsoa_regulator_t*, vsoa_regulator_create, (const struct timespec*));
FUNCTION(void, vsoa_regulator_delete, (vsoa_regulator_t*));
FUNCTION(bool, vsoa_regulator_period, (vsoa_regulator_t*, const struct timespec*));
FUNCTION(bool, vsoa_regulator_slot, (vsoa_regulator_t*, const vsoa_url_t*, vsoa_regulator_func_t, void*, size_t));
FUNCTION(bool, vsoa_regulator_unslot, (vsoa_regulator_t*, const vsoa_url_t*));
FUNCTION(bool, vsoa_regulator_has_slot, (vsoa_regulator_t*, const vsoa_url_t*, size_t*));
FUNCTION(bool, vsoa_regulator_update, (vsoa_regulator_t*, const vsoa_url_t*, const vsoa_payload_t*));
FUNCTION(bool, vsoa_regulator_clear, (vsoa_regulator_t*, const vsoa_url_t*));

/* vsoa_plistener.h */
FUNCTION(vsoa_plistener_t*, vsoa_server_plistener_create, (int));
FUNCTION(void, vsoa_server_plistener_delete, (vsoa_plistener_t*));
FUNCTION(vsoa_plistener_handler_t, vsoa_server_plistener_handler,
         (vsoa_plistener_t*, bool, int, vsoa_server_cmd_func_t, void*));

/* Callback types. */
typedef bool input_callback_(void*, vsoa_header_t*);
typedef void server_cli_(void*, vsoa_server_t*, vsoa_cli_id_t, bool);
typedef void server_cmd_(void*, vsoa_server_t*, vsoa_cli_id_t, vsoa_header_t*, vsoa_url_t*, vsoa_payload_t*);
typedef void server_dat_(void*, vsoa_server_t*, vsoa_cli_id_t, vsoa_url_t*, vsoa_payload_t*, bool);
typedef void client_msg_(void*, struct vsoa_client*, vsoa_url_t*, vsoa_payload_t*, bool);
typedef void client_rpc_(void*, vsoa_client_t*, vsoa_header_t*, vsoa_payload_t*);
typedef void client_res_(void*, vsoa_client_t*, bool);
typedef void client_conn_(void*, vsoa_client_auto_t*, bool, const char*);
typedef void position_query_(void*, int, const char*, vsoa_position_response_t*);
typedef void timer_ontime_(void*, vsoa_timer_t*, void*);
typedef void regulator_func_(void*, vsoa_url_t*, vsoa_payload_t*);
SAME_TYPE(vsoa_input_callback_t, input_callback_*);
SAME_TYPE(vsoa_server_cli_func_t, server_cli_*);
SAME_TYPE(vsoa_server_cmd_func_t, server_cmd_*);
SAME_TYPE(vsoa_server_dat_func_t, server_dat_*);
SAME_TYPE(vsoa_client_msg_func_t, client_msg_*);
SAME_TYPE(vsoa_client_rpc_func_t, client_rpc_*);
SAME_TYPE(vsoa_client_res_func_t, client_res_*);
SAME_TYPE(vsoa_client_dat_func_t, client_msg_*);
SAME_TYPE(vsoa_client_conn_func_t, client_conn_*);
SAME_TYPE(vsoa_position_query_func_t, position_query_*);
SAME_TYPE(vsoa_timer_ontime_func_t, timer_ontime_*);
SAME_TYPE(vsoa_regulator_func_t, regulator_func_*);

/* Types with a layout: order, offset, size. */
#define FIELD(type, field, after)                                                      \
    SURE(offsetof(type, field) >= offsetof(type, after) + sizeof(((type*)0)->after) && \
         offsetof(type, field) < offsetof(type, after) + sizeof(((type*)0)->after) + sizeof(void*))
SURE(sizeof(vsoa_header_t) == 20);
SURE(offsetof(vsoa_header_t, magic_ver) == 0 && offsetof(vsoa_header_t, type) == 1);
SURE(offsetof(vsoa_header_t, flags) == 2 && offsetof(vsoa_header_t, status) == 3);
SURE(offsetof(vsoa_header_t, seqno) == 4 && offsetof(vsoa_header_t, tunid) == 8);
SURE(offsetof(vsoa_header_t, url_len) == 10 && offsetof(vsoa_header_t, param_len) == 12);
SURE(offsetof(vsoa_header_t, data_len) == 16);
SURE(offsetof(vsoa_recv_t, cur_len) == 0 && offsetof(vsoa_recv_t, total_len) == 4);
SURE(offsetof(vsoa_recv_t, buffer) == 8 && sizeof(vsoa_recv_t) == 8 + VSOA_MAX_PACKET_LENGTH);
SURE(offsetof(vsoa_url_t, url) == 0);
FIELD(vsoa_url_t, url_len, url);
SURE(offsetof(vsoa_payload_t, param) == 0);
FIELD(vsoa_payload_t, param_len, param);
FIELD(vsoa_payload_t, data, param_len);
FIELD(vsoa_payload_t, data_len, data);
SURE(offsetof(struct vsoa_server_stream, valid) == 0);
FIELD(vsoa_server_stream_t, listenfd, valid);
FIELD(vsoa_server_stream_t, clifd, listenfd);
FIELD(vsoa_server_stream_t, tunid, clifd);
FIELD(vsoa_server_stream_t, custom, tunid);
SURE(offsetof(vsoa_plistener_handler_t, callback) == 0);
FIELD(vsoa_plistener_handler_t, arg, callback);
SAME_TYPE(vsoa_cli_id_t, uint32_t);

/* Constants. */
SURE(VSOA_HDR_LENGTH == 20 && VSOA_MAX_PACKET_LENGTH == 262144 && VSOA_MAX_DATA_LENGTH == 262124);
SURE(VSOA_MAX_QPACKET_LENGTH == 65507 && VSOA_MAX_QDATA_LENGTH == 65487);
SURE(VSOA_MAGIC == 9 && VSOA_VERSION == 2);
SURE(VSOA_TYPE_SERVINFO == 0 && VSOA_TYPE_RPC == 1 && VSOA_TYPE_SUBSCRIBE == 2 && VSOA_TYPE_UNSUBSCRIBE == 3);
SURE(VSOA_TYPE_PUBLISH == 4 && VSOA_TYPE_DATAGRAM == 5 && VSOA_TYPE_QOSSETUP == 6);
SURE(VSOA_TYPE_NOOP == 0xfe && VSOA_TYPE_PINGECHO == 0xff);
SURE(VSOA_FLAG_REPLY == 1 && VSOA_FLAG_TUNNEL == 2 && VSOA_FLAG_SET == 4);
SURE(VSOA_PAD_MASK == 0xc0 && VSOA_PAD_SHIFT == 6 && VSOA_DEBUG_PRINT_PARSER_ERROR == 0);
SURE(VSOA_STATUS_SUCCESS == 0 && VSOA_STATUS_PASSWORD == 1 && VSOA_STATUS_ARGUMENTS == 2);
SURE(VSOA_STATUS_INVALID_URL == 3 && VSOA_STATUS_NO_RESPONDING == 4 && VSOA_STATUS_NO_PERMISSIONS == 5);
SURE(VSOA_STATUS_NO_MEMORY == 6);
SURE(VSOA_SERVER_BACKLOG == 32 && VSOA_SERVER_DEF_SEND_TIMEOUT == 100);
SURE(VSOA_SERVER_DEF_HANDSHAKE_TIMEOUT == 5000 && VSOA_SERVER_KEEPALIVE_TIMEOUT == 10);
SURE(VSOA_CLIENT_TIMER_PERIOD == 10 && VSOA_CLIENT_DEF_TIMEOUT == 60000 && VSOA_CLIENT_DEF_SEND_TIMEOUT == 500);
SURE(VSOA_CLIENT_KEEPALIVE_TIMEOUT == 10 && VSOA_CLIENT_RPC_METHOD_GET == 0 && VSOA_CLIENT_RPC_METHOD_SET == 1);
SURE(VSOA_CLIENT_AUTO_MAX_INFO == 2048 && VSOA_CLIENT_AUTO_MAX_PING_LOST == 3);
SURE(VSOA_POSITION_MAX_NAME_LEN == 512 && VSOA_SERVER_MAX_RPC_WORKER_THDS == 8);
SURE(VSOA_SYNCER_PUB_OK == 0 && VSOA_SYNCER_SET_OK == 1 && VSOA_SYNCER_GET_OK == 2 && VSOA_SYNCER_ERROR == -1);
SURE(VSOA_INHERIT_NODELAY == 1 && VSOA_SEM_WAIT_INFINITE == -1);
#if defined(VSOA_HAS_SIN_LEN) || defined(VSOA_NO_IPV6)
#error "Linux has neither"
#endif

/* Macros of vsoa_parser.h and vsoa_server.h, each used. */
vsoa_url_t inventory_url = VSOA_URL_INITIALIZER;
vsoa_payload_t inventory_payload = VSOA_PAYLOAD_INITIALIZER;
extern uint64_t inventory_macros(vsoa_header_t* header, vsoa_server_stream_t* stream);
uint64_t inventory_macros(vsoa_header_t* header, vsoa_server_stream_t* stream) {
    vsoa_server_stream_set_custom(stream, header);
    if (vsoa_server_stream_custom(stream) == NULL) return 0;
    VSOA_URL_SET(&inventory_url, NULL, 0);
    VSOA_PAYLOAD_SET(&inventory_payload, NULL, 0, NULL, 0);
    vsoa_parser_set_seqno(header, 1);
    return (uint64_t)vsoa_parser_get_seqno(header) + vsoa_parser_get_type(header) + vsoa_parser_get_flags(header) +
           vsoa_parser_get_status(header) + vsoa_parser_get_tunid(header) + vsoa_parser_get_url_len(header) +
           vsoa_parser_get_param_len(header) + vsoa_parser_get_data_len(header) +
           (uint64_t)vsoa_server_stream_lfd(stream) + (uint64_t)vsoa_server_stream_fd(stream) +
           vsoa_server_stream_tunid(stream);
}

/* The cast of the vendor's sample: sub_urls is char*[], cast to a pointer type of its own liking. (C++ says of `const`
   in any cast that it means nothing.) */
#ifdef __cplusplus
#define SAMPLES_CAST (char*)
#else
#define SAMPLES_CAST (char* const)
#endif
extern bool inventory_cast(vsoa_client_auto_t* robot);
bool inventory_cast(vsoa_client_auto_t* robot) {
    static char topic[] = "/axis";
    static char* sub_urls[] = {topic};
    return vsoa_client_auto_start(robot, "vsoa://axis_server", "123456", SAMPLES_CAST sub_urls, 1, 1000, 1000, 1000) ||
           vsoa_client_auto_start(robot, "vsoa://axis_server", "123456", sub_urls, 1, 1000, 1000, 1000);
}
