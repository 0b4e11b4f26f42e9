// Messages over TCP in TLS 1.3, keyed by a secret that all nodes have: whoever does not know it never comes up. On the
// wire a message is its length (4 bytes), its channel (1 byte) and itself. Everything happens on the loop.
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <fstream>
#include <gantry/address.hpp>
#include <gantry/transport.hpp>
#include <iterator>
#include <map>

namespace {

using gantry::Channel;
using gantry::Code;
using gantry::Down;
using gantry::Failure;
using gantry::Operation;
using gantry::PeerId;
using gantry::SocketAddress;
using namespace std::chrono_literals;

constexpr std::size_t kMessageMax = 1 << 20;  // bytes
constexpr std::size_t kQueueMax = 4 << 20;    // bytes that may wait for one peer
constexpr std::size_t kWireMax = 256 << 10;   // bytes that are encrypted ahead of the socket
constexpr std::size_t kPeersMax = 1'024;
constexpr unsigned kStalledMs = 5'000;  // a peer that takes nothing for so long is given up
constexpr auto kHandshakeLimit = 5s;
constexpr std::size_t kHeader = 5;

using Key = std::array<unsigned char, 32>;

struct Peer {
    PeerId id = 0;
    gantry::Fd fd;
    std::unique_ptr<SSL, void (*)(SSL*)> ssl{nullptr, &SSL_free};
    bool inbound = false, up = false, closing = false, full = false;
    std::string address;
    Operation<gantry::Dialled> dialling;
    gantry::WatchId watch = 0;
    gantry::TimerId timer = 0;
    std::deque<std::string> waiting[2];  // framed messages, by channel
    std::size_t waiting_bytes = 0;
    std::string wire;  // encrypted, not sent yet
    std::string in;    // decrypted, no whole message yet
};

Key read_key(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string secret{std::istreambuf_iterator<char>(file), {}};
    while (secret.ends_with('\n')) secret.pop_back();
    if (!file || secret.size() < 16) {
        throw Failure(Code::kInvalid, "secret_file " + path +
                                          ": expected a file of at least 16 bytes, for example from "
                                          "'openssl rand -hex 32'");
    }
    Key key{};
    EVP_Digest(secret.data(), secret.size(), key.data(), nullptr, EVP_sha256(), nullptr);
    return key;
}

unsigned give_key(SSL* ssl, unsigned char* out, unsigned room) {
    const Key& key = *static_cast<const Key*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl)));
    if (room < key.size()) return 0;
    std::memcpy(out, key.data(), key.size());
    return static_cast<unsigned>(key.size());
}

class TlsTransport final : public gantry::Transport {
  public:
    ~TlsTransport() override {
        peers_.clear();
        SSL_CTX_free(tls_);
    }

    void init(const gantry::Config& config) override {
        key_ = read_key(config.string("secret_file"));
        tls_ = SSL_CTX_new(TLS_method());
        if (tls_ == nullptr || SSL_CTX_set_min_proto_version(tls_, TLS1_3_VERSION) != 1 ||
            SSL_CTX_set_ciphersuites(tls_, "TLS_AES_128_GCM_SHA256") != 1) {
            throw Failure(Code::kFailed, "this OpenSSL has no TLS 1.3 with TLS_AES_128_GCM_SHA256");
        }
        SSL_CTX_set_app_data(tls_, &key_);
        SSL_CTX_set_num_tickets(tls_, 0);
        SSL_CTX_set_psk_client_callback(
            tls_, [](SSL* ssl, const char*, char* identity, unsigned, unsigned char* out, unsigned room) {
                std::strcpy(identity, "gantry");
                return give_key(ssl, out, room);
            });
        SSL_CTX_set_psk_server_callback(
            tls_, [](SSL* ssl, const char*, unsigned char* out, unsigned room) { return give_key(ssl, out, room); });
    }

    void stop(gantry::Instant) override {
        for (auto& listener : listeners_) host().unwatch(listener.second);
        for (auto& [id, peer] : peers_) host().unwatch(peer.watch), host().cancel(peer.timer);
        listeners_.clear();
        peers_.clear();
    }

    gantry::TransportFacts facts() const override { return {true, kMessageMax, kQueueMax}; }

    void listen(Operation<gantry::Listening> op, std::string text) override {
        const SocketAddress address = parse(text);
        gantry::Fd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        const int yes = 1;
        ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
        if (::bind(fd.get(), address.raw(), address.length) != 0 || ::listen(fd.get(), 64) != 0) {
            throw Failure(Code::kUnavailable, "cannot listen on " + text + ": " + std::strerror(errno));
        }
        const int door = fd.get();
        const gantry::WatchId watch =
            host().watch(door, gantry::kReadable, [this, door](std::uint32_t) { accept(door); });
        op.done({SocketAddress::local(door).text()});
        listeners_.emplace_back(std::move(fd), watch);
    }

