// SPDX-License-Identifier: Apache-2.0
//
// The C++ layer as its header shows it: a server and a client, each with a loop of its own.
#include <atomic>
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <thread>
#include <vsoa.hpp>

namespace {

using namespace std::chrono_literals;

std::string text_of(const std::vector<std::byte>& data) {
    return {reinterpret_cast<const char*>(data.data()), data.size()};
}

vsoa::Bytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

// A server whose loop runs in a thread until the end of the test.
class Running {
  public:
    explicit Running(vsoa::Server& server) : server_(server), at_(server.start("127.0.0.1:0")) {
        thread_ = std::thread([this] {
            while (!stop_) server_.wait(20ms);
        });
    }
    ~Running() {
        stop_ = true;
        thread_.join();
    }
    std::string address() const { return "127.0.0.1:" + std::to_string(at_.port()); }

  private:
    vsoa::Server& server_;
    vsoa::Address at_;
    std::atomic<bool> stop_ = false;
    std::thread thread_;
};

}  // namespace

TEST_CASE("a coroutine calls, sets and hears statuses") {
    vsoa::Server server(R"({"name":"calc"})", "secret");
    server.on("/echo", [](vsoa::Call call) {
        call.reply({call.set ? R"({"set":true})" : R"({"set":false})", call.data});
    });
    server.on("/refuse", [](vsoa::Call call) { call.reply({}, VSOA_STATUS_NO_PERMISSIONS); });
    server.on("/silent", [](vsoa::Call) {});
    const Running running(server);

    vsoa::Client client;
    CHECK(client.connect(running.address(), "secret") == R"({"name":"calc"})");
    auto story = [&]() -> vsoa::Task<int> {
        const auto got = co_await client.call("/echo", {"", bytes_of("abc")});
        CHECK(got.ok());
        CHECK(got.param == R"({"set":false})");
        CHECK(text_of(got.data) == "abc");
        const auto set = co_await client.set("/echo");
        CHECK(set.param == R"({"set":true})");
        CHECK((co_await client.call("/refuse")).status == VSOA_STATUS_NO_PERMISSIONS);
        CHECK((co_await client.call("/silent")).status == VSOA_STATUS_NO_RESPONDING);
        CHECK((co_await client.call("/nobody")).status == VSOA_STATUS_INVALID_URL);
        CHECK(co_await client.ping());
        co_return 7;
    };
    CHECK(client.run(story()) == 7);
}

TEST_CASE("an answer may come later and from another thread") {
    vsoa::Server server("{}");
    std::thread worker;
    server.on("/later", [&](vsoa::Call call) {
        worker = std::thread([call = std::make_shared<vsoa::Call>(std::move(call))] { call->reply(R"("done")"); });
    });
    {
        const Running running(server);
        vsoa::Client client;
        client.connect(running.address());
        auto story = [&]() -> vsoa::Task<std::string> { co_return (co_await client.call("/later")).param; };
        CHECK(client.run(story()) == R"("done")");
    }
    worker.join();
}

TEST_CASE("a handler may be a coroutine that asks another server") {
    vsoa::Server back("{}");
    back.on("/answer", [](vsoa::Call call) { call.reply("42"); });
    const Running running_back(back);
    vsoa::Server front("{}");
    vsoa::Client between;
    between.connect(running_back.address());
    front.on("/ask", [&](vsoa::Call call) -> vsoa::Task<> {
        const auto answer = co_await between.call("/answer");
        call.reply(answer.param);
    });
    std::atomic<bool> stop = false;
    const auto at = front.start("127.0.0.1:0");
    std::thread loop([&] {
        while (!stop) {
            front.wait(5ms);
            between.wait(5ms);
        }
    });
    vsoa::Client client;
    client.connect("127.0.0.1:" + std::to_string(at.port()));
    auto story = [&]() -> vsoa::Task<std::string> { co_return (co_await client.call("/ask")).param; };
    CHECK(client.run(story()) == "42");
    stop = true;
    loop.join();
}

TEST_CASE("a subscription gives its messages in order and ends with the connection") {
    auto server = std::make_unique<vsoa::Server>("{}");
    std::vector<std::string> got;
    vsoa::Client client;
    {
        auto running = std::make_unique<Running>(*server);
        client.connect(running->address());
        auto story = [&]() -> vsoa::Task<> {
            auto all = co_await client.subscribe("/axis/");
            server->publish("/other", "no");
            for (const char* text : {"1", "2", "3"}) server->publish("/axis/x", {text, bytes_of("data")});
            while (got.size() < 3) {
                const auto message = co_await all.next();
                REQUIRE(message);
                CHECK(message->url == "/axis/x");
                CHECK(text_of(message->data) == "data");
                got.push_back(message->param);
            }
            running.reset();
            server.reset();
            CHECK_FALSE(co_await all.next());
        };
        client.run(story());
    }
    CHECK(got == std::vector<std::string>{"1", "2", "3"});
    CHECK_FALSE(client.connected());
}

