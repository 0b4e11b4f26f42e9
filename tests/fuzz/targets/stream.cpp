// A TCP stream cut into packets: by the library's own receiver, with and without shared memory, and by the parser of
// the C interface. However the bytes are divided, all must find the packets that a plain reading of the format finds.
#include <algorithm>
#include <array>
#include <vector>

#include "sdk/vsoa/src/packet.hpp"
#include "tests/fuzz/targets/input.hpp"

namespace {

using fuzz::demand;
using vsoa::Receiver;

struct Packets {
    std::vector<std::span<const uint8_t>> all;
    bool broken = false;
};

/// The format, read as it is written down.
Packets plain(std::span<const uint8_t> bytes, size_t longest) {
    Packets out;
    while (!bytes.empty()) {
        if (bytes[0] != 0x29) out.broken = true;
        if (out.broken || bytes.size() < VSOA_HDR_LENGTH) break;
        const auto field = [&](size_t at, size_t length) {
            uint64_t value = 0;
            for (size_t i = 0; i < length; ++i) value = value << 8 | bytes[at + i];
            return value;
        };
        const uint64_t length = 20 + field(10, 2) + field(12, 4) + field(16, 4) + (bytes[2] >> 6);
        out.broken = length > longest;
        if (out.broken || length > bytes.size()) break;
        out.all.push_back(bytes.first(length));
        bytes = bytes.subspan(length);
    }
    return out;
}

/// Sizes of pieces, the same for the same input.
class Pieces {
  public:
    explicit Pieces(uint8_t how) : state_(how) {}
    size_t next(size_t left) {
        state_ = state_ * 1103515245 + 12345;
        static constexpr size_t kSizes[] = {1, 3, 20, 21, 64, 1500, 5000, 65536};
        return std::min(left, kSizes[state_ >> 16 & 7]);
    }

  private:
    uint32_t state_;
};

class Check {
  public:
    explicit Check(const Packets& expected) : expected_(expected) {}
    void packet(const vsoa_header_t* header) {
        demand(next_ < expected_.all.size(), "no packet that is none is found");
        demand(reinterpret_cast<uintptr_t>(header) % alignof(vsoa_header_t) == 0, "headers are aligned");
        const auto& wanted = expected_.all[next_++];
        demand(std::memcmp(header, wanted.data(), wanted.size()) == 0, "packets stay as they came");
    }
    void end(bool broken) const {
        demand(next_ == expected_.all.size(), "every packet is found");
        demand(broken == expected_.broken, "what is broken ends the stream, and nothing else does");
    }

  private:
    const Packets& expected_;
    size_t next_ = 0;
};

void with_receiver(const fuzz::Input& input, const Packets& expected, size_t longest, std::span<uint8_t> scratch) {
    Receiver receiver;
    receiver.limit(longest);
    Check check(expected);
    Pieces pieces(input.how);
    vsoa_header_t* header = nullptr;
    auto next = Receiver::Next::kMore;
    for (size_t done = 0; done < input.what.size() && next != Receiver::Next::kBad;) {
        const Receiver::Space space = receiver.space(scratch);
        demand(space.room > 0, "there is always room");
        const size_t part = std::min(space.room, pieces.next(input.what.size() - done));
        std::memcpy(space.at, input.what.data() + done, part);
        receiver.commit(part);
        done += part;
        while ((next = receiver.next(header)) == Receiver::Next::kPacket) {
            check.packet(header);
            receiver.another();
        }
        demand(receiver.held() <= 2 * longest, "memory is bounded");
    }
    check.end(next == Receiver::Next::kBad);
}

void with_parser(const fuzz::Input& input, const Packets& expected) {
    static vsoa_recv_t receiver;
    vsoa_parser_init_recv(&receiver);
    Check check(expected);
    Pieces pieces(input.how);
    const auto take = [](void* arg, vsoa_header_t* header) {
        static_cast<Check*>(arg)->packet(header);
        return true;
    };
    bool good = true;
    for (size_t done = 0; done < input.what.size() && good;) {
        const size_t part = pieces.next(input.what.size() - done);
        good = vsoa_parser_input(&receiver, const_cast<uint8_t*>(input.what.data()) + done, part, take, &check);
        done += part;
    }
    check.end(!good);
}

}  // namespace

int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
    static std::array<uint64_t, 8192> scratch;
    static const std::span<uint8_t> shared(reinterpret_cast<uint8_t*>(scratch.data()), sizeof scratch);
    const fuzz::Input input(bytes, size);
    const size_t longest = input.option(7) ? 4096 : VSOA_MAX_PACKET_LENGTH;
    const Packets expected = plain(input.what, longest);
    with_receiver(input, expected, longest, input.option(6) ? shared : std::span<uint8_t>());
    if (longest == VSOA_MAX_PACKET_LENGTH) with_parser(input, expected);
    return 0;
}
