// SPDX-License-Identifier: Apache-2.0
//
// `gantry upgrade`: services follow their image. "Larger": to the largest version that the registry or the store has;
// "Always": to what the tag means now. Made to be run by a timer.
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/semantic_version.hpp"

namespace gantry::cli {

namespace {

class Upgrade {
  public:
    Upgrade(const Session& session, const UpgradeOptions& options, const Skopeo& skopeo)
        : session_(session), options_(options), skopeo_(skopeo) {}

    // The image of a service that is to be deployed instead; nothing where it stays.
    Outcome<std::optional<std::string>> next(const std::string& image, const std::string& digest) {
        GANTRY_TRY(named, parse_reference(image));
        if (named.tag.empty()) return std::optional<std::string>();  // pinned by digest alone: it means one image
        if (options_.policy == "Always") {
            named.digest.clear();
            GANTRY_TRY(now, meaning(named));
            if (now == digest) return std::optional<std::string>();
            if (options_.dry_run) return std::optional(named.name());
            return in_store(named.name(), "Always");
        }
        GANTRY_TRY(tags, tags_of(named));
        const auto larger = larger_version(named.tag, tags);
        if (!larger) return std::optional<std::string>();
        Reference wanted = named;
        wanted.tag = *larger;
        wanted.digest.clear();
        if (options_.dry_run) return std::optional(wanted.name());
        return in_store(wanted.name(), "IfNotPresent");
    }

  private:
    Outcome<std::optional<std::string>> in_store(const std::string& name, const std::string& policy) {
        GANTRY_TRY(there, image_in_store(session_, name, policy, options_.registry));
        return std::optional(there);
    }

    // The digest that a tag means now: of a registry's image after it was pulled, where that is wanted.
    Outcome<std::string> meaning(const Reference& image) {
        if (!image.registry.empty() && !options_.dry_run) {
            GANTRY_CHECK(image_pull(session_, {image.name(), {}, {}, options_.registry, true}));
        }
        GANTRY_TRY(stored, session_.get("/v1/images/" + encode(image.name())));
        return text_of(stored, "digest");
    }

    Outcome<std::vector<std::string>> tags_of(const Reference& image) {
        std::vector<std::string> out;
        if (!image.registry.empty()) {
            GANTRY_TRY(tags, skopeo_.tags(image));
            out = std::move(tags);
        }
        GANTRY_TRY(images, session_.get("/v1/images"));
        const auto front = (image.registry.empty() ? "" : image.registry + "/") + image.path + ":";
        for (const auto& item : items_of(images)) {
            const auto name = text_of(item, "name");
            if (name.starts_with(front) && name.find('@') == name.npos) out.push_back(name.substr(front.size()));
        }
        return out;
    }

    const Session& session_;
    const UpgradeOptions& options_;
    const Skopeo& skopeo_;
};

// True: it was changed.
Outcome<bool> upgrade_one(const Session& session, const UpgradeOptions& options, Upgrade& upgrade,
                          const std::string& name) {
    const auto target = "/v1/services/" + encode(name);
    GANTRY_TRY(service, session.get(target));
    const auto image = text_of(service, "image");
    GANTRY_TRY(next, upgrade.next(image, text_of(service, "image_digest")));
    if (!next || *next == image) {
        if (!session.json()) session.say_line(name + ": " + image + " stays");
        return false;
    }
    if (options.dry_run) {
        session.say_line(name + ": " + image + " would become " + *next);
        return false;
    }
    auto* document = service.as_object().if_contains("document");
    auto* table = document && document->is_object() ? document->as_object().if_contains("service") : nullptr;
    if (!table || !table->is_object()) {
        return trouble(exit_status::kFailed, Code::kFailed, "gantryd does not tell the manifest of service " + name);
    }
    table->as_object()["image"] = *next;
    GANTRY_TRY(answer, session.change("PUT", target, *document));
    if (session.json()) {
        session.show(answer);
    } else {
        session.say_line(name + ": " + image + " becomes " + *next + ", revision " + text_of(answer, "revision") +
                         (flag_of(service, "stopped") ? "; it stays stopped: gantry start " + name : ""));
    }
    return true;
}

}  // namespace

Outcome<int> upgrade(const Session& session, const UpgradeOptions& options) {
    GANTRY_TRY(skopeo, Skopeo::with(options.registry));
    auto names = options.services;
    if (names.empty()) {
        GANTRY_TRY(services, session.get("/v1/services"));
        for (const auto& service : items_of(services)) names.push_back(text_of(service, "name"));
    }
    Upgrade upgrade(session, options, skopeo);
    std::size_t failed = 0;
    // One that cannot be upgraded keeps no other from it.
    std::optional<Trouble> first;
    for (const auto& name : names) {
        auto done = upgrade_one(session, options, upgrade, name);
        if (done) continue;
        ++failed;
        if (done.error().status == exit_status::kInterrupted) return std::unexpected(done.error());
        if (names.size() > 1) session.note(name + ": " + done.error().error.text());
        if (!first) first = done.error();
    }
    if (!first) return exit_status::kOk;
    if (names.size() == 1) return std::unexpected(*first);
    return trouble(exit_status::kFailed, first->error.code,
                   std::to_string(failed) + " of " + std::to_string(names.size()) + " services could not be upgraded");
}

}  // namespace gantry::cli
