// A whole client that speaks TLS: whatever answers instead of its server, before the handshake, in the middle of it or
// after it, the client connects or not, in time, and tells each call its end exactly once.
#include <optional>

#include "sdk/vsoa/include/vsoa_client.h"
#include "sdk/vsoa/include/vsoa_loop.h"
#include "tests/fuzz/targets/tls_peer.hpp"

namespace {

using fuzz::demand;
using vsoa::Address;

constexpr timespec kNoWait = {0, 0}, kLong = {10, 0};

/// Who answers: as a server should, as far as the input wants that, then as it says; then comes the end.
class Server {
  public:
    Server(const fuzz::SocketPtr& socket, const fuzz::Input& input)
        : input_(input), peer_(socket, true, input.option(0), input.option(1)), script_(input.what) {
        socket->on_wait = [this] { go_on(); };
    }

  private:
    void go_on() {
        if (input_.option(2) && !peer_.ready() && peer_.shake_hands()) return;
        if (input_.option(3) && !answered_ && peer_.receive() > 0) {
            answered_ = true;
            return peer_.say(fuzz::packet_of(VSOA_TYPE_SERVINFO, VSOA_FLAG_REPLY, 0, "{\"name\":\"fuzzed\"}", "1234"));
        }
        if (!script_.empty()) return peer_.play(script_.next());
        input_.option(4) ? peer_.reset() : peer_.end();
    }

    const fuzz::Input& input_;
    fuzz::TlsPeer peer_;
    fuzz::Script script_;
    bool answered_ = false;
};

struct Ends {
    int calls = 0, results = 0;
};

void message(void*, vsoa_client_t*, vsoa_url_t* url, vsoa_payload_t* payload, bool) {
    fuzz::look_at(url->url, url->url_len);
    fuzz::look_at(payload->param, payload->param_len);
    fuzz::look_at(payload->data, payload->data_len);
}

void replied(void* arg, vsoa_client_t*, vsoa_header_t*, vsoa_payload_t*) { ++static_cast<Ends*>(arg)->calls; }

void ended(void* arg, vsoa_client_t*, bool) { ++static_cast<Ends*>(arg)->results; }

vsoa_client_t* client_of(bool key) {
    vsoa_client_t* const made = vsoa_client_create(message, nullptr);
    const vsoa_tls_t tls = fuzz::tls_files(key, false);
    demand(made != nullptr && vsoa_client_tls(made, &tls), "a client");
    return made;
}

void run(vsoa_client_t* client, const fuzz::Input& input) {
    static const Address address = *Address::make("127.0.0.1", 3002);
    static const vsoa_url_t url = {const_cast<char*>("/a"), 2};
    std::optional<Server> server;
    fuzz::on_connect([&](const fuzz::SocketPtr& socket) { server.emplace(socket, input); });
    char info[64];
    if (!vsoa_client_connect(client, address.raw(), address.length, &kLong, nullptr, info, sizeof info)) {
        demand(errno != 0, "a failure has its errno");
        return;
    }
    demand(input.option(2) || !input.what.empty(), "nobody is let in who has shown nothing");
    demand(std::memchr(info, 0, sizeof info) != nullptr, "the info is a C string");
    Ends ends;
    int calls = 0, results = 0;
    for (int i = 0; i < 2; ++i) {
        calls += vsoa_client_call(client, i, &url, nullptr, replied, &ends, &kLong);
        results += vsoa_client_subscribe(client, &url, ended, &ends, &kLong);
    }
    for (size_t turns = 0; vsoa_client_wait(client, &kLong); ++turns)
        demand(turns <= 64 + 2 * input.what.size(), "the end of the stream ends the connection");
    vsoa_client_disconnect(client);
    vsoa_client_wait(client, &kNoWait);
    demand(ends.calls == calls && ends.results == results, "each call is told its end, once");
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    fuzz::fixed_random();
    static vsoa_client_t* const clients[] = {client_of(false), client_of(true)};
    fuzz::fixed_random();
    const fuzz::Input input(bytes, size);
    run(clients[input.option(0)], input);
    return 0;
}
