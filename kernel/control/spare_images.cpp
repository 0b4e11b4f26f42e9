// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/spare_images.hpp"

#include <algorithm>

namespace gantry::control {

void SpareImages::update(const std::string& runtime, const std::vector<std::string>& here,
                         const std::set<std::string>& needed) {
    std::erase_if(images_, [&](const Image& image) {
        return image.runtime == runtime &&
               (needed.contains(image.digest) || std::ranges::find(here, image.digest) == here.end());
    });
    for (const auto& digest : here) {
        Image image{runtime, digest};
        if (!needed.contains(digest) && std::ranges::find(images_, image) == images_.end())
            images_.push_back(std::move(image));
    }
}

void SpareImages::remove(const Image& image) { std::erase(images_, image); }

void SpareImages::forget(const std::string& digest) {
    std::erase_if(images_, [&](const Image& image) { return image.digest == digest; });
}

std::optional<SpareImages::Image> SpareImages::next(double used_percent) {
    if (used_percent >= high_) pressed_ = true;
    if (used_percent < low_ || images_.empty()) pressed_ = false;
    if (!pressed_) return std::nullopt;
    return images_.front();
}

std::vector<std::string> SpareImages::digests() const {
    std::vector<std::string> out;
    out.reserve(images_.size());
    for (const auto& image : images_) out.push_back(image.digest);
    return out;
}

}  // namespace gantry::control
