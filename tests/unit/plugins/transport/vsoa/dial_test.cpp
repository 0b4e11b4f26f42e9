// SPDX-License-Identifier: Apache-2.0
//
// transport/vsoa: configuration, dialling, stopping.
#include <openssl/evp.h>
#include <openssl/x509.h>

#include <atomic>
#include <ctime>

#include "tests/unit/plugins/refusing_host.hpp"
#include "tests/unit/plugins/transport/vsoa/fixture.hpp"

namespace {

std::atomic<time_t> wall_ahead_s = 0;

time_t true_time() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

}  // namespace

// The wall clock of this program, and of OpenSSL in it.
extern "C" time_t time(time_t* at) noexcept {
    const time_t shown = true_time() + wall_ahead_s;
    if (at != nullptr) *at = shown;
    return shown;
}

namespace {

std::string refusal_of(FakeHost& host, const std::string& file) {
    try {
        host.load(GANTRY_PLUGIN_FILE, Settings().string("secret_file", file));
    } catch (const gantry::Failure& failure) {
        CHECK(failure.code() == Code::kInvalid);
        return failure.what();
    }
    return "taken";
}

// A TLS 1.3 server with a certificate that it made itself: what somebody without the secret can put in the way.
struct CertificateServer {
    CertificateServer() : listener(raw::listen_on_loopback(address)), context(SSL_CTX_new(TLS_server_method())) {
        EVP_PKEY* key = EVP_EC_gen("P-256");
        X509* certificate = X509_new();
        X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
        X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
        X509_set_pubkey(certificate, key);
        X509_sign(certificate, key, EVP_sha256());
        SSL_CTX_use_certificate(context, certificate);
        SSL_CTX_use_PrivateKey(context, key);
        X509_free(certificate);
        EVP_PKEY_free(key);
    }
    ~CertificateServer() {
        SSL_free(ssl);
        SSL_CTX_free(context);
    }
    void turn() {
        if (!fd) {
            fd.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
            if (!fd) return;
            ssl = SSL_new(context);
            SSL_set_fd(ssl, fd.get());
        }
        SSL_accept(ssl);
    }
    std::string address;
    gantry::Fd listener, fd;
    SSL_CTX* context;
    SSL* ssl = nullptr;
};

}  // namespace

TEST_CASE("a secret that is missing, short, long or open to everybody is refused, with what to do") {
    FakeHost host;
    CHECK_THAT(refusal_of(host, host.folder() + "/none"),
               Catch::Contains("No such file") && Catch::Contains("openssl rand"));
    CHECK_THAT(refusal_of(host, write_file(host, "short", "fifteen bytes..\n")),
               Catch::Contains("holds 15 bytes, at least 16"));
    CHECK_THAT(refusal_of(host, write_file(host, "long", std::string(4097, 'x'))),
               Catch::Contains("longer than 4096 bytes"));
    CHECK_THAT(refusal_of(host, write_file(host, "open", kSecret, 0644)),
               Catch::Contains("0644") && Catch::Contains("chmod 0600"));
    CHECK_THAT(refusal_of(host, host.folder()), Catch::Contains("is not a file"));
    CHECK_THAT(refusal_of(host, write_file(host, "group-write", kSecret, 0660)),
               Catch::Contains("its group may write") && Catch::Contains("chmod 0600"));
    CHECK(refusal_of(host, write_file(host, "group", kSecret, 0640)) == "taken");
    CHECK(refusal_of(host, write_file(host, "right", std::string(4096, 'x'))) == "taken");
}

