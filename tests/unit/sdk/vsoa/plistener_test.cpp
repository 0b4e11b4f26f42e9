// The parallel listener of vsoa_plistener.h.
#include <cerrno>
#include <future>
#include <set>

#include "sdk/vsoa/include/vsoa_plistener.h"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

struct Answer {
    int status;  // -1: none
    std::string param;
};

/// A server with one parallel listener, and a client that calls it. `work` runs in the workers; its text is the answer.
struct Shop {
    explicit Shop(int threads) : plistener(vsoa_server_plistener_create(threads)) {
        REQUIRE(plistener != nullptr);
        server.start();
        REQUIRE(client.connect(server.address));
    }
    ~Shop() {
        server.loop.stop();
        vsoa_server_plistener_delete(plistener);
    }
    void listen(const char* topic, bool parallel, int max_queued) {
        server.loop.stop();
        const auto handler = vsoa_server_plistener_handler(plistener, parallel, max_queued, on_call, this);
        REQUIRE(handler.callback != nullptr);
        const vsoa_url_t u = url(topic);
        REQUIRE(vsoa_server_add_listener(server.handle, &u, handler.callback, handler.arg));
        server.run();
    }
    void call(const char* topic, const std::string& p = "", const std::string& d = "") {
        const vsoa_url_t u = url(topic);
        const vsoa_payload_t load = payload(p, d);
        REQUIRE(vsoa_client_call(client.handle, VSOA_CLIENT_RPC_METHOD_SET, &u, &load, on_reply, this, nullptr));
    }
    static void on_call(void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t* u,
                        vsoa_payload_t* p) {
        auto* shop = static_cast<Shop*>(arg);
        const std::string answer = shop->work(text(u), param(p), data(p), header);
        const vsoa_payload_t load = payload(answer);
        vsoa_server_cli_reply(server, id, 0, vsoa_parser_get_seqno(header), 0, &load);
    }
    static void on_reply(void* arg, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t* p) {
        static_cast<Shop*>(arg)->answers.put(header != nullptr ? Answer{header->status, param(p)} : Answer{-1, ""});
    }

    std::function<std::string(std::string url, std::string param, std::string data, vsoa_header_t*)> work;
    Inbox<Answer> answers;
    RunningServer server;
    RunningClient client;
    vsoa_plistener_t* plistener;
};

/// Lets workers wait until the test opens it, and counts those inside.
struct Gate {
    std::promise<void> promise;
    std::shared_future<void> opened = promise.get_future().share();
    std::atomic<int> inside{0};
    void pass() {
        ++inside;
        opened.wait();
    }
    void open() { promise.set_value(); }
};

}  // namespace

TEST_CASE("a worker gets a whole copy of the call and answers it") {
    Shop shop(1);
    std::thread::id worker;
    shop.work = [&](std::string u, std::string p, std::string d, vsoa_header_t* header) {
        worker = std::this_thread::get_id();
        vsoa_url_t from_header;
        vsoa_payload_t load;
        const bool whole = vsoa_parser_get_url(header, &from_header) && vsoa_parser_get_payload(header, &load) &&
                           text(&from_header) == u && param(&load) == p && data(&load) == d;
        return std::string(whole ? "whole " : "torn ") + u + p + d + ((header->flags & VSOA_FLAG_SET) ? " set" : "");
    };
    shop.listen("/w/", true, 0);
    shop.call("/w/x", "{\"a\":1}", "data");
    const auto answer = shop.answers.take();
    REQUIRE(answer);
    CHECK(answer->status == 0);
    CHECK(answer->param == "whole /w/x{\"a\":1}data set");
    CHECK(worker != std::this_thread::get_id());
}

TEST_CASE("a parallel handler runs in all workers at once and does not hold up the event loop") {
    Gate gate;
    Shop shop(VSOA_SERVER_MAX_RPC_WORKER_THDS);
    shop.work = [&](std::string, std::string p, std::string, vsoa_header_t*) {
        gate.pass();
        return p;
    };
    shop.listen("/p", true, 0);
    for (int i = 0; i < 20; ++i) shop.call("/p", std::to_string(i));
    CHECK(eventually([&] { return gate.inside == VSOA_SERVER_MAX_RPC_WORKER_THDS; }));
    // The loop lives: a ping is answered while every worker is busy.
    REQUIRE(vsoa_client_ping(shop.client.handle, RunningClient::on_result, &shop.client, nullptr));
    CHECK(shop.client.results.take().value_or(false));
    CHECK(gate.inside == VSOA_SERVER_MAX_RPC_WORKER_THDS);
    gate.open();
    std::set<std::string> seen;
    for (int i = 0; i < 20; ++i) seen.insert(shop.answers.take().value().param);
    CHECK(seen.size() == 20);
}

