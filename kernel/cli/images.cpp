// SPDX-License-Identifier: Apache-2.0
#include "kernel/base/units.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/digest.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {

Outcome<int> images(const Session& session) {
    GANTRY_TRY(list, session.get("/v1/images"));
    Table table({"NAME", "DIGEST", "PLATFORM", "SIZE"});
    for (const auto& image : items_of(list)) {
        table.add({text_of(image, "name"), short_digest(text_of(image, "digest")),
                   text_of(image, "os") + "/" + text_of(image, "architecture"),
                   format_size(number_of(image, "size_bytes"))});
    }
    session.show(list, table, "no images yet: `gantry image import FILE` brings one");
    return exit_status::kOk;
}

Outcome<int> image_remove(const Session& session, const std::string& reference) {
    GANTRY_TRY(answer, session.change("DELETE", "/v1/images/" + encode(reference)));
    if (session.json()) {
        session.show(answer);
    } else {
        session.say_line("image " + reference + " is removed");
    }
    return exit_status::kOk;
}

}  // namespace gantry::cli
