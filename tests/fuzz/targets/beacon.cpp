// What discovery/beacon hears: a packet has one form, a changed one is none, and what it says can be dialled.
#include <algorithm>
#include <gantry/address.hpp>

#include "plugins/discovery/beacon/packet.hpp"
#include "plugins/transport/secret/secret.hpp"
#include "tests/fuzz/targets/input.hpp"

using fuzz::demand;

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    static const cluster_secret::Key key("a secret of more than 16 bytes", beacon::kKeyLabel);
    fuzz::Copy copy({bytes, size});
    const std::span<const uint8_t> heard(copy.data(), copy.size());
    const auto said = beacon::decode(heard);
    const auto believed = beacon::open(key, heard);
    demand(!believed || believed == said, "a packet that is believed says what it says");
    if (!said) return 0;
    demand(beacon::plausible(heard), "a packet looks like one");
    const beacon::Raw again = beacon::encode(*said);
    const size_t before = beacon::kPacketSize - beacon::kMacSize;
    demand(std::equal(again.begin(), again.begin() + static_cast<std::ptrdiff_t>(before), heard.begin()),
           "a packet has one form");
    beacon::Raw sealed = beacon::seal(key, *said);
    demand(beacon::open(key, sealed) == said, "a packet survives being written and read");
    sealed[said->sender[0] % beacon::kPacketSize] ^= 1;
    demand(!beacon::open(key, sealed), "a changed packet is none");
    if (said->kind == beacon::Kind::kAnswer)
        demand(gantry::SocketAddress::parse(beacon::endpoint(*said)).has_value(), "an answer can be dialled");
    return 0;
}