TEST_CASE("a subscription that is destroyed is taken back") {
    vsoa::Server server("{}");
    const Running running(server);
    vsoa::Client client;
    client.connect(running.address());
    auto story = [&]() -> vsoa::Task<> {
        {
            auto updates = co_await client.subscribe("/axis");
            CHECK(server.subscribed("/axis"));
        }
        CHECK(co_await client.ping());  // the server has handled what came before
    };
    client.run(story());
    CHECK_FALSE(server.subscribed("/axis"));
}

TEST_CASE("errors are system_errors with the errno of the C function") {
    const auto code = [](auto action) {
        try {
            action();
        } catch (const std::system_error& error) {
            INFO(error.what());
            return error.code().value();
        }
        return 0;
    };
    vsoa::Server server("{}", "right");
    std::vector<vsoa::Call> kept;
    vsoa::Client client;
    {
        server.on("/never", [&](vsoa::Call call) { kept.push_back(std::move(call)); });
        const Running running(server);
        CHECK(code([&] { client.connect(running.address(), "wrong"); }) == EACCES);
        CHECK(code([&] { client.datagram("/x", "1"); }) == ENOTCONN);
        client.connect(running.address(), "right");
        auto story = [&]() -> vsoa::Task<> { co_await client.call("/never", {}, 30ms); };
        CHECK(code([&] { client.run(story()); }) == ETIMEDOUT);
        CHECK(code([&] { server.start("127.0.0.1"); }) == EINVAL);
        CHECK(code([&] { client.connect("127.0.0.1:1"); }) == EISCONN);
    }
}

TEST_CASE("datagrams and streams go both ways") {
    vsoa::Server server("{}");
    std::atomic<int> datagrams = 0;
    server.on_datagram([&](vsoa_cli_id_t from, const vsoa::Message& message) {
        ++datagrams;
        server.datagram(from, "/back", message.param);
    });
    std::thread accepting;
    server.on("/file", [&](vsoa::Call call) {
        auto stream = std::make_shared<vsoa::OfferedStream>(server.offer_stream());
        call.reply({}, VSOA_STATUS_SUCCESS, stream->tunnel());
        accepting = std::thread([stream] {
            const int fd = stream->accept();
            std::array<std::byte, 64> buffer{};
            const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
            if (got > 0) (void)::send(fd, buffer.data(), static_cast<std::size_t>(got), MSG_NOSIGNAL);
        });
    });
    {
        const Running running(server);
        vsoa::Client client;
        std::string back;
        client.on_datagram([&](const vsoa::Message& message) { back = message.url + " " + message.param; });
        client.connect(running.address());
        client.datagram("/to", "7");
        while (back.empty() && client.wait(5s)) continue;
        CHECK(back == "/back 7");
        CHECK(datagrams == 1);

        auto story = [&]() -> vsoa::Task<vsoa::Stream> {
            const auto reply = co_await client.call("/file");
            if (!reply.tunnel) throw std::runtime_error("no tunnel");
            co_return client.stream(*reply.tunnel);
        };
        auto stream = client.run(story());
        stream.write(bytes_of("hello"));
        stream.end();
        std::array<std::byte, 64> buffer{};
        const auto got = stream.read(buffer);
        CHECK(std::string(reinterpret_cast<const char*>(got.data()), got.size()) == "hello");
        CHECK(stream.read(buffer).empty());
    }
    accepting.join();
}

TEST_CASE("both sides speak TLS when told so") {
    char folder[] = "/tmp/vsoa-hpp-XXXXXX";
    REQUIRE(mkdtemp(folder) != nullptr);
    const std::string at = folder;
    REQUIRE(std::system((GANTRY_CERTIFICATES " " + at).c_str()) == 0);
    {
        vsoa::Server server(R"({"name":"calc"})", "secret");
        server.tls({.cert_file = at + "/server.pem", .key_file = at + "/server.key"});
        const Running running(server);
        vsoa::Client client;
        std::string why;
        client.tls({.ca_file = at + "/other-ca.pem", .on_fail = [&](const std::string& reason) { why = reason; }});
        CHECK_THROWS_AS(client.connect(running.address(), "secret"), std::system_error);
        CHECK(why.find("certificate") != std::string::npos);
        client.tls({.ca_file = at + "/ca.pem", .server_name = "axis_server"});
        CHECK(client.connect(running.address(), "secret") == R"({"name":"calc"})");
        CHECK_THROWS_AS(client.tls({.ca_file = at + "/nothing.pem"}), std::system_error);
    }
    std::filesystem::remove_all(at);
}

TEST_CASE("addresses are ip:port") {
    CHECK(vsoa::Address::parse("10.0.0.1:3002")->port() == 3002);
    CHECK(vsoa::Address::parse("[::1]:3002")->port() == 3002);
    for (const char* wrong :
         {"", "10.0.0.1", "10.0.0.1:", "10.0.0.1:65536", "::1:3002", "[::1:3002", "host:80", "[]:1"})
        CHECK_FALSE(vsoa::Address::parse(wrong));
}
