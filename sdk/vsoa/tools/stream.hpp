// One direction of a captured TCP connection: puts its segments in order and cuts it into VSOA packets. What was not
// captured is noted, and the next packet behind it is looked for.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sdk/vsoa/include/vsoa_parser.h"

namespace vsoa::tools {

/// Could these bytes be the beginning of a packet? With fewer than a header's bytes: as far as they go.
bool looks_like_packet(std::string_view bytes);

class StreamDecoder {
  public:
    struct Events {
        /// Whole, aligned, valid until it returns.
        std::function<void(vsoa_header_t* packet)> packet;
        /// Something is missing or no VSOA; bytes: how many.
        std::function<void(const std::string& what, uint64_t bytes)> trouble;
    };

    /// expected: it is known to be VSOA (its port was given), so what is not is trouble.
    StreamDecoder(Events events, bool expected) : events_(std::move(events)), expected_(expected) {}

    /// first: the number of its first byte, behind the SYN. The stream is seen from its beginning.
    void begin(uint32_t first);
    void segment(uint32_t seq, std::string_view bytes);
    /// The receiver has everything before this, so what is missing of it will not come again.
    void acknowledged(uint32_t ack);
    /// Nothing more comes: says what is left over.
    void finish();

    bool is_vsoa() const { return state_ == State::kPackets; }

  private:
    static constexpr size_t kMostAhead = 1024 * 1024;    // bytes behind a gap; above, the gap is given up
    static constexpr size_t kMostSearched = 512 * 1024;  // bytes in which a packet is looked for
    // kUnknown: nothing seen yet. kSearching: for the next packet. kOther: no VSOA, nothing is kept.
    enum class State { kUnknown, kPackets, kSearching, kOther };

    int64_t offset_of(uint32_t seq) const;
    void take_what_fits();
    void give_up_gap();
    void parse();
    bool parse_packet();
    bool search();
    void drop(size_t count, const char* why);
    void skip(size_t count);
    std::string_view rest() const { return std::string_view(buffer_).substr(head_); }
    void become_other();

    const Events events_;
    bool expected_;  // said so, or seen so
    State state_ = State::kUnknown;
    bool placed_ = false, whole_ = false;  // a number is known; it is seen from its beginning
    uint32_t base_ = 0;                    // number of the byte at next_
    int64_t next_ = 0;                     // bytes before this are in buffer_, or done with
    std::string buffer_;
    size_t head_ = 0;  // bytes of buffer_ that are done with
    std::vector<uint32_t> aligned_;
    std::map<int64_t, std::string> ahead_;
    size_t ahead_bytes_ = 0, searched_ = 0;
};

}  // namespace vsoa::tools
