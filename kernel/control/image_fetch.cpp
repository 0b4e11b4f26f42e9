// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/image_fetch.hpp"

#include <algorithm>
#include <memory>

#include "kernel/base/limits.hpp"

namespace gantry::control {
namespace {

constexpr std::uint64_t kWindow = 4 * limits::kBlobChunk;  // bytes asked for and not yet arrived

}  // namespace

void ImageFetch::fetch(const std::string& image, bool urgent, host::Done<void> done) {
    auto at = jobs_.end();
    if (urgent) at = std::ranges::find(jobs_, false, &Job::urgent);
    const bool instead = running_ && at == jobs_.begin();
    jobs_.insert(at, {image, urgent, std::move(done)});
    if (instead) {
        blob_.reset();  // what has come is in its file
        running_ = false;
    }
    next_job();
}

bool ImageFetch::hurry(const std::string& image) {
    const auto at = std::ranges::find(jobs_, image, &Job::image);
    if (at == jobs_.end()) return false;
    if (at->urgent || (running_ && at == jobs_.begin())) return at->urgent = true;
    Job job = std::move(*at);
    jobs_.erase(at);
    fetch(job.image, true, std::move(job.done));
    return true;
}

void ImageFetch::connected(bool yes) {
    connected_ = yes;
    if (!blob_) return;
    blob_->pieces.clear();
    blob_->asked = blob_->written;
    ask();
}

void ImageFetch::next_job() {
    if (running_ || jobs_.empty()) return;
    running_ = true;
    image_bytes_ = image_done_ = 0;
    next_blob();
}

// Looks what is missing after every blob: only the manifest tells about the rest.
void ImageFetch::next_blob() {
    struct Look {
        Result<std::vector<std::string>> missing = std::vector<std::string>{};
        std::uint64_t partial = 0, bytes = 0, here = 0;
    };
    auto look = std::make_shared<Look>();
    const std::string image = jobs_.front().image;
    files_.run(
        [this, look, image] {
            look->missing = blobs_.missing(image);
            if (!look->missing) return;
            if (!look->missing->empty()) look->partial = blobs_.partial_size(look->missing->front());
            const auto contents = blobs_.contents(image);
            for (const auto& ref : contents ? *contents : std::vector<BlobRef>{}) {
                look->bytes += ref.size;
                look->here += blobs_.has(ref.digest) ? ref.size : blobs_.partial_size(ref.digest);
            }
        },
        [this, look, generation = ++generation_](const Status& ran) {
            if (generation != generation_) return;
            if (!ran) return finish(ran);
            if (!look->missing) return finish(std::unexpected(look->missing.error()));
            if (look->missing->empty()) return finish({});
            image_bytes_ = look->bytes;
            image_done_ = look->here;
            blob_ = Blob{look->missing->front(), look->partial, look->partial};
            ask();
        });
}

void ImageFetch::ask() {
    if (!connected_ || blob_->busy) return;
    const bool first = !blob_->total;
    while (blob_->asked - blob_->written < kWindow && (first || blob_->asked < *blob_->total)) {
        read_({{}, blob_->digest, blob_->asked, static_cast<std::uint32_t>(limits::kBlobChunk), jobs_.front().image});
        blob_->asked += limits::kBlobChunk;
        if (first) return;
    }
}

void ImageFetch::data(const core::BlobData& data, std::string bytes) {
    if (!blob_ || data.digest != blob_->digest) return;
    if (!data.error.empty()) return finish(fail(Code::kUnavailable, "the controller: " + data.error));
    if (bytes.empty() && data.offset < data.total) {
        return finish(fail(Code::kUnavailable, "the controller sent nothing of blob " + data.digest + " at " +
                                                   std::to_string(data.offset) + " of " + std::to_string(data.total)));
    }
    blob_->total = data.total;
    if (!bytes.empty() && data.offset >= blob_->written) blob_->pieces[data.offset] = std::move(bytes);
    write();
}

void ImageFetch::write() {
    if (blob_->busy) return;
    std::string text;
    const auto from = blob_->written;
    std::erase_if(blob_->pieces, [from](const auto& piece) { return piece.first < from; });  // came twice
    while (!blob_->pieces.empty() && blob_->pieces.begin()->first == from + text.size()) {
        text += blob_->pieces.extract(blob_->pieces.begin()).mapped();
    }
    if (text.empty()) {
        if (blob_->total && blob_->written >= *blob_->total) check();
        return;
    }
    blob_->busy = true;
    auto result = std::make_shared<Status>();
    const auto size = text.size();
    files_.run([this, result, digest = blob_->digest, from,
                text = std::move(text)] { *result = blobs_.append(digest, from, text); },
               [this, result, size, generation = generation_](const Status& ran) {
                   if (!ran) *result = ran;
                   if (!blob_ || generation != generation_) return;
                   blob_->busy = false;
                   if (!*result) return finish(*result);
                   blob_->written += size;
                   image_done_ += size;
                   blob_->asked = std::max(blob_->asked, blob_->written);
                   report();
                   ask();
                   write();
               });
}

void ImageFetch::check() {
    blob_->busy = true;
    auto result = std::make_shared<Status>();
    files_.run([this, result, digest = blob_->digest] { *result = blobs_.finish(digest); },
               [this, result, generation = generation_](const Status& ran) {
                   if (!ran) *result = ran;
                   if (!blob_ || generation != generation_) return;
                   blob_.reset();
                   if (!*result) return finish(*result);
                   next_blob();
               });
}

void ImageFetch::report() {
    if (image_bytes_ == 0) return;
    progress_(jobs_.front().image,
              static_cast<std::uint32_t>(std::min<std::uint64_t>(99, image_done_ * 100 / image_bytes_)), image_bytes_);
}

void ImageFetch::finish(Status result) {
    blob_.reset();
    ++generation_;
    auto job = std::move(jobs_.front());
    jobs_.pop_front();
    running_ = false;
    job.done(std::move(result));
    next_job();
}

}  // namespace gantry::control
