// SPDX-License-Identifier: Apache-2.0
//
// What differs between two texts of the configuration, and which of it cannot change while gantryd runs.
#include <toml++/toml.h>
#include <map>
#include <sstream>

#include "kernel/control/config.hpp"

namespace gantry::control {
namespace {

struct Leaf {
    std::string value;
    toml::source_position place{};
};
using Leaves = std::map<std::string, Leaf>;

// Tables count as well: an empty one runs a plugin.
void collect(const toml::table& table, const std::string& path, Leaves& out) {
    for (const auto& [key, node] : table) {
        const std::string name = path.empty() ? std::string(key.str()) : path + "." + std::string(key.str());
        Leaf& leaf = out[name];
        leaf.place = key.source().begin;
        if (const auto* inner = node.as_table()) {
            collect(*inner, name, out);
            continue;
        }
        std::ostringstream text;
        node.visit([&](const auto& value) { text << value; });
        leaf.value = text.str();
    }
}

Leaves leaves_of(const std::string& text, const std::filesystem::path& file) {
    Leaves out;
    collect(toml::parse(text, file.string()), "", out);
    return out;
}

// Why that key stays as it is for as long as gantryd runs; empty if it need not.
std::string_view fixed(std::string_view key, bool gone) {
    if (key == "state_dir") return "identity, containers and images are there";
    if (key == "node" || key == "node.name" || key == "node.boot_id_file") return "the cluster knows the node by it";
    if (key == "controller") return "a controller is made, or ends, with its database";
    if (key == "store" || key.starts_with("store.")) return "the cluster's state is there";
    const bool runtime = key.starts_with("runtime.") && key.find('.', 8) == key.npos;
    if (gone && (runtime || key == "runtime")) return "containers may run under it";
    return {};
}

std::string shown(const Leaves& leaves, const std::string& key) {
    const auto at = leaves.find(key);
    if (at == leaves.end()) return "nothing";
    return at->second.value.empty() ? "a table" : at->second.value;
}

}  // namespace

Result<std::vector<std::string>> changed_keys(const std::string& before, const std::string& after,
                                              const std::filesystem::path& file) {
    const Leaves old = leaves_of(before, file), now = leaves_of(after, file);
    std::vector<std::string> out;
    const auto look = [&](const std::string& key) -> Status {
        out.push_back(key);
        const auto at = now.find(key);
        const std::string_view why = fixed(key, at == now.end());
        if (why.empty()) return {};
        host::SourcePlace place{file.string(), 1, 1};
        if (at != now.end()) place = {file.string(), at->second.place.line, at->second.place.column};
        return fail(Code::kRefused,
                    key + " cannot change while gantryd runs (" + std::string(why) + "): it is " + shown(old, key) +
                        ", the file says " + shown(now, key) + "; put it back, or stop gantryd and start it",
                    place.text());
    };
    for (const auto& [key, leaf] : now) {
        const auto at = old.find(key);
        if (at == old.end() || at->second.value != leaf.value) GANTRY_CHECK(look(key));
    }
    for (const auto& [key, leaf] : old) {
        if (!now.contains(key)) GANTRY_CHECK(look(key));
    }
    return out;
}

}  // namespace gantry::control
