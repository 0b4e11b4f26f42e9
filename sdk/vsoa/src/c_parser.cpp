// The C functions of vsoa_parser.h.
#include <cstdio>
#include <cstring>

#include "sdk/vsoa/include/vsoa_parser.h"
#include "sdk/vsoa/src/packet.hpp"
#include "sdk/vsoa/src/shell.hpp"

using vsoa::invalid;

namespace {

char* body_of(const vsoa_header_t* header) {
    return const_cast<char*>(reinterpret_cast<const char*>(header)) + VSOA_HDR_LENGTH;
}

void write_pad(vsoa_header_t* header, size_t pad) {
    const auto length = static_cast<size_t>(vsoa::packet_length(*header, false));
    std::memset(reinterpret_cast<uint8_t*>(header) + length, 0, pad);
    header->flags = static_cast<uint8_t>((header->flags & ~VSOA_PAD_MASK) | pad << VSOA_PAD_SHIFT);
}

bool too_long() {
    errno = EMSGSIZE;
    return false;
}

/// What came is no VSOA.
bool broken() {
    errno = EPROTO;
    return false;
}

size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/// Copies into recv's buffer until it holds `until` bytes. True when it does.
bool fill(vsoa_recv_t* recv, size_t until, const uint8_t*& from, size_t& left) {
    const size_t part = smaller(until - recv->cur_len, left);
    std::memcpy(recv->buffer + recv->cur_len, from, part);
    recv->cur_len += static_cast<uint32_t>(part);
    from += part;
    left -= part;
    return recv->cur_len == until;
}

}  // namespace

