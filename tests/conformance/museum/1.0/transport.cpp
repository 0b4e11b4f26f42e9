// SPDX-License-Identifier: Apache-2.0
//
// A transport of SDK 1.0 that connects its instance with itself: who dials what it listens at gets two peers, the ends
// of one connection.
#define GANTRY_PLUGIN_ID "org.gantry.museum.transport"
#define GANTRY_PLUGIN_VERSION "1.0.0"
#define GANTRY_PLUGIN_ROLE "transport/1"
#include <gantry/transport.hpp>
#include <map>

using namespace gantry;

class Exhibit final : public Transport {
  public:
    TransportFacts facts() const override { return {true, 1'000, 4'000}; }

    void listen(Operation<Listening> op, std::string address) override {
        address_ = std::move(address);
        op.done({address_});
    }
    void dial(Operation<Dialled> op, std::string address) override {
        if (address != address_) {
            events().refused(address, Down::kRefused, "nobody listens there");
            return op.fail(Code::kUnavailable, "nobody listens at " + address);
        }
        const PeerId near = ++last_, far = ++last_;
        other_[near] = far;
        other_[far] = near;
        events().up(near, false, address, "here:0");
        events().up(far, true, "here:0", address);
        op.done({near});
    }
    Code send(PeerId peer, Channel channel, std::string_view data) override {
        const auto other = other_.find(peer);
        if (other == other_.end()) return Code::kNotFound;
        if (data.size() > 1'000) return Code::kInvalid;
        if (data == "too much") {
            host().post([this, peer] { events().writable(peer); });
            return Code::kFull;
        }
        events().message(other->second, channel, data);
        return Code::kOk;
    }
    void close(PeerId peer) override {
        const auto it = other_.find(peer);
        if (it == other_.end()) return;
        const PeerId other = it->second;
        other_.erase(peer);
        other_.erase(other);
        events().down(peer, Down::kClosed, "closed here");
        events().down(other, Down::kReset, "closed there");
    }

  private:
    std::string address_;
    PeerId last_ = 0;
    std::map<PeerId, PeerId> other_;
};

GANTRY_PLUGIN(Exhibit)
