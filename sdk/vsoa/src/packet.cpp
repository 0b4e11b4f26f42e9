#include "sdk/vsoa/src/packet.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vsoa {
namespace {

constexpr size_t kReadChunk = 16 * 1024;
constexpr size_t kMaxUrl = 0xffff;
uint8_t zero_pad[4] = {};

bool missing(const void* pointer, size_t length) { return length > 0 && pointer == nullptr; }

}  // namespace

std::optional<std::string_view> sendable(const vsoa_url_t* url) {
    if (url != nullptr && url->url != nullptr) {
        const std::string_view text(url->url, url->url_len);
        if (is_url(text)) return text;
    }
    errno = EINVAL;
    return std::nullopt;
}

Frame::Frame(uint8_t type, uint8_t flags, uint8_t status, uint32_t seqno) : header_{}, iov_{} {
    header_.magic_ver = kMagicByte;
    header_.type = type;
    header_.flags = static_cast<uint8_t>(flags & ~VSOA_PAD_MASK);
    header_.status = status;
    header_.seqno = htonl(seqno);
}

bool Frame::body(const vsoa_url_t* url, const vsoa_payload_t* payload, size_t max_packet) {
    const vsoa_url_t no_url{};
    const vsoa_payload_t no_payload{};
    if (url == nullptr) url = &no_url;
    if (payload == nullptr) payload = &no_payload;
    if (missing(url->url, url->url_len) || missing(payload->param, payload->param_len) ||
        missing(payload->data, payload->data_len)) {
        errno = EINVAL;
        return false;
    }
    // Each length is checked before the sum, so that the sum cannot overflow.
    const size_t room = max_packet - VSOA_HDR_LENGTH;
    const bool each_fits = url->url_len <= kMaxUrl && payload->param_len <= room && payload->data_len <= room;
    const size_t length = VSOA_HDR_LENGTH + url->url_len + payload->param_len + payload->data_len;
    if (!each_fits || length + pad_of(length) > max_packet) {
        errno = EMSGSIZE;
        return false;
    }
    const size_t pad = pad_of(length);
    header_.flags = static_cast<uint8_t>((header_.flags & ~VSOA_PAD_MASK) | pad << VSOA_PAD_SHIFT);
    header_.url_len = htons(static_cast<uint16_t>(url->url_len));
    header_.param_len = htonl(static_cast<uint32_t>(payload->param_len));
    header_.data_len = htonl(static_cast<uint32_t>(payload->data_len));
    iov_[1] = {url->url, url->url_len};
    iov_[2] = {payload->param, payload->param_len};
    iov_[3] = {payload->data, payload->data_len};
    iov_[4] = {zero_pad, pad};
    total_ = length + pad;
    return true;
}

void Frame::tunid(uint16_t network_order) {
    header_.tunid = network_order;
    if (network_order != 0) header_.flags |= VSOA_FLAG_TUNNEL;
}

size_t Frame::pieces(size_t offset, Pieces& out) const {
    size_t count = 0;
    for (size_t i = 0; i < kPieces; ++i) {
        // The header's piece is made here, not kept: a copy of the frame must point to its own header.
        iovec piece = i == 0 ? iovec{const_cast<vsoa_header_t*>(&header_), VSOA_HDR_LENGTH} : iov_[i];
        if (offset >= piece.iov_len) {
            offset -= piece.iov_len;
            continue;
        }
        out[count++] = {static_cast<uint8_t*>(piece.iov_base) + offset, piece.iov_len - offset};
        offset = 0;
    }
    return count;
}

void Frame::append_to(std::vector<uint8_t>& out, size_t offset) const {
    Pieces parts;
    const size_t count = pieces(offset, parts);
    for (size_t i = 0; i < count; ++i) {
        const auto* from = static_cast<const uint8_t*>(parts[i].iov_base);
        out.insert(out.end(), from, from + parts[i].iov_len);
    }
}

Packet::Packet(vsoa_header_t* received)
    : header(received),
      type(received->type),
      reply((received->flags & VSOA_FLAG_REPLY) != 0),
      status(received->status),
      seqno(ntohl(received->seqno)) {
    vsoa_parser_get_url(received, &url);
    vsoa_parser_get_payload(received, &payload);
}

uint64_t packet_length(const vsoa_header_t& header, bool with_pad) {
    return uint64_t{VSOA_HDR_LENGTH} + ntohs(header.url_len) + ntohl(header.param_len) + ntohl(header.data_len) +
           (with_pad ? header.flags >> VSOA_PAD_SHIFT : 0);
}

vsoa_header_t* check_datagram(void* bytes, size_t length) {
    auto* header = static_cast<vsoa_header_t*>(bytes);
    if (length < VSOA_HDR_LENGTH || header->magic_ver != kMagicByte) return nullptr;
    return packet_length(*header, false) <= length ? header : nullptr;
}

size_t Receiver::first_size() const { return std::min(kReadChunk, limit_); }

Receiver::Space Receiver::space() {
    const size_t needed = wanted_ > tail_ - head_ ? wanted_ - (tail_ - head_) : 1;
    if (buffer_.size() - tail_ < std::max(needed, kReadChunk / 4)) move_to_front();
    const size_t room = buffer_.size() - tail_;
    if (room < std::min(needed, kReadChunk / 4)) {
        buffer_.resize(std::clamp(2 * buffer_.size(), first_size(), limit_));
    }
    return {buffer_.data() + tail_, buffer_.size() - tail_};
}

void Receiver::move_to_front() {
    if (head_ == 0) return;
    std::memmove(buffer_.data(), buffer_.data() + head_, tail_ - head_);
    tail_ -= head_;
    head_ = 0;
}

Receiver::Next Receiver::next(vsoa_header_t*& packet) {
    wanted_ = VSOA_HDR_LENGTH;
    if (head_ == tail_) {
        head_ = tail_ = 0;
        if (buffer_.size() != first_size()) std::vector<uint8_t>().swap(buffer_);
        return Next::kMore;
    }
    if (buffer_[head_] != kMagicByte) return Next::kBad;
    if (tail_ - head_ < VSOA_HDR_LENGTH) return Next::kMore;
    vsoa_header_t header;
    std::memcpy(&header, buffer_.data() + head_, sizeof header);
    const uint64_t length = packet_length(header, true);
    if (length > limit_) return Next::kBad;
    wanted_ = static_cast<size_t>(length);
    if (tail_ - head_ < wanted_) return Next::kMore;
    uint8_t* at = buffer_.data() + head_;
    head_ += wanted_;
    // A peer may send packets whose length is no multiple of 4; what follows them is not aligned for a header. It moves
    // down over bytes that are done with, and alone, so that many small packets in one buffer cost no more than they
    // are.
    if (const size_t off = static_cast<size_t>(at - buffer_.data()) % alignof(vsoa_header_t); off != 0) {
        std::memmove(at - off, at, wanted_);
        at -= off;
    }
    wanted_ = VSOA_HDR_LENGTH;
    packet = reinterpret_cast<vsoa_header_t*>(at);
    return Next::kPacket;
}

}  // namespace vsoa
