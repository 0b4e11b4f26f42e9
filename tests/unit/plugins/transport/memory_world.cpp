// SPDX-License-Identifier: Apache-2.0
#include "tests/support/memory_transport.hpp"
#include "tests/unit/plugins/transport/world.hpp"

namespace contract {
namespace {

using namespace gantry;

std::int32_t status_of(Code code) {
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

class MemoryEnd final : public End {
  public:
    explicit MemoryEnd(std::unique_ptr<host::Transport> transport) : transport_(std::move(transport)) {
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
    void die() { transport_.reset(); }

  private:
    std::unique_ptr<host::Transport> transport_;
};

class MemoryWorld final : public World {
  public:
    End& make(const std::string& secret) override {
        ends_.push_back(std::make_unique<MemoryEnd>(network_.make("host" + std::to_string(ends_.size()), secret)));
        return *ends_.back();
    }
    void kill(End& end) override { static_cast<MemoryEnd&>(end).die(); }
    bool run_until(const std::function<bool()>& condition) override { return clock_.run_until(condition, seconds(30)); }

  private:
    test::VirtualClock clock_;
    // A fast network with jitter: what can be reordered is.
    test::MemoryNetwork network_{clock_, 7, {milliseconds(0), milliseconds(3), 0, 0, 1'000'000'000}};
    std::vector<std::unique_ptr<MemoryEnd>> ends_;
};

}  // namespace

std::unique_ptr<World> memory_world() { return std::make_unique<MemoryWorld>(); }

}  // namespace contract
