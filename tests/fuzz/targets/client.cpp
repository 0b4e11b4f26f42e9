// A whole client whose server says what it likes: the client connects or not, in time, tells each call its end exactly
// once, and hands out nothing that is not there.
#include <algorithm>

#include "sdk/vsoa/include/vsoa_client.h"
#include "sdk/vsoa/include/vsoa_loop.h"
#include "tests/fuzz/targets/input.hpp"
#include "tests/fuzz/targets/network.hpp"

namespace {

using fuzz::demand;
using vsoa::Address;

constexpr timespec kNoWait = {0, 0}, kLong = {10, 0};

struct Ends {
    int calls = 0, results = 0;
};

void message(void*, vsoa_client_t*, vsoa_url_t* url, vsoa_payload_t* payload, bool) {
    fuzz::look_at(url->url, url->url_len);
    fuzz::look_at(payload->param, payload->param_len);
    fuzz::look_at(payload->data, payload->data_len);
}

void replied(void* arg, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t* payload) {
    ++static_cast<Ends*>(arg)->calls;
    if (header == nullptr) return;
    fuzz::look_at(payload->param, payload->param_len);
    fuzz::look_at(payload->data, payload->data_len);
}

void ended(void* arg, vsoa_client_t*, bool) { ++static_cast<Ends*>(arg)->results; }

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    static const Address server = *Address::make("127.0.0.1", 3002);
    static vsoa_client_t* const client = vsoa_client_create(message, nullptr);
    static char text[] = "/a";
    static const vsoa_url_t url = {text, 2};
    demand(client != nullptr, "a client");
    vsoa_client_on_datagram(client, message, nullptr);
    // All of it may be there at once, also as datagrams of the server's; whatever the client says is not heard.
    fuzz::on_connect([&](const fuzz::SocketPtr& socket) {
        socket->give({bytes, size});
        socket->in_ends = true;
    });
    char info[64];
    if (!vsoa_client_connect(client, server.raw(), server.length, &kLong, "123456", info, sizeof info)) {
        demand(errno != ETIMEDOUT, "an end of the stream is seen at once");
        return 0;
    }
    demand(std::memchr(info, 0, sizeof info) != nullptr, "the info is a C string");
    fuzz::deliver(server, 0, {bytes, size});
    Ends ends;
    int calls = 0, results = 0;
    for (int i = 0; i < 4; ++i) {
        calls += vsoa_client_call(client, i % 2, &url, nullptr, replied, &ends, &kLong);
        results += vsoa_client_subscribe(client, &url, ended, &ends, &kLong);
        results += vsoa_client_ping(client, ended, &ends, &kLong);
    }
    for (size_t turns = 0; vsoa_client_wait(client, &kLong); ++turns)
        demand(turns <= 16 + size, "the end of the stream ends the connection");
    vsoa_client_disconnect(client);
    vsoa_client_wait(client, &kNoWait);
    demand(ends.calls == calls && ends.results == results, "each call is told its end, once");
    return 0;
}
