// SPDX-License-Identifier: Apache-2.0
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <gantry/testing/drivers.hpp>
#include <mutex>
#include <thread>

using namespace std::chrono_literals;
using Catch::Matchers::Contains;
using gantry::Labels;
using gantry::ProbeResult;
using gantry::Verdict;
using gantry::testing::FakeHost;
using gantry::testing::Options;
using gantry::testing::ProbeDriver;

namespace {

// Made once for all tests, with openssl.
const std::filesystem::path& certificates() {
    static const std::filesystem::path folder = [] {
        char name[] = "/tmp/gantry-http-probe.XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        static struct Remove {
            std::filesystem::path path;
            ~Remove() {
                std::error_code ignored;
                std::filesystem::remove_all(path, ignored);
            }
        } remove{name};
        const std::string command = std::string(GANTRY_CERTIFICATES) + " " + name + " >/dev/null 2>&1";
        REQUIRE(std::system(command.c_str()) == 0);
        return std::filesystem::path(name);
    }();
    return folder;
}

// Answers each connection with the same bytes after it has read a request, then closes it or keeps it open.
class Server {
  public:
    struct How {
        std::string answer;
        bool keeps_open = false;
        std::string certificate = {};  // TLS, with CERTIFICATE.pem and CERTIFICATE.key
    };

    explicit Server(How how) : how_(std::move(how)), fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        ::signal(SIGPIPE, SIG_IGN);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        REQUIRE(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), length) == 0);
        REQUIRE(::listen(fd_.get(), 64) == 0);
        ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &length);
        port = ntohs(address.sin_port);
        if (!how_.certificate.empty()) {
            context_.reset(SSL_CTX_new(TLS_server_method()));
            const auto file = [&](const char* end) { return (certificates() / (how_.certificate + end)).string(); };
            REQUIRE(SSL_CTX_use_certificate_chain_file(context_.get(), file(".pem").c_str()) == 1);
            REQUIRE(SSL_CTX_use_PrivateKey_file(context_.get(), file(".key").c_str(), SSL_FILETYPE_PEM) == 1);
        }
        thread_ = std::thread([this] { serve(); });
    }
    ~Server() {
        over_ = true;
        thread_.join();
    }
    std::string request() {
        std::lock_guard lock(mutex_);
        return request_;
    }

    std::uint16_t port = 0;

  private:
    struct Free {
        void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
        void operator()(SSL* ssl) const { SSL_free(ssl); }
    };

    void serve() {
        std::vector<gantry::Fd> open;
        while (!over_) {
            pollfd item{fd_.get(), POLLIN, 0};
            if (::poll(&item, 1, 10) != 1) continue;
            gantry::Fd peer(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            timeval patience{2, 0};
            ::setsockopt(peer.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            if (peer && talk(peer.get()) && how_.keeps_open) open.push_back(std::move(peer));
        }
    }
    bool talk(int fd) {
        std::unique_ptr<SSL, Free> ssl;
        if (context_) {
            ssl.reset(SSL_new(context_.get()));
            SSL_set_fd(ssl.get(), fd);
            if (SSL_accept(ssl.get()) != 1) return false;
        }
        std::string got;
        char bytes[4096];
        while (got.find("\r\n\r\n") == std::string::npos) {
            const auto n = ssl ? SSL_read(ssl.get(), bytes, sizeof bytes) : ::recv(fd, bytes, sizeof bytes, 0);
            if (n <= 0) return false;
            got.append(bytes, static_cast<std::size_t>(n));
        }
        {
            std::lock_guard lock(mutex_);
            request_ = got;
        }
        // In two pieces, so that no test depends on one.
        const std::size_t half = how_.answer.size() / 2;
        for (const auto& piece : {how_.answer.substr(0, half), how_.answer.substr(half)}) {
            if (piece.empty()) continue;
            if (ssl)
                SSL_write(ssl.get(), piece.data(), static_cast<int>(piece.size()));
            else
                (void)!::send(fd, piece.data(), piece.size(), MSG_NOSIGNAL);
        }
        if (ssl && !how_.keeps_open) SSL_shutdown(ssl.get());
        return true;
    }

    How how_;
    gantry::Fd fd_;
    std::unique_ptr<SSL_CTX, Free> context_;
    std::atomic<bool> over_{false};
    std::mutex mutex_;
    std::string request_;
    std::thread thread_;
};

struct Fixture {
    Fixture() : plugin(host.load(GANTRY_PLUGIN_FILE)), driver(plugin) { plugin.start(); }

    ProbeResult ask(std::uint16_t port, const Labels& params = {}, const std::string& address = "127.0.0.1") {
        const auto answer = driver.check({"c", address, port, params}).wait();
        CHECK(answer.ok());
        return answer.result;
    }

    FakeHost host{Options{.real_time = true}};
    gantry::testing::Instance& plugin;
    ProbeDriver driver;
};

const std::string kOk = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall well\n";

}  // namespace

