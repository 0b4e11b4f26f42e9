#include "sdk/vsoa/src/position.hpp"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "tests/unit/sdk/vsoa/rig.hpp"
#include "tests/unit/sdk/vsoa/vectors.hpp"

using namespace vsoa;
using rig::loopback;

namespace {

/// Members of a flat object as text, to compare two texts by meaning.
std::map<std::string, std::string> members(const std::string& text) {
    std::map<std::string, std::string> out;
    REQUIRE(json::read_object(text, [&](std::string_view key, const json::Value& v) {
        out[std::string(key)] = v.text + '/' + std::to_string(v.integer) + '/' + std::to_string(v.boolean);
    }));
    return out;
}

/// A position server with its own thread. Answers from a table; names in `later` are answered by the test.
class Directory {
  public:
    explicit Directory(Address where = loopback()) : handle(vsoa_position_server_create(on_query, this)) {
        REQUIRE(handle != nullptr);
        REQUIRE(vsoa_position_server_start(handle, where.raw(), where.length));
        address = *Address::local(vsoa_position_server_fd(handle));
        loop.start(
            [this](fd_set* set) {
                FD_SET(vsoa_position_server_fd(handle), set);
                return vsoa_position_server_fd(handle);
            },
            [this](const fd_set*) {
                vsoa_position_server_input(handle);
                return true;
            });
    }
    ~Directory() {
        loop.stop();
        vsoa_position_server_close(handle);
    }

    void add(const std::string& name, const Address& where) {
        const std::lock_guard guard(lock);
        table[name] = where;
    }

    vsoa_position_server_t* handle;
    Address address;
    std::mutex lock;
    std::map<std::string, Address> table;
    std::atomic<bool> secure{false};
    rig::Inbox<std::pair<int, std::string>> queries;
    rig::Inbox<vsoa_position_response_t*> later;
    rig::Loop loop;

  private:
    static void on_query(void* arg, int domain, const char* name, vsoa_position_response_t* response) {
        auto* self = static_cast<Directory*>(arg);
        self->queries.put({domain, name});
        if (std::string(name) == "later") return self->later.put(response);
        const std::lock_guard guard(self->lock);
        const auto found = self->table.find(name);
        const bool known = found != self->table.end();
        vsoa_position_server_response(self->handle, response, known ? found->second.raw() : nullptr,
                                      known ? found->second.length : 0, self->secure);
    }
};

constexpr int64_t kPlenty = 5000 * kNanosPerMs;

}  // namespace

TEST_CASE("every recorded position text goes through the codec") {
    int count = 0;
    for (const Vector& v : read_vectors()) {
        if (v.kind != "raw" || v.transport != "udp") continue;
        INFO(v.name << " " << v.hex);
        ++count;
        if (v.dir == "C>S") {
            const auto query = position::read_query(v.hex);
            REQUIRE(query);
            CHECK(members(position::write_query(*query)) == members(v.hex));
            continue;
        }
        const auto answer = position::read_answer(v.hex);
        REQUIRE(answer);
        CHECK(answer->address.has_value() == (v.hex != "{}"));
        auto again = members(position::write_answer(*answer)), recorded = members(v.hex);
        if (answer->address) recorded.try_emplace("security", "/0/0");  // may be left out, we always say it
        for (auto& [key, value] : recorded) CHECK(members(position::write_answer(*answer)).contains(key));
        CHECK(again["addr"] == recorded["addr"]);
        CHECK(again["port"] == recorded["port"]);
        CHECK(again["domain"] == recorded["domain"]);
    }
    CHECK(count == 21);
}

TEST_CASE("our answer is written as the vendor writes it") {
    const position::Answer answer = {"axis_server", Address::make("127.0.0.1", 3002), false};
    CHECK(position::write_answer(answer) ==
          R"({"name":"axis_server","domain":2,"addr":"127.0.0.1","port":3002,"security":false})");
    CHECK(position::write_answer({"x", Address::make("::1", 3003), true}) ==
          R"({"name":"x","domain":10,"addr":"::1","port":3003,"security":true})");
    CHECK(position::write_answer({"x", std::nullopt, false}) == "{}");
}

