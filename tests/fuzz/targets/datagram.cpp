// One datagram: whether it holds a packet, and that a packet written again is the same packet.
#include <arpa/inet.h>

#include <vector>

#include "sdk/vsoa/src/packet.hpp"
#include "tests/fuzz/targets/input.hpp"

using fuzz::demand;

namespace {

bool same(const void* a, size_t a_size, const void* b, size_t b_size) {
    return a_size == b_size && (a_size == 0 || std::memcmp(a, b, a_size) == 0);
}

void write_again(const vsoa::Packet& packet) {
    vsoa::Frame frame(packet.type, packet.reply ? VSOA_FLAG_REPLY : 0, packet.status, packet.seqno);
    demand(frame.body(&packet.url, &packet.payload), "what came in a datagram can be sent");
    std::vector<uint8_t> bytes;
    frame.append_to(bytes);
    demand(bytes.size() == frame.size() && bytes.size() % 4 == 0, "what is sent is padded");
    vsoa_header_t* const header = vsoa::check_datagram(bytes.data(), bytes.size());
    demand(header != nullptr, "what is sent is a packet");
    const vsoa::Packet again(header);
    demand(again.type == packet.type && again.reply == packet.reply && again.status == packet.status &&
               again.seqno == packet.seqno && again.url_text() == packet.url_text() &&
               again.param_text() == packet.param_text() &&
               same(again.payload.data, again.payload.data_len, packet.payload.data, packet.payload.data_len),
           "a packet written again is the same");
    for (size_t offset = 0; offset < bytes.size(); offset += 1 + bytes.size() / 7) {
        std::vector<uint8_t> rest;
        frame.append_to(rest, offset);
        demand(same(rest.data(), rest.size(), bytes.data() + offset, bytes.size() - offset), "its rest is its rest");
    }
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    fuzz::Copy copy({bytes, size});
    vsoa_header_t* const header = vsoa::check_datagram(copy.data(), copy.size());
    demand(vsoa_parser_packet_input(copy.data(), copy.size()) == header, "both parsers agree");
    if (header == nullptr) return 0;
    const vsoa::Packet packet(header);
    demand(VSOA_HDR_LENGTH + packet.url.url_len + packet.payload.param_len + packet.payload.data_len <= size,
           "a packet ends in its datagram");
    fuzz::look_at(packet.url.url, packet.url.url_len);
    fuzz::look_at(packet.payload.param, packet.payload.param_len);
    fuzz::look_at(packet.payload.data, packet.payload.data_len);
    write_again(packet);
    return 0;
}
