// What programs do wrong: null handles, null arguments and numbers out of range give EINVAL and nothing else happens.
#include <netinet/in.h>

#include <cerrno>
#include <memory>

#include "sdk/vsoa/include/vsoa_cliauto.h"
#include "sdk/vsoa/include/vsoa_loop.h"
#include "sdk/vsoa/include/vsoa_position.h"
#include "sdk/vsoa/include/vsoa_stats.h"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

/// The call failed with this errno.
template <typename Call>
bool fails(Call call, int error = EINVAL) {
    errno = 0;
    if constexpr (std::is_void_v<decltype(call())>) {
        call();
    } else if constexpr (std::is_same_v<decltype(call()), int>) {
        if (call() >= 0) return false;
    } else {
        if (call()) return false;
    }
    return errno == error;
}

void on_call(void*, vsoa_server_t*, vsoa_cli_id_t, vsoa_header_t*, vsoa_url_t*, vsoa_payload_t*) {}

#define REFUSED(expression) CHECK(fails([&] { return expression; }))

}  // namespace

TEST_CASE("functions of a server refuse null") {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    const vsoa_url_t u = url("/a");
    const timespec second{1, 0};
    vsoa_cli_id_t ids[1];
    fd_set set;
    FD_ZERO(&set);
    vsoa_server_t* const none = nullptr;
    vsoa_server_close(none);
    REFUSED(vsoa_server_passwd(none, ""));
    REFUSED(vsoa_server_start(none, raw, length));
    REFUSED(vsoa_server_address(none, raw, &length));
    REFUSED(vsoa_server_bind_if(none, "lo"));
    REFUSED(vsoa_server_on_cli(none, nullptr, nullptr));
    REFUSED(vsoa_server_count(none));
    REFUSED(vsoa_server_send_timeout(none, true, &second));
    REFUSED(vsoa_server_is_subscribed(none, &u));
    REFUSED(vsoa_server_publish(none, &u, nullptr));
    REFUSED(vsoa_server_quick_publish(none, &u, nullptr));
    REFUSED(vsoa_server_add_listener(none, &u, on_call, nullptr));
    REFUSED(vsoa_server_remove_listener(none, &u));
    REFUSED(vsoa_server_cli_close(none, 1));
    REFUSED(vsoa_server_cli_linger(none, 1, 0));
    REFUSED(vsoa_server_cli_is_subscribed(none, 1, &u));
    REFUSED(vsoa_server_cli_address(none, 1, raw, &length));
    REFUSED(vsoa_server_cli_reply(none, 1, 0, 1, 0, nullptr));
    REFUSED(vsoa_server_cli_priority(none, 1, 0));
    REFUSED(vsoa_server_cli_keepalive(none, 1, 1));
    REFUSED(vsoa_server_cli_array(none, ids, 1));
    REFUSED(vsoa_server_cli_send_timeout(none, 1, &second));
    REFUSED(vsoa_server_cli_send_timeout(none, 1, nullptr));
    REFUSED(vsoa_server_cli_set_authed(none, 1, true));
    REFUSED(vsoa_server_cli_authed(none, 1));
    REFUSED(vsoa_server_cli_set_custom(none, 1, nullptr));
    REFUSED(vsoa_server_cli_custom(none, 1));
    REFUSED(vsoa_server_cli_datagram(none, 1, &u, nullptr));
    REFUSED(vsoa_server_cli_quick_datagram(none, 1, &u, nullptr));
    REFUSED(vsoa_server_on_datagram(none, nullptr, nullptr));
    REFUSED(vsoa_server_fds(none, &set));
    REFUSED(vsoa_server_input_fds(none, &set));
    REFUSED(vsoa_server_wait(none, &second));
    REFUSED(vsoa_server_set_custom(none, nullptr));
    REFUSED(vsoa_server_custom(none));
    REFUSED(vsoa_server_stream_create(none));
    REFUSED(vsoa_server_stream_accept(nullptr, nullptr, nullptr, 0));
    vsoa_server_stream_close(nullptr);
}

