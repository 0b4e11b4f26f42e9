// The macros of vsoa_syncer.h, used in C (syncer_module.c) and here in C++.
#include "tests/unit/sdk/vsoa/rig.hpp"
#include "tests/unit/sdk/vsoa/syncer_module.h"

using namespace rig;

namespace {

/// A server that owns a place at /place (checked) and /any (not checked), and a client subscribed to both.
struct World {
    World() {
        const vsoa_url_t place = url("/place"), any = url("/any");
        REQUIRE(vsoa_server_add_listener(server.handle, &place, place_call, &owner));
        REQUIRE(vsoa_server_add_listener(server.handle, &any, place_call_unchecked, &owner));
        server.start();
        REQUIRE(client.connect(server.address));
        REQUIRE(client.subscribe("/place"));
        REQUIRE(client.subscribe("/any"));
    }
    struct Answer {
        int status;
        std::string param;
    };
    Answer call(int method, const char* topic, std::string_view p = {}) {
        const vsoa_url_t u = url(topic);
        const vsoa_payload_t load = payload(p);
        Inbox<Answer> answers;
        REQUIRE(vsoa_client_call(
            client.handle, method, &u, &load,
            [](void* arg, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t* pl) {
                static_cast<Inbox<Answer>*>(arg)->put(header ? Answer{header->status, param(pl)} : Answer{-1, ""});
            },
            &answers, nullptr));
        return answers.take().value();
    }
    /// What the callback returned; the event loop must have left it.
    vsoa_syncer_ret last() {
        server.loop.stop();
        server.run();
        return owner.last;
    }
    place_owner_t owner{};
    RunningServer server;
    RunningClient client;
};

constexpr int kGet = VSOA_CLIENT_RPC_METHOD_GET, kSet = VSOA_CLIENT_RPC_METHOD_SET;

}  // namespace

TEST_CASE("GET answers the structure as JSON") {
    World world;
    world.owner.place.x = 7;
    const auto answer = world.call(kGet, "/place");
    CHECK(answer.status == 0);
    CHECK(answer.param == "{\"x\":7,\"name\":\"\"}");
    CHECK(world.last() == VSOA_SYNCER_GET_OK);
    CHECK(place_texts_alive == 0);
}

TEST_CASE("SET fills the structure, asks the checker, answers and publishes under the same url") {
    World world;
    const auto answer = world.call(kSet, "/place", "{\"x\":3,\"name\":\"gate\"}");
    CHECK(answer.status == 0);
    const auto message = world.client.messages.take();
    REQUIRE(message);
    CHECK(message->url == "/place");
    CHECK(message->param == "{\"x\":3,\"name\":\"gate\"}");
    CHECK(world.last() == VSOA_SYNCER_SET_OK);
    CHECK(world.owner.place.x == 3);
    CHECK(world.owner.checked == 1);
    CHECK(std::string(world.owner.stored) == "gate");
    CHECK(place_parses_alive == 0);
    CHECK(place_texts_alive == 0);
}

TEST_CASE("SET without a checker is taken") {
    World world;
    CHECK(world.call(kSet, "/any", "{\"x\":4,\"name\":\"a\"}").status == 0);
    CHECK(world.client.messages.take().value().url == "/any");
    CHECK(world.last() == VSOA_SYNCER_SET_OK);
}

TEST_CASE("SET that does not parse or that the checker refuses is answered with a status and not published") {
    World world;
    CHECK(world.call(kSet, "/place", "{\"x\":\"no\"}").status == VSOA_STATUS_ARGUMENTS);
    CHECK(world.last() == VSOA_SYNCER_ERROR);
    CHECK(world.call(kSet, "/place").status == VSOA_STATUS_ARGUMENTS);
    CHECK(world.owner.checked == 0);
    world.owner.verdict = 200;
    CHECK(world.call(kSet, "/place", "{\"x\":1,\"name\":\"b\"}").status == 200);
    CHECK(world.last() == VSOA_SYNCER_ERROR);
    CHECK_FALSE(world.client.messages.take(20ms));
    CHECK(place_parses_alive == 0);
    CHECK(place_texts_alive == 0);
}

TEST_CASE("a structure that gives no text is answered with a status") {
    World world;
    place_stringify_fails = 1;
    CHECK(world.call(kGet, "/place").status == VSOA_STATUS_NO_MEMORY);
    CHECK(world.last() == VSOA_SYNCER_ERROR);
    CHECK(world.call(kSet, "/place", "{\"x\":1,\"name\":\"b\"}").status == 0);  // it was taken
    CHECK(world.last() == VSOA_SYNCER_ERROR);                                   // but not published
    const vsoa_url_t u = url("/place");
    CHECK(place_publish(world.server.handle, &u, &world.owner.place) == VSOA_SYNCER_ERROR);
    place_stringify_fails = 0;
    CHECK(place_parses_alive == 0);
}

TEST_CASE("publishing sends JSON and bytes to subscribers, and is an error without any") {
    World world;
    const vsoa_url_t u = url("/place"), lonely = url("/lonely");
    world.owner.place.x = 9;
    CHECK(place_publish(world.server.handle, &lonely, &world.owner.place) == VSOA_SYNCER_ERROR);
    CHECK(place_publish(world.server.handle, &u, &world.owner.place) == VSOA_SYNCER_PUB_OK);
    const auto message = world.client.messages.take();
    REQUIRE(message);
    CHECK(message->param == "{\"x\":9,\"name\":\"\"}");
    CHECK(message->data == "bin");
    CHECK(VSOA_PARAM_SYNCER_PUBLISH(world.server.handle, &u, place, &world.owner.place, nullptr, 0) ==
          VSOA_SYNCER_PUB_OK);
    CHECK(world.client.messages.take().value().data.empty());
    CHECK(place_texts_alive == 0);
}

TEST_CASE("the macro works in a C++ callback") {
    World world;
    const vsoa_url_t cpp = url("/cpp");
    world.server.loop.stop();
    REQUIRE(vsoa_server_add_listener(
        world.server.handle, &cpp,
        [](void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t*, vsoa_payload_t* p) {
            auto* owner = static_cast<place_owner_t*>(arg);
            uint8_t (*const no_checker)(void*, place_t*, vsoa_payload_t*) = nullptr;
            owner->last = VSOA_PARAM_SYNCER_RPC(server, id, place, &owner->place, header, p, no_checker, nullptr);
        },
        &world.owner));
    world.server.run();
    CHECK(world.call(kSet, "/cpp", "{\"x\":5,\"name\":\"c\"}").status == 0);
    CHECK(world.last() == VSOA_SYNCER_SET_OK);
    CHECK(world.call(kGet, "/cpp").param == "{\"x\":5,\"name\":\"\"}");
}
