// SPDX-License-Identifier: Apache-2.0
#include "plugins/probe/vsoa/conversation.hpp"

namespace vsoa_probe {
namespace {

constexpr std::uint32_t kPingNumber = 1;

std::string packet_of(std::uint8_t type, std::uint32_t seqno, std::string_view param) {
    const vsoa_payload_t payload{const_cast<char*>(param.data()), param.size(), nullptr, 0};
    std::string out(VSOA_HDR_LENGTH + param.size() + 3, '\0');
    vsoa_header_t* header = vsoa_parser_init_header(out.data(), type, 0, 0, seqno);
    vsoa_parser_set_payload(header, &payload);
    out.resize(vsoa_parser_fixp_length(header));
    return out;
}

std::string json_string(std::string_view text) {
    constexpr char kHex[] = "0123456789abcdef";
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
            out += c;
        } else if (static_cast<unsigned char>(c) < 0x20) {
            out += "\\u00";
            out += kHex[c >> 4];
            out += kHex[c & 15];
        } else {
            out += c;
        }
    }
    return out + '"';
}

std::string login_param(const std::string& password) {
    return password.empty() ? "{}" : "{\"passwd\":" + json_string(password) + "}";
}

}  // namespace

Conversation::Conversation(std::string password)
    : has_password_(!password.empty()),
      stream_(new vsoa_recv_t),  // not value-initialised: 256 KiB of which few are ever touched
      output_(packet_of(VSOA_TYPE_SERVINFO, 0, login_param(password))) {
    vsoa_parser_init_recv(stream_.get());
}

bool Conversation::feed(char* bytes, std::size_t length) {
    if (decided_) return true;
    if (!vsoa_parser_input(stream_.get(), bytes, length, &Conversation::on_packet, this) && !decided_) {
        fail("what answers does not speak VSOA");
    }
    return decided_;
}

bool Conversation::on_packet(void* self, vsoa_header_t* header) {
    auto& conversation = *static_cast<Conversation*>(self);
    conversation.packet(*header);
    return !conversation.decided_;
}

void Conversation::packet(const vsoa_header_t& header) {
    const bool reply = (vsoa_parser_get_flags(&header) & VSOA_FLAG_REPLY) != 0;
    if (vsoa_parser_get_type(&header) == VSOA_TYPE_SERVINFO && !logged_in_) {
        login_answered(header);
    } else if (vsoa_parser_get_type(&header) == VSOA_TYPE_PINGECHO && reply && logged_in_ &&
               vsoa_parser_get_seqno(&header) == kPingNumber) {
        decided_ = true;
    }
    // Publishes and what else a server says of its own accord do not matter.
}

void Conversation::login_answered(const vsoa_header_t& header) {
    const char* wrong = has_password_ ? "wrong password" : "the service asks for a password";
    // The vendor's Go server answers a failed login like this, with status 0 but not as a reply.
    if ((vsoa_parser_get_flags(&header) & VSOA_FLAG_REPLY) == 0) return fail(wrong);
    switch (vsoa_parser_get_status(&header)) {
        case VSOA_STATUS_SUCCESS:
            logged_in_ = true;
            output_ += packet_of(VSOA_TYPE_PINGECHO, kPingNumber, {});
            return;
        case VSOA_STATUS_PASSWORD:
            return fail(wrong);
        default:
            return fail("login refused with status " + std::to_string(vsoa_parser_get_status(&header)));
    }
}

void Conversation::fail(std::string why) {
    decided_ = true;
    failure_ = std::move(why);
}

}  // namespace vsoa_probe