TEST_CASE("a handler that is not parallel runs one call at a time, in order, while others go on") {
    Gate gate;
    std::atomic<int> at_once{0}, most{0};
    Shop shop(4);
    shop.work = [&](std::string u, std::string p, std::string, vsoa_header_t*) {
        if (u == "/other") return p;
        const int now = ++at_once;
        if (now > most) most = now;
        if (p == "0") gate.pass();
        --at_once;
        return p;
    };
    shop.listen("/one", false, 0);
    shop.listen("/other", false, 0);
    for (int i = 0; i < 50; ++i) shop.call("/one", std::to_string(i));
    REQUIRE(eventually([&] { return gate.inside == 1; }));
    shop.call("/other", "through");
    CHECK(shop.answers.take().value().param == "through");
    gate.open();
    for (int i = 0; i < 50; ++i) CHECK(shop.answers.take().value().param == std::to_string(i));
    CHECK(most == 1);
}

TEST_CASE("a full queue holds the event loop until a worker takes a call") {
    Gate gate;
    Shop shop(1);
    shop.work = [&](std::string, std::string p, std::string, vsoa_header_t*) {
        gate.pass();
        return p;
    };
    shop.listen("/q", true, 2);
    for (int i = 0; i < 4; ++i) shop.call("/q", std::to_string(i));  // one runs, two wait, the fourth finds no room
    REQUIRE(eventually([&] { return gate.inside == 1; }));
    REQUIRE(vsoa_client_ping(shop.client.handle, RunningClient::on_result, &shop.client, nullptr));
    CHECK_FALSE(shop.client.results.take(50ms));
    gate.open();
    CHECK(shop.client.results.take().value_or(false));
    for (int i = 0; i < 4; ++i) CHECK(shop.answers.take().value().param == std::to_string(i));
}

TEST_CASE("deleting waits for the call that runs and refuses those that wait") {
    Gate gate;
    std::atomic<bool> ended{false};
    Shop shop(1);
    shop.work = [&](std::string, std::string p, std::string, vsoa_header_t*) {
        gate.pass();
        ended = true;
        return p;
    };
    shop.listen("/d", true, 2);
    for (int i = 0; i < 4; ++i) shop.call("/d", std::to_string(i));
    REQUIRE(eventually([&] { return gate.inside == 1; }));
    auto deleted = std::async(std::launch::async, [&] {
        vsoa_server_plistener_delete(std::exchange(shop.plistener, nullptr));
        return ended.load();
    });
    // The loop, which waited for room with the fourth, goes on at once; the call that runs still does.
    const auto fourth = shop.answers.take();
    REQUIRE(fourth);
    CHECK(fourth->status == VSOA_STATUS_NO_RESPONDING);
    CHECK(deleted.wait_for(0ms) == std::future_status::timeout);
    gate.open();
    CHECK(deleted.get());
    int refused = 0, answered = 0;
    for (int i = 0; i < 3; ++i) {
        const auto answer = shop.answers.take();
        REQUIRE(answer);
        answer->status == VSOA_STATUS_NO_RESPONDING ? ++refused : ++answered;
    }
    CHECK(answered == 1);
    CHECK(refused == 2);
}

TEST_CASE("a callback may delete its own parallel listener") {
    Shop shop(3);
    shop.work = [&](std::string, std::string p, std::string, vsoa_header_t*) {
        shop.server.loop.stop();
        vsoa_server_plistener_delete(std::exchange(shop.plistener, nullptr));
        return p;
    };
    shop.listen("/own", true, 0);
    shop.call("/own", "gone");
    CHECK(shop.answers.take().value().param == "gone");
}

TEST_CASE("workers answer many clients at once") {
    Shop shop(4);
    shop.work = [](std::string, std::string p, std::string, vsoa_header_t*) { return p; };
    shop.listen("/many", true, 16);
    RunningClient others[3];
    for (auto& other : others) REQUIRE(other.connect(shop.server.address));
    const vsoa_url_t u = url("/many");
    for (int i = 0; i < 500; ++i) {
        shop.call("/many", std::to_string(i));
        for (auto& other : others) {
            REQUIRE(vsoa_client_call(other.handle, VSOA_CLIENT_RPC_METHOD_GET, &u, nullptr, Shop::on_reply, &shop,
                                     nullptr));
        }
    }
    for (int i = 0; i < 2000; ++i) REQUIRE(shop.answers.take().value().status == 0);
}

TEST_CASE("a parallel listener refuses wrong arguments with an errno") {
    errno = 0;
    for (const int threads : {-1, 0, VSOA_SERVER_MAX_RPC_WORKER_THDS + 1}) {
        CHECK(vsoa_server_plistener_create(threads) == nullptr);
        CHECK(std::exchange(errno, 0) == EINVAL);
    }
    vsoa_plistener_t* plistener = vsoa_server_plistener_create(1);
    REQUIRE(plistener != nullptr);
    errno = 0;
    CHECK(vsoa_server_plistener_handler(nullptr, true, 0, Shop::on_call, nullptr).callback == nullptr);
    CHECK(std::exchange(errno, 0) == EINVAL);
    CHECK(vsoa_server_plistener_handler(plistener, true, -1, Shop::on_call, nullptr).callback == nullptr);
    CHECK(std::exchange(errno, 0) == EINVAL);
    CHECK(vsoa_server_plistener_handler(plistener, true, 0, nullptr, nullptr).callback == nullptr);
    CHECK(std::exchange(errno, 0) == EINVAL);
    vsoa_server_plistener_delete(plistener);
    vsoa_server_plistener_delete(nullptr);
}
