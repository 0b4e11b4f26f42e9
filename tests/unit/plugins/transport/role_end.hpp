// SPDX-License-Identifier: Apache-2.0
//
// A transport as the kernel sees it, as an end of the contract suite.
#pragma once

#include "kernel/host/roles.hpp"
#include "tests/unit/plugins/transport/world.hpp"

namespace contract {

using namespace gantry;

inline std::int32_t status_of(Code code) {
    switch (code) {
        case Code::kInvalid:
            return GANTRY_INVALID;
        case Code::kRefused:
            return GANTRY_DENIED;
        case Code::kUnavailable:
            return GANTRY_UNAVAILABLE;
        case Code::kDeadline:
            return GANTRY_DEADLINE;
        default:
            return GANTRY_FAILED;
    }
}

class RoleEnd : public End {
  public:
    explicit RoleEnd(host::Transport* transport) : transport_(transport) {
        using Kind = Event::Kind;
        transport_->begin(
            {[this](host::PeerId peer, bool inbound, std::string address, std::string local) {
                 happened({Kind::kUp, peer, inbound, 0, 0, address, local});
             },
             [this](host::PeerId peer, host::Channel channel, std::string bytes) {
                 happened({Kind::kMessage, peer, false, static_cast<std::uint32_t>(channel), 0, bytes});
             },
             [this](host::PeerId peer, host::Down reason, std::string text) {
                 happened({Kind::kDown, peer, false, 0, static_cast<std::uint32_t>(reason), text});
             },
             [this](host::PeerId peer) {
                 happened({Kind::kWritable, peer});
             },
             [this](std::string address, host::Down reason, std::string text) {
                 happened({Kind::kRefused, 0, true, 0, static_cast<std::uint32_t>(reason), text, address});
             }});
    }
    std::int64_t message_max_bytes() override { return transport_->message_max_bytes(); }
    std::shared_ptr<Outcome> listen(const std::string& address) override {
        auto out = std::make_shared<Outcome>();
        transport_->listen(address, [out](Result<std::string> bound) {
            out->ended = true;
            out->code = bound ? GANTRY_OK : status_of(bound.error().code);
            (bound ? out->address : out->text) = bound ? *bound : bound.error().message;
        });
        return out;
    }
    std::shared_ptr<Outcome> dial(const std::string& address) override {
        auto out = std::make_shared<Outcome>();
        transport_->dial(address, seconds(5), [out](Result<host::PeerId> peer) {
            out->ended = true;
            out->code = peer ? GANTRY_OK : status_of(peer.error().code);
            if (!peer) out->text = peer.error().message;
            out->peer = peer.value_or(0);
        });
        return out;
    }
    std::int32_t send(std::uint64_t peer, std::uint32_t channel, std::string_view bytes) override {
        switch (transport_->send(peer, static_cast<host::Channel>(channel), bytes)) {
            case host::Sent::kOk:
                return GANTRY_OK;
            case host::Sent::kFull:
                return GANTRY_FULL;
            case host::Sent::kGone:
                return GANTRY_NOT_FOUND;
            default:
                return GANTRY_INVALID;
        }
    }
    void close(std::uint64_t peer) override { transport_->close(peer); }

  private:
    host::Transport* transport_;
};

}  // namespace contract
