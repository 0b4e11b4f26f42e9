// Who is connected may renew its keys, but not without end. The other side is OpenSSL's own here.
#include <openssl/ssl.h>
#include <signal.h>

#include "sdk/vsoa/include/vsoa_stats.h"
#include "tests/unit/sdk/vsoa/tls/tls_rig.hpp"

using namespace rig;

namespace {

constexpr int kAllowed = 32;  // a minute

/// One end of a connection, blocking.
class Peer {
  public:
    Peer(int fd, bool server) : fd_(fd), context_(SSL_CTX_new(TLS_method())), ssl_(nullptr) {
        signal(SIGPIPE, SIG_IGN);  // OpenSSL's own sockets raise it
        if (server) {
            SSL_CTX_use_certificate_chain_file(context_, (certificates() + "/server.pem").c_str());
            SSL_CTX_use_PrivateKey_file(context_, (certificates() + "/server.key").c_str(), SSL_FILETYPE_PEM);
        }
        ssl_ = SSL_new(context_);
        SSL_set_fd(ssl_, fd);
        good = (server ? SSL_accept(ssl_) : SSL_connect(ssl_)) == 1;
    }
    ~Peer() {
        SSL_free(ssl_);
        SSL_CTX_free(context_);
    }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;

    bool renew() { return SSL_key_update(ssl_, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(ssl_) == 1; }
    bool say(const Bytes& bytes) { return SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size())) > 0; }
    /// The type of the next packet, which has no url; nothing: the other side has ended the connection.
    std::optional<uint8_t> hear() {
        uint8_t bytes[256];
        if (SSL_read(ssl_, bytes, VSOA_HDR_LENGTH) != VSOA_HDR_LENGTH) return std::nullopt;
        vsoa_header_t header;
        std::memcpy(&header, bytes, sizeof header);
        const auto rest = static_cast<int>(vsoa::packet_length(header, true)) - VSOA_HDR_LENGTH;
        if (rest > 0 && SSL_read(ssl_, bytes, rest) != rest) return std::nullopt;
        return header.type;
    }

    bool good;

  private:
    vsoa::Fd fd_;
    SSL_CTX* context_;
    SSL* ssl_;
};

int dial(const vsoa::Address& to) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(connect(fd, to.raw(), to.length) == 0);
    return fd;
}

}  // namespace

TEST_CASE("a client that renews its keys now and then is served, one that does so without end is sent away") {
    Tls tls, other_tls;
    SecureServer server(tls.cert("server"));
    SecureClient other(other_tls.ca("ca.pem"));
    REQUIRE(other.connects(server.address) == 0);
    Peer peer(dial(server.address), false);
    REQUIRE(peer.good);
    REQUIRE(peer.say(packet(VSOA_TYPE_SERVINFO, 0)));
    REQUIRE(peer.hear() == VSOA_TYPE_SERVINFO);
    for (int i = 0; i < kAllowed; ++i) {
        REQUIRE(peer.renew());
        if (i % 8 != 0) continue;
        REQUIRE(peer.say(packet(VSOA_TYPE_PINGECHO, 1)));
        REQUIRE(peer.hear() == VSOA_TYPE_PINGECHO);
    }
    for (int i = 0; i < kAllowed && peer.renew(); ++i) continue;
    CHECK_FALSE(peer.hear());
    const Fail fail = tls.fails.take().value();
    CHECK((fail.error == EPROTO && fail.reason.find("new keys") != std::string::npos));
    vsoa_server_stats_t stats = VSOA_SERVER_STATS_INITIALIZER;
    REQUIRE(vsoa_server_stats(server.handle, &stats));
    CHECK((stats.insecure == 1 && stats.broken == 0));
    CHECK(other.echo("well") == "well");
}

TEST_CASE("a client leaves a server that wants new keys without end") {
    const vsoa::Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(bind(listener.get(), loopback().raw(), loopback().length) == 0);
    REQUIRE(listen(listener.get(), 1) == 0);
    std::atomic<bool> left{false};
    const Bytes answer = packet(VSOA_TYPE_SERVINFO, 0, "", "{}", "1234", VSOA_FLAG_REPLY);
    std::thread serve([&] {
        Peer peer(accept(listener.get(), nullptr, nullptr), true);
        if (!peer.good || peer.hear() != VSOA_TYPE_SERVINFO) return;
        peer.say(answer);
        for (int i = 0; i < 2 * kAllowed && peer.renew(); ++i) continue;
        left = !peer.hear();
    });
    Tls tls;
    SecureClient client(tls.ca("ca.pem"));
    CHECK(client.connects(*vsoa::Address::local(listener.get())) == 0);
    CHECK(client.lost.take());
    CHECK(tls.fails.take().value().error == EPROTO);
    serve.join();
    CHECK(left);
}
