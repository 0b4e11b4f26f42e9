// A whole server that speaks TLS: whatever a stranger sends instead of a handshake, in the middle of one or after it,
// and whatever a client does that has proved who it is, the server ends at most that connection, and another client
// does not notice.
#include <algorithm>
#include <optional>

#include "sdk/vsoa/include/vsoa_loop.h"
#include "sdk/vsoa/src/server.hpp"
#include "tests/fuzz/targets/tls_peer.hpp"

namespace {

using fuzz::demand;
using vsoa::Address;

constexpr timespec kNoWait = {0, 0};
constexpr unsigned kBystanderEvery = 64;  // inputs
constexpr int kMostSteps = 64, kMostTurns = 16;

void called(void*, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
            vsoa_payload_t* payload) {
    fuzz::look_at(url->url, url->url_len);
    fuzz::look_at(payload->param, payload->param_len);
    fuzz::look_at(payload->data, payload->data_len);
    vsoa_server_cli_reply(server, id, 0, vsoa_parser_get_seqno(header), 0, payload);
}

class Target {
  public:
    explicit Target(bool key) : key_(key), server_(vsoa_server_create("{\"name\":\"fuzzed\"}")) {
        const Address any = *Address::make("127.0.0.1", 0);
        const vsoa_tls_t tls = fuzz::tls_files(key, true);
        const vsoa_url_t all = {const_cast<char*>("/"), 1};
        demand(server_ != nullptr && vsoa_server_tls(server_, &tls) &&
                   vsoa_server_add_listener(server_, &all, called, nullptr),
               "a server");
        server_->core.accept_interval(0);  // inputs come faster than clients may
        demand(vsoa_server_start(server_, any.raw(), any.length), "a server starts");
        address_.length = sizeof address_.storage;
        vsoa_server_address(server_, address_.raw(), &address_.length);
        bystander_.emplace(fuzz::dial(address_), false, key, false);
        log_in(*bystander_);
        demand(vsoa_server_count(server_) == 1, "a client logs in");
    }

    void run(const fuzz::Input& input) {
        {
            fuzz::TlsPeer peer(fuzz::dial(address_), false, key_, input.option(1));
            if (input.option(2)) shake_hands(peer);
            if (input.option(3)) {
                log_in(peer);
                subscribe(peer);
            }
            fuzz::Script script(input.what);
            for (int i = 0; i < kMostSteps && !script.empty(); ++i) {
                peer.play(script.next());
                if (input.option(4)) turn();
            }
            turn();
            publish();
            input.option(5) ? peer.reset() : peer.end();
        }
        turn();
        turn();
        demand(vsoa_server_count(server_) == 1, "whoever is gone is forgotten");
        if (++inputs_ % kBystanderEvery != 0) return;
        bystander_->say(fuzz::packet_of(VSOA_TYPE_PINGECHO, 0, inputs_, ""));
        turn();
        demand(bystander_->receive() == 1, "others do not notice");
    }

  private:
    void shake_hands(fuzz::TlsPeer& peer) {
        for (int i = 0; i < kMostTurns && peer.shake_hands(); ++i) turn();
        demand(peer.ready(), "whoever keeps to the rules is let in");
    }
    void log_in(fuzz::TlsPeer& peer) {
        if (!peer.ready()) shake_hands(peer);
        peer.say(fuzz::packet_of(VSOA_TYPE_SERVINFO, 0, 0, ""));
        turn();
        demand(peer.receive() == 1, "and may log in");
    }
    void subscribe(fuzz::TlsPeer& peer) {
        peer.say(fuzz::packet_of(VSOA_TYPE_SUBSCRIBE, 0, 1, "[\"/a\"]"));
        turn();
        demand(peer.receive() == 1, "and subscribe");
    }
    void publish() {
        const vsoa_url_t url = {const_cast<char*>("/a"), 2};
        demand(vsoa_server_publish(server_, &url, nullptr), "publishing succeeds");
    }
    /// A few, since one handles only so much.
    void turn() {
        for (int i = 0; i < 4; ++i) demand(vsoa_server_wait(server_, &kNoWait), "a server goes on");
    }

    const bool key_;
    vsoa_server_t* const server_;
    Address address_;
    std::optional<fuzz::TlsPeer> bystander_;
    uint32_t inputs_ = 0;
};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    fuzz::fixed_random();
    static Target certificate(false), key(true);
    fuzz::fixed_random();
    const fuzz::Input input(bytes, size);
    (input.option(0) ? key : certificate).run(input);
    return 0;
}