TEST_CASE("a secret is trusted only when nobody but root and the own user may change it") {
    const auto why = [](uid_t owner, mode_t mode, bool in_user_namespace = false) {
        struct stat file {};
        file.st_uid = owner;
        file.st_mode = S_IFREG | mode;
        return cluster_secret::distrust(file, 1000, in_user_namespace);
    };
    for (const uid_t owner : {0u, 1000u}) {
        for (const mode_t mode : {0600, 0400, 0640}) CHECK(why(owner, mode).empty());
        for (const mode_t mode : {0604, 0602, 0601, 0620, 0660, 0666}) {
            CHECK_THAT(why(owner, mode), Catch::Contains("chmod 0600"));
        }
    }
    CHECK_THAT(why(1001, 0600), Catch::Contains("belongs to user 1001, expected root or user 1000") &&
                                    Catch::Contains("chown root") && Catch::Contains("chmod 0600"));
    // The machine's root, seen from a user namespace; outside of one it is nobody.
    CHECK(why(65534, 0600, true).empty());
    CHECK_FALSE(why(65534, 0602, true).empty());
    CHECK_FALSE(why(65534, 0600, false).empty());
}

TEST_CASE("a host that refuses to watch a connection ends its dial, and the connection") {
    FakeHost host(real_time());
    Node client(host, refusing_host::load(host, Settings().string("secret_file", write_file(host, "key", kSecret))));
    Node server(host);
    std::string address;
    const gantry::Fd listener = raw::listen_on_loopback(address);
    refusing_host::refuses = true;
    client.instance.limit = 60s;
    const auto begun = std::chrono::steady_clock::now();
    const auto answer = client.driver.dial(address).wait();
    CHECK(std::chrono::steady_clock::now() - begun < 10s);
    CHECK(answer.code == Code::kFull);
    CHECK_THAT(answer.text, Catch::Contains("cannot dial " + address) && Catch::Contains("refused to watch"));
    gantry::Fd peer;
    char byte;
    CHECK(host.run_until([&] {
        if (!peer) peer.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
        return peer && ::recv(peer.get(), &byte, 1, 0) == 0;
    }));
    refusing_host::refuses = false;
    client.reach(server, server.listen());
}

TEST_CASE("a host that refuses to watch who calls loses that connection and no other") {
    FakeHost host(real_time());
    Node server(host, refusing_host::load(host, Settings().string("secret_file", write_file(host, "key", kSecret))));
    Node client(host);
    const std::string address = server.listen();
    refusing_host::refuses = true;
    raw::Plain turned_away(address);
    REQUIRE(host.run_until([&] { return turned_away.ended(); }));
    refusing_host::refuses = false;
    client.reach(server, address);
}

TEST_CASE("a line end behind the secret makes no difference") {
    FakeHost host(real_time());
    Node server(host, {}, kSecret + "\n");
    Node client(host, {}, kSecret + "\r\n");
    client.reach(server, server.listen());
}

TEST_CASE("the secret is good for as long as a node is up, and over any leap of the wall clock") {
    FakeHost host(real_time());
    Node server(host);
    Node client(host);
    const std::string address = server.listen();
    constexpr time_t kDay = 24 * 3600;
    for (const time_t ahead : {time_t{305}, kDay, 60 * 365 * kDay, -kDay}) {
        wall_ahead_s = ahead;
        INFO("ahead by " << ahead << " s");
        SSL_SESSION* session = SSL_SESSION_new();
        const long seen = SSL_SESSION_get_time(session) - true_time();
        SSL_SESSION_free(session);
        REQUIRE(std::abs(seen - ahead) < 60);  // by OpenSSL
        client.reach(server, address);
    }
    wall_ahead_s = 0;
}

TEST_CASE("a server that shows a certificate instead of the secret is refused") {
    FakeHost host(real_time());
    Node client(host);
    CertificateServer server;
    auto dialled = client.driver.dial(server.address);
    REQUIRE(host.run_until([&] {
        server.turn();
        return dialled.ended();
    }));
    CHECK(dialled.wait().code == Code::kDenied);
    CHECK_THAT(dialled.wait().text, Catch::Contains("the secrets differ"));
    CHECK(client.driver.ups.empty());
}

