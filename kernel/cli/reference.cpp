// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/reference.hpp"

#include <algorithm>

#include "kernel/cli/digest.hpp"

namespace gantry::cli {

namespace {

constexpr std::size_t kMaxReference = 512, kMaxTag = 128;

bool is_word(std::string_view text, std::string_view more) {
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || more.find(c) != more.npos;
    });
}

bool is_tag(std::string_view text) {
    return text.size() <= kMaxTag && is_word(text, "_.-+") && text.front() != '.' && text.front() != '-';
}

bool is_path(std::string_view path) {
    while (true) {
        const auto slash = std::min(path.find('/'), path.size());
        const auto step = path.substr(0, slash);
        if (!is_word(step, "_.-") || step.front() == '.' || step.front() == '-') return false;
        if (slash == path.size()) return true;
        path.remove_prefix(slash + 1);
    }
}

}  // namespace

std::string Reference::name() const {
    return (registry.empty() ? "" : registry + "/") + path + (tag.empty() ? "" : ":" + tag) +
           (digest.empty() ? "" : "@" + digest);
}

Outcome<Reference> parse_reference(std::string_view text) {
    const auto wrong = [&](const std::string& why) {
        return trouble(exit_status::kUsage, Code::kInvalid,
                       why + " in \"" + std::string(text.substr(0, kMaxReference)) +
                           "\"; expected NAME:TAG, REGISTRY/NAME:TAG, REGISTRY/NAME@sha256:... or NAME@TAG#SYSTEM");
    };
    if (text.size() > kMaxReference) return wrong("more than 512 bytes");
    Reference out;
    std::string_view rest = text;
    if (const auto hash = rest.rfind('#'); hash != rest.npos) {
        out.system = rest.substr(hash + 1);
        rest = rest.substr(0, hash);
        if (!is_word(out.system, "_-")) return wrong("no name of an operating system after the #");
    }
    if (const auto at = rest.find('@'); at != rest.npos) {
        const auto behind = rest.substr(at + 1);
        rest = rest.substr(0, at);
        if (is_digest(behind)) {
            out.digest = behind;
        } else if (is_tag(behind)) {
            out.tag = behind;
        } else {
            return wrong("neither a digest (sha256: and 64 hexadecimal digits) nor a tag after the @");
        }
    }
    const auto slash = rest.find('/');
    const auto first = rest.substr(0, std::min(slash, rest.size()));
    // As every tool has it: a host has a dot or a port, or is this machine.
    if (slash != rest.npos && (first.find_first_of(".:") != first.npos || first == "localhost")) {
        if (!is_word(first, ".:-[]")) return wrong("no name of a registry");
        out.registry = first;
        rest.remove_prefix(slash + 1);
    }
    if (const auto colon = rest.rfind(':'); colon != rest.npos) {
        if (!out.tag.empty()) return wrong("two tags");
        out.tag = rest.substr(colon + 1);
        rest = rest.substr(0, colon);
        if (!is_tag(out.tag)) return wrong("no tag after the colon");
    }
    if (!is_path(rest)) return wrong("no name of an image");
    out.path = rest;
    if (out.tag.empty() && out.digest.empty()) out.tag = "latest";
    return out;
}

}  // namespace gantry::cli
