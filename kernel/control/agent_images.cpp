// SPDX-License-Identifier: Apache-2.0
//
// The part of the agent's loop that is about images: blobs from the controller, then the runtime unpacks them; what is
// no longer needed goes when the disk fills.
#include "kernel/control/agent_loop.hpp"
#include "kernel/control/machine.hpp"

namespace gantry::control {
namespace {

constexpr Duration kRemoveLimit = seconds(60);
constexpr Duration kUnpackLimit = seconds(600);
constexpr std::size_t kReaders = 8;                // other nodes that read images here at once
constexpr std::uint64_t kProgressBytes = 8 << 20;  // a smaller image is here before anybody looks

}  // namespace

void AgentLoop::fetch(const core::FetchImage& effect) {
    if (removing_.contains(effect.digest)) {
        parked_.insert_or_assign(effect.digest, effect);
        return;
    }
    spare_.forget(effect.digest);
    const auto [under_way, fresh] = fetching_.try_emplace(effect.digest, effect.urgent);
    if (!fresh) {
        under_way->second = true;
        auto* runtime = parts_.host.runtime(effect.runtime);
        if (images_.hurry(effect.digest) || !runtime) return;
        // It waits to be unpacked. That call answers; this one only makes it urgent.
        return runtime->ensure_image(effect.digest, parts_.blobs.dir().string(), true, kUnpackLimit,
                                     [](const Status&) {});
    }
    images_.fetch(effect.digest, effect.urgent, [this, effect](Result<void> fetched) {
        source_.ended(effect.digest, fetched.has_value());
        if (!fetched) return image_ready(effect, std::move(fetched));
        unpack(effect);
    });
}

// Of a neighbour. As every node that is dialled it also says hello, as if to a controller.
void AgentLoop::blob_came(host::PeerId peer, std::string_view bytes) {
    auto decoded = core::decode_controller(bytes);
    const auto* blob = decoded ? std::get_if<core::BlobData>(&decoded->message) : nullptr;
    if (blob && source_.take(peer, *blob)) images_.data(*blob, std::move(decoded->tail));
}

// True if another node reads of an image here. From its first read on that is no connection of a controller.
bool AgentLoop::serve_blob(host::PeerId peer, std::string_view bytes) {
    const auto decoded = core::decode_agent(bytes);
    const auto* read = decoded ? std::get_if<core::BlobRead>(&decoded->message) : nullptr;
    if (!read) return false;
    if (readers_.size() >= kReaders && !readers_.contains(peer)) return outbox_.close(peer), true;
    if (readers_.insert(peer).second) turn(core::Disconnected{peer});
    auto piece = std::make_shared<std::pair<core::BlobData, std::string>>();
    image_files_.run([this, piece, read = *read] { *piece = answer(parts_.blobs, read); },
                     [this, piece, peer](const Status& ran) {
                         auto& [head, text] = *piece;
                         if (!ran) head.error = ran.error().text();
                         if (readers_.contains(peer))
                             outbox_.send(peer, host::Channel::kBulk, core::encode(head, text));
                     });
    return true;
}

void AgentLoop::unpack(const core::FetchImage& effect) {
    auto* runtime = parts_.host.runtime(effect.runtime);
    if (!runtime) {
        return image_ready(effect, fail(Code::kUnavailable, "runtime " + effect.runtime + " is not running"));
    }
    const bool urgent = fetching_[effect.digest];
    runtime->ensure_image(
        effect.digest, parts_.blobs.dir().string(), urgent, kUnpackLimit, [this, effect](Result<void> ready) {
            const bool doubted = !ready && ready.error().code == Code::kInvalid && !sound_.contains(effect.digest);
            if (!doubted) return image_ready(effect, std::move(ready));
            // A blob may have been damaged since it was checked: without it the next try fetches it again.
            auto dropped = std::make_shared<Result<bool>>(false);
            image_files_.run([this, dropped, digest = effect.digest] { *dropped = parts_.blobs.drop_damaged(digest); },
                             [this, effect, dropped, ready](const Status&) {
                                 if (*dropped && !**dropped) sound_.insert(effect.digest);
                                 if (*dropped && **dropped) {
                                     parts_.log(host::LogLevel::kWarn, "image " + effect.digest +
                                                                           ": blobs that were damaged on this node's "
                                                                           "disk were removed, to be fetched again");
                                 }
                                 image_ready(effect, ready);
                             });
        });
}

void AgentLoop::image_ready(const core::FetchImage& effect, Result<void> ready) {
    fetching_.erase(effect.digest);
    if (ready) quarters_told_.erase(effect.digest);
    turn(core::ImageReady{effect.digest, std::move(ready)});
}

// Four events for an image, however often its transfer is begun again.
void AgentLoop::tell_progress(const std::string& image, std::uint32_t percent, std::uint64_t bytes) {
    if (bytes < kProgressBytes || !welcomed_ || stopping_) return;
    const auto quarter = percent / 25;
    const auto [told, fresh] = quarters_told_.try_emplace(image, quarter);
    if (!fresh && told->second >= quarter) return;
    told->second = quarter;
    percent = quarter * 25;
    say({controller_, core::NodeEvent{{facts_.node_id, facts_.boot_id, facts_.session, 0},
                                      "image-progress",
                                      facts_.node + " has " + std::to_string(percent) + "% of the image " + image,
                                      {{"image", image}, {"percent", percent}}}});
}

void AgentLoop::keep_images(const core::KeepImages& effect) {
    kept_ = {effect.digests.begin(), effect.digests.end()};
    std::erase_if(sound_, [this](const auto& digest) { return !kept_.contains(digest); });
    std::erase_if(quarters_told_, [this](const auto& item) { return !kept_.contains(item.first); });
    auto unanswered = std::make_shared<std::size_t>(parts_.host.runtimes().size());
    auto all = std::make_shared<bool>(true);
    for (const auto& [name, runtime] : parts_.host.runtimes()) {
        runtime->images(kListLimit,
                        [this, runtime_name = name, unanswered, all](Result<std::vector<std::string>> here) {
                            if (here) {
                                auto needed = kept_;
                                for (const auto& [digest, urgent] : fetching_) needed.insert(digest);
                                needed.insert(removing_.begin(), removing_.end());  // still listed, on its way out
                                spare_.update(runtime_name, *here, needed);
                            }
                            *all = *all && here;  // else tried again with the next list
                            if (--*unanswered == 0 && *all) drop_blobs();
                        });
    }
}

// Blobs of images that are neither needed nor spare; then there may be room already.
void AgentLoop::drop_blobs() {
    if (parts_.shares_blobs) return make_room();
    auto wanted = spare_.digests();
    wanted.insert(wanted.end(), kept_.begin(), kept_.end());
    for (const auto& [digest, urgent] : fetching_) wanted.push_back(digest);
    image_files_.run([this, wanted = std::move(wanted)] { parts_.blobs.keep(wanted, std::chrono::seconds(0)); },
                     [this](const Status&) { make_room(); });
}

// One image at a time: how much room it made is seen when it is gone.
void AgentLoop::make_room() {
    if (spare_.empty() || !removing_.empty() || stopping_) return;
    auto used = std::make_shared<double>(0);
    image_files_.run([this, used] { *used = disk_used_percent(parts_.state_dir); },
                     [this, used](const Status&) {
                         const auto image = removing_.empty() ? spare_.next(*used) : std::nullopt;
                         if (image) remove_image(*image);
                     });
}

void AgentLoop::remove_image(const SpareImages::Image& image) {
    spare_.remove(image);
    auto* runtime = parts_.host.runtime(image.runtime);
    if (!runtime) return make_room();
    removing_.insert(image.digest);
    runtime->remove_image(image.digest, kRemoveLimit, [this, digest = image.digest](Result<void> removed) {
        if (!removed) {
            parts_.log(host::LogLevel::kWarn,
                       "image " + digest + " is not needed and was not removed: " + removed.error().text());
        }
        removing_.erase(digest);
        if (auto parked = parked_.extract(digest)) fetch(parked.mapped());
        drop_blobs();
    });
}

}  // namespace gantry::control