TEST_CASE("an answer with a status from 200 to 399 is healthy, any other is not") {
    Fixture f;
    for (const int status : {200, 204, 301, 399}) {
        Server server({"HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: 0\r\n\r\n"});
        const auto result = f.ask(server.port);
        CHECK(result.verdict == Verdict::kHealthy);
        CHECK(result.detail == "status " + std::to_string(status));
        CHECK(result.latency > 0ns);
    }
    for (const int status : {404, 500, 503}) {
        Server server({"HTTP/1.0 " + std::to_string(status) + " X\r\n\r\nsorry"});
        const auto result = f.ask(server.port);
        CHECK(result.verdict == Verdict::kUnhealthy);
        CHECK(result.detail == "status " + std::to_string(status));
    }
}

TEST_CASE("which statuses mean well is the manifest's to say") {
    Fixture f;
    Server server({"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"});
    CHECK(f.ask(server.port, {{"status", "200-299,404"}}).verdict == Verdict::kHealthy);
    CHECK(f.ask(server.port, {{"status", "404"}}).verdict == Verdict::kHealthy);
    CHECK(f.ask(server.port, {{"status", "200-299"}}).verdict == Verdict::kUnhealthy);
    for (const char* wrong : {"", "ok", "20", "200-", "300-200", "200,", "200;201", "1000"}) {
        const auto result = f.ask(server.port, {{"status", wrong}});
        CHECK(result.verdict == Verdict::kUnknown);
        CHECK_THAT(result.detail, Contains("`status`: expected a status or a range"));
    }
}

TEST_CASE("it asks for the path, of the host, with the headers that the manifest says") {
    Fixture f;
    Server server({kOk});
    CHECK(f.ask(server.port).verdict == Verdict::kHealthy);
    CHECK(server.request() == "GET / HTTP/1.1\r\nHost: 127.0.0.1:" + std::to_string(server.port) +
                                  "\r\nUser-Agent: gantry-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    f.ask(server.port,
          {{"headers", R"(["X-Key: a b", "user-agent: mine"])"}, {"host", "axis.local"}, {"path", "/ready?full=1"}});
    CHECK(server.request() ==
          "GET /ready?full=1 HTTP/1.1\r\nHost: axis.local\r\nAccept: */*\r\nX-Key: a b\r\n"
          "user-agent: mine\r\nConnection: close\r\n\r\n");
}

TEST_CASE("a key that makes no sense is said by name, and nothing is asked") {
    Fixture f;
    Server server({kOk});
    const std::vector<std::pair<Labels, std::string>> table = {
        {{{"path", "ready"}}, "`path`: expected a path"},
        {{{"path", "/a b"}}, "`path`: expected a path"},
        {{{"host", "a b"}}, "`host`: expected the name of a host"},
        {{{"headers", "X: y"}}, "`headers`: expected a list of texts"},
        {{{"headers", R"(["no colon"])"}}, "`headers`: expected lines like"},
        {{{"headers", R"(["A: b\r\nB: c"])"}}, "`headers`: expected lines like"},
        {{{"headers", R"(["Connection: keep-alive"])"}}, "which is the probe's own"},
        {{{"tls", "yes"}}, "`tls`: expected true or false, got \"yes\""},
        {{{"insecure", "true"}}, "are for `tls = true`"},
        {{{"ca", "/x"}, {"insecure", "true"}, {"tls", "true"}}, "leave `ca` or `insecure` out"},
        {{{"ca", "ca.pem"}, {"tls", "true"}}, "`ca`: expected the absolute path"},
        {{{"ca", "/nowhere.pem"}, {"tls", "true"}}, "`ca`: /nowhere.pem cannot be used"},
        {{{"pth", "/"}}, "unknown key `pth`, did you mean `path`?"},
        {{{"staus", "200"}}, "unknown key `staus`, did you mean `status`?"},
    };
    for (const auto& [params, expected] : table) {
        const auto result = f.ask(server.port, params);
        CHECK(result.verdict == Verdict::kUnknown);
        CHECK_THAT(result.detail, Contains(expected));
    }
    CHECK(server.request().empty());
    CHECK(f.ask(server.port, {{"password", "x"}, {"somebody-elses", "y"}}).verdict == Verdict::kHealthy);
}

TEST_CASE("a body that must hold a text is read as far as that, however it is sent") {
    Fixture f;
    const Labels wish{{"body", "well"}};
    SECTION("with a length") {
        Server server({kOk});
        CHECK(f.ask(server.port, wish).verdict == Verdict::kHealthy);
        const auto other = f.ask(server.port, {{"body", "ill"}});
        CHECK(other.verdict == Verdict::kUnhealthy);
        CHECK(other.detail == "status 200, but \"ill\" is not in its body");
    }
    SECTION("until the connection ends") {
        Server server({"HTTP/1.0 200 OK\r\n\r\nall well"});
        CHECK(f.ask(server.port, wish).verdict == Verdict::kHealthy);
    }
    SECTION("in chunks, found over their border, while the connection stays open") {
        Server server({"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nis w\r\n5\r\nell !\r\n", true});
        CHECK(f.ask(server.port, wish).verdict == Verdict::kHealthy);
    }
    SECTION("the first 64 KiB of it") {
        Server server({"HTTP/1.0 200 OK\r\n\r\n" + std::string(80 << 10, 'x') + "well"});
        const auto result = f.ask(server.port, wish);
        CHECK(result.verdict == Verdict::kUnhealthy);
        CHECK_THAT(result.detail, Contains("the first 64 KiB"));
    }
    SECTION("a body without end costs no longer") {
        Server server({"HTTP/1.0 200 OK\r\n\r\n" + std::string(1 << 20, 'x'), true});
        CHECK(f.ask(server.port, wish).verdict == Verdict::kUnhealthy);
        CHECK(f.ask(server.port).verdict == Verdict::kHealthy);
    }
}

