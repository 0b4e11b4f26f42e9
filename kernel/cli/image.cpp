// SPDX-License-Identifier: Apache-2.0
//
// `gantry image import`: everything is checked before the first byte is uploaded.
#include <unistd.h>

#include <algorithm>
#include <set>

#include "kernel/base/units.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/digest.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/layer_check.hpp"
#include "kernel/cli/layout.hpp"

namespace gantry::cli {

namespace {

constexpr auto kRedraw = milliseconds(100);

bool has_tag(std::string_view name) {
    const auto slash = name.rfind('/');
    return name.find(':', slash == std::string_view::npos ? 0 : slash) != std::string_view::npos;
}

// The name under which an image is stored: --name, or what the layout says, where that is a whole name.
Outcome<std::string> reference_of(const LayoutImage& image, const ImportOptions& options, std::size_t images) {
    const auto ask = [&](const std::string& why) {
        return trouble(exit_status::kUsage, Code::kInvalid, why + "; name it with --name NAME:TAG", options.path);
    };
    if (!options.name.empty()) {
        if (!has_tag(options.name)) {
            const bool tag = !image.name.empty() && !has_tag(image.name) && image.name.find('/') == std::string::npos;
            if (tag) return options.name + ":" + image.name;
            return ask("expected a name with a tag, got \"" + options.name + "\"");
        }
        if (images == 1) return options.name;
        return trouble(
            exit_status::kUsage, Code::kInvalid,
            "the layout has " + std::to_string(images) +
                " images, so --name NAME:TAG cannot name them all; give --name NAME, and their own tags are used",
            options.path);
    }
    if (image.name.empty()) return ask("the image has no name in its archive");
    if (!has_tag(image.name)) {
        return ask("the layout names the image \"" + image.name +
                   "\", a bare tag; expected a whole name like \"axis_server:1.0\"");
    }
    return image.name;
}

struct Named {
    std::string reference;
    const LayoutImage* image;
};

Outcome<std::vector<Named>> name_all(const std::vector<LayoutImage>& images, const ImportOptions& options) {
    std::vector<Named> out;
    std::set<std::string> taken;
    for (const auto& image : images) {
        GANTRY_TRY(reference, reference_of(image, options, images.size()));
        if (!taken.insert(reference).second) {
            return trouble(exit_status::kBadData, Code::kInvalid, "two images would have the name " + reference,
                           options.path);
        }
        out.push_back({reference, &image});
    }
    return out;
}

class Importer {
  public:
    Importer(const Session& session, bool quiet) : session_(session), quiet_(quiet), live_(STDOUT_FILENO) {}

    Outcome<bool> check(const LayoutImage& image) {
        for (const auto& part : image.parts) {
            if (!part.is_layer || !checked_.insert(part.digest).second) continue;
            if (session_.live()) live_.draw({"checking layer " + short_digest(part.digest)}, {});
            GANTRY_CHECK(check_layer(part));
        }
        return true;
    }

    Outcome<bool> upload(const LayoutImage& image) {
        for (const auto& part : image.parts) {
            if (!uploaded_.insert(part.digest).second) continue;
            GANTRY_TRY(there, upload(part));
            if (session_.json() || session_.live() || quiet_) continue;
            session_.say_line(short_digest(part.digest) + " " + format_size(part.blob.size()) +
                              (there ? " is there already" : " uploaded"));
        }
        return true;
    }

    void end() {
        if (session_.live()) live_.clear();
    }

  private:
    // True: gantryd had it.
    Outcome<bool> upload(const ImagePart& part) {
        const auto show = [&](std::int64_t sent) {
            if (!session_.live() || (sent < part.blob.size() && Clock::now() - drawn_ < kRedraw)) return;
            drawn_ = Clock::now();
            live_.draw({"uploading " + short_digest(part.digest) + ": " + format_size(sent) + " of " +
                        format_size(part.blob.size())},
                       {});
        };
        GANTRY_TRY(
            answer,
            session_.client().upload(
                "/v1/blobs/" + encode(part.digest), part.blob.size(),
                [&](std::int64_t at, char* into, std::size_t size) { return part.blob.read(at, into, size); }, show));
        if (answer.code < 400) return false;
        auto refused = refusal(answer);
        if (refused.error.code == Code::kExists) return true;
        refused.error.message = "cannot store blob " + part.digest + ": " + refused.error.message;
        return std::unexpected(std::move(refused));
    }

    const Session& session_;
    const bool quiet_;
    LiveLines live_;
    Clock::time_point drawn_{};
    std::set<std::string> checked_, uploaded_;
};

}  // namespace

Outcome<int> image_import(const Session& session, const ImportOptions& options) {
    GANTRY_TRY(layout, Layout::open(options.path));
    GANTRY_TRY(images, images_of(layout, options.platform));
    GANTRY_TRY(named, name_all(images, options));
    Importer importer(session, options.quiet);
    const auto run = [&]() -> Outcome<int> {
        for (const auto& image : images) {
            GANTRY_CHECK(importer.check(image));
            for (const auto& warning : image.warnings) session.note("warning: " + warning);
        }
        for (const auto& [reference, image] : named) {
            GANTRY_CHECK(importer.upload(*image));
            GANTRY_TRY(answer, session.change("PUT", "/v1/images/" + encode(reference),
                                              json::object{{"digest", image->digest}}));
            importer.end();
            if (options.quiet) continue;
            if (session.json()) {
                session.show(answer);
            } else {
                session.say_line("image " + reference + " is stored (" + image->digest + ")");
            }
        }
        return exit_status::kOk;
    };
    auto result = run();
    if (!result) importer.end();
    return result;
}

}  // namespace gantry::cli
