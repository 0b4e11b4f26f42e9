// SPDX-License-Identifier: Apache-2.0
#include "plugins/transport/vsoa/wire.hpp"

#include <arpa/inet.h>

#include <cstring>

namespace vsoa_transport {
namespace {

constexpr std::string_view kHello = R"({"protocol":"gantry/1"})";
constexpr std::size_t kPadMax = 3;

struct Channel {
    std::string_view url, more;  // the end of a message, a part before its end
};
constexpr std::array<Channel, kChannels> kUrls = {Channel{"/control", "/control/more"}, Channel{"/bulk", "/bulk/more"}};

std::string packet_of(std::uint8_t type, std::uint8_t flags, std::uint8_t status, std::uint32_t seqno,
                      std::string_view url, std::string_view param, std::string_view data) {
    std::string out(VSOA_HDR_LENGTH + url.size() + param.size() + data.size() + kPadMax, '\0');
    vsoa_header_t* header = vsoa_parser_init_header(out.data(), type, flags, status, seqno);
    const vsoa_url_t vsoa_url{const_cast<char*>(url.data()), url.size()};
    const vsoa_payload_t payload{const_cast<char*>(param.data()), param.size(), const_cast<char*>(data.data()),
                                 data.size()};
    vsoa_parser_set_url(header, &vsoa_url);
    vsoa_parser_set_payload(header, &payload);
    out.resize(vsoa_parser_fixp_length(header));
    return out;
}

// Later versions may add members behind the protocol.
bool says_our_protocol(std::string_view param) {
    const std::string_view fixed = kHello.substr(0, kHello.size() - 1);
    return param.size() > fixed.size() && param.substr(0, fixed.size()) == fixed &&
           (param[fixed.size()] == '}' || param[fixed.size()] == ',');
}

}  // namespace

std::string login_packet() { return packet_of(VSOA_TYPE_SERVINFO, 0, 0, 0, {}, kHello, {}); }

std::string welcome_packet(std::uint32_t client_id, std::uint32_t seqno) {
    const std::uint32_t id = htonl(client_id);
    return packet_of(VSOA_TYPE_SERVINFO, VSOA_FLAG_REPLY, VSOA_STATUS_SUCCESS, seqno, {}, kHello,
                     {reinterpret_cast<const char*>(&id), sizeof id});
}

std::string refusal_packet(std::uint32_t seqno) {
    return packet_of(VSOA_TYPE_SERVINFO, VSOA_FLAG_REPLY, VSOA_STATUS_ARGUMENTS, seqno, {}, kHello, {});
}

std::string echo_packet(std::uint32_t seqno) {
    return packet_of(VSOA_TYPE_PINGECHO, VSOA_FLAG_REPLY, VSOA_STATUS_SUCCESS, seqno, {}, {}, {});
}

std::vector<std::string> message_packets(gantry::Channel channel, std::string_view data) {
    const auto& [url, more] = kUrls[static_cast<std::size_t>(channel)];
    std::vector<std::string> out;
    while (data.size() > kFragment) {
        out.push_back(packet_of(VSOA_TYPE_DATAGRAM, 0, 0, 0, more, {}, data.substr(0, kFragment)));
        data.remove_prefix(kFragment);
    }
    out.push_back(packet_of(VSOA_TYPE_DATAGRAM, 0, 0, 0, url, {}, data));
    return out;
}

// Not value-initialised: its buffer of 256 KiB becomes memory only as far as packets fill it.
Receiver::Receiver(WireEvents& events) : events_(events), stream_(new vsoa_recv_t) {
    vsoa_parser_init_recv(stream_.get());
}

bool Receiver::feed(char* bytes, std::size_t length) {
    if (vsoa_parser_input(stream_.get(), bytes, length, &Receiver::on_packet, this)) return true;
    if (text_.empty() && !told_to_stop_) text_ = "what arrived is not VSOA, or a packet above 256 KiB";
    return false;
}

bool Receiver::on_packet(void* self, vsoa_header_t* header) {
    auto& receiver = *static_cast<Receiver*>(self);
    if (receiver.packet(*header)) return true;
    receiver.told_to_stop_ = true;
    return false;
}

bool Receiver::packet(vsoa_header_t& header) {
    vsoa_url_t url;
    vsoa_payload_t payload;
    vsoa_parser_get_url(&header, &url);
    vsoa_parser_get_payload(&header, &payload);
    const std::string_view param(payload.param, payload.param_len);
    const bool reply = (vsoa_parser_get_flags(&header) & VSOA_FLAG_REPLY) != 0;
    switch (vsoa_parser_get_type(&header)) {
        case VSOA_TYPE_SERVINFO:
            return reply ? events_.wire_welcome(vsoa_parser_get_status(&header), says_our_protocol(param))
                         : events_.wire_login(vsoa_parser_get_seqno(&header), says_our_protocol(param));
        case VSOA_TYPE_DATAGRAM:
            return datagram({url.url, url.url_len}, payload);
        case VSOA_TYPE_PINGECHO:
            return reply || events_.wire_ping(vsoa_parser_get_seqno(&header));
        default:
            return true;
    }
}

bool Receiver::datagram(std::string_view url, const vsoa_payload_t& payload) {
    const std::string_view data(static_cast<const char*>(payload.data), payload.data_len);
    for (std::size_t i = 0; i < kChannels; ++i) {
        if (url != kUrls[i].url && url != kUrls[i].more) continue;
        std::string& partial = partial_[i];
        if (partial.size() + data.size() > kMessageMax) {
            text_ = "a message above 1 MiB arrived";
            return false;
        }
        const auto channel = static_cast<gantry::Channel>(i);
        if (url == kUrls[i].url && partial.empty()) return events_.wire_message(channel, data);
        partial.append(data);
        if (url == kUrls[i].more) return true;
        const std::string whole = std::exchange(partial, {});
        return events_.wire_message(channel, whole);
    }
    return true;
}

}  // namespace vsoa_transport
