// A whole client whose server says what it likes: the client connects or not, in time, tells each call its end exactly
// once, and hands out nothing that is not there.
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "sdk/vsoa/include/vsoa_client.h"
#include "sdk/vsoa/include/vsoa_loop.h"
#include "sdk/vsoa/src/socket.hpp"
#include "tests/fuzz/targets/input.hpp"

namespace {

using fuzz::demand;
using vsoa::Address;
using vsoa::Fd;

constexpr timespec kNoWait = {0, 0}, kLong = {10, 0};

/// Accepts one connection after the other; sends what it was given as soon as the client has said something, and ends.
class Server {
  public:
    Server() : listen_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        const Address any = *Address::make("127.0.0.1", 0);
        demand(bind(listen_.get(), any.raw(), any.length) == 0 && listen(listen_.get(), 8) == 0, "a port");
        address = *Address::local(listen_.get());
        std::thread([this] { run(); }).detach();
    }
    void say(std::span<const uint8_t> bytes) {
        bytes_.assign(bytes.begin(), bytes.end());
        vsoa::set_linger(listen_.get(), 0);  // inherited: no port stays taken
    }

    Address address;

  private:
    void run() {
        uint8_t login[256];
        for (;;) {
            const Fd peer(accept4(listen_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (!peer || recv(peer.get(), login, sizeof login, 0) <= 0) continue;
            [[maybe_unused]] const ssize_t sent = ::send(peer.get(), bytes_.data(), bytes_.size(), MSG_NOSIGNAL);
            shutdown(peer.get(), SHUT_WR);
            while (recv(peer.get(), login, sizeof login, 0) > 0) continue;
        }
    }

    Fd listen_;
    std::vector<uint8_t> bytes_;  // set while no connection is there
};

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
    static Server server;
    static vsoa_client_t* const client = vsoa_client_create(message, nullptr);
    static char text[] = "/a";
    static const vsoa_url_t url = {text, 2};
    demand(client != nullptr, "a client");
    vsoa_client_on_datagram(client, message, nullptr);
    server.say({bytes, size});
    char info[64];
    if (!vsoa_client_connect(client, server.address.raw(), server.address.length, &kLong, "123456", info,
                             sizeof info)) {
        demand(errno != ETIMEDOUT, "an end of the stream is seen at once");
        return 0;
    }
    demand(std::memchr(info, 0, sizeof info) != nullptr, "the info is a C string");
    vsoa_client_linger(client, 0);
    Ends ends;
    int calls = 0, results = 0;
    for (int i = 0; i < 4; ++i) {
        calls += vsoa_client_call(client, i % 2, &url, nullptr, replied, &ends, &kLong);
        results += vsoa_client_subscribe(client, &url, ended, &ends, &kLong);
        results += vsoa_client_ping(client, ended, &ends, &kLong);
    }
    const int64_t until = vsoa::now_ns() + 10'000 * vsoa::kNanosPerMs;
    while (vsoa_client_wait(client, &kLong))
        demand(vsoa::now_ns() < until, "the end of the stream ends the connection");
    vsoa_client_disconnect(client);
    vsoa_client_wait(client, &kNoWait);
    demand(ends.calls == calls && ends.results == results, "each call is told its end, once");
    return 0;
}
