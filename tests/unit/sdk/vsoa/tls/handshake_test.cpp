// Who may speak to whom under TLS, what an operator learns of a handshake that fails, and what is wrong with files.
#include <catch2/catch.hpp>
#include <fstream>

#include "sdk/vsoa/include/vsoa_position.h"
#include "sdk/vsoa/include/vsoa_stats.h"
#include "tests/unit/sdk/vsoa/tls/tls_rig.hpp"

using namespace rig;

namespace {

bool says(const std::optional<Fail>& fail, int error, const char* words) {
    INFO((fail ? std::to_string(fail->error) + ' ' + fail->reason : "nothing"));
    CHECK(fail);
    CHECK((fail && fail->error == error));
    CHECK((fail && fail->reason.find(words) != std::string::npos));
    return fail && fail->error == error;
}

int error_of_server(const vsoa_tls_t& tls) {
    vsoa_server_t* server = vsoa_server_create("{}");
    REQUIRE(server != nullptr);
    errno = 0;
    const int error = vsoa_server_tls(server, &tls) ? 0 : errno;
    vsoa_server_close(server);
    return error;
}

}  // namespace

TEST_CASE("a client that trusts the server's authority connects, on IPv4 and IPv6") {
    const std::string ip = GENERATE("127.0.0.1", "::1");
    Tls server_tls, client_tls;
    SecureServer server(server_tls.cert("server"), *vsoa::Address::make(ip, 0), "secret");
    SecureClient client(client_tls.ca("ca.pem"));
    REQUIRE(client.connects(server.address, "secret") == 0);
    CHECK(client.info == "{\"name\":\"rig\"}");
    CHECK(client.echo("bytes") == "bytes");
    CHECK(server_tls.fails.size() + client_tls.fails.size() == 0);
}

TEST_CASE("a client connects to no server that cannot prove itself, and says why") {
    Tls server_tls, client_tls;
    SECTION("an unknown authority") {
        SecureServer server(server_tls.cert("stranger"));
        CHECK(SecureClient(client_tls.ca("ca.pem")).connects(server.address) == EKEYREJECTED);
        CHECK(says(client_tls.fails.take(), EKEYREJECTED, "certificate is not accepted"));
        CHECK(says(server_tls.fails.take(), EKEYREJECTED, "unknown ca"));
    }
    SECTION("only the system's authorities are known") {
        SecureServer server(server_tls.cert("server"));
        CHECK(SecureClient(client_tls).connects(server.address) == EKEYREJECTED);
    }
    SECTION("a certificate of yesterday") {
        SecureServer server(server_tls.cert("expired"));
        CHECK(SecureClient(client_tls.ca("ca.pem")).connects(server.address) == EKEYEXPIRED);
        CHECK(says(client_tls.fails.take(), EKEYEXPIRED, "expired"));
    }
    SECTION("a certificate for another address") {
        SecureServer server(server_tls.cert("elsewhere"));
        CHECK(SecureClient(client_tls.ca("ca.pem")).connects(server.address) == EKEYREJECTED);
        CHECK(says(client_tls.fails.take(), EKEYREJECTED, "not for \"127.0.0.1\""));
    }
    SECTION("a certificate for another name than the program gave") {
        SecureServer server(server_tls.cert("server"));
        CHECK(SecureClient(client_tls.ca("ca.pem").name("axis_elsewhere")).connects(server.address) == EKEYREJECTED);
        CHECK(says(client_tls.fails.take(), EKEYREJECTED, "not for \"axis_elsewhere\""));
    }
    SECTION("a wrong password, behind a right certificate") {
        SecureServer server(server_tls.cert("server"), loopback(), "secret");
        CHECK(SecureClient(client_tls.ca("ca.pem")).connects(server.address, "wrong") == EACCES);
        CHECK(client_tls.fails.size() == 0);
    }
}

TEST_CASE("the name that the program gives counts, or with the flag none") {
    Tls server_tls, client_tls;
    SecureServer server(server_tls.cert("elsewhere"));
    SECTION("a DNS name") { client_tls.ca("ca.pem").name("axis_elsewhere"); }
    SECTION("an address") { client_tls.ca("ca.pem").name("10.9.8.7"); }
    SECTION("nothing is verified when that is asked for") { client_tls.flags(VSOA_TLS_NO_VERIFY); }
    CHECK(SecureClient(client_tls).connects(server.address) == 0);
}

