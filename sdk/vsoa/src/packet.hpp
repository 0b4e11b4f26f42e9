// Packets inside libvsoa: building one out of the caller's pieces without copying them, and cutting a received stream
// into packets. Layout and limits are those of vsoa_parser.h. Nothing here locks.
#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "sdk/vsoa/include/vsoa_parser.h"

namespace vsoa {

inline constexpr uint8_t kMagicByte = VSOA_VERSION << 4 | VSOA_MAGIC;

constexpr size_t pad_of(size_t length) { return (4 - length % 4) % 4; }

inline bool is_url(std::string_view text) { return text.starts_with('/'); }

/// The text of a url that a program wants to send. Nothing, with errno EINVAL, when it is none.
std::optional<std::string_view> sendable(const vsoa_url_t* url);

/// A packet to send: an own header, and views of the caller's url, param and data, which must outlive it.
class Frame {
  public:
    static constexpr size_t kPieces = 5;
    using Pieces = std::array<iovec, kPieces>;

    explicit Frame(uint8_t type, uint8_t flags = 0, uint8_t status = VSOA_STATUS_SUCCESS, uint32_t seqno = 0);

    /// Adds url and payload, either may be null. False with errno EINVAL (null pointer with a length) or EMSGSIZE (the
    /// packet would be longer than max_packet, or the url than its field).
    bool body(const vsoa_url_t* url, const vsoa_payload_t* payload, size_t max_packet = VSOA_MAX_PACKET_LENGTH);

    /// In host byte order.
    void seqno(uint32_t number) { header_.seqno = htonl(number); }

    /// In network byte order, as everywhere in the C interface; 0 is no tunnel.
    void tunid(uint16_t network_order);

    size_t size() const { return total_; }

    /// An answer that may wait for others of the same batch: nothing but its receiver depends on it.
    bool may_wait() const;

    /// Writes the whole packet into room when it fits; from then on it is one piece there, and room must outlive it.
    /// The header is final: call it last.
    void flatten(std::span<uint8_t> room);
    /// The packet in one piece, null unless flattened.
    const uint8_t* flat() const { return flat_; }

    /// The bytes from offset on, as pieces for sendmsg. Returns how many pieces.
    size_t pieces(size_t offset, Pieces& out) const;

    /// Copies bytes from offset on, as many as fit. Returns how many.
    size_t copy(size_t offset, std::span<uint8_t> room) const;

    /// Appends the bytes from offset on to out.
    void append_to(std::vector<uint8_t>& out, size_t offset = 0) const;

  private:
    vsoa_header_t header_;
    Pieces iov_;
    const uint8_t* flat_ = nullptr;
    size_t total_ = VSOA_HDR_LENGTH;
};

/// A received packet, decoded. Points into the packet's bytes; pointers are never null.
struct Packet {
    vsoa_header_t* header;
    uint8_t type;
    bool reply;
    uint8_t status;
    uint32_t seqno;
    vsoa_url_t url;
    vsoa_payload_t payload;

    explicit Packet(vsoa_header_t* received);
    std::string_view url_text() const { return {url.url, url.url_len}; }
    std::string_view param_text() const { return {payload.param, payload.param_len}; }
};

/// Length of the packet that starts with this header, with or without pad. 64 bits wide: the fields of a hostile header
/// add up to more than 32.
uint64_t packet_length(const vsoa_header_t& header, bool with_pad);

/// The header of a datagram that holds one whole packet, else null. bytes must be aligned for a header.
vsoa_header_t* check_datagram(void* bytes, size_t length);

/// Read side of a TCP connection: `space`, read into it, `commit`, then `next` until it says more. Its memory follows
/// what has arrived, not what a header announces, and is given back when nothing is left.
class Receiver {
  public:
    enum class Next { kPacket, kMore, kBad };

    struct Space {
        uint8_t* at;
        size_t room;
    };

    /// No packet may be longer; VSOA_MAX_PACKET_LENGTH until told otherwise. Is only ever raised.
    void limit(size_t longest) { limit_ = longest; }

    /// Where the next bytes of the stream go; room is never 0. Invalidates packets handed out before.
    /// scratch: memory that many receivers may share, aligned for a header; it is used, where it helps, until `next`
    /// says more.
    Space space(std::span<uint8_t> scratch = {});
    void commit(size_t length) { tail_ += length; }
    /// Nothing was read: the scratch memory is free again.
    void give_back() {
        if (lent_) use_own();
    }

    /// The next whole packet, valid until `next` or `space` is called. kBad: not VSOA or too long; the stream cannot go
    /// on.
    Next next(vsoa_header_t*& packet);
    /// Whether a whole packet waits for `next`.
    bool another() const;

    bool empty() const { return head_ == tail_; }
    /// Bytes of own memory.
    size_t held() const { return own_.capacity(); }

  private:
    size_t first_size() const;
    Next more();
    void use_own();
    void move_to_front();

    std::vector<uint8_t> own_;
    uint8_t* base_ = nullptr;  // of own_ or, when lent_, of scratch
    size_t size_ = 0;
    size_t head_ = 0, tail_ = 0;
    size_t wanted_ = VSOA_HDR_LENGTH;  // bytes the unfinished packet needs in all
    size_t limit_ = VSOA_MAX_PACKET_LENGTH;
    bool lent_ = false, borrows_ = false;
};

}  // namespace vsoa
