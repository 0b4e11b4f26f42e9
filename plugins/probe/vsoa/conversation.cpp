// SPDX-License-Identifier: Apache-2.0
#include "plugins/probe/vsoa/conversation.hpp"

namespace vsoa_probe {
namespace {

std::string packet_of(std::uint8_t type, std::uint32_t seqno, std::string_view path, std::string_view param) {
    const vsoa_url_t url{const_cast<char*>(path.data()), path.size()};
    const vsoa_payload_t payload{const_cast<char*>(param.data()), param.size(), nullptr, 0};
    std::string out(VSOA_HDR_LENGTH + path.size() + param.size() + 3, '\0');
    vsoa_header_t* header = vsoa_parser_init_header(out.data(), type, 0, 0, seqno);
    if (!path.empty()) vsoa_parser_set_url(header, &url);
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
      output_(packet_of(VSOA_TYPE_SERVINFO, 0, {}, login_param(password))) {
    vsoa_parser_init_recv(stream_.get());
}

void Conversation::ask(std::string path) {
    path_ = std::move(path);
    failure_.clear();
    decided_ = false;
    ++number_;
    if (logged_in_) put_question();
}

void Conversation::put_question() {
    output_ += packet_of(path_.empty() ? VSOA_TYPE_PINGECHO : VSOA_TYPE_RPC, number_, path_, {});
}

bool Conversation::feed(char* bytes, std::size_t length) {
    if (broken_) return true;
    if (!vsoa_parser_input(stream_.get(), bytes, length, &Conversation::on_packet, this) && !broken_) {
        fail("what answers does not speak VSOA");
    }
    return decided_;
}

bool Conversation::on_packet(void* self, vsoa_header_t* header) {
    auto& conversation = *static_cast<Conversation*>(self);
    conversation.packet(*header);
    return !conversation.broken_;
}

void Conversation::packet(const vsoa_header_t& header) {
    const bool reply = (vsoa_parser_get_flags(&header) & VSOA_FLAG_REPLY) != 0;
    const std::uint8_t type = vsoa_parser_get_type(&header);
    if (type == VSOA_TYPE_SERVINFO && !logged_in_) return login_answered(header);
    const std::uint8_t asked = path_.empty() ? VSOA_TYPE_PINGECHO : VSOA_TYPE_RPC;
    // Publishes and what else a server says of its own accord do not matter.
    if (type != asked || !reply || !logged_in_ || decided_ || vsoa_parser_get_seqno(&header) != number_) return;
    decided_ = true;
    if (const int status = vsoa_parser_get_status(&header); type == VSOA_TYPE_RPC && status != VSOA_STATUS_SUCCESS)
        failure_ = "answered " + path_ + " with status " + std::to_string(status);
}

void Conversation::login_answered(const vsoa_header_t& header) {
    const char* wrong = has_password_ ? "wrong password" : "the service asks for a password";
    // The vendor's Go server answers a failed login like this, with status 0 but not as a reply.
    if ((vsoa_parser_get_flags(&header) & VSOA_FLAG_REPLY) == 0) return fail(wrong);
    switch (vsoa_parser_get_status(&header)) {
        case VSOA_STATUS_SUCCESS:
            logged_in_ = true;
            if (!decided_) put_question();
            return;
        case VSOA_STATUS_PASSWORD:
            return fail(wrong);
        default:
            return fail("login refused with status " + std::to_string(vsoa_parser_get_status(&header)));
    }
}

void Conversation::fail(std::string why) {
    decided_ = broken_ = true;
    failure_ = std::move(why);
}

}  // namespace vsoa_probe