TEST_CASE("a server refuses arguments that mean nothing") {
    RunningServer server;
    fd_set set;
    FD_ZERO(&set);
    sockaddr_in address{};
    socklen_t length = sizeof address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    CHECK(fails([&] { return vsoa_server_fds(server.handle, &set); }, ENOTCONN));
    CHECK(fails([&] { return vsoa_server_address(server.handle, raw, &length); }, ENOTCONN));
    REFUSED(vsoa_server_start(server.handle, nullptr, length));
    REFUSED(vsoa_server_start(server.handle, raw, 3));
    REFUSED(vsoa_server_bind_if(server.handle, nullptr));
    REFUSED(vsoa_server_bind_if(server.handle, ""));
    server.start();
    RunningClient client;
    REQUIRE(client.connect(server.address));
    vsoa_cli_id_t id = 0;
    REQUIRE(eventually([&] { return vsoa_server_cli_array(server.handle, &id, 1) == 1; }));
    REFUSED(vsoa_server_fds(server.handle, nullptr));
    REFUSED(vsoa_server_address(server.handle, nullptr, &length));
    REFUSED(vsoa_server_address(server.handle, raw, nullptr));
    length = 3;
    REFUSED(vsoa_server_address(server.handle, raw, &length));
    REFUSED(vsoa_server_cli_address(server.handle, id, nullptr, &length));
    REFUSED(vsoa_server_cli_array(server.handle, nullptr, 1));
    REFUSED(vsoa_server_cli_array(server.handle, &id, -1));
    REFUSED(vsoa_server_cli_priority(server.handle, id, -1));
    REFUSED(vsoa_server_cli_priority(server.handle, id, 6));
    REFUSED(vsoa_server_cli_keepalive(server.handle, id, -1));
    const vsoa_url_t good = url("/a"), slashless = url("a"), empty = {nullptr, 0}, half = {nullptr, 2};
    const vsoa_payload_t no_param = {nullptr, 1, nullptr, 0}, no_data = {nullptr, 0, nullptr, 1};
    for (const vsoa_url_t* bad : {&slashless, &empty, &half, static_cast<const vsoa_url_t*>(nullptr)}) {
        REFUSED(vsoa_server_is_subscribed(server.handle, bad));
        REFUSED(vsoa_server_publish(server.handle, bad, nullptr));
        REFUSED(vsoa_server_quick_publish(server.handle, bad, nullptr));
        REFUSED(vsoa_server_add_listener(server.handle, bad, on_call, nullptr));
        REFUSED(vsoa_server_remove_listener(server.handle, bad));
        REFUSED(vsoa_server_cli_is_subscribed(server.handle, id, bad));
        REFUSED(vsoa_server_cli_datagram(server.handle, id, bad, nullptr));
        REFUSED(vsoa_server_cli_quick_datagram(server.handle, id, bad, nullptr));
        REFUSED(vsoa_client_subscribe(client.handle, bad, nullptr, nullptr, nullptr));
        REFUSED(vsoa_client_unsubscribe(client.handle, bad, nullptr, nullptr, nullptr));
        REFUSED(vsoa_client_call(client.handle, 0, bad, nullptr, nullptr, nullptr, nullptr));
        REFUSED(vsoa_client_datagram(client.handle, bad, nullptr));
        REFUSED(vsoa_client_quick_datagram(client.handle, bad, nullptr));
    }
    for (const vsoa_payload_t* bad : {&no_param, &no_data}) {
        REFUSED(vsoa_server_publish(server.handle, &good, bad));
        REFUSED(vsoa_server_quick_publish(server.handle, &good, bad));
        REFUSED(vsoa_server_cli_reply(server.handle, id, 0, 1, 0, bad));
        REFUSED(vsoa_client_call(client.handle, 0, &good, bad, nullptr, nullptr, nullptr));
        REFUSED(vsoa_client_datagram(client.handle, &good, bad));
    }
    REFUSED(vsoa_server_add_listener(server.handle, &good, nullptr, nullptr));
    CHECK(fails([&] { return vsoa_server_is_subscribed(server.handle, &good); }, 0));  // no, and nothing is wrong
    CHECK(fails([&] { return vsoa_server_cli_is_subscribed(server.handle, id, &good); }, 0));
    CHECK(fails([&] { return vsoa_server_cli_close(server.handle, id + 1); }, ENOENT));
    CHECK(fails([&] { return vsoa_server_cli_authed(server.handle, id + 1); }, ENOENT));
    CHECK(fails([&] { return vsoa_server_cli_custom(server.handle, id + 1); }, ENOENT));
    CHECK(fails([&] { return vsoa_server_cli_reply(server.handle, id + 1, 0, 1, 0, nullptr); }, ENOENT));
}

