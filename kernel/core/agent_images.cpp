// SPDX-License-Identifier: Apache-2.0
//
// Images: those of the node's copies first, then those the controller wants to be here before they are needed.
#include <algorithm>
#include <utility>

#include "kernel/core/agent_state.hpp"

namespace gantry::core {

namespace {

constexpr std::size_t kAtOnce = 4;
constexpr Duration kFirstRetry = seconds(1), kLastRetry = seconds(10);
constexpr std::uint32_t kPercentStep = 5;  // finer steps would only make reports

}  // namespace

void Agent::State::on(const ImagesListed& input) {
    const auto at = runtimes_.find(input.runtime);
    if (at == runtimes_.end()) return;
    at->second.images_listed = true;
    at->second.images = {input.images.begin(), input.images.end()};
}

void Agent::State::on(const ImageProgress& input) {
    const auto at = fetches_.find(input.digest);
    if (at != fetches_.end() && at->second.active)
        at->second.percent = std::min(input.percent, 100u) / kPercentStep * kPercentStep;
}

void Agent::State::on(const ImageReady& input) {
    const auto at = fetches_.find(input.digest);
    if (at == fetches_.end() || !at->second.active) return;
    Fetch& fetch = at->second;
    fetch.active = false;
    if (input.result) {
        runtimes_[fetch.runtime].images.insert(input.digest);
        if (kept_ && !kept_->contains(input.digest)) kept_.reset();  // it is not wanted any more
        event("image-fetched", facts_.node + " has the image " + input.digest, {{"image", input.digest}});
        fetches_.erase(at);
        return;
    }
    const auto reason = one_line(input.result.error().text(), kReasonMost);
    if (reason != fetch.reason)
        event("image-failed", facts_.node + " has not got the image " + input.digest + ": " + reason,
              {{"image", input.digest}});
    fetch.reason = reason;
    Duration pause = kFirstRetry;
    for (std::uint32_t i = 0; i < fetch.failures && pause < kLastRetry; ++i) pause *= 2;
    ++fetch.failures;
    fetch.retry_at = now_ + std::min(pause, kLastRetry);
}

// True if the fetch is under way.
bool Agent::State::fetch_image(const std::string& digest, const std::string& runtime, bool urgent) {
    if (runtime.empty()) return false;
    const auto& has = runtimes_.at(runtime);
    if (!has.images_listed || has.images.contains(digest)) return false;
    Fetch& fetch = fetches_[digest];
    if (fetch.active) {
        if (urgent && !std::exchange(fetch.urgent, true)) out_.emplace_back(FetchImage{digest, fetch.runtime, true});
        return true;
    }
    if (now_ < fetch.retry_at) {
        wait_until(fetch.retry_at);
        return false;
    }
    fetch.active = true;
    fetch.urgent = urgent;
    fetch.percent = 0;
    fetch.runtime = runtime;
    out_.emplace_back(FetchImage{digest, runtime, urgent});
    return true;
}

void Agent::State::fetch_images() {
    std::map<std::string, std::string> runtime_of_image;
    std::size_t active = 0;
    for (const auto& [digest, fetch] : fetches_) active += fetch.active;
    for (const auto& [id, copy] : copies_) {
        const auto* spec = spec_of(copy);
        if (!spec && !copy.held) ++active;  // its image is not known yet and goes first
        if (!spec || copy.held) continue;
        runtime_of_image.emplace(spec->image_digest, runtime_of(*spec));
        if (copy.current) continue;
        const auto at = fetches_.find(spec->image_digest);
        const bool under_way = at != fetches_.end() && at->second.active;
        if (!under_way && active >= kAtOnce) continue;
        if (fetch_image(spec->image_digest, runtime_of(*spec), true) && !under_way) ++active;
    }
    for (const auto& digest : prepull_) {
        if (active > 0) break;
        const auto at = runtime_of_image.find(digest);
        const std::string usual = facts_.runtimes.empty() ? "" : facts_.runtimes.front().name;
        if (fetch_image(digest, at == runtime_of_image.end() ? usual : at->second, false)) ++active;
    }
    std::erase_if(fetches_, [&](const auto& fetch) {
        const bool wanted = runtime_of_image.contains(fetch.first) ||
                            std::find(prepull_.begin(), prepull_.end(), fetch.first) != prepull_.end();
        return !fetch.second.active && !wanted;
    });
}

// Only with a list that a controller stands behind, and not while something runs whose image is not known.
void Agent::State::keep_images() {
    if (!confirmed_) return;
    for (const auto& [name, runtime] : runtimes_)
        if (!runtime.listed || !runtime.images_listed) return;
    std::set<std::string> keep(prepull_.begin(), prepull_.end());
    for (const auto& [id, copy] : copies_) {
        const auto* spec = spec_of(copy);
        if (!spec) return;
        keep.insert(spec->image_digest);
    }
    if (kept_ == keep) return;
    for (const auto& [key, container] : containers_)
        if (!copies_.contains(key.copy)) return;
    for (auto& [name, runtime] : runtimes_)
        std::erase_if(runtime.images, [&](const auto& digest) { return !keep.contains(digest); });
    out_.emplace_back(KeepImages{{keep.begin(), keep.end()}});
    kept_ = std::move(keep);
}

std::string Agent::State::image_reason(const std::string& digest) const {
    const auto at = fetches_.find(digest);
    if (at == fetches_.end()) return "waits for its image";
    const Fetch& fetch = at->second;
    if (!fetch.active) return fetch.reason.empty() ? "waits for its image" : "image: " + fetch.reason;
    return "image " + std::to_string(fetch.percent) + "%";
}

}  // namespace gantry::core