TEST_CASE("a server that does not speak TLS is unavailable, one that stays silent runs into the deadline") {
    FakeHost host(real_time());
    Node client(host, Settings().duration("handshake_timeout", 150ms));
    std::string address;
    const gantry::Fd listener = raw::listen_on_loopback(address);

    const auto silent = client.driver.dial(address).wait();
    CHECK(silent.code == Code::kDeadline);
    CHECK_THAT(silent.text, Catch::Contains("no handshake within 150 ms"));

    const gantry::Fd first(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    auto dialled = client.driver.dial(address);
    gantry::Fd fd;
    REQUIRE(host.run_until([&] {
        if (!fd) fd.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (fd) ::send(fd.get(), "220 mail.example.org\r\n", 22, MSG_NOSIGNAL);
        return dialled.ended();
    }));
    CHECK(dialled.wait().code == Code::kUnavailable);
    CHECK_THAT(dialled.wait().text, Catch::Contains("no TLS 1.3"));
}

TEST_CASE("the caller's deadline counts if it is the shorter one") {
    FakeHost host(real_time());
    Node client(host);
    std::string address;
    const gantry::Fd listener = raw::listen_on_loopback(address);
    client.instance.limit = 500ms;
    const auto answer = client.driver.dial(address).wait();
    CHECK(answer.code == Code::kDeadline);  // the transport's own answer, not the host's "unknown"
}

TEST_CASE("addresses are IP and port, of both families") {
    FakeHost host(real_time());
    Node node(host);
    for (const char* wrong : {"", "controller", "controller:3900", "10.0.0.1", "10.0.0.1:", "10.0.0.1:x",
                              "10.0.0.1:70000", "::1:3900", "[::1]", "[::1:3900", "10.0.0.1:-1", "10.0.0.1:1 "}) {
        INFO(wrong);
        CHECK(node.driver.dial(wrong).wait().code == Code::kInvalid);
        const auto listened = node.driver.listen(wrong).wait();
        CHECK(listened.code == Code::kInvalid);
        CHECK_THAT(listened.text, Catch::Contains("expected IP:PORT"));
    }
    CHECK_THAT(node.driver.listen("192.0.2.1:0").wait().text, Catch::Contains("no interface of this machine has it"));
    const auto six = node.driver.listen("[::1]:0").wait();
    REQUIRE(six.ok());
    Node client(host);
    client.reach(node, six.result.address);
    CHECK(node.driver.ups.back().address.rfind("[::1]:", 0) == 0);
    // Who listens for both families sees IPv4 addresses as such.
    const auto any = node.driver.listen("[::]:0").wait();
    REQUIRE(any.ok());
    client.reach(node, "127.0.0.1" + any.result.address.substr(any.result.address.rfind(':')));
    CHECK(node.driver.ups.back().address.rfind("127.0.0.1:", 0) == 0);
}

TEST_CASE("stop sends what waits and says goodbye") {
    FakeHost host(real_time());
    Node server(host), client(host);
    const auto peer = client.reach(server, server.listen());
    client.driver.send(peer, Channel::kControl, "leaving");
    client.instance.stop();
    REQUIRE(host.run_until([&] { return server.driver.downs.size() == 1; }));
    CHECK(server.driver.messages.size() == 1);
    CHECK(server.driver.downs[0].reason == Down::kClosed);
}

TEST_CASE("streams are not offered yet") {
    FakeHost host(real_time());
    Node node(host);
    int pair[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    const gantry::Fd mine(pair[0]);
    CHECK(node.driver.open_stream(1, "x", gantry::Fd(pair[1])).wait().code == Code::kUnsupported);
}

TEST_CASE("a large transfer is quick", "[figures]") {
    FakeHost host(real_time());
    Node server(host), client(host);
    const auto peer = client.reach(server, server.listen());
    const std::string chunk(70'000, 'x');
    constexpr std::size_t kChunks = 1000;
    const auto begun = std::chrono::steady_clock::now();
    std::size_t sent = 0;
    REQUIRE(host.run_until(
        [&] {
            while (sent < kChunks && client.driver.send(peer, Channel::kBulk, chunk) == Code::kOk) ++sent;
            return server.driver.messages.size() == kChunks;
        },
        60s));
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
    WARN("70 MB in " << took.count() << " s through both ends on one thread");
    CHECK(took < 30s);
}
