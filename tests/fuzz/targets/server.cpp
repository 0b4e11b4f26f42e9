// A whole server: whatever a peer sends, over TCP and as datagrams, the server answers in packets, ends at most that
// connection, and another client does not notice.
#include <arpa/inet.h>

#include <algorithm>
#include <string>
#include <vector>

#include "sdk/vsoa/include/vsoa_loop.h"
#include "sdk/vsoa/include/vsoa_server.h"
#include "sdk/vsoa/src/packet.hpp"
#include "sdk/vsoa/src/server.hpp"
#include "tests/fuzz/targets/input.hpp"
#include "tests/fuzz/targets/network.hpp"

namespace {

using fuzz::demand;
using vsoa::Address;

constexpr timespec kNoWait = {0, 0};
constexpr char kPassword[] = "123456";
constexpr unsigned kBystanderEvery = 64;  // inputs
constexpr uint16_t kQuickPort = 600;      // of the peers

void look_at(const vsoa_url_t* url, const vsoa_payload_t* payload) {
    fuzz::look_at(url->url, url->url_len);
    fuzz::look_at(payload->param, payload->param_len);
    fuzz::look_at(payload->data, payload->data_len);
}

std::vector<uint8_t> packet(uint8_t type, uint32_t seqno, std::string_view param, uint16_t tunid = 0) {
    vsoa::Frame frame(type, 0, 0, seqno);
    const vsoa_payload_t payload = {const_cast<char*>(param.data()), param.size(), nullptr, 0};
    demand(frame.body(nullptr, &payload), "a packet of our own");
    frame.tunid(tunid);
    std::vector<uint8_t> out;
    frame.append_to(out);
    return out;
}

/// A connection without manners.
class Peer {
  public:
    explicit Peer(const Address& to) : socket_(fuzz::dial(to)) { demand(bool(socket_), "the server's port is open"); }
    ~Peer() { socket_->in_ends = true; }
    void reset() { socket_->broken = true; }
    void send(std::span<const uint8_t> bytes) { socket_->give(bytes); }
    const Address& address() const { return socket_->peer; }
    /// How many packets have come.
    size_t receive() {
        size_t count = 0;
        for (std::span<const uint8_t> left = socket_->out; !left.empty();) {
            const auto space = receiver_.space();
            const size_t part = std::min(space.room, left.size());
            std::memcpy(space.at, left.data(), part);
            receiver_.commit(part);
            left = left.subspan(part);
            vsoa_header_t* header = nullptr;
            for (auto next = receiver_.next(header); next != vsoa::Receiver::Next::kMore;
                 next = receiver_.next(header)) {
                demand(next == vsoa::Receiver::Next::kPacket, "a server sends packets");
                ++count;
            }
        }
        socket_->out.clear();
        return count;
    }

  private:
    fuzz::SocketPtr socket_;
    vsoa::Receiver receiver_;
};

class Target {
  public:
    explicit Target(const char* password) : server_(vsoa_server_create("{\"name\":\"fuzzed\"}")) {
        const Address any = *Address::make("127.0.0.1", 0);
        if (server_ != nullptr) server_->core.accept_interval(0);  // inputs come faster than clients may
        demand(server_ != nullptr && vsoa_server_passwd(server_, password) &&
                   vsoa_server_start(server_, any.raw(), any.length),
               "a server starts");
        address_.length = sizeof address_.storage;
        vsoa_server_address(server_, address_.raw(), &address_.length);
        for (const char* text : {"/echo", "/folder/", "/a"}) {
            const vsoa_url_t url = {const_cast<char*>(text), std::strlen(text)};
            vsoa_server_add_listener(server_, &url, &called, this);
        }
        vsoa_server_on_datagram(server_, &datagram, this);
        vsoa_server_on_cli(server_, &client, this);
        bystander_.emplace(address_);
        const char* const login = password != nullptr ? "{\"passwd\":\"123456\"}" : "";
        login_ = packet(VSOA_TYPE_SERVINFO, 0, login, htons(kQuickPort));
        bystander_->send(packet(VSOA_TYPE_SERVINFO, 0, login));
        turn();
        demand(bystander_->receive() == 1 && vsoa_server_count(server_) == 1, "a client logs in");
        bystander_id_ = last_id_;
    }

