// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <catch2/catch.hpp>
#include <filesystem>
#include <future>
#include <gantry/testing/drivers.hpp>
#include <gantry/testing/monitor.hpp>

#include "tests/support/leak.hpp"
#include "tests/unit/kernel/host/contract.hpp"
#include "tests/unit/sdk/cpp/entry_of.hpp"

using namespace gantry;
using namespace gantry::testing;
using namespace std::chrono_literals;

namespace {

// A transport inside one process: peers are instances that know each other by address.
class Wire final : public Transport {
  public:
    TransportFacts facts() const override { return {false, 1'024, 4'096}; }
    void listen(Operation<Listening> op, std::string address) override {
        wires()[address] = this;
        op.done({address});
    }
    void dial(Operation<Dialled> op, std::string address) override {
        const auto it = wires().find(address);
        if (it == wires().end()) return op.fail(Code::kUnavailable, "nobody listens at " + address);
        other_ = it->second;
        other_->other_ = this;
        events().up(1, false, address, "here");
        other_->events().up(1, true, "here", address);
        op.done({1});
    }
    Code send(PeerId, Channel channel, std::string_view data) override {
        if (data.size() > 1'024) return Code::kInvalid;
        if (other_ == nullptr) return Code::kNotFound;
        other_->events().message(1, channel, data);
        return Code::kOk;
    }
    void close(PeerId peer) override {
        if (other_ != nullptr) other_->events().down(peer, Down::kClosed, "");
    }
    void stop(Instant) override {
        std::erase_if(wires(), [this](const auto& item) { return item.second == this; });
    }

  private:
    static std::map<std::string, Wire*>& wires() {
        static std::map<std::string, Wire*> all;
        return all;
    }
    Wire* other_ = nullptr;
};

class Rolls final : public Discovery {
  public:
    void begin_search() override {
        std::uint32_t number = 0;
        host().random(&number, sizeof(number));
        events().found({true, "", std::to_string(number), 5s});
    }
    void end_search() override { events().gone({true, "", "", {}}); }
};

// Keeps what it is asked.
class Keeper final : public Probe {
  public:
    void check(Operation<ProbeResult> op, ProbeRequest) override { op_ = std::move(op); }
    void stop(Instant) override {
        if (hang.valid()) hang.wait();
    }
    gantry_status complete_as(std::uint64_t handle) const {
        return host().ops()->complete(handle, op_.id(), GANTRY_OK, {}, nullptr);
    }
    std::future<void> hang;

