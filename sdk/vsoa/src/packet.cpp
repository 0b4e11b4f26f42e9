#include "sdk/vsoa/src/packet.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vsoa {
namespace {

constexpr size_t kReadChunk = 16 * 1024;
constexpr size_t kSmallRest = 2048;  // of a packet: is copied rather than read to where it lies
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

bool Frame::may_wait() const {
    // A tunnel is none: the callback that offered it may stand and wait for the peer to come.
    return header_.type == VSOA_TYPE_RPC && (header_.flags & VSOA_FLAG_TUNNEL) == 0;
}

void Frame::flatten(std::span<uint8_t> room) {
    if (flat_ != nullptr || total_ > room.size()) return;
    uint8_t* to = room.data();
    std::memcpy(to, &header_, VSOA_HDR_LENGTH);
    to += VSOA_HDR_LENGTH;
    for (size_t i = 1; i < kPieces; ++i) {
        if (iov_[i].iov_len == 0) continue;
        std::memcpy(to, iov_[i].iov_base, iov_[i].iov_len);
        to += iov_[i].iov_len;
    }
    flat_ = room.data();
}

size_t Frame::pieces(size_t offset, Pieces& out) const {
    if (flat_ != nullptr) {
        if (offset >= total_) return 0;
        out[0] = {const_cast<uint8_t*>(flat_) + offset, total_ - offset};
        return 1;
    }
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

size_t Frame::copy(size_t offset, std::span<uint8_t> room) const {
    Pieces parts;
    const size_t count = pieces(offset, parts);
    size_t done = 0;
    for (size_t i = 0; i < count && done < room.size(); ++i) {
        const size_t length = std::min(parts[i].iov_len, room.size() - done);
        std::memcpy(room.data() + done, parts[i].iov_base, length);
        done += length;
    }
    return done;
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

Receiver::Space Receiver::space(std::span<uint8_t> scratch) {
    if (lent_) use_own();
    const size_t left = tail_ - head_;
    if (left <= kSmallRest && wanted_ < scratch.size()) {
        if (left > 0) std::memcpy(scratch.data(), base_ + head_, left);
        base_ = scratch.data();
        size_ = scratch.size();
        head_ = 0;
        tail_ = left;
        lent_ = borrows_ = true;
        return {base_ + tail_, size_ - tail_};
    }
    const size_t needed = wanted_ > left ? wanted_ - left : 1;
    if (size_ - tail_ < std::max(needed, kReadChunk / 4)) move_to_front();
    if (size_ - tail_ < std::min(needed, kReadChunk / 4)) {
        own_.resize(std::clamp(2 * own_.size(), first_size(), limit_));
        base_ = own_.data();
        size_ = own_.size();
    }
    return {base_ + tail_, size_ - tail_};
}

/// What is left of the scratch memory moves into the receiver's own.
void Receiver::use_own() {
    const size_t left = tail_ - head_;
    if (own_.size() < left) {
        own_.assign(base_ + head_, base_ + tail_);
    } else if (left > 0) {
        std::memcpy(own_.data(), base_ + head_, left);
    }
    base_ = own_.data();
    size_ = own_.size();
    head_ = 0;
    tail_ = left;
    lent_ = false;
}

void Receiver::move_to_front() {
    if (head_ == 0) return;
    std::memmove(base_, base_ + head_, tail_ - head_);
    tail_ -= head_;
    head_ = 0;
}

bool Receiver::another() const {
    if (tail_ - head_ < VSOA_HDR_LENGTH) return false;
    vsoa_header_t header;
    std::memcpy(&header, base_ + head_, sizeof header);
    return packet_length(header, true) <= tail_ - head_;
}

Receiver::Next Receiver::more() {
    if (lent_) use_own();
    if (head_ != tail_) return Next::kMore;
    head_ = tail_ = 0;
    const size_t kept = borrows_ ? kSmallRest : first_size();
    if (own_.size() > kept || (!borrows_ && own_.size() < kept)) {
        std::vector<uint8_t>().swap(own_);
        base_ = nullptr;
        size_ = 0;
    }
    return Next::kMore;
}

Receiver::Next Receiver::next(vsoa_header_t*& packet) {
    wanted_ = VSOA_HDR_LENGTH;
    if (head_ == tail_) return more();
    if (base_[head_] != kMagicByte) return Next::kBad;
    if (tail_ - head_ < VSOA_HDR_LENGTH) return more();
    vsoa_header_t header;
    std::memcpy(&header, base_ + head_, sizeof header);
    const uint64_t length = packet_length(header, true);
    if (length > limit_) return Next::kBad;
    wanted_ = static_cast<size_t>(length);
    if (tail_ - head_ < wanted_) return more();
    uint8_t* at = base_ + head_;
    head_ += wanted_;
    // A peer may send packets whose length is no multiple of 4; what follows them is not aligned for a header. It moves
    // down over bytes that are done with, and alone, so that many small packets in one buffer cost no more than they
    // are.
    if (const size_t off = static_cast<size_t>(at - base_) % alignof(vsoa_header_t); off != 0) {
        std::memmove(at - off, at, wanted_);
        at -= off;
    }
    wanted_ = VSOA_HDR_LENGTH;
    packet = reinterpret_cast<vsoa_header_t*>(at);
    return Next::kPacket;
}

}  // namespace vsoa