TEST_CASE("texts that are no position texts are ignored") {
    for (const char* text :
         {"", "x", "[]", "{}", R"({"name":""})", R"({"name":5})", R"({"name":"a\u0000b"})", R"({"name":"a")"}) {
        CAPTURE(text);
        CHECK_FALSE(position::read_query(text));
    }
    CHECK_FALSE(position::read_query("{\"name\":\"" + std::string(513, 'a') + "\"}"));
    CHECK(position::read_query("{\"name\":\"" + std::string(512, 'a') + "\"}"));
    for (const char* text : {"x", "[]", R"({"addr":"host","port":1})", R"({"addr":"1.2.3.4","port":0})",
                             R"({"addr":"1.2.3.4","port":65536})", R"({"addr":"1.2.3.4","port":"80"})"}) {
        CAPTURE(text);
        CHECK_FALSE(position::read_answer(text));
    }
}

TEST_CASE("position servers come from the list, else from the file") {
    const auto file = std::filesystem::temp_directory_path() / ("vsoa-pos-" + std::to_string(getpid()));
    std::ofstream(file) << "# ours\n10.0.0.1 3000\n10.0.0.2\n\nnonsense\n::1   55\n";
    const auto show = [](const std::vector<Address>& list) {
        std::string out;
        for (const Address& a : list) out += a.ip() + '#' + std::to_string(a.port()) + ' ';
        return out;
    };
    CHECK(show(position::configured_servers("1.2.3.4:99,5.6.7.8, [::1]:7,host:5,[fe80::1]", file.c_str())) ==
          "1.2.3.4#99 5.6.7.8#54 ::1#7 fe80::1#54 ");
    CHECK(show(position::configured_servers(nullptr, file.c_str())) == "10.0.0.1#3000 10.0.0.2#54 ::1#55 ");
    CHECK(show(position::configured_servers("", file.c_str())) == "10.0.0.1#3000 10.0.0.2#54 ::1#55 ");
    std::filesystem::remove(file);
    CHECK(position::configured_servers(nullptr, file.c_str()).empty());
}

TEST_CASE("a name is looked up") {
    Directory directory;
    directory.add("axis_server", *Address::make("127.0.0.1", 3002));
    directory.add("six", *Address::make("::1", 3003));
    const std::vector<Address> servers = {directory.address};
    const auto found = position::look_up(servers, {"axis_server", -1}, kPlenty);
    REQUIRE(found);
    CHECK(found->address->ip() == "127.0.0.1");
    CHECK(found->address->port() == 3002);
    CHECK_FALSE(found->secure);
    CHECK(directory.queries.take() == std::pair(-1, std::string("axis_server")));
    CHECK(position::look_up(servers, {"six", AF_INET6}, kPlenty));
    CHECK(directory.queries.take() == std::pair(AF_INET6, std::string("six")));
    CHECK_FALSE(position::look_up(servers, {"six", AF_INET}, kPlenty));
    CHECK(errno == ENOENT);
    CHECK_FALSE(position::look_up(servers, {"nobody", -1}, kPlenty));
    CHECK(errno == ENOENT);
    CHECK_FALSE(position::look_up({}, {"nobody", -1}, kPlenty));
    CHECK(errno == EDESTADDRREQ);
}

TEST_CASE("the C look-up asks the fixed server, or those of the environment") {
    Directory directory;
    directory.secure = true;
    directory.add("axis_server", *Address::make("127.0.0.1", 3002));
    sockaddr_in address{};
    socklen_t length = sizeof address;
    bool secure = false;
    const timespec timeout = rig::span(rig::kDeadline);
    SECTION("fixed") {
        REQUIRE(vsoa_position_lookup_server(directory.address.raw(), directory.address.length));
        CHECK(vsoa_position_lookup(AF_INET, "axis_server", reinterpret_cast<sockaddr*>(&address), &length, &secure,
                                   &timeout));
        REQUIRE(vsoa_position_lookup_server(nullptr, 0));
    }
    SECTION("environment") {
        setenv("VSOA_POS_SERVER", ("127.0.0.1:" + std::to_string(directory.address.port())).c_str(), 1);
        CHECK(
            vsoa_position_lookup(-1, "axis_server", reinterpret_cast<sockaddr*>(&address), &length, &secure, &timeout));
        unsetenv("VSOA_POS_SERVER");
    }
    CHECK(ntohs(address.sin_port) == 3002);
    CHECK(length == sizeof(sockaddr_in));
    CHECK(secure);
}

