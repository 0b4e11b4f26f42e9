// From a frame of the link layer to a TCP segment or UDP datagram.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pcap/dlt.h>

#include <algorithm>
#include <cstring>

#include "sdk/vsoa/tools/capture.hpp"

namespace vsoa::tools {
namespace {

constexpr uint16_t kIp4 = 0x0800, kIp6 = 0x86dd;

uint8_t byte_at(std::string_view p, size_t i) { return static_cast<uint8_t>(p[i]); }
uint16_t u16(std::string_view p, size_t i) { return static_cast<uint16_t>(byte_at(p, i) << 8 | byte_at(p, i + 1)); }
uint32_t u32(std::string_view p, size_t i) { return static_cast<uint32_t>(u16(p, i)) << 16 | u16(p, i + 2); }

bool is_vlan(uint16_t type) { return type == 0x8100 || type == 0x88a8 || type == 0x9100; }

// Where IP begins in a frame; npos: there is none.
size_t ip_in(int link, std::string_view frame) {
    size_t type_at = 0;
    switch (link) {
        case DLT_RAW:
        case DLT_IPV4:
        case DLT_IPV6:
            return 0;
        case DLT_NULL:
        case DLT_LOOP:
            return 4;
        case DLT_EN10MB:
            type_at = 12;
            break;
        case DLT_LINUX_SLL:
            type_at = 14;
            break;
        case DLT_LINUX_SLL2:
            return frame.size() >= 20 && (u16(frame, 0) == kIp4 || u16(frame, 0) == kIp6) ? 20 : frame.npos;
        default:
            return frame.npos;
    }
    while (frame.size() >= type_at + 2) {
        const uint16_t type = u16(frame, type_at);
        if (type == kIp4 || type == kIp6) return type_at + 2;
        if (!is_vlan(type)) break;
        type_at += 4;
    }
    return frame.npos;
}

void copy_ip(std::string_view packet, size_t at, size_t length, Host& to) {
    to.v6 = length == 16;
    to.ip = {};
    std::memcpy(to.ip.data(), packet.data() + at, length);
}

}  // namespace

std::string Host::text() const {
    char out[INET6_ADDRSTRLEN] = "";
    inet_ntop(v6 ? AF_INET6 : AF_INET, ip.data(), out, sizeof out);
    return (v6 ? '[' + std::string(out) + ']' : std::string(out)) + ':' + std::to_string(port);
}

bool Fragments::add(const Key& key, size_t offset, bool last, std::string_view bytes, std::string& out) {
    if (offset + bytes.size() > kLongest || bytes.empty()) return false;
    if (unfinished_.size() >= kMost && !unfinished_.contains(key)) {
        unfinished_.erase(std::min_element(unfinished_.begin(), unfinished_.end(), [](const auto& a, const auto& b) {
            return a.second.number < b.second.number;
        }));
    }
    Unfinished& datagram = unfinished_[key];
    if (datagram.pieces.empty()) datagram.number = ++number_;
    datagram.pieces[offset] = bytes;
    if (last) datagram.length = offset + bytes.size();
    size_t have = 0;
    for (const auto& [at, piece] : datagram.pieces) {
        if (at > have) return false;
        have = std::max(have, at + piece.size());
    }
    if (datagram.length == 0 || have < datagram.length) return false;
    out.assign(have, '\0');
    for (const auto& [at, piece] : datagram.pieces) std::memcpy(out.data() + at, piece.data(), piece.size());
    out.resize(datagram.length);
    unfinished_.erase(key);
    return true;
}

bool FrameReader::knows(int link) {
    switch (link) {
        case DLT_RAW:
        case DLT_IPV4:
        case DLT_IPV6:
        case DLT_NULL:
        case DLT_LOOP:
        case DLT_EN10MB:
        case DLT_LINUX_SLL:
        case DLT_LINUX_SLL2:
            return true;
        default:
            return false;
    }
}

bool FrameReader::read(int link, std::string_view frame, size_t cut, Seen& out) {
    const size_t at = ip_in(link, frame);
    return at < frame.size() && ip(frame.substr(at), cut, out);
}

bool FrameReader::ip(std::string_view packet, size_t cut, Seen& out) {
    switch (byte_at(packet, 0) >> 4) {
        case 4:
            return ip4(packet, cut, out);
        case 6:
            return ip6(packet, cut, out);
        default:
            return false;
    }
}

bool FrameReader::ip4(std::string_view packet, size_t cut, Seen& out) {
    if (packet.size() < 20) return false;
    const size_t header = (byte_at(packet, 0) & 15) * 4u;
    size_t total = u16(packet, 2);
    if (total == 0) total = packet.size() + cut;  // the network card was to cut and fill it in
    if (header < 20 || packet.size() < header || total < header || total > packet.size() + cut) return false;
    // What is behind it fills up a short frame.
    cut = total > packet.size() ? total - packet.size() : 0;
    packet = packet.substr(0, total);
    copy_ip(packet, 12, 4, out.from);
    copy_ip(packet, 16, 4, out.to);
    const uint16_t piece = u16(packet, 6);
    const uint8_t protocol = byte_at(packet, 9);
    const std::string_view body = packet.substr(header);
    if ((piece & 0x3fff) == 0) return transport(protocol, body, cut, out);
    if (cut > 0) return false;
    const Fragments::Key key{false, out.from.ip, out.to.ip, u16(packet, 4), protocol};
    return fragments_.add(key, (piece & 0x1fff) * 8u, (piece & 0x2000) == 0, body, whole_) &&
           transport(protocol, whole_, 0, out);
}

bool FrameReader::ip6(std::string_view packet, size_t cut, Seen& out) {
    constexpr uint8_t kHop = 0, kRouting = 43, kFragment = 44, kOptions = 60;
    if (packet.size() < 40) return false;
    const size_t total = 40u + u16(packet, 4);
    if (total > packet.size() + cut) return false;
    cut = total > packet.size() ? total - packet.size() : 0;
    packet = packet.substr(0, total);
    copy_ip(packet, 8, 16, out.from);
    copy_ip(packet, 24, 16, out.to);
    uint8_t next = byte_at(packet, 6);
    packet.remove_prefix(40);
    while (next == kHop || next == kRouting || next == kOptions) {
        if (packet.size() < 8) return false;
        next = byte_at(packet, 0);
        const size_t length = (byte_at(packet, 1) + 1u) * 8u;
        if (length > packet.size()) return false;
        packet.remove_prefix(length);
    }
    if (next != kFragment) return transport(next, packet, cut, out);
    if (packet.size() < 8 || cut > 0) return false;
    next = byte_at(packet, 0);
    const uint16_t piece = u16(packet, 2);
    const Fragments::Key key{true, out.from.ip, out.to.ip, u32(packet, 4), next};
    return fragments_.add(key, piece & 0xfff8u, (piece & 1) == 0, packet.substr(8), whole_) &&
           transport(next, whole_, 0, out);
}

bool FrameReader::transport(uint8_t protocol, std::string_view packet, size_t cut, Seen& out) {
    if (protocol == IPPROTO_UDP && packet.size() >= 8) {
        const size_t length = u16(packet, 4);
        // 0: longer than the field, or left to the network card.
        if (length >= 8 && length < packet.size()) packet = packet.substr(0, length);
        out.tcp = false;
        out.bytes = packet.substr(8);
    } else if (protocol == IPPROTO_TCP && packet.size() >= 20) {
        const size_t header = (byte_at(packet, 12) >> 4) * 4u;
        if (header < 20 || header > packet.size()) return false;
        const uint8_t flags = byte_at(packet, 13);
        out.tcp = true;
        out.seq = u32(packet, 4);
        out.ack = u32(packet, 8);
        out.fin = flags & 1;
        out.syn = flags & 2;
        out.rst = flags & 4;
        out.has_ack = flags & 16;
        out.bytes = packet.substr(header);
    } else {
        return false;
    }
    out.from.port = u16(packet, 0);
    out.to.port = u16(packet, 2);
    out.cut = cut;
    return true;
}

}  // namespace vsoa::tools
