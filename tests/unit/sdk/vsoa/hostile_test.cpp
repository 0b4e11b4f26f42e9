// What a peer may cost a server: work, memory and places; and that the others do not notice.
#include <catch2/catch.hpp>
#include <random>

#include "sdk/vsoa/src/server.hpp"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

constexpr int64_t kLoginLimit = VSOA_SERVER_DEF_HANDSHAKE_TIMEOUT * vsoa::kNanosPerMs;

/// Counts what a look-up costs.
struct CountingHash : vsoa::TextHash {
    static inline size_t bytes = 0;
    size_t operator()(std::string_view text) const {
        bytes += text.size();
        return vsoa::TextHash::operator()(text);
    }
};

/// A client that must not notice anything.
struct Bystander {
    explicit Bystander(const vsoa::Address& server) : peer(server) { REQUIRE(peer.log_in()); }
    void well() {
        REQUIRE(peer.send(packet(VSOA_TYPE_PINGECHO, ++number)));
        const auto reply = peer.receive();
        REQUIRE(reply);
        CHECK(reply->type == VSOA_TYPE_PINGECHO);
        CHECK(reply->seqno == number);
    }
    /// So many connections that say nothing, in step with the server: its backlog is short.
    void crowd(const RunningServer& server, std::deque<RawPeer>& silent, size_t count) {
        for (size_t i = 0; i < count; ++i) {
            silent.emplace_back(server.address);
            if (i % 8 == 7) well();
        }
    }
    RawPeer peer;
    uint32_t number = 0;
};

void feed(vsoa::Receiver& receiver, const Bytes& bytes) {
    for (size_t done = 0; done < bytes.size();) {
        const auto space = receiver.space();
        REQUIRE(space.room > 0);
        const size_t part = std::min(space.room, bytes.size() - done);
        std::memcpy(space.at, bytes.data() + done, part);
        receiver.commit(part);
        done += part;
    }
}

uint8_t status_of(RawPeer& peer, const Bytes& bytes) {
    REQUIRE(peer.send(bytes));
    const auto reply = peer.receive();
    REQUIRE(reply);
    return reply->status;
}

std::string array_of(const std::vector<std::string>& urls) {
    std::string out;
    for (const std::string& u : urls) out += (out.empty() ? "[\"" : ",\"") + u + '"';
    return out + ']';
}

}  // namespace

TEST_CASE("what it costs to match a url does not grow with its slashes") {
    const std::string slashes(65535, '/');
    std::string room;
    const auto cost = [&](const auto& table, std::string_view u) {
        CountingHash::bytes = 0;
        table.best(u, room);
        return CountingHash::bytes;
    };
    vsoa::UrlTable<int, CountingHash> table;
    for (const char* u : {"/a", "/a/b/", "/axis/", "/very/long/folder/indeed/"}) table.set(u, 1);
    CHECK(cost(table, slashes) <= slashes.size() + table.bytes());
    CHECK(cost(table, std::string(32767, '/') + std::string(32768, 'x')) <= slashes.size() + table.bytes());
    // As many folders of different lengths as a client may subscribe cost no more than they are long.
    std::string folder = "/";
    while (table.bytes() + folder.size() < vsoa::kMaxSubscribedBytes) table.set(folder = '/' + folder, 1);
    CHECK(cost(table, "/axis") <= 64);
    CHECK(cost(table, slashes + 'x') <= 2 * slashes.size() + table.bytes());
}

