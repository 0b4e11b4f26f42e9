// SPDX-License-Identifier: Apache-2.0
//
// SpareImages: the images that are on this node and that it needs no more. They stay for as long as there is room, so
// that a rollback, or a service that comes back, moves no bytes. Once the disk is filled to the high watermark they go,
// those first that are not needed for the longest time, until it is below the low one.
//
// Pure: it is told what there is and how full the disk is.
// Threads: one.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

namespace gantry::control {

class SpareImages {
  public:
    struct Image {
        std::string runtime, digest;  // of its manifest
        auto operator<=>(const Image&) const = default;
    };

    // Percent of the disk, 0 to 100, low at most high. With 0 and 0 an image goes as soon as it is not needed.
    SpareImages(unsigned high, unsigned low) : high_(high), low_(low) {}

    // What `runtime` has, and which of it may not go.
    void update(const std::string& runtime, const std::vector<std::string>& here, const std::set<std::string>& needed);
    void remove(const Image& image);
    void forget(const std::string& digest);  // in every runtime
    // The one that goes now.
    std::optional<Image> next(double used_percent);

    bool empty() const { return images_.empty(); }
    std::vector<std::string> digests() const;

  private:
    const unsigned high_, low_;
    bool pressed_ = false;       // from the high watermark down to the low one
    std::vector<Image> images_;  // not needed for the longest time first
};

}  // namespace gantry::control