extern "C" {

vsoa_header_t* vsoa_parser_init_header(void* outb, uint8_t type, uint8_t flags, uint8_t status, uint32_t seqno) {
    auto* header = static_cast<vsoa_header_t*>(outb);
    if (header == nullptr) {
        errno = EINVAL;
        return nullptr;
    }
    *header = {};
    header->magic_ver = vsoa::kMagicByte;
    header->type = type;
    header->flags = static_cast<uint8_t>(flags & ~VSOA_PAD_MASK);
    header->status = status;
    header->seqno = htonl(seqno);
    return header;
}

void vsoa_parser_init_recv(vsoa_recv_t* recv) {
    if (recv == nullptr) return void(invalid());
    recv->cur_len = recv->total_len = 0;
}

size_t vsoa_parser_fixp_length(vsoa_header_t* vsoa_hdr) {
    if (vsoa_hdr == nullptr) return invalid();
    const auto length = static_cast<size_t>(vsoa::packet_length(*vsoa_hdr, false));
    const size_t pad = vsoa::pad_of(length);
    write_pad(vsoa_hdr, pad);
    return length + pad;
}

size_t vsoa_parser_calc_size(const vsoa_url_t* url, const vsoa_payload_t* payload, uint8_t* pad) {
    vsoa_url_t url_size = {url != nullptr ? const_cast<char*>("") : nullptr, url != nullptr ? url->url_len : 0};
    vsoa_payload_t payload_size{};
    if (payload != nullptr) {
        // Only lengths count here, the pointers need not be set yet.
        static char any;
        payload_size = {&any, payload->param_len, &any, payload->data_len};
    }
    vsoa::Frame frame(VSOA_TYPE_NOOP);
    if (!frame.body(&url_size, &payload_size)) return 0;
    if (pad != nullptr) {
        const size_t length = VSOA_HDR_LENGTH + url_size.url_len + payload_size.param_len + payload_size.data_len;
        *pad = static_cast<uint8_t>(vsoa::pad_of(length));
    }
    return frame.size();
}

bool vsoa_parser_set_pad(vsoa_header_t* vsoa_hdr, uint8_t pad) {
    if (vsoa_hdr == nullptr || pad > 3) return invalid();
    write_pad(vsoa_hdr, pad);
    return true;
}

bool vsoa_parser_set_tunid(vsoa_header_t* vsoa_hdr, uint16_t tunid) {
    if (vsoa_hdr == nullptr) return invalid();
    vsoa_hdr->tunid = tunid;
    vsoa_hdr->flags |= VSOA_FLAG_TUNNEL;
    return true;
}

bool vsoa_parser_set_url(vsoa_header_t* vsoa_hdr, const vsoa_url_t* url) {
    if (vsoa_hdr == nullptr || url == nullptr || (url->url_len > 0 && url->url == nullptr)) return invalid();
    if (url->url_len > 0xffff) return too_long();
    vsoa_hdr->url_len = htons(static_cast<uint16_t>(url->url_len));
    if (url->url_len > 0) std::memcpy(body_of(vsoa_hdr), url->url, url->url_len);
    return true;
}

bool vsoa_parser_set_payload(vsoa_header_t* vsoa_hdr, const vsoa_payload_t* payload) {
    if (vsoa_hdr == nullptr || payload == nullptr || (payload->param_len > 0 && payload->param == nullptr) ||
        (payload->data_len > 0 && payload->data == nullptr)) {
        return invalid();
    }
    const size_t url_len = ntohs(vsoa_hdr->url_len);
    const size_t room = VSOA_MAX_DATA_LENGTH - url_len;
    if (payload->param_len > room || payload->data_len > room - payload->param_len) return too_long();
    vsoa_hdr->param_len = htonl(static_cast<uint32_t>(payload->param_len));
    vsoa_hdr->data_len = htonl(static_cast<uint32_t>(payload->data_len));
    char* to = body_of(vsoa_hdr) + url_len;
    if (payload->param_len > 0) std::memcpy(to, payload->param, payload->param_len);
    if (payload->data_len > 0) std::memcpy(to + payload->param_len, payload->data, payload->data_len);
    return true;
}

size_t vsoa_parser_get_length(vsoa_header_t* vsoa_hdr) {
    if (vsoa_hdr == nullptr) return invalid();
    return static_cast<size_t>(vsoa::packet_length(*vsoa_hdr, false));
}

bool vsoa_parser_get_url(const vsoa_header_t* vsoa_hdr, vsoa_url_t* url) {
    if (vsoa_hdr == nullptr || url == nullptr) return invalid();
    url->url = body_of(vsoa_hdr);
    url->url_len = ntohs(vsoa_hdr->url_len);
    return url->url_len > 0;
}

bool vsoa_parser_get_payload(const vsoa_header_t* vsoa_hdr, vsoa_payload_t* payload) {
    if (vsoa_hdr == nullptr || payload == nullptr) return invalid();
    payload->param = body_of(vsoa_hdr) + ntohs(vsoa_hdr->url_len);
    payload->param_len = ntohl(vsoa_hdr->param_len);
    payload->data = payload->param + payload->param_len;
    payload->data_len = ntohl(vsoa_hdr->data_len);
    return payload->param_len > 0 || payload->data_len > 0;
}

bool vsoa_parser_input(vsoa_recv_t* recv, void* buf, size_t buf_len, vsoa_input_callback_t callback, void* arg) {
    if (recv == nullptr || callback == nullptr || (buf == nullptr && buf_len > 0)) return invalid();
    const auto* from = static_cast<const uint8_t*>(buf);
    auto* header = reinterpret_cast<vsoa_header_t*>(recv->buffer);
    while (buf_len > 0) {
        if (recv->total_len == 0) {
            if (recv->cur_len == 0 && *from != vsoa::kMagicByte) return broken();
            if (!fill(recv, VSOA_HDR_LENGTH, from, buf_len)) return true;
            const uint64_t total = vsoa::packet_length(*header, true);
            if (total > VSOA_MAX_PACKET_LENGTH) return broken();
            recv->total_len = static_cast<uint32_t>(total);
        }
        if (!fill(recv, recv->total_len, from, buf_len)) return true;
        vsoa_parser_init_recv(recv);
        if (!callback(arg, header)) return false;
    }
    return true;
}

vsoa_header_t* vsoa_parser_packet_input(void* buf, size_t buf_len) {
    vsoa_header_t* const header = buf != nullptr ? vsoa::check_datagram(buf, buf_len) : nullptr;
    if (header == nullptr) errno = buf != nullptr ? EPROTO : EINVAL;
    return header;
}

const char* vsoa_parser_version(void) { return "1.0.2"; }

void vsoa_parser_print_header(const vsoa_header_t* vsoa_hdr, bool data_detail) {
    if (vsoa_hdr == nullptr) return void(invalid());
    const vsoa::Packet packet(const_cast<vsoa_header_t*>(vsoa_hdr));
    std::printf("VSOA type 0x%02x flags 0x%02x pad %d status %d seqno %u tunid %d url %zu param %zu data %zu\n",
                packet.type, vsoa_hdr->flags & ~VSOA_PAD_MASK, vsoa_hdr->flags >> VSOA_PAD_SHIFT, packet.status,
                packet.seqno, ntohs(vsoa_hdr->tunid), packet.url.url_len, packet.payload.param_len,
                packet.payload.data_len);
    if (!data_detail) return;
    std::printf(" url   %.*s\n param %.*s\n data ", static_cast<int>(packet.url.url_len), packet.url.url,
                static_cast<int>(packet.payload.param_len), packet.payload.param);
    const auto* data = static_cast<const uint8_t*>(packet.payload.data);
    for (size_t i = 0; i < packet.payload.data_len; ++i) std::printf(" %02x", data[i]);
    std::printf("\n");
}
}