TEST_CASE("what is no HTTP, or not whole, is unhealthy and said") {
    Fixture f;
    Server other({"SSH-2.0-OpenSSH\r\n\r\n"});
    CHECK_THAT(f.ask(other.port).detail, Contains("does not speak HTTP"));
    Server cut({"HTTP/1.1 200 OK\r\nContent-Le"});
    const auto result = f.ask(cut.port);
    CHECK(result.verdict == Verdict::kUnhealthy);
    CHECK(result.detail == "closed the connection before its answer was whole");
    Server large({"HTTP/1.1 200 OK\r\nX: " + std::string(64 << 10, 'x') + "\r\n\r\n"});
    CHECK(f.ask(large.port).verdict == Verdict::kUnhealthy);
}

TEST_CASE("nobody, and a server that is silent, are unhealthy before the deadline") {
    Fixture f;
    std::uint16_t free = 0;
    {
        Server server({kOk});
        free = server.port;
    }
    CHECK(f.ask(free).detail == "connection refused");
    f.plugin.limit = 300ms;
    Server silent({"", true});
    const auto result = f.ask(silent.port);
    CHECK(result.verdict == Verdict::kUnhealthy);
    CHECK(result.detail == "no answer to the request in time");
    CHECK(f.ask(1, {}, "gateway").verdict == Verdict::kUnknown);
}

TEST_CASE("over TLS it believes the authority that the manifest names") {
    Fixture f;
    const auto with = [&](const std::string& ca) {
        return Labels{{"ca", (certificates() / (ca + ".pem")).string()}, {"tls", "true"}};
    };
    Server good({kOk, false, "server"});
    auto whole = with("ca");
    whole.emplace_back("body", "well");
    CHECK(f.ask(good.port, whole).detail == "status 200");
    CHECK(f.ask(good.port, with("ca")).verdict == Verdict::kHealthy);
    auto named = with("ca");
    named.emplace_back("server_name", "axis_server");
    CHECK(f.ask(good.port, named).verdict == Verdict::kHealthy);
    named.back().second = "another";
    CHECK_THAT(f.ask(good.port, named).detail, Contains("not believed"));
    CHECK_THAT(f.ask(good.port, with("other-ca")).detail, Contains("not believed"));
    CHECK_THAT(f.ask(good.port, {{"tls", "true"}}).detail, Contains("not believed"));  // the node trusts others
    CHECK(f.ask(good.port, {{"insecure", "true"}, {"tls", "true"}}).verdict == Verdict::kHealthy);
    for (const char* wrong : {"elsewhere", "expired", "stranger"}) {
        Server server({kOk, false, wrong});
        const auto result = f.ask(server.port, with("ca"));
        CHECK(result.verdict == Verdict::kUnhealthy);
        CHECK_THAT(result.detail, Contains("its certificate is not believed"));
        CHECK(f.ask(server.port, {{"insecure", "true"}, {"tls", "true"}}).verdict == Verdict::kHealthy);
    }
}

TEST_CASE("over TLS a plain server, and a silent one, are told apart") {
    Fixture f;
    Server plain({"HTTP/1.1 400 Bad Request\r\n\r\n"});
    f.plugin.limit = 500ms;
    const auto result = f.ask(plain.port, {{"insecure", "true"}, {"tls", "true"}});
    CHECK(result.verdict == Verdict::kUnhealthy);
    CHECK(result.detail == "no answer to the TLS handshake in time");  // it waits for the end of a request
    Server good({kOk, false, "server"});
    CHECK(f.ask(good.port).verdict == Verdict::kUnhealthy);
}

TEST_CASE("many checks may be under way at once, and end when the probe stops") {
    Fixture f;
    Server server({kOk});
    std::vector<gantry::testing::Pending<ProbeResult>> checks;
    for (int i = 0; i < 60; ++i) checks.push_back(f.driver.check({"c", "127.0.0.1", server.port, {}}));
    for (auto& check : checks) CHECK(check.wait().result.verdict == Verdict::kHealthy);
    Server silent({"", true});
    checks.clear();
    for (int i = 0; i < 8; ++i) checks.push_back(f.driver.check({"c", "127.0.0.1", silent.port, {}}));
    f.plugin.stop();
    for (auto& check : checks) CHECK(check.wait().code != gantry::Code::kDeadline);
}
