#include "sdk/vsoa/tools/capture.hpp"

#include <pcap/pcap.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {
namespace {

constexpr int kSnapLength = 262144;
constexpr int kWaitMs = 100;
constexpr int kBufferBytes = 16 * 1024 * 1024;

}  // namespace

void Capture::Close::operator()(pcap* handle) const { pcap_close(handle); }

Capture::Capture(pcap* handle, std::string name, bool live) : pcap_(handle), name_(std::move(name)), live_(live) {
    if (FrameReader::knows(pcap_datalink(handle))) return;
    const char* link = pcap_datalink_val_to_name(pcap_datalink(handle));
    throw Failure(live ? exit_status::kFailed : exit_status::kBadData,
                  clean(name_) +
                      ": expected frames of Ethernet, Linux cooked (any), loopback or raw IP, got link type " +
                      (link != nullptr ? link : std::to_string(pcap_datalink(handle))));
}

Capture Capture::file(const std::string& path) {
    // libpcap says of a missing file what it says of a wrong one.
    if (path != "-" && access(path.c_str(), R_OK) != 0) {
        throw Failure(errno == ENOENT ? exit_status::kNotFound : exit_status::kFailed,
                      "cannot read " + clean(path) + ": " + std::strerror(errno));
    }
    char error[PCAP_ERRBUF_SIZE] = "";
    pcap_t* const handle = pcap_open_offline_with_tstamp_precision(path.c_str(), PCAP_TSTAMP_PRECISION_NANO, error);
    if (handle == nullptr) {
        throw Failure(exit_status::kBadData,
                      "cannot read " + clean(path) +
                          ": expected a capture (pcap or pcapng), got something else: " + clean(error));
    }
    return Capture(handle, path, false);
}

Capture Capture::live(const std::string& interface) {
    char error[PCAP_ERRBUF_SIZE] = "";
    const std::string what = "cannot listen on " + clean(interface) + ": ";
    pcap_t* const handle = pcap_create(interface.c_str(), error);
    if (handle == nullptr) throw Failure(exit_status::kFailed, what + clean(error));
    std::unique_ptr<pcap, Close> owner(handle);
    pcap_set_snaplen(handle, kSnapLength);
    pcap_set_timeout(handle, kWaitMs);
    pcap_set_buffer_size(handle, kBufferBytes);
    pcap_set_immediate_mode(handle, 1);
    pcap_set_tstamp_precision(handle, PCAP_TSTAMP_PRECISION_NANO);
    const int status = pcap_activate(handle);
    if (status == PCAP_ERROR_PERM_DENIED) {
        throw Failure(exit_status::kNoPermission, what + "not allowed; run it as root or give it CAP_NET_RAW");
    }
    if (status == PCAP_ERROR_NO_SUCH_DEVICE) {
        throw Failure(exit_status::kNotFound, what + "no such interface; `ip link` lists them, `any` is all of them");
    }
    if (status < 0) throw Failure(exit_status::kFailed, what + clean(pcap_geterr(handle)));
    if (pcap_setnonblock(handle, 1, error) != 0) throw Failure(exit_status::kFailed, what + clean(error));
    return Capture(owner.release(), interface, true);
}

Capture::Next Capture::next(Seen& out) {
    pcap_pkthdr* header = nullptr;
    const u_char* bytes = nullptr;
    const int got = pcap_next_ex(pcap_.get(), &header, &bytes);
    if (got == 0) return Next::kNothing;
    if (got == PCAP_ERROR_BREAK) return Next::kEnd;
    if (got < 0) {
        const std::string why = clean(pcap_geterr(pcap_.get()));
        throw Failure(
            live_ ? exit_status::kFailed : exit_status::kBadData,
            clean(name_) + (live_ ? ": the capture stopped: " : ": the capture is damaged from here on: ") + why);
    }
    out = {};
    // The precision was asked for, so this is nanoseconds.
    constexpr int64_t kYear2200 = 7'258'118'400;
    if (header->ts.tv_sec >= 0 && header->ts.tv_sec < kYear2200) {
        out.time_ns = header->ts.tv_sec * 1'000'000'000ll + header->ts.tv_usec;
    }
    const std::string_view frame(reinterpret_cast<const char*>(bytes), header->caplen);
    const size_t cut = header->len > header->caplen ? header->len - header->caplen : 0;
    return reader_.read(pcap_datalink(pcap_.get()), frame, cut, out) ? Next::kSeen : Next::kNothing;
}

int64_t Capture::dropped() {
    pcap_stat counts{};
    return live_ && pcap_stats(pcap_.get(), &counts) == 0 ? counts.ps_drop : 0;
}

int Capture::fd() const { return pcap_get_selectable_fd(pcap_.get()); }

}  // namespace vsoa::tools