TEST_CASE("a server that wants certificates of its clients takes those of its authority only") {
    Tls server_tls, client_tls;
    SecureServer server(server_tls.cert("server").ca("ca.pem"));
    client_tls.ca("ca.pem");
    SECTION("the right one") {
        SecureClient client(client_tls.cert("client"));
        REQUIRE(client.connects(server.address) == 0);
        CHECK(client.echo("x") == "x");
    }
    SECTION("none") {
        CHECK(SecureClient(client_tls).connects(server.address) == ENOKEY);
        CHECK(says(client_tls.fails.take(), ENOKEY, "certificate required"));
        CHECK(says(server_tls.fails.take(), EKEYREJECTED, "showed no certificate"));
    }
    SECTION("of another authority") {
        CHECK(SecureClient(client_tls.cert("outsider")).connects(server.address) == EKEYREJECTED);
        CHECK(says(client_tls.fails.take(), EKEYREJECTED, "refused"));
        CHECK(says(server_tls.fails.take(), EKEYREJECTED, "client's certificate is not accepted"));
    }
    CHECK(vsoa_server_count(server.handle) <= 1);
}

TEST_CASE("a pre-shared key proves both sides, without any certificate") {
    Tls server_tls, client_tls;
    SECTION("known") {
        SecureServer server(server_tls.psk("keys.txt"), loopback(), "secret");
        SecureClient client(client_tls.psk("client-keys.txt"));
        REQUIRE(client.connects(server.address, "secret") == 0);
        CHECK(client.echo("x") == "x");
    }
    SECTION("to a server that has a certificate for others, and wants theirs") {
        SecureServer server(server_tls.cert("server").ca("ca.pem").psk("keys.txt"));
        CHECK(SecureClient(client_tls.psk("client-keys.txt")).connects(server.address) == 0);
        Tls with_certificate;
        CHECK(SecureClient(with_certificate.ca("ca.pem").cert("client")).connects(server.address) == 0);
    }
    SECTION("another under the same name") {
        SecureServer server(server_tls.psk("keys.txt"));
        CHECK(SecureClient(client_tls.psk("other-keys.txt")).connects(server.address) == EKEYREJECTED);
        CHECK(client_tls.fails.take());
        CHECK(says(server_tls.fails.take(), EKEYREJECTED, "does not know the key"));
    }
    SECTION("a server that shows a certificate instead") {
        SecureServer server(server_tls.cert("server"));
        CHECK(SecureClient(client_tls.psk("client-keys.txt")).connects(server.address) == EKEYREJECTED);
    }
    SECTION("a client that shows none") {
        SecureServer server(server_tls.psk("keys.txt"));
        CHECK(SecureClient(client_tls.ca("ca.pem")).connects(server.address) != 0);
        CHECK(server_tls.fails.take());
    }
}

TEST_CASE("TLS 1.2 is spoken with those who have nothing newer, and nothing older with anybody") {
    Tls server_tls;
    SecureServer server(server_tls.cert("server"));
    const auto succeeds = [&](const char* version) {
        const std::string command = "openssl s_client -connect 127.0.0.1:" + std::to_string(server.address.port()) +
                                    ' ' + version + " </dev/null >" + certificates() + "/s_client.log 2>&1";
        return std::system(command.c_str()) == 0;
    };
    CHECK(succeeds("-tls1_3"));
    CHECK(succeeds("-tls1_2"));
    CHECK(succeeds("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256"));
    CHECK_FALSE(succeeds("-tls1_1 -cipher DEFAULT@SECLEVEL=0"));
    CHECK_FALSE(succeeds("-tls1_2 -cipher AES128-SHA"));
    CHECK(server_tls.fails.size() >= 1);
}

TEST_CASE("handshakes that failed are counted, those that succeeded are not") {
    Tls server_tls, stranger, known;
    SecureServer server(server_tls.cert("server"));
    CHECK(SecureClient(stranger.ca("other-ca.pem")).connects(server.address) != 0);
    CHECK(SecureClient(known.ca("ca.pem")).connects(server.address) == 0);
    REQUIRE(server_tls.fails.take());
    vsoa_server_stats_t stats = VSOA_SERVER_STATS_INITIALIZER;
    REQUIRE(vsoa_server_stats(server.handle, &stats));
    CHECK((stats.insecure == 1 && stats.logins == 1 && stats.accepted == 2 && stats.broken == 0));
}

TEST_CASE("who does not speak TLS is told apart") {
    Tls server_tls, client_tls;
    SECTION("a client") {
        SecureServer server(server_tls.cert("server"));
        RunningClient client;
        CHECK_FALSE(client.connect(server.address));
        CHECK(errno == ECONNRESET);
        CHECK(says(server_tls.fails.take(), EPROTO, "does not speak TLS"));
    }
    SECTION("a server") {
        RunningServer server;
        server.start();
        CHECK(SecureClient(client_tls.ca("ca.pem")).connects(server.address) != 0);
        CHECK(client_tls.fails.take());
    }
    SECTION("who only looks whether the port is open is no news") {
        SecureServer server(server_tls.cert("server"));
        { RawPeer look(server.address); }
        CHECK(SecureClient(client_tls.ca("ca.pem")).connects(server.address) == 0);
        CHECK(server_tls.fails.size() == 0);
    }
}