    void run(const fuzz::Input& input) {
        const int before = vsoa_server_count(server_);
        {
            Peer peer(address_);
            if (input.option(1)) peer.send(login_);
            if (input.option(2)) turn();
            feed(peer, input);
            publish();
            turn();
            peer.receive();
            if (input.option(6)) peer.reset();
        }
        turn();
        demand(vsoa_server_count(server_) == before, "whoever is gone is forgotten");
        if (++inputs_ % kBystanderEvery == 0) ask_bystander();
    }

  private:
    void feed(Peer& peer, const fuzz::Input& input) {
        std::span<const uint8_t> bytes = input.what;
        if (input.option(3)) {
            quick(peer, bytes, input.option(4));
            turn();
            return;
        }
        // At once, or in four pieces.
        const size_t piece = input.option(5) ? bytes.size() / 4 + 1 : std::max<size_t>(bytes.size(), 1);
        while (!bytes.empty()) {
            const auto part = bytes.first(std::min(piece, bytes.size()));
            peer.send(part);
            turn();
            bytes = bytes.subspan(part.size());
        }
    }

    /// As a datagram of the peer that has just logged in, with its number or as it is.
    void quick(const Peer& peer, std::span<const uint8_t> bytes, bool numbered) {
        std::vector<uint8_t> copy(bytes.begin(), bytes.end());
        const uint32_t number = htonl(last_id_);
        if (numbered && copy.size() >= 8) std::memcpy(copy.data() + 4, &number, sizeof number);
        Address from = peer.address();
        from.port(kQuickPort);
        fuzz::deliver(from, address_.port(), copy);
    }

    void publish() {
        char text[] = "/a";
        const vsoa_url_t url = {text, 2};
        demand(vsoa_server_publish(server_, &url, nullptr), "publishing succeeds");
        vsoa_server_quick_publish(server_, &url, nullptr);
    }

    void ask_bystander() {
        bystander_->send(packet(VSOA_TYPE_PINGECHO, inputs_, ""));
        turn();
        demand(bystander_->receive() == 1, "others do not notice");
    }

    /// A few, since one handles only so much.
    void turn() {
        for (int i = 0; i < 3; ++i) demand(vsoa_server_wait(server_, &kNoWait), "a server goes on");
    }

    static void called(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* url,
                       vsoa_payload_t* payload) {
        demand(id != static_cast<Target*>(arg)->bystander_id_, "a call has its caller's number");
        look_at(url, payload);
        vsoa_server_cli_reply(server, id, 0, vsoa_parser_get_seqno(header), 0, payload);
    }
    static void datagram(void* arg, vsoa_server_t*, vsoa_cli_id_t id, vsoa_url_t* url, vsoa_payload_t* payload, bool) {
        demand(id != static_cast<Target*>(arg)->bystander_id_, "a datagram has its sender's number");
        look_at(url, payload);
    }
    static void client(void* arg, vsoa_server_t*, vsoa_cli_id_t id, bool connect) {
        auto* target = static_cast<Target*>(arg);
        demand(connect || id != target->bystander_id_ || id == 0, "others stay connected");
        if (connect) target->last_id_ = id;
    }

    vsoa_server_t* server_;
    Address address_;
    std::vector<uint8_t> login_;
    std::optional<Peer> bystander_;
    vsoa_cli_id_t last_id_ = 0, bystander_id_ = 0;
    uint32_t inputs_ = 0;
};

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    static Target open(nullptr), guarded(kPassword);
    const fuzz::Input input(bytes, size);
    (input.option(0) ? guarded : open).run(input);
    return 0;
}