TEST_CASE("functions of a client refuse null and what means nothing") {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    const vsoa_url_t u = url("/a");
    const timespec second{1, 0};
    char topic[] = "/a", slashless[] = "a";
    char* topics[] = {topic, nullptr};
    char* bad_topics[] = {slashless};
    fd_set set;
    FD_ZERO(&set);
    vsoa_header_t* reply = nullptr;
    vsoa_client_t* const none = nullptr;
    vsoa_client_close(none);
    REFUSED(vsoa_client_linger(none, 0));
    REFUSED(vsoa_client_connect(none, raw, length, &second, nullptr, nullptr, 0));
    REFUSED(vsoa_client_disconnect(none));
    REFUSED(vsoa_client_is_connect(none));
    REFUSED(vsoa_client_send_timeout(none, &second));
    REFUSED(vsoa_client_fds(none, &set));
    REFUSED(vsoa_client_input_fds(none, &set));
    REFUSED(vsoa_client_wait(none, &second));
    REFUSED(vsoa_client_ping(none, nullptr, nullptr, nullptr));
    REFUSED(vsoa_client_subscribe(none, &u, nullptr, nullptr, nullptr));
    REFUSED(vsoa_client_unsubscribe(none, &u, nullptr, nullptr, nullptr));
    REFUSED(vsoa_client_multi_subscribe(none, topics, 1, nullptr, nullptr, nullptr));
    REFUSED(vsoa_client_multi_unsubscribe(none, topics, 1, nullptr, nullptr, nullptr));
    REFUSED(vsoa_client_call(none, 0, &u, nullptr, nullptr, nullptr, nullptr));
    REFUSED(vsoa_client_datagram(none, &u, nullptr));
    REFUSED(vsoa_client_quick_datagram(none, &u, nullptr));
    REFUSED(vsoa_client_on_datagram(none, nullptr, nullptr));
    REFUSED(vsoa_client_set_custom(none, nullptr));
    REFUSED(vsoa_client_custom(none));
    REFUSED(vsoa_client_stream_create(none, htons(1), &second, 0));
    vsoa_client_stream_close(-1);

    vsoa_client_sync_call_t* sync = vsoa_client_sync_create(true);
    REQUIRE(sync != nullptr);
    REFUSED(vsoa_client_sync_call(none, 0, &u, nullptr, sync, &reply, &second));
    vsoa_client_t* client = vsoa_client_create(nullptr, nullptr);
    REQUIRE(client != nullptr);
    REFUSED(vsoa_client_sync_call(client, 0, &u, nullptr, nullptr, &reply, &second));
    REFUSED(vsoa_client_sync_call(client, 0, &u, nullptr, sync, nullptr, &second));
    REFUSED(vsoa_client_sync_call(client, 2, &u, nullptr, sync, &reply, &second));
    REFUSED(vsoa_client_sync_delete(nullptr));
    REFUSED(vsoa_client_call(client, 2, &u, nullptr, nullptr, nullptr, nullptr));
    REFUSED(vsoa_client_connect(client, nullptr, length, &second, nullptr, nullptr, 0));
    REFUSED(vsoa_client_connect(client, raw, 3, &second, nullptr, nullptr, 0));
    REFUSED(vsoa_client_fds(client, nullptr));
    REFUSED(vsoa_client_multi_subscribe(client, nullptr, 1, nullptr, nullptr, nullptr));
    REFUSED(vsoa_client_multi_subscribe(client, topics, 0, nullptr, nullptr, nullptr));
    REFUSED(vsoa_client_multi_subscribe(client, topics, 2, nullptr, nullptr, nullptr));
    REFUSED(vsoa_client_multi_subscribe(client, bad_topics, 1, nullptr, nullptr, nullptr));
    REFUSED(vsoa_client_stream_create(client, 0, &second, 0));
    REFUSED(vsoa_client_stream_create(client, htons(1), &second, -1));
    CHECK(fails([&] { return vsoa_client_stream_create(client, htons(1), &second, 0); }, ENOTCONN));
    CHECK(fails([&] { return vsoa_client_call(client, 0, &u, nullptr, nullptr, nullptr, nullptr); }, ENOTCONN));
    CHECK(fails([&] { return vsoa_client_datagram(client, &u, nullptr); }, ENOTCONN));
    CHECK(fails([&] { return vsoa_client_quick_datagram(client, &u, nullptr); }, ENOTCONN));
    CHECK(fails([&] { return vsoa_client_linger(client, 0); }, ENOTCONN));
    CHECK(fails([&] { return vsoa_client_disconnect(client); }, ENOTCONN));
    vsoa_client_close(client);
    vsoa_client_sync_delete(sync);
}

