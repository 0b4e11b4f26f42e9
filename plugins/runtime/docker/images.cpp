// SPDX-License-Identifier: Apache-2.0
//
// Images: each under the name localhost/gantry-INSTANCE:DIGEST, so that the engine's list is the truth.
#include <algorithm>

#include "plugins/runtime/docker/serve.hpp"
#include "plugins/runtime/image-store/digest.hpp"

namespace docker {

namespace json = boost::json;
using gantry::Code;
using gantry::Failure;
using gantry::Operation;

Task<void> DockerRuntime::run_lane(std::string name) {
    for (Lane& lane = lanes_[name]; !lane.waiting.empty(); lane.waiting.pop_front()) co_await lane.waiting.front()();
    lanes_.erase(name);
}

void DockerRuntime::ensure_image(Operation<> op, gantry::ImageSource source) {
    (void)image_store::Digest::parse(source.image, "image");
    const auto shared = std::make_shared<Operation<>>(std::move(op));
    boost::asio::co_spawn(
        io_,
        [this, shared, source = std::move(source)]() -> Task<void> {
            std::exception_ptr failed;
            try {
                const Time time(host(), shared->deadline(), timeout_);
                std::string prefix = co_await engine_->version(time.request());
                std::string name = reference(source.image);
                loader_->load(std::move(*shared), source, std::move(name), std::move(prefix));
            } catch (...) {
                failed = std::current_exception();
            }
            if (failed) shared->answer([&] { std::rethrow_exception(failed); });
        },
        boost::asio::detached);
}

void DockerRuntime::images(Operation<gantry::ImageList> op) {
    serve<gantry::ImageList>(std::move(op), "", [this](Time time) -> Task<gantry::ImageList> {
        const std::string mine = "localhost/" + repository();
        const std::string filter = json::serialize(json::object{{"reference", {mine}}});
        const Answer answer =
            co_await engine_->ask("GET", "/images/json?filters=" + escaped(filter), "", time.request());
        const json::value listed = answer.expect("images").json("images");
        gantry::ImageList out;
        if (!listed.is_array()) throw Failure(Code::kFailed, "images: the engine's answer is no list");
        for (const json::value& item : listed.as_array()) {
            const json::value* tags = item.is_object() ? item.as_object().if_contains("RepoTags") : nullptr;
            if (tags == nullptr || !tags->is_array()) continue;
            for (const json::value& tag : tags->as_array()) {
                if (!tag.is_string()) continue;
                const std::string_view text(tag.as_string().data(), tag.as_string().size());
                if (text.starts_with(mine + ":"))
                    out.images.push_back("sha256:" + std::string(text.substr(mine.size() + 1)));
            }
        }
        std::ranges::sort(out.images);
        co_return out;
    });
}

Task<bool> DockerRuntime::has_image(std::string image, Time time) {
    (void)image_store::Digest::parse(image, "image");
    const Answer answer = co_await engine_->ask("GET", "/images/" + reference(image) + "/json", "", time.request());
    if (answer.status != 404) answer.expect("image " + image);
    co_return answer.ok();
}

void DockerRuntime::remove_image(Operation<> op, std::string image) {
    (void)image_store::Digest::parse(image, "image");
    serve<void>(std::move(op), "", [this, image](Time time) { return drop_image(image, time); });
}

Task<void> DockerRuntime::drop_image(std::string image, Time time) {
    for (const Inspected& found : co_await all(time)) {
        if (found.image != image) continue;
        throw Failure(Code::kConflict, "image " + image + " is used by container \"" + found.container.name + "\"");
    }
    const Answer answer = co_await engine_->ask("DELETE", "/images/" + reference(image), "", time.request());
    if (answer.status == 409) throw Failure(Code::kConflict, "image " + image + ": " + answer.words());
    if (answer.status != 404) answer.expect("remove image " + image);
}

}  // namespace docker
