// What was on a network: TCP segments and UDP datagrams out of a capture file (pcap, pcapng) or a live interface, by
// libpcap. Fragments of IP are put together.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

struct pcap;

namespace vsoa::tools {

struct Host {
    bool v6 = false;
    std::array<uint8_t, 16> ip{};
    uint16_t port = 0;

    auto operator<=>(const Host&) const = default;
    std::string text() const;
};

struct Seen {
    int64_t time_ns = 0;
    Host from, to;
    bool tcp = false;
    std::string_view bytes;  // the payload as far as it was captured; valid until the next one
    size_t cut = 0;          // bytes of it that were not captured
    uint32_t seq = 0, ack = 0;
    bool syn = false, fin = false, rst = false, has_ack = false;
};

/// Puts IP datagrams together. Bounded: the oldest unfinished one is forgotten.
class Fragments {
  public:
    using Key = std::tuple<bool, std::array<uint8_t, 16>, std::array<uint8_t, 16>, uint32_t, uint8_t>;

    /// offset in bytes. True: the datagram is whole and in out.
    bool add(const Key& key, size_t offset, bool last, std::string_view bytes, std::string& out);

  private:
    static constexpr size_t kMost = 64, kLongest = 65535;

    struct Unfinished {
        uint64_t number = 0;
        std::map<size_t, std::string> pieces;
        size_t length = 0;  // 0: the last piece is missing
    };

    std::map<Key, Unfinished> unfinished_;
    uint64_t number_ = 0;
};

/// Reads one link-layer frame. Whatever it holds, it is safe.
class FrameReader {
  public:
    /// link: a DLT_ number.
    static bool knows(int link);
    /// False: no TCP or UDP, or an unfinished fragment. cut: bytes of the frame that were not captured.
    bool read(int link, std::string_view frame, size_t cut, Seen& out);

  private:
    bool ip(std::string_view packet, size_t cut, Seen& out);
    bool ip4(std::string_view packet, size_t cut, Seen& out);
    bool ip6(std::string_view packet, size_t cut, Seen& out);
    bool transport(uint8_t protocol, std::string_view packet, size_t cut, Seen& out);

    Fragments fragments_;
    std::string whole_;
};

class Capture {
  public:
    /// "-": standard input. Throws Failure.
    static Capture file(const std::string& path);
    /// Throws Failure; CAP_NET_RAW is needed.
    static Capture live(const std::string& interface);

    enum class Next { kSeen, kNothing, kEnd };
    /// kNothing: of no interest, or nothing came in the last moments of a live capture. Throws Failure (bad data) where
    /// a file is damaged.
    Next next(Seen& out);
    /// Packets that the kernel dropped; 0 for a file.
    int64_t dropped();
    /// Readable when a live capture has something.
    int fd() const;

  private:
    struct Close {
        void operator()(pcap* handle) const;
    };
    explicit Capture(pcap* handle, std::string name, bool live);

    std::unique_ptr<pcap, Close> pcap_;
    std::string name_;
    bool live_;
    FrameReader reader_;
};

}  // namespace vsoa::tools