TEST_CASE("urls match as their definition says, whatever they are") {
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    std::mt19937 random(seed);
    const auto any_url = [&] {
        std::string out = "/";
        for (size_t i = random() % 8; i > 0; --i) out += "/ab"[random() % 3];
        return out;
    };
    for (int round = 0; round < 3000; ++round) {
        vsoa::UrlTable<std::string> table;
        std::vector<std::string> present;
        for (size_t i = random() % 6; i > 0; --i) {
            const std::string u = any_url();
            if (random() % 4 == 0) {
                table.erase(u);
                std::erase(present, u);
            } else if (table.set(u, u)) {
                present.push_back(u);
            }
        }
        const std::string asked = any_url();
        std::string expected;
        for (const std::string& u : present) {
            const bool takes = u == asked || (u.ends_with('/') && (u == asked + '/' || asked.starts_with(u)));
            if (takes && expected != asked && (u == asked || u.size() > expected.size())) expected = u;
        }
        std::string room;
        const std::string* found = table.best(asked, room);
        CAPTURE(asked, present);
        REQUIRE((found != nullptr ? *found : "") == expected);
        size_t bytes = 0;
        for (const std::string& u : present) bytes += u.size();
        REQUIRE(table.bytes() == bytes);
    }
}

TEST_CASE("calls of urls full of slashes are answered, and others do not notice") {
    RunningServer server;
    const auto refuse = [](void*, vsoa_server_t* s, vsoa_cli_id_t id, vsoa_header_t* h, vsoa_url_t*, vsoa_payload_t*) {
        vsoa_server_cli_reply(s, id, 200, vsoa_parser_get_seqno(h), 0, nullptr);
    };
    for (const char* folder : {"/a/b/", "//"}) {
        const vsoa_url_t u = url(folder);
        REQUIRE(vsoa_server_add_listener(server.handle, &u, refuse, nullptr));
    }
    server.start();
    Bystander other(server.address);
    RawPeer peer(server.address);
    REQUIRE(peer.log_in());
    const std::string slashes(65535, '/'), longest = '/' + std::string(65534, 'x');
    for (int i = 0; i < 20; ++i) {
        CHECK(status_of(peer, packet(VSOA_TYPE_RPC, 1, slashes.c_str())) == 200);
        CHECK(status_of(peer, packet(VSOA_TYPE_RPC, 1, longest.c_str())) == VSOA_STATUS_INVALID_URL);
        other.well();
    }
}

