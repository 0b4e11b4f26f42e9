#include "sdk/vsoa/tools/stream.hpp"

#include <algorithm>
#include <cstring>

#include "sdk/vsoa/src/packet.hpp"

namespace vsoa::tools {
namespace {

constexpr uint8_t kReservedFlags = 0x38;

bool known_type(uint8_t type) { return type <= VSOA_TYPE_QOSSETUP || type >= VSOA_TYPE_NOOP; }

vsoa_header_t header_of(std::string_view bytes) {
    vsoa_header_t header;
    std::memcpy(&header, bytes.data(), sizeof header);
    return header;
}

uint64_t length_of(std::string_view bytes) { return packet_length(header_of(bytes), true); }

}  // namespace

bool looks_like_packet(std::string_view bytes) {
    if (bytes.empty() || static_cast<uint8_t>(bytes[0]) != kMagicByte) return false;
    if (bytes.size() > 1 && !known_type(static_cast<uint8_t>(bytes[1]))) return false;
    if (bytes.size() > 2 && (bytes[2] & kReservedFlags) != 0) return false;
    if (bytes.size() < VSOA_HDR_LENGTH) return true;
    const vsoa_header_t header = header_of(bytes);
    if (packet_length(header, true) > VSOA_MAX_PACKET_LENGTH) return false;
    return header.url_len == 0 || bytes.size() == VSOA_HDR_LENGTH || bytes[VSOA_HDR_LENGTH] == '/';
}

void StreamDecoder::begin(uint32_t first) {
    if (placed_) return;
    placed_ = whole_ = true;
    base_ = first;
}

int64_t StreamDecoder::offset_of(uint32_t seq) const { return next_ + static_cast<int32_t>(seq - base_); }

void StreamDecoder::segment(uint32_t seq, std::string_view bytes) {
    if (bytes.empty()) return;
    if (!placed_) {
        placed_ = true;
        base_ = seq;
    }
    int64_t at = offset_of(seq);
    if (at < next_) {  // sent again
        const auto known = static_cast<uint64_t>(next_ - at);
        if (known >= bytes.size()) return;
        bytes.remove_prefix(known);
        at = next_;
    }
    if (state_ == State::kOther) return;
    std::string& kept = ahead_[at];
    if (bytes.size() > kept.size()) {
        ahead_bytes_ += bytes.size() - kept.size();
        kept = bytes;
    }
    take_what_fits();
    while (ahead_bytes_ > kMostAhead) give_up_gap();
}

void StreamDecoder::take_what_fits() {
    bool grown = false;
    while (!ahead_.empty() && ahead_.begin()->first <= next_) {
        const auto first = ahead_.begin();
        const auto known = static_cast<uint64_t>(next_ - first->first);
        ahead_bytes_ -= first->second.size();
        if (known < first->second.size()) {
            const std::string_view fresh = std::string_view(first->second).substr(known);
            buffer_ += fresh;
            next_ += static_cast<int64_t>(fresh.size());
            base_ += static_cast<uint32_t>(fresh.size());
            grown = true;
        }
        ahead_.erase(first);
    }
    if (grown) parse();
}

void StreamDecoder::acknowledged(uint32_t ack) {
    if (!placed_ || state_ == State::kOther) return;
    // Only a number before what we hold tells of loss: an acknowledgement may be captured before its segment.
    while (!ahead_.empty() && offset_of(ack) > ahead_.begin()->first) give_up_gap();
}

void StreamDecoder::give_up_gap() {
    if (ahead_.empty()) return;
    const auto missing = static_cast<uint64_t>(ahead_.begin()->first - next_);
    if (expected_ && missing > 0) {
        if (!rest().empty()) drop(rest().size(), "belong to a packet that is not whole");
        events_.trouble("were not captured", missing);
    }
    if (missing > 0) {
        buffer_.clear();
        head_ = 0;
        if (state_ == State::kPackets) state_ = State::kSearching;
        // Of a stream that only began behind a gap nothing is known.
        if (state_ == State::kUnknown) whole_ = false;
        next_ += static_cast<int64_t>(missing);
        base_ += static_cast<uint32_t>(missing);
    }
    take_what_fits();
}

void StreamDecoder::finish() {
    while (!ahead_.empty()) give_up_gap();
    if (!rest().empty() && expected_) drop(rest().size(), "at the end are no whole packet");
    become_other();
}

void StreamDecoder::drop(size_t count, const char* why) {
    events_.trouble(why, count);
    head_ += count;
}

void StreamDecoder::become_other() {
    state_ = State::kOther;
    std::string().swap(buffer_);
    head_ = 0;
    ahead_.clear();
    ahead_bytes_ = 0;
}

void StreamDecoder::parse() {
    if (state_ == State::kUnknown) {
        const bool looks = looks_like_packet(rest());
        if (looks && rest().size() < VSOA_HDR_LENGTH) return;
        if (!looks && whole_ && !expected_) return become_other();
        state_ = looks ? State::kPackets : State::kSearching;
    }
    while (state_ == State::kPackets ? parse_packet() : search()) continue;
    buffer_.erase(0, head_);
    head_ = 0;
}

// False: more bytes are needed.
bool StreamDecoder::parse_packet() {
    const std::string_view bytes = rest();
    if (bytes.empty()) return false;
    if (static_cast<uint8_t>(bytes[0]) != kMagicByte) {
        state_ = State::kSearching;
        return true;
    }
    if (bytes.size() < VSOA_HDR_LENGTH) return false;
    const uint64_t length = length_of(bytes);
    if (length > VSOA_MAX_PACKET_LENGTH) {
        drop(VSOA_HDR_LENGTH, "are a header that announces more than a packet may hold");
        state_ = State::kSearching;
        return true;
    }
    if (bytes.size() < length) return false;
    // From here on what is no VSOA is trouble.
    expected_ = true;
    aligned_.resize((length + 3) / 4);
    std::memcpy(aligned_.data(), bytes.data(), length);
    head_ += length;
    events_.packet(reinterpret_cast<vsoa_header_t*>(aligned_.data()));
    return true;
}

// Looks for a whole packet that nothing, or another packet, follows.
bool StreamDecoder::search() {
    if (state_ != State::kSearching) return false;
    const std::string_view all = rest();
    size_t unfinished = all.size();
    for (size_t at = all.find(static_cast<char>(kMagicByte)); at != all.npos;
         at = all.find(static_cast<char>(kMagicByte), at + 1)) {
        const std::string_view candidate = all.substr(at);
        if (!looks_like_packet(candidate)) continue;
        const uint64_t length = candidate.size() < VSOA_HDR_LENGTH ? UINT64_MAX : length_of(candidate);
        if (length > candidate.size()) {
            unfinished = std::min(unfinished, at);
        } else if (length == candidate.size() || looks_like_packet(candidate.substr(length))) {
            if (at > 0) skip(at);
            state_ = State::kPackets;
            return true;
        }
    }
    // What might still become a packet is kept, but not for ever.
    skip(all.size() - unfinished > kMostSearched ? all.size() : unfinished);
    if (searched_ > kMostSearched && !expected_) become_other();
    return false;
}

void StreamDecoder::skip(size_t count) {
    if (count == 0) return;
    searched_ += count;
    if (expected_) events_.trouble("are no VSOA; the next packet is looked for behind them", count);
    head_ += count;
}

}  // namespace vsoa::tools