TEST_CASE("a program learns which of its files is no good") {
    Tls tls;
    SECTION("there is none") {
        CHECK(error_of_server(tls.cert("nobody").config) == ENOENT);
        CHECK(says(tls.fails.take(), ENOENT, "nobody.pem"));
    }
    SECTION("not a certificate") {
        tls.cert("server");
        tls.config.cert_file = tls.config.key_file;
        CHECK(error_of_server(tls.config) == EBADMSG);
        CHECK(says(tls.fails.take(), EBADMSG, "expected a certificate"));
    }
    SECTION("the key of another") {
        Tls other;
        other.cert("client");
        tls.cert("server").config.key_file = other.config.key_file;
        CHECK(error_of_server(tls.config) == EBADMSG);
        const auto fail = tls.fails.take();
        CHECK((says(fail, EBADMSG, "client.key") && !fail->has_peer));
    }
    SECTION("an encrypted key asks nobody for a passphrase") {
        const std::string locked = certificates() + "/locked.key";
        tls.cert("server").config.key_file = locked.c_str();
        CHECK(error_of_server(tls.config) == EBADMSG);
    }
    SECTION("keys that are none") {
        const std::string path = certificates() + "/odd-keys.txt";
        for (const char* line : {"", "name", "name:", "name:00", ":00112233445566778899aabbccddeeff", "name:xyz",
                                 "name:00112233445566778899aabbccddeef"}) {
            CAPTURE(line);
            std::ofstream(path) << line << '\n';
            tls.config.psk_file = path.c_str();
            CHECK(error_of_server(tls.config) == EBADMSG);
            CHECK(says(tls.fails.take(), EBADMSG, "odd-keys.txt"));
        }
    }
    SECTION("a folder") {
        tls.psk("keys.txt").config.psk_file = certificates().c_str();
        CHECK(error_of_server(tls.config) == EISDIR);
    }
}

TEST_CASE("arguments that mean nothing are refused") {
    Tls good;
    good.cert("server");
    vsoa_tls_t tls = good.config;
    SECTION("a size before the first version") { tls.size = offsetof(vsoa_tls_t, flags); }
    SECTION("a flag that is none") { tls.flags = 2; }
    SECTION("a server that verifies nothing") { tls.flags = VSOA_TLS_NO_VERIFY; }
    SECTION("a certificate without its key") { tls.key_file = nullptr; }
    SECTION("a server that shows nothing") { tls.cert_file = tls.key_file = nullptr; }
    CHECK(error_of_server(tls) == EINVAL);
    errno = 0;
    CHECK((!vsoa_server_tls(nullptr, &tls) && errno == EINVAL));
    errno = 0;
    CHECK((!vsoa_client_tls(nullptr, nullptr) && errno == EINVAL));
    errno = 0;
    CHECK((!vsoa_client_auto_tls(nullptr, &tls) && errno == EINVAL));
}

TEST_CASE("the structure of a program grows and shrinks with its version") {
    Tls good;
    good.cert("server");
    struct Newer {
        vsoa_tls_t known;
        void* more;
    } newer = {good.config, nullptr};
    newer.known.size = sizeof newer;
    CHECK(error_of_server(newer.known) == 0);
    newer.more = &newer;
    CHECK(error_of_server(newer.known) == EINVAL);

    vsoa_tls_t first = good.config;
    first.size = offsetof(vsoa_tls_t, psk_file);
    first.psk_file = "not looked at";
    CHECK(error_of_server(first) == 0);
}

TEST_CASE("a running server takes new certificates, and becomes neither plain nor secret") {
    Tls old_tls, new_tls, client_tls;
    SecureServer server(old_tls.cert("stranger"));
    client_tls.ca("ca.pem");
    CHECK(SecureClient(client_tls).connects(server.address) == EKEYREJECTED);
    server.loop.stop();
    REQUIRE(vsoa_server_tls(server.handle, &new_tls.cert("server").config));
    CHECK((!vsoa_server_tls(server.handle, nullptr) && errno == EALREADY));
    server.run();
    CHECK(SecureClient(client_tls).connects(server.address) == 0);

    RunningServer plain;
    plain.start();
    CHECK((!vsoa_server_tls(plain.handle, &new_tls.config) && errno == EALREADY));
}

TEST_CASE("a client goes back to plain connections when told so") {
    Tls client_tls;
    RunningServer server;
    server.start();
    SecureClient client(client_tls.ca("ca.pem"));
    REQUIRE(vsoa_client_tls(client.handle, nullptr));
    CHECK(client.connects(server.address) == 0);
}