TEST_CASE("a receiver's memory follows what has arrived and is given back") {
    vsoa_header_t* header = nullptr;
    vsoa::Receiver receiver;
    const Bytes large = packet(VSOA_TYPE_RPC, 7, "/x", "", std::string(250'000, 'd'));
    feed(receiver, Bytes(large.begin(), large.begin() + 21));
    CHECK(receiver.next(header) == vsoa::Receiver::Next::kMore);
    receiver.space();
    CHECK(receiver.held() <= 16 * 1024);
    for (size_t done = 21; done < large.size();) {
        const auto space = receiver.space();
        CHECK(receiver.held() <= std::max<size_t>(16 * 1024, 3 * done));
        const size_t part = std::min({space.room, size_t{10'000}, large.size() - done});
        std::memcpy(space.at, large.data() + done, part);
        receiver.commit(part);
        done += part;
        if (done < large.size()) REQUIRE(receiver.next(header) == vsoa::Receiver::Next::kMore);
    }
    REQUIRE(receiver.next(header) == vsoa::Receiver::Next::kPacket);
    CHECK(vsoa::Packet(header).payload.data_len == 250'000);
    CHECK(receiver.next(header) == vsoa::Receiver::Next::kMore);
    CHECK(receiver.held() <= 16 * 1024);
    // Before a login not even that.
    vsoa::Receiver stranger;
    stranger.limit(vsoa::kMaxLoginPacket);
    feed(stranger, Bytes(large.begin(), large.begin() + 20));
    CHECK(stranger.next(header) == vsoa::Receiver::Next::kBad);
    CHECK(stranger.held() <= vsoa::kMaxLoginPacket);
}

TEST_CASE("packets that are not aligned stay whole, however many one buffer holds") {
    vsoa::Receiver receiver;
    vsoa_header_t* header = nullptr;
    uint32_t next = 0, sent = 0;
    for (int round = 0; round < 20; ++round) {
        Bytes many;
        while (many.size() < 60'000) {
            Bytes one = packet(VSOA_TYPE_RPC, sent, "/x", std::to_string(sent));
            one.erase(one.end() - (one[2] >> VSOA_PAD_SHIFT), one.end());
            one[2] &= static_cast<uint8_t>(~VSOA_PAD_MASK);
            ++sent;
            many = many + one;
        }
        feed(receiver, many);
        while (receiver.next(header) == vsoa::Receiver::Next::kPacket) {
            REQUIRE(reinterpret_cast<uintptr_t>(header) % alignof(vsoa_header_t) == 0);
            const vsoa::Packet got(header);
            REQUIRE(got.seqno == next);
            REQUIRE(got.param_text() == std::to_string(next++));
        }
    }
    CHECK(next == sent);
}

TEST_CASE("before the login a long packet ends its connection, at once and unseen by others") {
    RunningServer server;
    server.start();
    Bystander other(server.address);
    const Bytes large = packet(VSOA_TYPE_RPC, 1, "/x", "", std::string(250'000, 'd'));
    const Bytes announced(large.begin(), large.begin() + 21);
    const int64_t begin = vsoa::now_ns();
    for (const Bytes& bad : {announced, large, packet(VSOA_TYPE_SERVINFO, 0, "", std::string(5000, ' ') + "{}")}) {
        RawPeer peer(server.address);
        peer.send(bad);
        CHECK(peer.ends());
        other.well();
    }
    CHECK(vsoa::now_ns() - begin < kLoginLimit);
    // After it, and glued to it, packets have their full length.
    RawPeer peer(server.address);
    REQUIRE(peer.send(packet(VSOA_TYPE_SERVINFO, 0) + large));
    REQUIRE(peer.receive());
    CHECK(peer.receive().value().status == VSOA_STATUS_INVALID_URL);
}

TEST_CASE("every password that a server takes fits into a login") {
    RunningServer server;
    const std::string longest(4063, 'p'), over(4064, 'p'), quotes(3000, '"');
    CHECK_FALSE(vsoa_server_passwd(server.handle, over.c_str()));
    CHECK(errno == EMSGSIZE);
    CHECK_FALSE(vsoa_server_passwd(server.handle, quotes.c_str()));
    REQUIRE(vsoa_server_passwd(server.handle, longest.c_str()));
    server.start();
    RunningClient client;
    CHECK(client.connect(server.address, longest.c_str()));
}

TEST_CASE("connections that do not log in give way to others, the oldest first") {
    RunningServer server;
    server.start();
    Bystander other(server.address);
    const int64_t begin = vsoa::now_ns();
    std::deque<RawPeer> silent;
    other.crowd(server, silent, 3 * vsoa::kMaxStrangers);
    for (size_t i = 0; i < 2 * vsoa::kMaxStrangers; ++i) CHECK(silent[i].ends());
    CHECK(vsoa::now_ns() - begin < kLoginLimit);
    CHECK(silent.back().log_in());
    CHECK(silent[2 * vsoa::kMaxStrangers].log_in());
    RawPeer late(server.address);
    CHECK(late.log_in());
    other.well();
}

TEST_CASE("whoever has begun to log in is not pushed out by connections that say nothing") {
    RunningServer server;
    server.start();
    Bystander other(server.address);
    RawPeer slow(server.address);
    const Bytes login = packet(VSOA_TYPE_SERVINFO, 5);
    REQUIRE(slow.send(Bytes(login.begin(), login.begin() + 10)));
    std::deque<RawPeer> silent;
    other.crowd(server, silent, 3 * vsoa::kMaxStrangers);
    for (size_t i = 0; i < 2 * vsoa::kMaxStrangers; ++i) CHECK(silent[i].ends());
    REQUIRE(slow.send(Bytes(login.begin() + 10, login.end())));
    CHECK(slow.receive().value().status == VSOA_STATUS_SUCCESS);
    other.well();
}

TEST_CASE("a login that has arrived counts, even if newer connections are seen first") {
    RunningServer server;
    server.start();
    Bystander other(server.address);
    std::deque<RawPeer> peers;
    other.crowd(server, peers, vsoa::kMaxStrangers + 1);
    REQUIRE(peers[0].ends());  // so all the others have been accepted
    server.loop.stop();
    RawPeer newer(server.address), newest(server.address);
    REQUIRE(peers[1].send(packet(VSOA_TYPE_SERVINFO, 5)));
    server.run();
    const auto reply = peers[1].receive();
    REQUIRE(reply);
    CHECK(reply->status == 0);
    CHECK(peers[2].ends());
    CHECK(newest.log_in());
}

TEST_CASE("whoever was refused is heard no more, and may send what it likes") {
    RunningServer server("secret");
    server.start();
    RawPeer peer(server.address);
    REQUIRE(peer.send(packet(VSOA_TYPE_SERVINFO, 5) + packet(VSOA_TYPE_RPC, 6, "/x", "", std::string(100'000, 'x')) +
                      packet(VSOA_TYPE_SERVINFO, 7, "", "{\"passwd\":\"secret\"}")));
    CHECK(peer.receive().value().status == VSOA_STATUS_PASSWORD);
    CHECK(peer.ends());
    CHECK(vsoa_server_count(server.handle) == 0);
}

TEST_CASE("what a client may subscribe is bounded in number and bytes, all of a packet or nothing") {
    RunningServer server;
    server.start();
    RunningClient other;
    REQUIRE(other.connect(server.address));
    REQUIRE(other.subscribe("/axis"));
    RawPeer peer(server.address);
    REQUIRE(peer.log_in());
    const auto subscribe = [&](const std::vector<std::string>& urls) {
        return status_of(peer, packet(VSOA_TYPE_SUBSCRIBE, 1, "", array_of(urls)));
    };
    const auto reaches = [&](const std::string& text_of) {
        const vsoa_url_t u = url(text_of.c_str());
        return vsoa_server_cli_is_subscribed(server.handle, peer.id, &u);
    };
    std::vector<std::string> many;
    size_t bytes = 0;
    const size_t limit = GENERATE(vsoa::kMaxSubscriptions, vsoa::kMaxSubscribedBytes);
    if (limit == vsoa::kMaxSubscriptions) {
        for (size_t i = 0; i < limit; ++i) many.push_back("/" + std::to_string(i));
        CHECK(subscribe(many) == 0);
    } else {
        for (int i = 0; bytes < limit; ++i) {
            std::string u = "/" + std::to_string(i);
            u.resize(std::min<size_t>(60'000, limit - bytes), 'x');
            bytes += u.size();
            CHECK(status_of(peer, packet(VSOA_TYPE_SUBSCRIBE, 1, u.c_str())) == 0);
            many.push_back(u);
        }
    }
    CHECK(status_of(peer, packet(VSOA_TYPE_SUBSCRIBE, 1, many[0].c_str())) == 0);  // there already
    CHECK(status_of(peer, packet(VSOA_TYPE_SUBSCRIBE, 1, "/more")) == VSOA_STATUS_NO_MEMORY);
    CHECK_FALSE(reaches("/more"));
    CHECK(reaches(many.back()));
    CHECK(status_of(peer, packet(VSOA_TYPE_UNSUBSCRIBE, 1, many.back().c_str())) == 0);
    CHECK(subscribe({"/m", "/n" + std::string(vsoa::kMaxSubscribedBytes - 40'000, 'n')}) == VSOA_STATUS_NO_MEMORY);
    CHECK_FALSE(reaches("/m"));
    CHECK(subscribe({"/m"}) == 0);
    CHECK(reaches("/m"));
    CHECK(status_of(peer, packet(VSOA_TYPE_UNSUBSCRIBE, 1)) == 0);
    CHECK(subscribe({"/m", "/more"}) == 0);

    const vsoa_url_t axis = url("/axis");
    CHECK(vsoa_server_publish(server.handle, &axis, nullptr));
    CHECK(other.messages.take().value().url == "/axis");
}

TEST_CASE("a server that nothing else wakes ends the last of many silent connections in time") {
    RunningServer server;
    server.start();
    // The first ones gave way, and with them the time limits that were counted first.
    std::deque<RawPeer> silent;
    for (size_t i = 0; i < vsoa::kMaxStrangers + 8; ++i) silent.emplace_back(server.address);
    CHECK(silent.back().ends());
}