TEST_CASE("the automatic client refuses null and what is out of range") {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    char topic[] = "/a";
    char* topics[] = {topic};
    vsoa_client_auto_t* const none = nullptr;
    vsoa_client_auto_delete(none);
    REFUSED(vsoa_client_auto_setup(none, nullptr, nullptr));
    REFUSED(vsoa_client_auto_on_fail(none, nullptr, nullptr));
    REFUSED(vsoa_client_auto_consistent(none, topics, 1, 100));
    REFUSED(vsoa_client_auto_ping_turbo(none, 25, 3));
    REFUSED(vsoa_client_auto_start(none, "127.0.0.1:1", nullptr, topics, 1, 50, 20, 20));
    REFUSED(vsoa_client_auto_stop(none));
    REFUSED(vsoa_client_auto_handle(none));
    REFUSED(vsoa_client_auto_server_address(none, raw, &length));
    vsoa_client_auto_t* robot = vsoa_client_auto_create(nullptr, nullptr);
    REQUIRE(robot != nullptr);
    REFUSED(vsoa_client_auto_consistent(robot, nullptr, 1, 100));
    REFUSED(vsoa_client_auto_consistent(robot, topics, -1, 100));
    REFUSED(vsoa_client_auto_ping_turbo(robot, 24, 3));
    REFUSED(vsoa_client_auto_ping_turbo(robot, 25, 2));
    REFUSED(vsoa_client_auto_start(robot, nullptr, nullptr, topics, 1, 50, 20, 20));
    REFUSED(vsoa_client_auto_start(robot, "", nullptr, topics, 1, 50, 20, 20));
    REFUSED(vsoa_client_auto_start(robot, "127.0.0.1:1", nullptr, nullptr, 1, 50, 20, 20));
    REFUSED(vsoa_client_auto_start(robot, "127.0.0.1:1", nullptr, topics, -1, 50, 20, 20));
    REFUSED(vsoa_client_auto_start(robot, "127.0.0.1:1", nullptr, topics, 1, 49, 20, 20));
    REFUSED(vsoa_client_auto_start(robot, "127.0.0.1:1", nullptr, topics, 1, 50, 19, 20));
    REFUSED(vsoa_client_auto_start(robot, "127.0.0.1:1", nullptr, topics, 1, 50, 20, 19));
    CHECK(vsoa_client_auto_ping_turbo(robot, 60, 3));
    REFUSED(vsoa_client_auto_start(robot, "127.0.0.1:1", nullptr, topics, 1, 50, 20, 20));
    CHECK(fails([&] { return vsoa_client_auto_stop(robot); }, EALREADY));
    CHECK(fails([&] { return vsoa_client_auto_server_address(robot, raw, &length); }, ENOTCONN));
    vsoa_client_auto_delete(robot);
}

