// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/image-store/archive.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <gantry/status.hpp>
#include <set>
#include <sstream>

namespace image_store {
namespace {

namespace json = boost::json;
using gantry::Code;
using gantry::Failure;

constexpr std::size_t kBlock = 512;
constexpr std::size_t kChunk = 1 << 20;

std::string read_blob(const std::filesystem::path& layout_dir, const std::string& digest, const Cancelled& cancelled) {
    const auto parsed = Digest::parse(digest, "config");
    const auto fd = open_verified(blob_path(layout_dir, parsed), parsed, -1, "config", cancelled);
    std::string out;
    std::array<char, 16384> chunk;
    for (ssize_t n = 0; (n = ::read(fd.get(), chunk.data(), chunk.size())) != 0;) {
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) throw Failure(Code::kFailed, std::string("config: cannot read: ") + std::strerror(errno));
        out.append(chunk.data(), static_cast<std::size_t>(n));
    }
    return out;
}

// POSIX ustar, sizes above 8 GiB in base 256 as every reader takes it.
std::string header(const std::string& name, std::uint64_t bytes) {
    std::string out(kBlock, '\0');
    const auto put = [&out](std::size_t at, std::string_view text) {
        std::copy(text.begin(), text.end(), out.begin() + static_cast<std::ptrdiff_t>(at));
    };
    char number[16];
    put(0, name);
    put(100, "0000644");
    put(108, "0000000");
    put(116, "0000000");
    if (bytes < (std::uint64_t{1} << 33)) {
        std::snprintf(number, sizeof number, "%011llo", static_cast<unsigned long long>(bytes));
        put(124, number);
    } else {
        out[124] = static_cast<char>(0x80);
        for (int i = 0; i < 8; ++i) out[static_cast<std::size_t>(135 - i)] = static_cast<char>(bytes >> 8 * i);
    }
    put(136, "00000000000");
    out[156] = '0';
    put(257, std::string_view("ustar\00000", 8));
    put(148, "        ");
    unsigned sum = 0;
    for (const char c : out) sum += static_cast<unsigned char>(c);
    std::snprintf(number, sizeof number, "%06o", sum);
    put(148, std::string_view(number, 7));
    out[155] = ' ';
    return out;
}

std::uint64_t padded(std::uint64_t bytes) { return (bytes + kBlock - 1) / kBlock * kBlock; }

}  // namespace

Archive::Archive(std::filesystem::path layout_dir, const std::string& manifest, const std::string& reference,
                 const Platform& platform, const Cancelled& cancelled)
    : layout_dir_(std::move(layout_dir)),
      image_(read_layout(layout_dir_, Digest::parse(manifest, "image"), cancelled, platform)),
      config_(read_blob(layout_dir_, image_.config_digest, cancelled)),
      cancelled_(cancelled) {
    const auto document = [this](std::string name, std::string text) {
        const std::uint64_t bytes = text.size();
        entries_.push_back({std::move(name), std::move(text), nullptr, bytes});
    };
    const std::string config = id().substr(7) + ".json";
    json::array layers;
    std::set<std::string> written;
    for (const LayerRef& layer : image_.layers) {
        const std::string folder(layer.diff_id.hex());
        layers.emplace_back(folder + "/layer.tar");
        if (!written.insert(folder).second) continue;
        entries_.push_back({folder + "/layer.tar", {}, &layer, static_cast<std::uint64_t>(layer.size)});
        document(folder + "/VERSION", "1.0");
        document(folder + "/json", json::serialize(json::object{{"id", folder}, {"os", platform.system}}));
    }
    const std::size_t colon = reference.rfind(':');
    const std::string top(image_.layers.back().diff_id.hex());
    document(config, config_);
    document("repositories",
             json::serialize(json::object{{reference.substr(0, colon), {{reference.substr(colon + 1), top}}}}));
    document("manifest.json", json::serialize(json::array{json::object{
                                  {"Config", config}, {"RepoTags", {reference}}, {"Layers", std::move(layers)}}}));
    size_ = 2 * kBlock;
    for (const Entry& entry : entries_) size_ += kBlock + padded(entry.bytes);
}

void Archive::write(const std::function<void(std::string_view)>& out) const {
    const std::string zeros(2 * kBlock, '\0');
    std::string chunk(kChunk, '\0');
    for (const Entry& entry : entries_) {
        gantry::Fd fd;
        if (entry.layer != nullptr) {
            fd = open_verified(blob_path(layout_dir_, entry.layer->digest), entry.layer->digest, entry.layer->size,
                               "layer " + entry.layer->digest.text(), cancelled_);
        }
        out(header(entry.name, entry.bytes));
        out(entry.text);
        for (std::uint64_t left = fd ? entry.bytes : 0; left > 0;) {
            if (cancelled_ && cancelled_()) throw Failure(Code::kCancelled, "nobody waits for the image any more");
            const ssize_t n =
                ::read(fd.get(), chunk.data(), static_cast<std::size_t>(std::min<std::uint64_t>(left, kChunk)));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0)
                throw Failure(Code::kFailed, "layer " + entry.layer->digest.text() + ": cannot be read to its end");
            out(std::string_view(chunk).substr(0, static_cast<std::size_t>(n)));
            left -= static_cast<std::uint64_t>(n);
        }
        out(std::string_view(zeros).substr(0, static_cast<std::size_t>(padded(entry.bytes) - entry.bytes)));
    }
    out(zeros);
}

}  // namespace image_store
