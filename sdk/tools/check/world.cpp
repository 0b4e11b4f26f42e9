// SPDX-License-Identifier: Apache-2.0
#include <toml++/toml.h>
#include <algorithm>
#include <array>

#include "sdk/tools/check/check.hpp"
#include "sdk/tools/suggestion.hpp"
#include "sdk/tools/trouble.hpp"

namespace gantry::check {
namespace {

// What roles may be told of their surroundings; docs/plugins/check.md says what each is for.
constexpr std::array kKnown{"probe.healthy",        "probe.params",    "probe.tree",     "directory.lookup",
                            "runtime.layout",       "runtime.image",   "runtime.sleeps", "runtime.exits",
                            "runtime.ignores_stop", "frontend.request"};

class Reader {
  public:
    explicit Reader(const std::string& file) : file_(file) {}

    World read() {
        toml::table root;
        try {
            root = toml::parse_file(file_);
        } catch (const toml::parse_error& error) {
            wrong(error.source(), std::string(error.description()));
        }
        for (const auto& [key, node] : root) {
            const toml::table* const table = node.as_table();
            if (table == nullptr) wrong(node.source(), "expected a table: [" + std::string(key.str()) + "]");
            if (key == "settings") {
                world_.settings = settings(*table);
            } else if (key == "stranger") {
                world_.stranger = settings(*table);
            } else if (key == "files") {
                for (const auto& [name, contents] : *table) world_.files[std::string(name.str())] = text(contents);
            } else {
                role(std::string(key.str()), *table);
            }
        }
        return std::move(world_);
    }

  private:
    [[noreturn]] void wrong(const toml::source_region& at, const std::string& what) const {
        throw tools::Failure(tools::exit_status::kBadData, file_ + ":" + std::to_string(at.begin.line) + ":" +
                                                               std::to_string(at.begin.column) + ": " + what);
    }

    std::string text(const toml::node& node) const {
        const auto value = node.value_exact<std::string>();
        if (!value) wrong(node.source(), "expected a text");
        return *value;
    }

    std::vector<std::string> texts(const toml::array& array) const {
        std::vector<std::string> out;
        for (const toml::node& item : array) out.push_back(text(item));
        return out;
    }

    std::vector<Setting> settings(const toml::table& table) const {
        std::vector<Setting> out;
        for (const auto& [key, node] : table) {
            Setting setting{std::string(key.str()), {}, {}, 's'};
            if (const auto* list = node.as_array()) {
                setting.kind = 'l';
                setting.list = texts(*list);
            } else if (const auto flag = node.value_exact<bool>()) {
                setting.kind = 'b';
                setting.text = *flag ? "true" : "false";
            } else if (const auto whole = node.value_exact<std::int64_t>()) {
                setting.kind = 'i';
                setting.text = std::to_string(*whole);
            } else if (const auto number = node.value_exact<double>()) {
                setting.kind = 'n';
                setting.text = std::to_string(*number);
            } else {
                setting.text = text(node);
            }
            out.push_back(std::move(setting));
        }
        return out;
    }

    void role(const std::string& name, const toml::table& table) {
        for (const auto& [key, node] : table) {
            const std::string full = name + "." + std::string(key.str());
            if (std::ranges::find(kKnown, full) == kKnown.end()) {
                const std::vector<std::string> known(kKnown.begin(), kKnown.end());
                wrong(key.source(), "unknown key '" + full + "'." + tools::did_you_mean(full, known));
            }
            if (const auto* list = node.as_array()) {
                world_.lists[full] = texts(*list);
            } else {
                world_.texts[full] = text(node);
            }
        }
    }

    std::string file_;
    World world_;
};

}  // namespace

const std::string& World::text(const std::string& name) const {
    static const std::string none;
    const auto at = texts.find(name);
    return at == texts.end() ? none : at->second;
}

const std::vector<std::string>& World::list(const std::string& name) const {
    static const std::vector<std::string> none;
    const auto at = lists.find(name);
    return at == lists.end() ? none : at->second;
}

World read_world(const std::string& file) { return Reader(file).read(); }

void supply(World& world, const elf::Note& note) {
    const bool alone = world.stranger.empty();
    for (const elf::ConfigKey& key : note.config) {
        if (!key.required || key.type != elf::ValueType::kString) continue;
        if (std::ranges::find(world.settings, key.name, &Setting::key) != world.settings.end()) continue;
        const std::string_view name = key.name;
        const std::string own = "supplied/" + key.name, other = "supplied/other-" + key.name;
        if (name.ends_with("_file")) {
            world.files[own] = "the secret that all nodes of this check share\n";
            world.files[other] = "another secret, which they do not know\n";
            if (alone) world.stranger.push_back({key.name, "{folder}/" + other, {}, 's'});
        } else if (name != "path" && !name.ends_with("_path") && !name.ends_with("_dir")) {
            continue;
        }
        world.settings.push_back({key.name, "{folder}/" + own, {}, 's'});
    }
}

}  // namespace gantry::check
