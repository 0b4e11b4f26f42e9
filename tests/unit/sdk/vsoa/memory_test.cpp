// In steady state no message costs an allocation, on either side. A program of its own: it counts all of them.
#include <cstdlib>
#include <new>

#include "sdk/vsoa/include/vsoa_loop.h"
#include "tests/unit/sdk/vsoa/rig.hpp"

using namespace rig;

namespace {

std::atomic<uint64_t> allocations{0};

constexpr int kWarm = 2000, kCounted = 10'000;
constexpr timespec kNoWait = {0, 0};

void* counted(size_t size) {
    ++allocations;
    if (void* const memory = std::malloc(size != 0 ? size : 1)) return memory;
    throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t size) { return counted(size); }
void* operator new[](size_t size) { return counted(size); }
void* operator new(size_t size, const std::nothrow_t&) noexcept {
    ++allocations;
    return std::malloc(size != 0 ? size : 1);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }

TEST_CASE("calls, publishes and datagrams allocate nothing once they have been made for a while") {
    vsoa_server_t* server = vsoa_server_create("{}");
    const vsoa_url_t u = url("/a"), folder = url("/folder/"), below = url("/folder/b");
    const auto echo = [](void*, vsoa_server_t* s, vsoa_cli_id_t id, vsoa_header_t* h, vsoa_url_t*, vsoa_payload_t* p) {
        vsoa_server_cli_reply(s, id, 0, vsoa_parser_get_seqno(h), 0, p);
    };
    static int heard, answered, datagrams;
    heard = answered = datagrams = 0;
    vsoa_server_on_datagram(
        server, [](void*, vsoa_server_t*, vsoa_cli_id_t, vsoa_url_t*, vsoa_payload_t*, bool) { ++datagrams; }, nullptr);
    REQUIRE(vsoa_server_add_listener(server, &folder, echo, nullptr));
    vsoa::Address address = loopback();
    REQUIRE(vsoa_server_start(server, address.raw(), address.length));
    REQUIRE(vsoa_server_address(server, address.raw(), &address.length));
    vsoa_client_t* client =
        vsoa_client_create([](void*, vsoa_client_t*, vsoa_url_t*, vsoa_payload_t*, bool) { ++heard; }, nullptr);
    std::thread connects([&] {
        const timespec limit = span(10s);
        vsoa_client_connect(client, address.raw(), address.length, &limit, nullptr, nullptr, 0);
    });
    REQUIRE(eventually([&] {
        vsoa_server_wait(server, &kNoWait);
        return vsoa_server_count(server) == 1;
    }));
    connects.join();
    REQUIRE(vsoa_client_subscribe(client, &u, nullptr, nullptr, nullptr));
    REQUIRE(eventually([&] {
        vsoa_server_wait(server, &kNoWait);
        return vsoa_server_is_subscribed(server, &u);
    }));
    const std::string text(64, 'x');
    const vsoa_payload_t load = payload("{}", text);
    const auto reply = [](void*, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t*) {
        answered += header != nullptr;
    };
    const auto round = [&](int n) {
        for (int i = 0; i < n; ++i) {
            // Several of a kind, so that they share reads and writes.
            for (int k = 0; k < 4; ++k) vsoa_client_call(client, k % 2, &below, &load, reply, nullptr, nullptr);
            vsoa_client_datagram(client, &u, &load);
            vsoa_client_quick_datagram(client, &u, &load);
            vsoa_server_publish(server, &u, &load);
            vsoa_server_quick_publish(server, &u, &load);
            for (int turn = 0; turn < 4; ++turn) {
                vsoa_server_wait(server, &kNoWait);
                vsoa_client_wait(client, &kNoWait);
            }
        }
    };
    round(kWarm);
    const uint64_t before = allocations;
    round(kCounted);
    const uint64_t made = allocations - before;
    CHECK(made == 0);
    CHECK(answered >= 4 * kCounted);
    CHECK(heard >= kCounted);
    CHECK(datagrams >= kCounted);
    vsoa_client_close(client);
    vsoa_server_close(server);
}
