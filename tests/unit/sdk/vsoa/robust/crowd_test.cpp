// Many threads at one server, and at one client, while connections come and go. What is asked here is little; the
// thread sanitizer asks the rest.
#include <atomic>
#include <random>

#include "sdk/vsoa/include/vsoa_loop.h"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

constexpr int kThreads = 8, kVisitors = 3, kVisits = 150;

using Random = std::mt19937;

const vsoa_url_t kTopic = url("/topic"), kEcho = url("/echo");

/// A program whose threads do all that they may do, with all clients, at any time.
class Crowd {
  public:
    explicit Crowd(RunningServer& server) : server_(server.handle) {
        vsoa_server_add_listener(server_, &kEcho, &called, this);
        vsoa_server_on_datagram(server_, &datagram, nullptr);
        vsoa_server_on_cli(server_, &client, this);
    }
    void work(uint32_t seed) {
        Random random(seed);
        while (!stop) {
            if (random() % 4 != 0) {
                reply();
            } else {
                something(random);
            }
        }
        while (reply()) continue;
    }

    std::atomic<bool> stop{false};
    std::atomic<int> present{0};
    std::atomic<uint64_t> replies{0};

  private:
    struct Question {
        vsoa_cli_id_t id;
        uint32_t seqno;
    };

    bool reply() {
        const auto question = questions_.take(1ms);
        if (!question) return false;
        const vsoa_payload_t load = payload("{}", "answer");
        if (vsoa_server_cli_reply(server_, question->id, 0, question->seqno, 0, &load)) ++replies;
        return true;
    }

    void something(Random& random) {
        vsoa_cli_id_t ids[8];
        const int count = vsoa_server_cli_array(server_, ids, 8);
        if (count > 0) with_client(random, ids[random() % static_cast<unsigned>(count)]);
        const vsoa_payload_t load = payload("1", std::string_view(kData, random() % sizeof kData));
        vsoa_server_publish(server_, &kTopic, &load);
        vsoa_server_quick_publish(server_, &kTopic, nullptr);
        vsoa_server_is_subscribed(server_, &kTopic);
        vsoa_server_count(server_);
        vsoa_server_set_custom(server_, this);
        vsoa_server_custom(server_);
    }

    void with_client(Random& random, vsoa_cli_id_t id) {
        sockaddr_storage address;
        socklen_t length = sizeof address;
        const timespec second = {1, 0};
        switch (random() % 8) {
            case 0:
                if (random() % 16 == 0) vsoa_server_cli_close(server_, id);
                break;
            case 1:
                vsoa_server_cli_priority(server_, id, static_cast<int>(random() % 6));
                break;
            case 2:
                vsoa_server_cli_set_authed(server_, id, random() % 8 != 0);
                vsoa_server_cli_authed(server_, id);
                break;
            case 3:
                vsoa_server_cli_datagram(server_, id, &kTopic, nullptr);
                vsoa_server_cli_quick_datagram(server_, id, &kTopic, nullptr);
                break;
            case 4:
                vsoa_server_cli_address(server_, id, reinterpret_cast<sockaddr*>(&address), &length);
                vsoa_server_cli_keepalive(server_, id, 5);
                break;
            case 5:
                vsoa_server_cli_is_subscribed(server_, id, &kTopic);
                break;
            case 6:
                vsoa_server_cli_send_timeout(server_, id, &second);
                vsoa_server_send_timeout(server_, true, &second);
                break;
            default:
                break;
        }
    }

    static void called(void* arg, vsoa_server_t*, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t*,
                       vsoa_payload_t*) {
        static_cast<Crowd*>(arg)->questions_.put({id, vsoa_parser_get_seqno(header)});
    }
    static void datagram(void*, vsoa_server_t*, vsoa_cli_id_t, vsoa_url_t*, vsoa_payload_t*, bool) {}
    static void client(void* arg, vsoa_server_t*, vsoa_cli_id_t, bool connect) {
        static_cast<Crowd*>(arg)->present += connect ? 1 : -1;
    }

    static constexpr char kData[4096] = {};
    vsoa_server_t* const server_;
    Inbox<Question> questions_;
};

/// Told exactly once for each call.
struct Ends {
    int open = 0;
    uint64_t answered = 0;
    static void call(void* arg, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t*) {
        auto* ends = static_cast<Ends*>(arg);
        --ends->open;
        ends->answered += header != nullptr;
    }
    static void result(void* arg, vsoa_client_t*, bool success) { call(arg, nullptr, nullptr, nullptr), (void)success; }
};