TEST_CASE("a silent or missing position server does not hide the next") {
    Directory directory;
    directory.add("axis_server", *Address::make("127.0.0.1", 3002));
    // One that never answers, one where nobody listens, one that does not know, then ours.
    const Fd silent = open_socket(AF_INET, SOCK_DGRAM);
    REQUIRE(bind(silent.get(), loopback().raw(), loopback().length) == 0);
    Fd gone = open_socket(AF_INET, SOCK_DGRAM);
    REQUIRE(bind(gone.get(), loopback().raw(), loopback().length) == 0);
    const Address gone_address = *Address::local(gone.get());
    Directory other;
    gone.reset();
    const std::vector<Address> servers = {*Address::local(silent.get()), gone_address, other.address,
                                          directory.address};
    const int64_t begin = now_ns();
    CHECK(position::look_up(servers, {"axis_server", -1}, kPlenty));
    CHECK(now_ns() - begin < 2000 * kNanosPerMs);
    CHECK_FALSE(position::look_up({servers[0]}, {"axis_server", -1}, 50 * kNanosPerMs));
    CHECK(errno == ETIMEDOUT);
}

TEST_CASE("a query may be answered later, from another thread, and only once") {
    Directory directory;
    std::thread answers([&] {
        const auto response = directory.later.take();
        if (!response) return;
        const Address where = *Address::make("10.1.2.3", 77);
        vsoa_position_server_response(directory.handle, *response, where.raw(), where.length, false);
        vsoa_position_server_response(directory.handle, *response, where.raw(), where.length, false);
    });
    const auto found = position::look_up({directory.address}, {"later", -1}, kPlenty);
    answers.join();
    REQUIRE(found);
    CHECK(found->address->ip() == "10.1.2.3");
}

TEST_CASE("a server for all addresses answers from the one that was asked") {
    const char* any = GENERATE("0.0.0.0", "::");
    CAPTURE(any);
    Directory directory(*Address::make(any, 0));
    directory.add("axis_server", *Address::make("127.0.0.1", 3002));
    // A look-up's socket is connected: it takes answers of that address alone.
    const uint16_t port = directory.address.port();
    CHECK(position::look_up({*Address::make("127.0.0.5", port)}, {"axis_server", -1}, kPlenty));
    CHECK(position::look_up({*Address::make("127.0.0.1", port)}, {"axis_server", -1}, kPlenty));
    if (directory.address.family() == AF_INET6) {
        CHECK(position::look_up({*Address::make("::1", port)}, {"axis_server", -1}, kPlenty));
    }
}

TEST_CASE("a server whose program does not answer forgets the oldest query, never the newest") {
    Directory directory;
    const Fd fd = open_socket(AF_INET, SOCK_DGRAM);
    REQUIRE(connect(fd.get(), directory.address.raw(), directory.address.length) == 0);
    const std::string query = position::write_query({"later", -1});
    std::vector<vsoa_position_response_t*> waiting;
    for (size_t i = 0; i <= position::kMaxUnanswered; ++i) {
        REQUIRE(send(fd.get(), query.data(), query.size(), 0) >= 0);
        const auto response = directory.later.take();
        REQUIRE(response);
        waiting.push_back(*response);
    }
    const auto answer = [&](vsoa_position_response_t* response, uint16_t port) {
        const Address where = *Address::make("10.1.2.3", port);
        vsoa_position_server_response(directory.handle, response, where.raw(), where.length, false);
    };
    answer(waiting.front(), 1);  // forgotten: nothing happens
    answer(waiting.back(), 2);
    answer(waiting.back(), 3);  // a second answer neither
    answer(waiting[1], 4);
    for (const uint16_t port : {2, 4}) {
        char text[position::kMaxAnswer];
        REQUIRE(wait_for(fd.get(), POLLIN, now_ns() + kPlenty));
        const ssize_t got = recv(fd.get(), text, sizeof text, 0);
        REQUIRE(got > 0);
        CHECK(position::read_answer({text, static_cast<size_t>(got)}).value().address->port() == port);
    }
}

TEST_CASE("garbage sent to a position server is ignored") {
    Directory directory;
    directory.add("axis_server", *Address::make("127.0.0.1", 3002));
    const Fd fd = open_socket(AF_INET, SOCK_DGRAM);
    REQUIRE(connect(fd.get(), directory.address.raw(), directory.address.length) == 0);
    for (const std::string& text :
         {std::string(), std::string("\0\xff{", 3), std::string(5000, '['), std::string("{\"name\":")}) {
        CHECK(send(fd.get(), text.data(), text.size(), 0) >= 0);
    }
    CHECK(position::look_up({directory.address}, {"axis_server", -1}, kPlenty));
    CHECK(directory.queries.size() == 1);
}
