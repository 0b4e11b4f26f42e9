// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/image_source.hpp"

#include <algorithm>
#include <utility>

#include "kernel/base/limits.hpp"

namespace gantry::control {
namespace {

constexpr Duration kDialLimit = seconds(1), kSilence = seconds(3);
constexpr std::uint64_t kWorthIt = 256 << 10;  // bytes still to come; for fewer nobody is dialled

}  // namespace

void ImageSource::read(core::BlobRead read) {
    if (read.image != image_) {
        hang_up();
        image_ = read.image;
    }
    if (neighbour_ != 0) {
        ++under_way_;
        watch();
        return parts_.send(neighbour_, read);
    }
    if (dialling_ || without_.contains(image_)) read.image.clear();  // names of neighbours are not needed
    parts_.send(controller_, read);
}

bool ImageSource::take(host::PeerId from, const core::BlobData& data) {
    if (from == neighbour_) {
        if (under_way_ > 0) --under_way_;
        if (data.error.empty() && data.offset < data.total) return watch(), true;
        leave(data.error.empty() ? "it sent nothing" : data.error);
        return false;
    }
    if (from != controller_) return false;
    const bool lacks = !data.error.empty();  // perhaps a neighbour has it
    if (neighbour_ != 0 || dialling_) return !lacks;
    if (data.near.empty() || without_.contains(image_)) return true;
    if (!lacks && data.total - data.offset < kWorthIt) return true;
    dial(data.near);
    return !lacks;
}

void ImageSource::dial(std::vector<std::string> addresses) {
    dialling_ = true;
    const auto address = addresses.front();
    addresses.erase(addresses.begin());
    parts_.transport.dial(address, kDialLimit,
                          [this, address, rest = std::move(addresses), of = generation_](Result<host::PeerId> peer) {
                              if (of != generation_) {
                                  if (peer) parts_.transport.close(*peer);
                                  return;
                              }
                              if (!peer && !rest.empty()) return dial(rest);
                              dialling_ = false;
                              if (!peer) {
                                  without_.insert(image_);
                                  return parts_.again();
                              }
                              neighbour_ = *peer;
                              address_ = address;
                              parts_.log("image " + image_ + " comes from the node at " + address);
                              parts_.again();
                          });
}

void ImageSource::peer_down(host::PeerId peer) {
    if (!owns(peer)) return;
    neighbour_ = 0;
    leave("its connection broke");
}

void ImageSource::leave(const std::string& why) {
    parts_.log("image " + image_ + " does not come from the node at " + address_ + " any more: " + why);
    without_.insert(image_);
    hang_up();
    parts_.again();
}

void ImageSource::hang_up() {
    ++generation_;
    dialling_ = false;
    under_way_ = 0;
    silence_.cancel();
    if (const auto peer = std::exchange(neighbour_, 0)) parts_.close(peer);
}

void ImageSource::ended(const std::string& image, bool here) {
    if (here) {
        without_.erase(image);
    } else {
        without_.insert(image);
    }
    if (image != image_) return;
    hang_up();
    image_.clear();
}

void ImageSource::watch() {
    silence_.expires_after(kSilence);
    silence_.async_wait([this, of = generation_](boost::system::error_code error) {
        if (error || of != generation_ || under_way_ == 0) return;
        leave("it has been silent for " + std::to_string(kSilence / seconds(1)) + " s");
    });
}

std::pair<core::BlobData, std::string> answer(const BlobStore& blobs, const core::BlobRead& read) {
    std::pair<core::BlobData, std::string> out;
    out.first.digest = read.digest;
    out.first.offset = read.offset;
    const auto total = blobs.size(read.digest);
    if (!total) {
        out.first.error = total.error().text();
        return out;
    }
    out.first.total = *total;
    auto bytes = blobs.read(read.digest, read.offset, std::min<std::size_t>(read.length, limits::kBlobChunk));
    if (bytes) out.second = std::move(*bytes);
    if (!bytes) out.first.error = bytes.error().text();
    return out;
}

}  // namespace gantry::control
