// SPDX-License-Identifier: Apache-2.0
//
// What the contract suite of the transport role runs on: some hosts that can reach each other. Numbers are those of
// the border (GANTRY_...), so that neither the kernel's nor the SDK's C++ types are needed.
#pragma once

#include <gantry/abi/transport.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace contract {

struct Event {
    enum class Kind { kUp, kMessage, kDown, kWritable, kRefused };
    Kind kind{};
    std::uint64_t peer = 0;
    bool inbound = false;
    std::uint32_t channel = 0, reason = 0;
    std::string text{};   // address, bytes, why
    std::string local{};  // of up
};

struct Outcome {
    bool ended = false;
    std::int32_t code = GANTRY_FAILED;
    std::string text, address;
    std::uint64_t peer = 0;
};

// One transport.
class End {
  public:
    virtual ~End() = default;
    virtual std::int64_t message_max_bytes() = 0;
    virtual std::shared_ptr<Outcome> listen(const std::string& address) = 0;
    virtual std::shared_ptr<Outcome> dial(const std::string& address) = 0;
    // A status of the border.
    virtual std::int32_t send(std::uint64_t peer, std::uint32_t channel, std::string_view bytes) = 0;
    virtual void close(std::uint64_t peer) = 0;

    std::vector<Event> events;
    std::function<void(const Event&)> on_event;

    std::vector<Event> of(Event::Kind kind) const {
        std::vector<Event> out;
        for (const auto& event : events) {
            if (event.kind == kind) out.push_back(event);
        }
        return out;
    }
    std::size_t count(Event::Kind kind) const { return of(kind).size(); }

  protected:
    void happened(Event event) {
        events.push_back(event);
        if (on_event) on_event(event);
    }
};

class World {
  public:
    virtual ~World() = default;
    virtual End& make(const std::string& secret) = 0;
    // As if its process died.
    virtual void kill(End& end) = 0;
    // False if the condition does not hold in time.
    virtual bool run_until(const std::function<bool()>& condition) = 0;
};

// An instance cannot be killed inside this process, but its connections can: shut behind its back, they end for the
// other side without goodbye, as those of a killed process do.
void cut_sockets(End& end);

std::unique_ptr<World> memory_world();
// transport/vsoa over loopback: in the SDK's fake host, and in the kernel's own.
std::unique_ptr<World> vsoa_world();
std::unique_ptr<World> kernel_world();

}  // namespace contract
