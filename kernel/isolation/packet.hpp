// SPDX-License-Identifier: Apache-2.0
//
// One message over the SOCK_SEQPACKET pair. What fits goes as one packet. What does not goes as a sealed memory file
// whose descriptor travels in an empty packet: it needs no reassembly and no room in the socket, holds up nothing
// behind it, and the seals keep its writer from changing or cutting it while it is read.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "kernel/base/result.hpp"
#include "kernel/isolation/wire.hpp"

namespace gantry::isolation {

inline constexpr std::size_t kPacketMax = 128 << 10;  // bytes of one packet; the socket's buffer holds one at least
inline constexpr std::size_t kLargeMax = 128 << 20;   // bytes of one message
inline constexpr std::size_t kDescriptorsMax = 4;     // of one message

enum class Sent : std::uint8_t { kYes, kLater, kNo };  // taken, the socket is full, the other end is gone

// The descriptors stay the caller's.
Sent send_message(int socket, std::string_view message, std::span<const int> fds);

// How many messages to read in a turn of a loop. To find out that there is no other costs a call, a turn costs several:
// so it is tried as long as it pays, and now and then.
class Batch {
  public:
    // After a message: whether another one is looked for in this turn.
    bool more() {
        if (++read_ >= kMost) return false;
        return alone_ == 0 || alone_ % kTryEach == 0;
    }
    // The turn is over.
    void end() {
        alone_ = read_ > 1 ? 0 : alone_ + 1;
        read_ = 0;
    }

  private:
    static constexpr unsigned kMost = 16, kTryEach = 32;
    unsigned read_ = 0;   // in this turn
    unsigned alone_ = 0;  // turns in which there was one message only, in a row
};

class Message {
  public:
    Message() = default;
    Message(const Message&) = delete;
    Message& operator=(const Message&) = delete;
    ~Message();

    enum class Got : std::uint8_t { kOne, kNothing, kEnd, kBroken };
    // The next message, whose bytes and descriptors this object then holds in place of the one before. kBroken says in
    // `fault` what the other end did. wait: until there is one, if the socket blocks.
    Got receive(int socket, bool wait = false);
    std::string_view bytes() const { return bytes_; }
    std::vector<Fd>& fds() { return fds_; }
    const std::string& fault() const { return fault_; }

  private:
    Got broken(std::string what);
    Got take_large();
    void drop();

    std::unique_ptr<char[]> buffer_;
    std::string_view bytes_;
    std::vector<Fd> fds_;
    void* mapped_ = nullptr;
    std::size_t mapped_size_ = 0;
    std::string fault_;
};

}  // namespace gantry::isolation