/// Comes, subscribes, calls and goes, again and again. Returns how many calls were answered, -1: one was not ended.
int64_t visit(const vsoa::Address& server, uint32_t seed) {
    Random random(seed);
    uint64_t answered = 0;
    for (int i = 0; i < kVisits; ++i) {
        vsoa_client_t* client = vsoa_client_create(nullptr, nullptr);
        const timespec limit = {5, 0}, moment = {0, 1'000'000};
        Ends ends;
        if (vsoa_client_connect(client, server.raw(), server.length, &limit, nullptr, nullptr, 0)) {
            if (random() % 2 == 0) vsoa_client_linger(client, 0);
            ends.open += vsoa_client_subscribe(client, &kTopic, &Ends::result, &ends, &limit);
            for (int call = 0; call < 20; ++call) {
                ends.open += vsoa_client_call(client, 0, &kEcho, nullptr, &Ends::call, &ends, &limit);
                vsoa_client_quick_datagram(client, &kTopic, nullptr);
                if (!vsoa_client_wait(client, &moment)) break;
            }
            if (random() % 2 == 0) {
                const int64_t until = vsoa::now_ns() + 5000 * vsoa::kNanosPerMs;
                while (ends.open > 0 && vsoa::now_ns() < until && vsoa_client_wait(client, &moment)) continue;
            }
            vsoa_client_disconnect(client);
            vsoa_client_wait(client, &moment);
        }
        vsoa_client_close(client);
        answered += ends.answered;
        if (ends.open != 0) return -1;
    }
    return static_cast<int64_t>(answered);
}

}  // namespace

TEST_CASE("eight threads publish, reply and close at one server while clients come and go") {
    const uint32_t seed = std::random_device{}();
    INFO("seed " << seed);
    RunningServer server;
    Crowd crowd(server);
    server.start();
    std::vector<std::thread> workers, visitors;
    for (uint32_t i = 0; i < kThreads; ++i) workers.emplace_back([&crowd, i, seed] { crowd.work(seed + i); });
    Inbox<int64_t> results;
    for (uint32_t i = 0; i < kVisitors; ++i) {
        visitors.emplace_back([&, i] { results.put(visit(server.address, seed + 100 + i)); });
    }
    for (std::thread& thread : visitors) thread.join();
    crowd.stop = true;
    for (std::thread& thread : workers) thread.join();
    for (int i = 0; i < kVisitors; ++i) CHECK(results.take().value() > 0);
    CHECK(crowd.replies > 0);
    CHECK(eventually([&] { return crowd.present == 0 && vsoa_server_count(server.handle) == 0; }));
    RunningClient late;
    REQUIRE(late.connect(server.address));
    CHECK(late.subscribe("/topic"));
    CHECK(vsoa_server_publish(server.handle, &kTopic, nullptr));
    CHECK(late.messages.take().value().url == "/topic");
}

TEST_CASE("eight threads call through one client while its server drops it") {
    RunningServer server;
    const auto echo = [](void*, vsoa_server_t* s, vsoa_cli_id_t id, vsoa_header_t* h, vsoa_url_t*, vsoa_payload_t* p) {
        vsoa_server_cli_reply(s, id, 0, vsoa_parser_get_seqno(h), 0, p);
    };
    vsoa_server_add_listener(server.handle, &kEcho, echo, nullptr);
    server.start();
    for (int round = 0; round < 5; ++round) {
        RunningClient client;
        REQUIRE(client.connect(server.address));
        std::atomic<int> answered{0}, open{0};
        std::atomic<bool> stop{false};
        const auto ended = [](void* arg, vsoa_client_t*, vsoa_header_t*, vsoa_payload_t*) {
            --*static_cast<std::atomic<int>*>(arg);
        };
        std::vector<std::thread> threads;
        for (int i = 0; i < kThreads; ++i) {
            threads.emplace_back([&] {
                vsoa_client_sync_call_t* sync = vsoa_client_sync_create(true);
                const timespec limit = {30, 0};
                vsoa_header_t* reply = nullptr;
                while (!stop && vsoa_client_sync_call(client.handle, 0, &kEcho, nullptr, sync, &reply, &limit)) {
                    answered += reply != nullptr;
                    ++open;
                    if (!vsoa_client_call(client.handle, 1, &kEcho, nullptr, ended, &open, &limit)) --open;
                    vsoa_client_datagram(client.handle, &kTopic, nullptr);
                    vsoa_client_quick_datagram(client.handle, &kTopic, nullptr);
                    vsoa_client_is_connect(client.handle);
                }
                vsoa_client_sync_delete(sync);
            });
        }
        CHECK(eventually([&] { return answered > 100; }));
        vsoa_cli_id_t id = 0;
        REQUIRE(vsoa_server_cli_array(server.handle, &id, 1) == 1);
        CHECK(vsoa_server_cli_close(server.handle, id));
        CHECK(client.lost.take());
        // Whoever waits for an answer is told with the loss, not by its own time limit.
        const int64_t begin = vsoa::now_ns();
        stop = true;
        for (std::thread& thread : threads) thread.join();
        CHECK(vsoa::now_ns() - begin < 10'000 * vsoa::kNanosPerMs);
        client.loop.stop();
        vsoa_client_disconnect(client.handle);
        fd_set set;
        FD_ZERO(&set);
        vsoa_client_input_fds(client.handle, nullptr);
        CHECK(open == 0);
    }
}