TEST_CASE("the position functions refuse null and what is out of range") {
    sockaddr_in address{};
    socklen_t length = sizeof address;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    const timespec second{1, 0};
    vsoa_position_server_t* const none = nullptr;
    vsoa_position_server_close(none);
    REFUSED(vsoa_position_server_create(nullptr, nullptr));
    REFUSED(vsoa_position_server_start(none, raw, length));
    REFUSED(vsoa_position_server_fd(none));
    REFUSED(vsoa_position_server_input(none));
    REFUSED(vsoa_position_server_response(none, nullptr, nullptr, 0, false));
    REFUSED(vsoa_position_server_set_custom(none, nullptr));
    REFUSED(vsoa_position_server_custom(none));
    REFUSED(vsoa_position_lookup_server(raw, 3));
    REFUSED(vsoa_position_lookup(AF_INET, nullptr, raw, &length, nullptr, &second));
    REFUSED(vsoa_position_lookup(AF_UNIX, "name", raw, &length, nullptr, &second));
    REFUSED(vsoa_position_lookup(AF_INET, "", raw, &length, nullptr, &second));
    REFUSED(vsoa_position_lookup(AF_INET, "name", nullptr, &length, nullptr, &second));
    REFUSED(vsoa_position_lookup(AF_INET, "name", raw, nullptr, nullptr, &second));
    REFUSED(vsoa_position_lookup(AF_INET, std::string(513, 'n').c_str(), raw, &length, nullptr, &second));
}

TEST_CASE("the parser refuses null and says which limit was passed") {
    auto receiver = std::make_unique<vsoa_recv_t>();
    vsoa_header_t header{}, *h = &header;
    vsoa_url_t u = url("/a");
    vsoa_payload_t load{};
    uint32_t words[8] = {};
    REFUSED(vsoa_parser_init_header(nullptr, 0, 0, 0, 0));
    REFUSED(vsoa_parser_init_recv(nullptr));
    REFUSED(vsoa_parser_fixp_length(nullptr));
    REFUSED(vsoa_parser_set_pad(nullptr, 0));
    REFUSED(vsoa_parser_set_pad(h, 4));
    REFUSED(vsoa_parser_set_tunid(nullptr, 0));
    REFUSED(vsoa_parser_set_url(nullptr, &u));
    REFUSED(vsoa_parser_set_url(h, nullptr));
    REFUSED(vsoa_parser_set_payload(nullptr, &load));
    REFUSED(vsoa_parser_set_payload(h, nullptr));
    REFUSED(vsoa_parser_get_length(nullptr));
    REFUSED(vsoa_parser_get_url(nullptr, &u));
    REFUSED(vsoa_parser_get_url(h, nullptr));
    REFUSED(vsoa_parser_get_payload(nullptr, &load));
    REFUSED(vsoa_parser_get_payload(h, nullptr));
    const auto take = [](void*, vsoa_header_t*) { return true; };
    REFUSED(vsoa_parser_input(nullptr, words, 1, take, nullptr));
    REFUSED(vsoa_parser_input(receiver.get(), nullptr, 1, take, nullptr));
    REFUSED(vsoa_parser_input(receiver.get(), words, 1, nullptr, nullptr));
    REFUSED(vsoa_parser_packet_input(nullptr, 20));
    REFUSED(vsoa_parser_print_header(nullptr, true));
    CHECK(fails([&] { return vsoa_parser_packet_input(words, sizeof words); }, EPROTO));
    CHECK(fails([&] { return vsoa_parser_input(receiver.get(), words, sizeof words, take, nullptr); }, EPROTO));
    u.url_len = 65536;
    CHECK(fails([&] { return vsoa_parser_set_url(h, &u); }, EMSGSIZE));
    CHECK(fails([&] { return vsoa_parser_calc_size(&u, nullptr, nullptr); }, EMSGSIZE));
    load.data_len = VSOA_MAX_DATA_LENGTH + 1;
    load.data = words;
    CHECK(fails([&] { return vsoa_parser_set_payload(h, &load); }, EMSGSIZE));
}
