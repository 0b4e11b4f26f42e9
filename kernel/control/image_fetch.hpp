// SPDX-License-Identifier: Apache-2.0
//
// ImageFetch: brings images to this node, blob by blob, resumable, checked against their digests.
// A few reads are under way at once, so a slow link is used but heartbeats still pass. One image at a time; what a copy
// waits for goes before what is only to be ready, which stops where it is and goes on later.
//
// Threads: the loop; files are written and digests computed on `files`, a lane of one thread.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>

#include "kernel/control/blobs.hpp"
#include "kernel/control/lane.hpp"
#include "kernel/core/messages.hpp"
#include "kernel/host/roles.hpp"

namespace gantry::control {

class ImageFetch {
  public:
    using Read = std::function<void(const core::BlobRead&)>;  // asks whoever has it; the answer comes by data()
    using Progress = std::function<void(const std::string& image, std::uint32_t percent, std::uint64_t bytes)>;

    ImageFetch(Lane& files, BlobStore& blobs, Read read, Progress progress)
        : files_(files), blobs_(blobs), read_(std::move(read)), progress_(std::move(progress)) {}

    // Makes every blob of `image` (a manifest's digest) present.
    void fetch(const std::string& image, bool urgent, host::Done<void> done);
    // A copy waits for it now. False if it is not being fetched (any more).
    bool hurry(const std::string& image);
    // What was asked for on an earlier connection will not come.
    void connected(bool yes);
    void again() { connected(connected_); }  // nor what was asked of somebody else
    void data(const core::BlobData& data, std::string bytes);

  private:
    struct Job {
        std::string image;
        bool urgent;
        host::Done<void> done;
    };
    struct Blob {
        std::string digest;
        std::uint64_t written = 0, asked = 0;
        std::optional<std::uint64_t> total{};           // the first answer tells
        bool busy = false;                              // the lane writes or checks
        std::map<std::uint64_t, std::string> pieces{};  // arrived, by offset
    };

    void next_job();
    void next_blob();
    void ask();
    void write();
    void check();
    void finish(Status result);
    void report();

    Lane& files_;
    BlobStore& blobs_;
    Read read_;
    Progress progress_;
    std::deque<Job> jobs_;  // urgent ones first; the first of all is under way if running_
    bool running_ = false, connected_ = false;
    std::optional<Blob> blob_;
    std::uint64_t image_bytes_ = 0, image_done_ = 0;
    std::uint64_t generation_ = 0;  // of what is under way: late answers of the lane are known by it
};

}  // namespace gantry::control