    void dial(Operation<gantry::Dialled> op, std::string text) override {
        const SocketAddress address = parse(text);
        gantry::Fd fd(::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (::connect(fd.get(), address.raw(), address.length) != 0 && errno != EINPROGRESS) {
            throw Failure(Code::kUnavailable, text + ": " + std::strerror(errno));
        }
        Peer& peer = add(std::move(fd), text, false);
        const gantry::Duration limit = (op.deadline() - host().now()) * 9 / 10;
        peer.dialling = std::move(op);
        watch_handshake(peer, limit);
    }

    Code send(PeerId id, Channel channel, std::string_view data) override {
        const auto found = peers_.find(id);
        if (found == peers_.end() || !found->second.up || found->second.closing) return Code::kNotFound;
        Peer& peer = found->second;
        if (data.size() > kMessageMax) return Code::kInvalid;
        if (peer.waiting_bytes + data.size() > kQueueMax) {
            peer.full = true;
            return Code::kFull;
        }
        const auto size = static_cast<std::uint32_t>(data.size());
        std::string message(reinterpret_cast<const char*>(&size), sizeof size);
        message += static_cast<char>(channel);
        message += data;
        peer.waiting_bytes += message.size();
        peer.waiting[channel == Channel::kControl ? 0 : 1].push_back(std::move(message));
        write(peer);
        return Code::kOk;
    }

    void close(PeerId id) override {
        const auto found = peers_.find(id);
        if (found == peers_.end() || found->second.closing) return;
        found->second.closing = true;
        found->second.timer = host().timer(1s, [this, id] { end(id, Down::kClosed, "closed"); });
        write(found->second);
    }

  private:
    static SocketAddress parse(const std::string& text) {
        const auto address = SocketAddress::parse(text);
        if (!address) throw Failure(Code::kInvalid, "expected IP:PORT, got \"" + text + "\"");
        return *address;
    }

    void accept(int door) {
        gantry::Fd fd(::accept4(door, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!fd || peers_.size() >= kPeersMax) return;
        const std::string address = SocketAddress::peer(fd.get()).text();
        watch_handshake(add(std::move(fd), address, true), kHandshakeLimit);
    }

    Peer& add(gantry::Fd fd, const std::string& address, bool inbound) {
        const int yes = 1;
        ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        ::setsockopt(fd.get(), IPPROTO_TCP, TCP_USER_TIMEOUT, &kStalledMs, sizeof kStalledMs);
        const PeerId id = ++last_;
        Peer& peer = peers_[id];
        peer.id = id;
        peer.fd = std::move(fd);
        peer.address = address;
        peer.inbound = inbound;
        peer.ssl.reset(SSL_new(tls_));
        SSL_set_bio(peer.ssl.get(), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
        if (inbound) {
            SSL_set_accept_state(peer.ssl.get());  // there is no certificate: who has not the key gets nowhere
        } else {
            SSL_set_connect_state(peer.ssl.get());
            SSL_set_verify(peer.ssl.get(), SSL_VERIFY_PEER, nullptr);  // and no certificate will do instead of it
        }
        return peer;
    }

    void watch_handshake(Peer& peer, gantry::Duration limit) {
        const PeerId id = peer.id;
        peer.timer = host().timer(limit, [this, id] { end(id, Down::kTimeout, "no answer in time"); });
        // A dialled one begins when it is connected, which the socket says by being writable.
        const std::uint32_t events = peer.inbound ? gantry::kReadable : gantry::kReadable | gantry::kWritable;
        peer.watch = host().watch(peer.fd.get(), events, [this, id](std::uint32_t event) { ready(id, event); });
    }

    void ready(PeerId id, std::uint32_t event) {
        const auto found = peers_.find(id);
        if (found == peers_.end()) return;
        Peer& peer = found->second;
        if (event == gantry::kReadable) {
            char buffer[64 << 10];
            const ssize_t got = ::recv(peer.fd.get(), buffer, sizeof buffer, 0);
            if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
            if (got < 0) return end(id, errno == ETIMEDOUT ? Down::kTimeout : Down::kReset, std::strerror(errno));
            if (got == 0) return end(id, peer.closing ? Down::kClosed : Down::kReset, "the connection ended");
            BIO_write(SSL_get_rbio(peer.ssl.get()), buffer, static_cast<int>(got));
        }
        if (!peer.up && !shake_hands(peer)) return;
        if (read(peer)) write(peer);
    }

    // True once both sides have proved that they know the secret.
    bool shake_hands(Peer& peer) {
        ERR_clear_error();
        const int done = SSL_do_handshake(peer.ssl.get());
        const int why = done == 1 ? SSL_ERROR_NONE : SSL_get_error(peer.ssl.get(), done);
        if (why == SSL_ERROR_WANT_READ) return flush(peer), false;
        if (why != SSL_ERROR_NONE) {
            flush(peer);  // the other side hears why
            if (peers_.contains(peer.id)) end(peer.id, Down::kRefused, "the other side does not know the secret");
            return false;
        }
        host().cancel(std::exchange(peer.timer, 0));
        peer.up = true;
        events().up(peer.id, peer.inbound, peer.address, SocketAddress::local(peer.fd.get()).text());
        if (peer.dialling) peer.dialling.done({peer.id});
        return true;
    }

    // False if the peer is no more.
    bool read(Peer& peer) {
        char buffer[16 << 10];
        while (true) {
            ERR_clear_error();
            const int got = SSL_read(peer.ssl.get(), buffer, sizeof buffer);
            if (got > 0) {
                peer.in.append(buffer, static_cast<std::size_t>(got));
                continue;
            }
            const int why = SSL_get_error(peer.ssl.get(), got);
            if (!take_messages(peer)) return end(peer.id, Down::kReset, "a message that is too long"), false;
            if (why == SSL_ERROR_WANT_READ) return true;
            const bool ordered = why == SSL_ERROR_ZERO_RETURN;
            return end(peer.id, ordered ? Down::kClosed : Down::kReset, ordered ? "closed" : "broken TLS"), false;
        }
    }

    bool take_messages(Peer& peer) {
        std::string_view rest = peer.in;
        std::uint32_t size = 0;
        while (rest.size() >= kHeader) {
            std::memcpy(&size, rest.data(), sizeof size);
            if (size > kMessageMax) return false;
            if (rest.size() - kHeader < size) break;
            const Channel channel = rest[4] == 0 ? Channel::kControl : Channel::kBulk;
            events().message(peer.id, channel, rest.substr(kHeader, size));
            rest.remove_prefix(kHeader + size);
        }
        peer.in.erase(0, peer.in.size() - rest.size());
        return true;
    }

    // Encrypts what waits, the control channel first, and sends what the socket takes.
    void write(Peer& peer) {
        const PeerId id = peer.id;
        do {
            while (peer.wire.size() < kWireMax && peer.waiting_bytes > 0) {
                auto& queue = peer.waiting[peer.waiting[0].empty() ? 1 : 0];
                SSL_write(peer.ssl.get(), queue.front().data(), static_cast<int>(queue.front().size()));
                peer.waiting_bytes -= queue.front().size();
                queue.pop_front();
                take_wire(peer);
            }
            if (!flush(peer)) return;
        } while (peer.wire.empty() && peer.waiting_bytes > 0);
        if (peer.full && peer.waiting_bytes < kQueueMax / 2) {
            peer.full = false;
            events().writable(id);
        }
        // All is sent: the other side closes when it has read it.
        if (peer.closing && peer.wire.empty() && SSL_get_shutdown(peer.ssl.get()) == 0) {
            SSL_shutdown(peer.ssl.get());
            if (flush(peer)) ::shutdown(peer.fd.get(), SHUT_WR);
        }
    }

    static void take_wire(Peer& peer) {
        BIO* const bio = SSL_get_wbio(peer.ssl.get());
        const std::size_t more = BIO_ctrl_pending(bio), had = peer.wire.size();
        peer.wire.resize(had + more);
        if (more > 0) BIO_read(bio, peer.wire.data() + had, static_cast<int>(more));
    }

    // False if the peer is no more.
    bool flush(Peer& peer) {
        take_wire(peer);
        while (!peer.wire.empty()) {
            const ssize_t sent = ::send(peer.fd.get(), peer.wire.data(), peer.wire.size(), MSG_NOSIGNAL);
            if (sent < 0 && (errno == EAGAIN || errno == EINTR)) break;
            if (sent < 0) {
                end(peer.id, errno == ETIMEDOUT ? Down::kTimeout : Down::kReset, std::strerror(errno));
                return false;
            }
            peer.wire.erase(0, static_cast<std::size_t>(sent));
        }
        host().change(peer.watch, gantry::kReadable | (peer.wire.empty() ? 0 : gantry::kWritable));
        return true;
    }

    void end(PeerId id, Down reason, const std::string& why) {
        const auto found = peers_.find(id);
        if (found == peers_.end()) return;
        Peer peer = std::move(found->second);
        peers_.erase(found);
        host().unwatch(peer.watch);
        host().cancel(peer.timer);
        if (peer.up) return events().down(id, reason, why);
        if (peer.inbound) return events().refused(peer.address, reason, why);
        peer.dialling.fail(reason == Down::kRefused   ? Code::kDenied
                           : reason == Down::kTimeout ? Code::kDeadline
                                                      : Code::kUnavailable,
                           peer.address + ": " + why);
    }

    Key key_{};
    SSL_CTX* tls_ = nullptr;
    PeerId last_ = 0;
    std::vector<std::pair<gantry::Fd, gantry::WatchId>> listeners_;
    std::map<PeerId, Peer> peers_;
};

}  // namespace

GANTRY_PLUGIN(TlsTransport)
