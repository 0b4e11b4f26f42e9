// What a server counts of connections that end.
#include <netinet/in.h>

#include <catch2/catch.hpp>

#include "sdk/vsoa/include/vsoa_stats.h"
#include "sdk/vsoa/src/server.hpp"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

vsoa_server_stats_t stats_of(vsoa_server_t* server) {
    vsoa_server_stats_t stats = VSOA_SERVER_STATS_INITIALIZER;
    REQUIRE(vsoa_server_stats(server, &stats));
    return stats;
}

}  // namespace

TEST_CASE("a server counts its connections and why they end, each once") {
    RunningServer server("secret");
    server.start();
    std::deque<RawPeer> peers;
    const auto connect = [&]() -> RawPeer& { return peers.emplace_back(server.address); };
    CHECK(connect().log_in("secret"));
    CHECK(eventually([&] { return stats_of(server.handle).logins == 1; }));

    // Broken: before the login and after it, as garbage, as a header that promises four gigabytes.
    const Bytes garbage(40, 'x');
    RawPeer& stranger = connect();
    CHECK(stranger.send(garbage));
    CHECK(stranger.ends());
    RawPeer& client = connect();
    CHECK(client.log_in("secret"));
    CHECK(eventually([&] { return stats_of(server.handle).logins == 2; }));
    Bytes endless = packet(VSOA_TYPE_RPC, 1, "/x");
    for (size_t i = 12; i < 20; ++i) endless[i] = 0xff;
    CHECK(client.send(endless));
    CHECK(client.ends());
    CHECK(stats_of(server.handle).broken == 2);

    CHECK_FALSE(connect().log_in("wrong"));
    RawPeer& early = connect();
    CHECK(early.send(packet(VSOA_TYPE_PINGECHO, 1)));
    CHECK(early.receive());
    CHECK(stats_of(server.handle).refused == 2);

    peers.clear();
    for (size_t i = 0; i < vsoa::kMaxStrangers + 4; ++i) connect();
    CHECK(eventually([&] { return stats_of(server.handle).late >= 4; }));

    const vsoa_server_stats_t stats = stats_of(server.handle);
    CHECK(stats.accepted == 5 + vsoa::kMaxStrangers + 4);
    CHECK((stats.logins == 2 && stats.broken == 2 && stats.refused == 2 && stats.insecure == 0 && stats.slow == 0));
}

TEST_CASE("a client that is dropped because it does not read is counted as slow") {
    RunningServer server;
    const timespec limit = span(20ms);
    REQUIRE(vsoa_server_send_timeout(server.handle, true, &limit));
    server.start();
    RawPeer sleeper(server.address);
    REQUIRE(sleeper.log_in());
    REQUIRE(sleeper.send(packet(VSOA_TYPE_SUBSCRIBE, 1, "/flood")));
    REQUIRE(sleeper.receive());
    const std::string block(200'000, 'x');
    const vsoa_url_t u = url("/flood");
    const vsoa_payload_t p = payload("", block);
    for (int i = 0; i < 500 && vsoa_server_count(server.handle) == 1; ++i) vsoa_server_publish(server.handle, &u, &p);
    CHECK(stats_of(server.handle).slow == 1);
}

TEST_CASE("wrong arguments of the counts are refused") {
    vsoa_server_stats_t stats = VSOA_SERVER_STATS_INITIALIZER;
    CHECK((!vsoa_server_stats(nullptr, &stats) && errno == EINVAL));
    RunningServer server;
    CHECK((!vsoa_server_stats(server.handle, nullptr) && errno == EINVAL));
    stats.size -= 8;
    CHECK((!vsoa_server_stats(server.handle, &stats) && errno == EINVAL));
}
