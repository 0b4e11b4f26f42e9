// SPDX-License-Identifier: Apache-2.0
//
// What this transport says inside TLS: VSOA packets, as README.md describes them. Nothing here touches a socket.
#pragma once

#include <vsoa_parser.h>

#include <array>
#include <cstdint>
#include <gantry/transport.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace vsoa_transport {

inline constexpr std::size_t kMessageMax = 1 << 20;
// A longer message is cut, so that a message of the control channel waits for no more than this. One packet of it fits
// one TLS record, and a connection needs little memory.
inline constexpr std::size_t kFragment = 16'000;
inline constexpr std::size_t kChannels = 2;

std::string login_packet();
std::string welcome_packet(std::uint32_t client_id, std::uint32_t seqno);
// The answer to a login with another protocol.
std::string refusal_packet(std::uint32_t seqno);
std::string echo_packet(std::uint32_t seqno);
// One packet, or several for a message above kFragment.
std::vector<std::string> message_packets(gantry::Channel channel, std::string_view data);

// Told what arrived. Returning false ends the reading.
class WireEvents {
  public:
    // protocol_fits: the other side speaks ours.
    virtual bool wire_login(std::uint32_t seqno, bool protocol_fits) = 0;
    virtual bool wire_welcome(std::uint8_t status, bool protocol_fits) = 0;
    virtual bool wire_ping(std::uint32_t seqno) = 0;
    virtual bool wire_message(gantry::Channel channel, std::string_view data) = 0;

  protected:
    ~WireEvents() = default;
};

// Cuts a stream of bytes into packets and puts messages together.
class Receiver {
  public:
    explicit Receiver(WireEvents& events);
    // False: the bytes are not VSOA or against the rules (text() says why), or an event returned false (text() is
    // empty). Nothing may be fed afterwards.
    bool feed(char* bytes, std::size_t length);
    const std::string& text() const { return text_; }

  private:
    static bool on_packet(void* self, vsoa_header_t* header);
    bool packet(vsoa_header_t& header);
    bool datagram(std::string_view url, const vsoa_payload_t& payload);

    WireEvents& events_;
    const std::unique_ptr<vsoa_recv_t> stream_;
    std::array<std::string, kChannels> partial_;
    std::string text_;
    bool told_to_stop_ = false;
};

}  // namespace vsoa_transport
