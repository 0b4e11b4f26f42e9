// One client must not take the others' time: not by what it sends, and not by what it does not read.
#include <netinet/in.h>

#include <atomic>

#include "sdk/vsoa/src/server.hpp"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

Bytes repeated(const Bytes& one, int times) {
    Bytes out;
    for (int i = 0; i < times; ++i) out.insert(out.end(), one.begin(), one.end());
    return out;
}

/// Time until a ping is answered.
int64_t ping_ns(RawPeer& peer) {
    const int64_t begin = vsoa::now_ns();
    REQUIRE(peer.send(packet(VSOA_TYPE_PINGECHO, 1)));
    REQUIRE(peer.receive());
    return vsoa::now_ns() - begin;
}

constexpr int kCalls = 1000;  // of /wide, 32 MiB of answers: more than all buffers hold
std::atomic<int> called;

void serve_wide(RunningServer& server) {
    static const std::string wide(32 * 1024, 'w');
    called = 0;
    const auto answer = [](void*, vsoa_server_t* s, vsoa_cli_id_t id, vsoa_header_t* h, vsoa_url_t*, vsoa_payload_t*) {
        const vsoa_payload_t load = payload("", wide);
        ++called;
        vsoa_server_cli_reply(s, id, 0, vsoa_parser_get_seqno(h), 0, &load);
    };
    const vsoa_url_t u = url("/wide");
    REQUIRE(vsoa_server_add_listener(server.handle, &u, answer, nullptr));
}

}  // namespace

TEST_CASE("a client that asks for much and does not read holds up nobody, and gets all of it once it reads") {
    RunningServer server;
    serve_wide(server);
    const timespec patient = {30, 0};
    REQUIRE(vsoa_server_send_timeout(server.handle, false, &patient));
    server.start();
    RawPeer deaf(server.address), other(server.address);
    REQUIRE(deaf.log_in());
    REQUIRE(other.log_in());
    REQUIRE(deaf.send(repeated(packet(VSOA_TYPE_RPC, 7, "/wide"), kCalls)));
    const auto clogged = [&] {
        return server.handle->core.with_client(deaf.id, [](vsoa::Link& link) { return link.clogged.load(); });
    };
    REQUIRE(eventually(clogged));
    for (int i = 0; i < 50; ++i) CHECK(ping_ns(other) < 5'000 * vsoa::kNanosPerMs);
    CHECK(called < kCalls);
    server.handle->core.with_client(deaf.id, [](vsoa::Link& link) {
        CHECK(link.queued() <= vsoa::kMaxQueuedBytes / 2);
        return true;
    });
    for (int i = 0; i < kCalls; ++i) {
        const auto reply = deaf.receive();
        REQUIRE(reply);
        REQUIRE(reply->payload.data_len == 32 * 1024);
    }
    CHECK(called == kCalls);
    CHECK(ping_ns(deaf) > 0);
}

TEST_CASE("a client that never reads is dropped by its send timeout though the server asks it no more") {
    RunningServer server;
    serve_wide(server);
    const timespec moment = span(100ms);
    REQUIRE(vsoa_server_send_timeout(server.handle, false, &moment));
    server.start();
    RawPeer deaf(server.address);
    REQUIRE(deaf.log_in());
    REQUIRE(deaf.send(repeated(packet(VSOA_TYPE_RPC, 7, "/wide"), kCalls)));
    CHECK(eventually([&] { return vsoa_server_count(server.handle) == 0; }));
    CHECK(called < kCalls);
}

TEST_CASE("the packets of one client, however many, leave the others their turn") {
    RunningServer server;
    static std::atomic<uint32_t> before;
    static std::atomic<bool> seen;
    before = 0;
    seen = false;
    const auto count = [](void*, vsoa_server_t*, vsoa_cli_id_t, vsoa_url_t* u, vsoa_payload_t*, bool) {
        if (text(u) == "/other") seen = true;
        if (!seen) ++before;
    };
    vsoa_server_on_datagram(server.handle, count, nullptr);
    server.start();
    RawPeer many(server.address), other(server.address);
    REQUIRE(many.log_in());
    REQUIRE(other.log_in());
    server.loop.stop();
    REQUIRE(many.send(repeated(packet(VSOA_TYPE_DATAGRAM, 0, "/many"), 2000)));
    REQUIRE(other.send(packet(VSOA_TYPE_DATAGRAM, 0, "/other")));
    server.run();
    CHECK(eventually([] { return seen.load(); }));
    CHECK(before < 1000);
    CHECK(ping_ns(many) > 0);  // and all of them were handled
}

TEST_CASE("the deadlines of connections that are gone do not pile up") {
    RunningServer server;
    server.start();
    RawPeer other(server.address);
    REQUIRE(other.log_in());
    for (int i = 0; i < 2000; ++i) {
        RawPeer passing(server.address);
        vsoa::set_linger(passing.fd(), 0);
        if (i % 8 == 7) ping_ns(other);
    }
    ping_ns(other);
    server.loop.stop();
    CHECK(server.handle->core.deadlines() <= 4 * vsoa::kMaxStrangers);
}

TEST_CASE("more connections than a server takes at once wait, and all of them log in") {
    RunningServer server;
    server.start();
    const int64_t begin = vsoa::now_ns();
    for (int i = 0; i < 1'400; ++i) {
        RawPeer one(server.address);
        vsoa::set_linger(one.fd(), 0);
        REQUIRE(one.log_in());
    }
    // 1,024 at once, 4 a millisecond of the others: never sooner.
    CHECK(vsoa::now_ns() - begin > 80 * vsoa::kNanosPerMs);
}
