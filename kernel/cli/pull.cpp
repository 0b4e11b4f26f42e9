// SPDX-License-Identifier: Apache-2.0
//
// `gantry image pull`: what a registry has under a name comes into the controller's store, checked like an import.
// Nothing is copied that the store has already.
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "kernel/base/units.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/digest.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/terminal.hpp"
#include "kernel/cli/work_folder.hpp"

namespace gantry::cli {

namespace {

namespace fs = std::filesystem;

constexpr auto kRedraw = milliseconds(200);

#if defined(__aarch64__)
constexpr const char* kOwnArchitecture = "arm64";
#else
constexpr const char* kOwnArchitecture = "amd64";
#endif

struct Manifest {
    std::string text, digest;
    json::value document;
};

class Puller {
  public:
    Puller(const Session& session, const Skopeo& skopeo, const PullOptions& options)
        : session_(session), skopeo_(skopeo), options_(options), live_(STDOUT_FILENO) {}

    Outcome<int> run(Reference image) {
        if (image.registry.empty()) {
            return trouble(
                exit_status::kUsage, Code::kInvalid,
                "\"" + options_.reference +
                    "\" names no registry; expected REGISTRY/NAME:TAG, like "
                    "registry.host/axis_server:1.0 (docker.io/library/busybox:1.36 is the form for Docker Hub)");
        }
        const auto name = options_.name.empty() ? image.name() : options_.name;
        GANTRY_TRY(found, look(image));
        if (member_of(found.document, "manifests")) {
            GANTRY_TRY(chosen, choose(found.document, image));
            image.digest = chosen;
            GANTRY_TRY(inner, look(image));
            found = std::move(inner);
        }
        image.digest = found.digest;
        GANTRY_TRY(there, is_there(name, found.digest));
        if (there) return exit_status::kOk;
        return fetch(image, found, name);
    }

  private:
    Outcome<Manifest> look(const Reference& image) const {
        GANTRY_TRY(text, skopeo_.manifest(image));
        Sha256 sum;
        sum.add(text.data(), text.size());
        Manifest out{text, sum.digest(), nullptr};
        if (!image.digest.empty() && out.digest != image.digest) {
            return trouble(
                exit_status::kBadData, Code::kInvalid,
                "cannot pull " + image.source() + ": the registry answered with " + out.digest + "; do not trust it");
        }
        auto document = parse_json(text, text.size());
        if (!document || !document->is_object()) {
            return trouble(
                exit_status::kBadData, Code::kInvalid,
                "cannot pull " + image.source() + ": what the registry calls its manifest is no JSON object");
        }
        out.document = std::move(*document);
        return out;
    }

    // Of an image for several platforms: the one asked for, else the only one, else this machine's.
    Outcome<std::string> choose(const json::value& index, const Reference& image) const {
        const auto wanted = !options_.platform.empty()
                                ? options_.platform
                                : (image.system.empty() ? "linux" : image.system) + "/" + kOwnArchitecture;
        std::string platforms, only;
        std::size_t count = 0;
        for (const auto& item : items_of(index, "manifests")) {
            const auto* platform = member_of(item, "platform");
            const auto digest = text_of(item, "digest");
            if (!platform || !is_digest(digest)) continue;
            const auto system = text_of(*platform, "os");
            if (system == "unknown" || (!image.system.empty() && system != image.system)) continue;
            const auto has = system + "/" + text_of(*platform, "architecture");
            if (has == wanted) return digest;
            platforms += (platforms.empty() ? "" : ", ") + has;
            only = digest;
            ++count;
        }
        if (count == 1 && options_.platform.empty()) return only;
        return trouble(exit_status::kBadData, Code::kInvalid,
                       "the image " + image.source() + " is not there for " + wanted + ", but for " +
                           (platforms.empty() ? "nothing that is known" : platforms) +
                           "; name one with --platform OS/ARCHITECTURE");
    }

    // The store has all of it, perhaps under another name: then it only gets this one.
    Outcome<bool> is_there(const std::string& name, const std::string& digest) const {
        const auto target = "/v1/images/" + encode(name);
        const auto known = session_.get(target);
        if (!known && known.error().status != exit_status::kNotFound) return std::unexpected(known.error());
        const bool same = known && text_of(*known, "digest") == digest;
        auto answer = same ? known : session_.change("PUT", target, json::object{{"digest", digest}});
        if (!answer) {
            if (answer.error().error.code == Code::kConflict) return false;
            return std::unexpected(answer.error());
        }
        if (options_.quiet) return true;
        if (session_.json()) {
            session_.show(*answer);
        } else {
            session_.say_line("image " + name + (same ? " is up to date (" : " is stored (") + digest + ")");
        }
        return true;
    }

