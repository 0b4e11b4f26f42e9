// SPDX-License-Identifier: Apache-2.0
#include "kernel/base/limits.hpp"
#include "kernel/core/message_fields.hpp"
#include "kernel/core/sha256.hpp"

namespace gantry::core {

json::value to_json(const CopySpec& spec) {
    return json::object{{"service", spec.service},
                        {"revision", spec.revision},
                        {"image_digest", spec.image_digest},
                        {"image_name", spec.image_name},
                        {"spec", container_part_to_json(spec.spec)},
                        {"secrets", labels_json(spec.secrets)}};
}

Result<CopySpec> parse_copy_spec(const json::value& document) {
    Fields f(&document, "");
    GANTRY_TRY(service, need_text(f, "service"));
    GANTRY_TRY(revision, need_number<std::uint64_t>(f, "revision"));
    GANTRY_TRY(image_digest, need_text(f, "image_digest"));
    GANTRY_TRY(image_name, f.text("image_name", ""));
    const auto* inner = f.member("spec");
    if (!inner) return fail(Code::kInvalid, "is missing, expected an object", "spec");
    GANTRY_TRY(spec, parse_container_part(*inner));
    GANTRY_TRY(secrets, f.text_map("secrets"));
    return CopySpec{std::move(service),    revision,        std::move(image_digest),
                    std::move(image_name), std::move(spec), std::move(secrets)};
}

std::string spec_digest(const CopySpec& spec) { return sha256_digest(to_text(to_json(spec))); }

namespace {

constexpr std::size_t kRoom = limits::kMessage - 1024;  // for the frame and the other members

}  // namespace

std::vector<Names> divide(const Names& names) {
    constexpr std::size_t kAround = 96;  // a copy, a port and punctuation
    std::vector<Names> out(1, Names{names.term, names.names_no, {}});
    std::size_t used = 0;
    for (const auto& entry : names.entries) {
        // At most six bytes of JSON for one of an address; names are checked and need no escapes.
        const std::size_t bytes = entry.name.size() + entry.node.size() + 6 * entry.address.size() + kAround;
        if (used + bytes > kRoom) {
            out.push_back({names.term, names.names_no, {}, static_cast<std::uint32_t>(out.size())});
            used = 0;
        }
        used += bytes;
        out.back().entries.push_back(entry);
    }
    for (auto& part : out) part.parts = static_cast<std::uint32_t>(out.size());
    return out;
}

std::vector<Specs> divide(const Specs& specs) {
    constexpr std::size_t kAround = 80;  // a digest and punctuation
    std::vector<Specs> out;
    std::size_t used = kRoom;
    for (const auto& [digest, spec] : specs.specs) {
        const std::size_t bytes = to_text(to_json(spec)).size() + kAround;
        if (used + bytes > kRoom) {
            out.emplace_back();
            used = 0;
        }
        used += bytes;
        out.back().specs.emplace(digest, spec);
    }
    return out;
}

}  // namespace gantry::core