  private:
    Operation<ProbeResult> op_;
};

std::string roll(std::uint64_t seed) {
    FakeHost host({.seed = seed});
    Instance& instance = host.load(entry_of<Rolls>());
    DiscoveryDriver discovery(instance);
    instance.start();
    discovery.begin_search();
    host.turn();
    REQUIRE(discovery.found.size() == 1);
    CHECK(discovery.found[0].ttl == 5s);
    return discovery.found[0].address;
}

}  // namespace

TEST_CASE("two instances of a transport meet on one fake host") {
    FakeHost host;
    Instance &a = host.load(entry_of<Wire>()), &b = host.load(entry_of<Wire>());
    TransportDriver left(a), right(b);
    a.start();
    b.start();
    CHECK(left.facts().message_max_bytes == 1'024);
    CHECK(left.dial("b").wait().text == "nobody listens at b");
    REQUIRE(right.listen("b").wait().result.address == "b");
    REQUIRE(left.dial("b").wait().result.peer == 1);
    CHECK(left.send(1, Channel::kBulk, std::string("\0x", 2)) == Code::kOk);
    CHECK(left.send(1, Channel::kBulk, std::string(2'000, 'x')) == Code::kInvalid);
    CHECK(left.close(1) == Code::kOk);
    REQUIRE(host.run_until([&] { return right.downs.size() == 1; }));
    REQUIRE(right.messages.size() == 1);
    CHECK(right.messages[0].data == std::string("\0x", 2));
    CHECK(right.ups.at(0).inbound);
    CHECK_FALSE(left.ups.at(0).inbound);
    CHECK(left.open_stream(1, "s", Fd()).wait().code == Code::kUnsupported);
}

TEST_CASE("the fake host keeps the contract that the real one keeps") {
    FakeHost host;
    Instance& instance = host.load(GANTRY_CONTRACT_FILE);
    ProbeDriver probe(instance);
    instance.start();
    CHECK(probe.check({}).wait().result.detail == kContractSeen);
    REQUIRE(host.logs().size() == 1);
    CHECK(host.logs()[0].text.starts_with(kContractLine));
    CHECK(host.logs()[0].text.size() == 4'096 + 3);
    CHECK(host.events().at(0).text == "one text");
}

TEST_CASE("a cancelled operation ends within a second") {
    FakeHost host;
    Instance& instance = host.load(entry_of<Keeper>());
    ProbeDriver probe(instance);
    instance.start();
    auto pending = probe.check({});
    pending.cancel();
    host.advance(999ms);
    CHECK_FALSE(pending.ended());
    host.advance(1ms);
    REQUIRE(pending.ended());
    CHECK(pending.wait().code == Code::kUnknown);
}

TEST_CASE("an operation is completed by its own instance alone") {
    FakeHost host;
    Instance &mine = host.load(entry_of<Keeper>()), &other = host.load(entry_of<Keeper>());
    ProbeDriver probe(mine);
    auto pending = probe.check({});
    const Keeper& keeper = *static_cast<Keeper*>(static_cast<Plugin*>(mine.self()));
    CHECK(keeper.complete_as(other.handle()) == GANTRY_STALE);
    CHECK(keeper.complete_as(mine.handle()) == GANTRY_OK);
    CHECK(pending.wait().ok());
}

TEST_CASE("a plugin that hangs in stop fails the test instead of hanging it") {
    FakeHost host;
    Instance& instance = host.load(entry_of<Keeper>());
    instance.start();
    auto hang = std::make_shared<std::promise<void>>();
    auto* keeper = static_cast<Keeper*>(static_cast<Plugin*>(instance.self()));
    keeper->hang = hang->get_future();
    leak_on_purpose(keeper);  // nobody can tell when it is safe to destroy what hangs
    CHECK_THROWS_WITH(instance.stop(10ms), Catch::Contains("hangs"));
    hang->set_value();
}

TEST_CASE("randomness is decided by the seed") {
    CHECK(roll(1) == roll(1));
    CHECK(roll(1) != roll(2));
}

TEST_CASE("a plugin's file is loaded with its schema's defaults, and settings are checked against it") {
    FakeHost host;
    CHECK_NOTHROW(host.load(GANTRY_PLUGIN_FILE, Settings().string("token", "t")));
    CHECK_THROWS_WITH(host.load(GANTRY_PLUGIN_FILE), "'token' is required");
    CHECK_THROWS_WITH(host.load(GANTRY_PLUGIN_FILE, Settings().string("tokn", "t")), "unknown key 'tokn'");
    CHECK_THROWS_WITH(host.load(GANTRY_PLUGIN_FILE, Settings().integer("token", 1)), "'token' must be a string");
    CHECK_THROWS_WITH(host.load("/nonexistent.so"), Catch::Contains("/nonexistent.so"));
}

TEST_CASE("the fake host's folder goes with it") {
    std::string folder;
    {
        FakeHost host;
        folder = host.folder();
        CHECK(std::filesystem::is_directory(folder));
    }
    CHECK_FALSE(std::filesystem::exists(folder));
}

TEST_CASE("with real time the clock moves by itself") {
    FakeHost host({.real_time = true});
    const Instant begin = host.now();
    host.advance(20ms);
    CHECK(host.now() >= begin + 20ms);
}

TEST_CASE("A monitor hears of every call between a plugin and its host, and may refuse one") {
    struct Ear final : Monitor {
        gantry_status host_called(const HostCall& call) noexcept override {
            heard.push_back(std::string(call.slot) + (call.alive ? "" : " late"));
            return std::string_view(call.slot) == refused ? GANTRY_FULL : GANTRY_OK;
        }
        void slot_entered(const char* slot) noexcept override { heard.push_back(std::string("> ") + slot); }
        void slot_left(const char* slot) noexcept override { heard.push_back(std::string("< ") + slot); }
        std::vector<std::string> heard;
        std::string_view refused;
    } ear;
    set_monitor(&ear);
    {
        FakeHost host;
        Instance& instance = host.load(entry_of<Rolls>());
        DiscoveryDriver driver(instance);
        instance.start();
        ear.heard.clear();
        driver.begin_search();
        CHECK(ear.heard == std::vector<std::string>{"> start", "random", "found", "< start"});
        ear.refused = "found";
        driver.begin_search();
        host.turn();
        CHECK(driver.found.size() == 1);
        ear.heard.clear();
    }
    set_monitor(nullptr);
    CHECK(std::count(ear.heard.begin(), ear.heard.end(), "> destroy") == 1);
}