    Outcome<int> fetch(const Reference& image, const Manifest& manifest, const std::string& name) {
        std::int64_t total = 0;
        for (const auto& layer : items_of(manifest.document, "layers")) total += number_of(layer, "size");
        GANTRY_TRY(work, WorkFolder::make());
        const auto received = [&](std::int64_t bytes) {
            if (!session_.live() || Clock::now() - drawn_ < kRedraw) return;
            drawn_ = Clock::now();
            live_.draw({"pulling " + name + ": " + format_size(bytes) + " of " + format_size(total)}, {});
        };
        const auto copied = skopeo_.copy(image, work->path / "blobs", received);
        if (session_.live()) live_.clear();
        if (!copied) return std::unexpected(copied.error());
        GANTRY_CHECK(as_layout(work->path, manifest));
        return image_import(session_, {work->path, name, {}, options_.quiet});
    }

    // What skopeo leaves in "blobs" becomes an OCI layout, so that it is read and checked as every other.
    static Outcome<bool> as_layout(const fs::path& folder, const Manifest& manifest) {
        std::error_code failed;
        fs::rename(folder / "blobs", folder / "sha256", failed);
        if (!failed) fs::create_directory(folder / "blobs", failed);
        if (!failed) fs::rename(folder / "sha256", folder / "blobs/sha256", failed);
        std::ofstream(folder / "blobs/sha256" / manifest.digest.substr(7), std::ios::binary) << manifest.text;
        std::ofstream index(folder / "index.json");
        index << to_text(json::object{
            {"schemaVersion", 2},
            {"manifests", json::array{json::object{{"digest", manifest.digest}, {"size", manifest.text.size()}}}}});
        index.close();
        if (!failed && index) return true;
        return trouble(exit_status::kFailed, Code::kFailed, "cannot write into a temporary folder", folder);
    }

    const Session& session_;
    const Skopeo& skopeo_;
    const PullOptions& options_;
    LiveLines live_;
    Clock::time_point drawn_{};
};

}  // namespace

Outcome<int> image_pull(const Session& session, const PullOptions& options) {
    GANTRY_TRY(image, parse_reference(options.reference));
    GANTRY_TRY(skopeo, Skopeo::with(options.registry));
    return Puller(session, skopeo, options).run(image);
}

Outcome<std::string> image_in_store(const Session& session, const std::string& image, const std::string& policy,
                                    const RegistryOptions& registry) {
    GANTRY_TRY(images, session.get("/v1/images"));
    const auto& all = items_of(images);
    const bool plain = std::any_of(all.begin(), all.end(), [&](const auto& i) { return text_of(i, "name") == image; });
    if (plain && policy != "Always") return image;
    GANTRY_TRY(named, parse_reference(image));
    const auto find = [&]() -> const json::value* {
        for (const auto& item : items_of(images)) {
            const auto name = text_of(item, "name");
            if (name == named.name() || name == image) return &item;
            // Pinned, and not from a registry: any name that has it.
            const bool pinned =
                named.registry.empty() && !named.digest.empty() && text_of(item, "digest") == named.digest;
            if (pinned && (name == named.path || name.starts_with(named.path + ":"))) return &item;
        }
        return nullptr;
    };
    const auto* there = find();
    const bool pull = !named.registry.empty() && policy != "Never" && (!there || policy == "Always");
    if (pull) {
        GANTRY_CHECK(image_pull(session, {image, {}, {}, registry, session.json()}));
        GANTRY_TRY(now, session.get("/v1/images"));
        images = std::move(now);
        there = find();
    }
    if (!there && named.registry.empty() && !named.digest.empty()) {
        return trouble(exit_status::kBadData, Code::kInvalid,
                       "no image of the store is " + image + "; `gantry image ls` lists what there is");
    }
    const auto system = there ? text_of(*there, "os") : named.system;
    if (!named.system.empty() && system != named.system) {
        return trouble(exit_status::kBadData, Code::kInvalid,
                       image + " is an image of " + system + ", expected one of " + named.system);
    }
    if (!there || policy != "Always" || !named.digest.empty()) return there ? text_of(*there, "name") : named.name();
    // By its digest, so that the same manifest is another one once the tag means another image.
    const auto digest = text_of(*there, "digest");
    const auto pinned = named.name() + "@" + digest;
    GANTRY_CHECK(session.change("PUT", "/v1/images/" + encode(pinned), json::object{{"digest", digest}}));
    return pinned;
}

}  // namespace gantry::cli
