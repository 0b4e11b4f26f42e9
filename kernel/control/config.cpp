// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/config.hpp"

#include <arpa/inet.h>
#include <unistd.h>

#include <toml++/toml.h>
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <sstream>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/control/files.hpp"

namespace gantry::control {
namespace {

constexpr std::size_t kFileMax = 4 << 20;  // bytes
constexpr std::size_t kShown = 60;         // bytes of a wrong value in a message
// Bytes that a plugin's own process may have: what loading one takes, and more than any gateway has.
constexpr std::int64_t kMemoryMaxLeast = 16LL << 20, kMemoryMaxMost = 1LL << 40;
constexpr std::array<std::string_view, 8> kRoles{"discovery", "placement", "runtime", "probe",
                                                 "transport", "directory", "store",   "frontend"};

// What stands there, short enough for a message.
std::string got(const toml::node& node) {
    if (node.is_table()) return "a table";
    if (node.is_array()) return "a list";
    std::ostringstream text;
    node.visit([&](const auto& value) {
        if constexpr (toml::is_value<decltype(value)>) text << value;
    });
    auto out = text.str();
    if (out.size() > kShown) out = out.substr(0, kShown) + "...";
    return out;
}

// IPv4, or IPv6; `bracketed`: as it stands before a port.
bool is_ip(std::string_view text, bool bracketed) {
    const bool inside = text.starts_with('[') && text.ends_with(']') && text.size() > 2;
    if (bracketed && inside) text = text.substr(1, text.size() - 2);
    std::array<unsigned char, sizeof(in6_addr)> address{};
    const std::string copy(text);
    if (!bracketed || inside) {
        if (inet_pton(AF_INET6, copy.c_str(), address.data()) == 1) return true;
    }
    return !(bracketed && inside) && inet_pton(AF_INET, copy.c_str(), address.data()) == 1;
}

// 0: it is none.
std::uint16_t port_of(std::string_view text) {
    std::uint16_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size() ? number : 0;
}

bool is_ip_port(std::string_view text) {
    const auto colon = text.rfind(':');
    return colon != text.npos && is_ip(text.substr(0, colon), true) && port_of(text.substr(colon + 1)) != 0;
}

// One table of the file: reads keys, remembers which, refuses the rest.
class Table {
  public:
    Table(const std::filesystem::path& file, const toml::table& table, std::string name)
        : file_(file), table_(table), name_(std::move(name)) {}

    host::SourcePlace place(const toml::source_region& region) const {
        return {
            file_.string(),
            region.begin.line,
            region.begin.column,
        };
    }

    std::unexpected<Error> wrong(const toml::node& node, std::string_view key, std::string_view expected) const {
        return fail(
            Code::kInvalid,
            "[" + name_ + "] " + std::string(key) + ": expected " + std::string(expected) + ", got " + got(node),
            place(node.source()).text());
    }

    const toml::node* get(std::string_view key) {
        asked_.push_back(key);
        return table_.get(key);
    }

    Result<std::string> text(std::string_view key, std::string fallback) {
        const auto* node = get(key);
        if (!node) return fallback;
        if (auto value = node->value_exact<std::string>()) return *value;
        return wrong(*node, key, "text in quotes");
    }

    Result<std::int64_t> integer(std::string_view key, std::int64_t fallback, std::int64_t min, std::int64_t max) {
        const auto* node = get(key);
        if (!node) return fallback;
        auto value = node->value_exact<std::int64_t>();
        if (value && *value >= min && *value <= max) return *value;
        return wrong(*node, key, "a whole number from " + std::to_string(min) + " to " + std::to_string(max));
    }

    Result<bool> flag(std::string_view key, bool fallback) {
        const auto* node = get(key);
        if (!node) return fallback;
        if (auto value = node->value_exact<bool>()) return *value;
        return wrong(*node, key, "true or false");
    }

    Result<Duration> duration(std::string_view key, Duration fallback) {
        const auto* node = get(key);
        if (!node) return fallback;
        if (auto value = node->value_exact<std::string>()) {
            if (auto parsed = parse_duration(*value)) return *parsed;
        }
        return wrong(*node, key, "a duration such as \"200ms\" or \"30s\"");
    }

    Result<std::int64_t> size(std::string_view key, std::int64_t min, std::int64_t max) {
        const auto* node = get(key);
        const auto text = node->value_exact<std::string>();
        const auto bytes = text ? parse_size(*text) : Result<std::int64_t>(-1);
        if (bytes && *bytes >= min && *bytes <= max) return *bytes;
        return wrong(*node, key, "a size from " + format_size(min) + " to " + format_size(max));
    }

    Result<std::vector<std::string>> texts(std::string_view key) {
        std::vector<std::string> out;
        const auto* node = get(key);
        if (!node) return out;
        const auto* list = node->as_array();
        if (!list) return wrong(*node, key, "a list of texts");
        for (const auto& item : *list) {
            auto value = item.value_exact<std::string>();
            if (!value) return wrong(item, key, "a list of texts");
            out.push_back(*value);
        }
        return out;
    }

    Status finish() const {
        for (const auto& [key, node] : table_) {
            if (std::ranges::find(asked_, key.str()) != asked_.end()) continue;
            std::string message = "[" + name_ + "] has no key `" + std::string(key.str()) + "`";
            if (auto guess = nearest(key.str(), asked_)) message += ", did you mean `" + *guess + "`?";
            return fail(Code::kInvalid, message, place(key.source()).text());
        }
        return {};
    }

    const std::filesystem::path& file() const { return file_; }

  private:
    const std::filesystem::path& file_;
    const toml::table& table_;
    std::string name_;
    std::vector<std::string_view> asked_;
};

// Each kind that is here is permitted, with the command that does it.
Result<std::map<std::string, std::vector<std::string>>> read_drill(Table table) {
    std::map<std::string, std::vector<std::string>> out;
    for (const auto* kind : {"kill", "cut", "freeze", "reboot"}) {
        const auto* node = table.get(kind);
        if (!node) continue;
        GANTRY_TRY(command, table.texts(kind));
        if (command.empty() || !command.front().starts_with('/'))
            return table.wrong(*node, kind, "a command such as [\"/usr/lib/gantry/gantry-drill\", \"cut\"]");
        out[kind] = std::move(command);
    }
    GANTRY_CHECK(table.finish());
    return out;
}

Result<NodeConfig> read_node(Table table) {
    NodeConfig node;
    std::array<char, 256> hostname{};
    gethostname(hostname.data(), hostname.size() - 1);
    const auto* name_node = table.get("name");
    GANTRY_TRY(name, table.text("name", hostname.data()));
    if (auto ok = check_name(name, "node name"); !ok) {
        auto error = ok.error();
        if (name_node) error.where = table.place(name_node->source()).text();
        return std::unexpected(error);
    }
    node.name = name;
    if (const auto* labels = table.get("labels")) {
        const auto* map = labels->as_table();
        if (!map || map->size() > limits::kLabels) return table.wrong(*labels, "labels", "a table of at most 64 texts");
        for (const auto& [key, value] : *map) {
            auto text = value.value_exact<std::string>();
            if (!text) return table.wrong(value, "labels", "text in quotes");
            if (text->size() > limits::kLabelValue || !valid_utf8(*text)) {
                return table.wrong(value, "labels",
                                   "UTF-8 of at most " + std::to_string(limits::kLabelValue) + " bytes");
            }
            node.labels.emplace_back(key.str(), *text);
        }
        std::ranges::sort(node.labels);
    }
    GANTRY_TRY(advertise, table.text("advertise", ""));
    GANTRY_TRY(boot_id_file, table.text("boot_id_file", node.boot_id_file.string()));
    GANTRY_TRY(servers, table.texts("position_servers"));
    GANTRY_TRY(listen, table.text("listen", "0.0.0.0:3901"));
    if (!listen.empty() && !is_ip_port(listen)) {
        return table.wrong(*table.get("listen"), "listen", "IP:PORT such as \"0.0.0.0:3901\", or \"\" for nowhere");
    }
    node.listen = listen;
    if (!advertise.empty() && !is_ip(advertise, false)) {
        return table.wrong(*table.get("advertise"), "advertise", "an IP address such as \"10.0.0.1\"");
    }
    for (std::size_t i = 0; i < servers.size(); ++i) {
        if (is_ip(servers[i], false) || is_ip_port(servers[i])) continue;
        return table.wrong(*table.get("position_servers")->as_array()->get(i), "position_servers",
                           "IP:PORT such as \"10.0.0.1:54\"");
    }
    node.advertise = advertise;
    node.boot_id_file = boot_id_file;
    node.position_servers = servers;
    if (const auto* given = table.get("ports")) {
        const auto text = given->value_exact<std::string>().value_or("");
        const auto dash = std::min(text.find('-'), text.size());
        node.ports = {port_of(text.substr(0, dash)), port_of(dash < text.size() ? text.substr(dash + 1) : "")};
        if (node.ports.first < 1'024 || node.ports.second < node.ports.first)
            return table.wrong(*given, "ports",
                               "the first and the last port of a range within 1024 to 65535, such as \"20000-29999\"");
    }
    GANTRY_TRY(disk_warn, table.integer("disk_warn", node.disk_warn_percent, 0, 100));
    node.disk_warn_percent = disk_warn;
    GANTRY_TRY(every, table.duration("measure_every", node.measure_every));
    if (every < seconds(1) || every > seconds(3'600))
        return table.wrong(*table.get("measure_every"), "measure_every", "a duration from \"1s\" to \"1h\"");
    node.measure_every = every;
    GANTRY_TRY(cpu, table.text("cpu", "0"));
    GANTRY_TRY(memory, table.text("memory", "0"));
    auto milli = parse_cpu(cpu);
    if (!milli) return table.wrong(*table.get("cpu"), "cpu", "a number of cores such as \"1.5\"");
    auto bytes = parse_size(memory);
    if (!bytes) return table.wrong(*table.get("memory"), "memory", "a size such as \"512MiB\"");
    node.cpu_milli = *milli;
    node.memory_bytes = *bytes;
    if (const auto* drill = table.get("drill")) {
        if (!drill->is_table()) return table.wrong(*drill, "drill", "a table");
        GANTRY_TRY(commands, read_drill(Table(table.file(), *drill->as_table(), "node.drill")));
        node.drill = std::move(commands);
    }
    GANTRY_TRY(high, table.integer("image_high_watermark", node.image_high_watermark, 0, 100));
    GANTRY_TRY(low,
               table.integer("image_low_watermark", std::min<std::int64_t>(node.image_low_watermark, high), 0, high));
    node.image_high_watermark = static_cast<unsigned>(high);
    node.image_low_watermark = static_cast<unsigned>(low);
    GANTRY_CHECK(table.finish());
    return node;
}

Result<core::Timing> read_timing(Table table, const host::SourcePlace& place, core::Timing t) {
    const std::pair<std::string_view, Duration*> keys[] = {{"heartbeat", &t.heartbeat},
                                                           {"suspect_after", &t.suspect_after},
                                                           {"lost_after", &t.lost_after},
                                                           {"reset_grace", &t.reset_grace},
                                                           {"hold", &t.hold},
                                                           {"start_grace", &t.start_grace},
                                                           {"return_hold", &t.return_hold},
                                                           {"mass_pause", &t.mass_pause},
                                                           {"restart_delay", &t.restart_delay},
                                                           {"restart_delay_max", &t.restart_delay_max},
                                                           {"stable_after", &t.stable_after},
                                                           {"lease", &t.lease},
                                                           {"kill_bound", &t.kill_bound}};
    for (auto [key, target] : keys) {
        GANTRY_TRY(value, table.duration(key, *target));
        *target = value;
    }
    GANTRY_TRY(lost_after_max, table.duration("lost_after_max", core::kLostAfterMax * t.lost_after));
    t.lost_after_max = lost_after_max;
    GANTRY_TRY(crashes, table.integer("crashes_to_move", t.crashes_to_move, 1, 1000));
    GANTRY_TRY(give_up, table.integer("nodes_to_give_up", t.nodes_to_give_up, 1, 1000));
    t.crashes_to_move = static_cast<std::uint32_t>(crashes);
    t.nodes_to_give_up = static_cast<std::uint32_t>(give_up);
    if (!table.get("lease")) t.lease = std::max(t.lease, 3 * t.heartbeat);
    if (const auto* drift = table.get("drift_bound")) {
        const auto value = drift->value<double>();
        if (!value || !(*value >= 0 && *value <= 0.1))
            return table.wrong(*drift, "drift_bound", "a number from 0 to 0.1 such as 0.001");
        t.drift_ppm = static_cast<std::uint32_t>(std::ceil(*value * 1e6));
    }
    GANTRY_CHECK(table.finish());
    if (auto ok = core::check_timing(t); !ok) {
        auto error = ok.error();
        error.where = place.text();
        return std::unexpected(error);
    }
    return t;
}

// It must be the name of a table [placement.NAME].
Status check_policy(const toml::table& root, const std::string& policy, const host::SourcePlace& place) {
    std::vector<std::string_view> known;
    if (const auto* tables = root.get_as<toml::table>("placement")) {
        for (const auto& [name, table] : *tables) known.push_back(name.str());
    }
    if (std::ranges::find(known, policy) != known.end()) return {};
    const auto guess = nearest(policy, known);
    return fail(Code::kInvalid,
                "[controller] default_policy: there is no table [placement." + policy + "]" +
                    (guess ? ", did you mean `" + *guess + "`?" : ""),
                place.text());
}

Result<ControllerConfig> read_controller(const std::filesystem::path& file, const toml::table& source_root,
                                         const toml::table& source) {
    Table table(file, source, "controller");
    ControllerConfig controller;
    GANTRY_TRY(listen, table.text("listen", controller.listen));
    GANTRY_TRY(policy, table.text("default_policy", ""));
    if (!is_ip_port(listen)) {
        return table.wrong(*table.get("listen"), "listen", "IP:PORT such as \"0.0.0.0:3900\" or \"[::]:3900\"");
    }
    if (!policy.empty()) {
        GANTRY_CHECK(check_policy(source_root, policy, table.place(table.get("default_policy")->source())));
    }
    controller.listen = listen;
    controller.default_policy = policy;
    GANTRY_TRY(profile, table.text("profile", "lan"));
    const auto times = core::profile(profile);
    if (!times) return table.wrong(*table.get("profile"), "profile", "\"lan\", \"wan\" or \"lossy\"");
    controller.timing = *times;
    if (const auto* timing = table.get("timing")) {
        if (!timing->is_table()) return table.wrong(*timing, "timing", "a table");
        GANTRY_TRY(value, read_timing(Table(file, *timing->as_table(), "controller.timing"),
                                      table.place(timing->source()), controller.timing));
        controller.timing = value;
    }
    GANTRY_TRY(indirect, table.flag("indirect", true));
    controller.timing.indirect = indirect;
    GANTRY_CHECK(table.finish());
    return controller;
}

json::value to_value(const toml::node& node, bool& ok) {
    if (auto text = node.value_exact<std::string>()) return json::value(*text);
    if (auto integer = node.value_exact<std::int64_t>()) return json::value(*integer);
    if (auto number = node.value_exact<double>()) return json::value(*number);
    if (auto boolean = node.value_exact<bool>()) return json::value(*boolean);
    json::array out;
    const auto* list = node.as_array();
    if (!list) ok = false;
    if (list) {
        for (const auto& item : *list) {
            auto text = item.value_exact<std::string>();
            if (!text) ok = false;
            out.emplace_back(text.value_or(""));
        }
    }
    return out;
}

Result<host::PluginTable> read_plugin(const std::filesystem::path& file, std::string_view role, std::string_view name,
                                      const toml::node& node) {
    const std::string title = std::string(role) + "." + std::string(name);
    host::PluginTable out;
    out.role = role;
    out.name = name;
    out.plugin = name;
    const auto* source = node.as_table();
    if (!source) {
        return fail(Code::kInvalid, "[" + std::string(role) + "] holds tables, one per plugin: [" + title + "]",
                    host::SourcePlace{file.string(), node.source().begin.line, node.source().begin.column}.text());
    }
    Table table(file, *source, title);
    out.place = table.place(source->source());
    if (auto ok = check_name(name, "plugin table"); !ok)
        return fail(Code::kInvalid, ok.error().message, out.place.text());
    for (const auto& [key, value] : *source) {
        const std::string text(key.str());
        if (text == "plugin") {
            GANTRY_TRY(plugin, table.text(text, ""));
            out.plugin = plugin;
        } else if (text == "required") {
            GANTRY_TRY(required, table.flag(text, false));
            out.required = required;
        } else if (text == "isolation") {
            GANTRY_TRY(isolation, table.text(text, "none"));
            if (isolation != "none" && isolation != "process")
                return table.wrong(value, text, "\"none\" or \"process\"");
            out.placing = isolation == "process" ? host::Placing::kOwnProcess : host::Placing::kHost;
        } else if (text == "memory_max") {
            GANTRY_TRY(memory_max, table.size(text, kMemoryMaxLeast, kMemoryMaxMost));
            out.memory_max_bytes = memory_max;
        } else {
            bool ok = true;
            out.values[text] = to_value(value, ok);
            if (!ok) return table.wrong(value, text, "text, a number, true, false or a list of texts");
            out.places.emplace_back(text, table.place(key.source()));
        }
    }
    return out;
}

Result<host::LogLevel> read_log_level(Table table) {
    constexpr std::array<std::string_view, 5> kLevels{"trace", "debug", "info", "warn", "error"};
    const auto* node = table.get("level");
    GANTRY_TRY(level, table.text("level", "info"));
    GANTRY_CHECK(table.finish());
    const auto found = std::ranges::find(kLevels, level);
    if (found == kLevels.end()) return table.wrong(*node, "level", "one of trace, debug, info, warn, error");
    return static_cast<host::LogLevel>(found - kLevels.begin());
}

// Marks the first plugin of each role that the process cannot do without.
void mark_required(Config& config) {
    std::vector<std::string_view> roles;
    if (config.node) roles.insert(roles.end(), {"transport", "runtime"});
    if (config.controller) roles.insert(roles.end(), {"transport", "placement", "store"});
    for (auto role : roles) {
        for (auto& table : config.plugins) {
            if (table.role != role) continue;
            table.required = true;
            break;
        }
    }
}

Status check_roles(const Config& config) {
    const auto need = [&](std::string_view who, std::string_view role) -> Status {
        if (std::ranges::any_of(config.plugins, [&](const auto& t) { return t.role == role; })) return {};
        return fail(Code::kInvalid,
                    "[" + std::string(who) + "]" + (role == "discovery" ? " without [controller]" : "") +
                        " needs a plugin of role " + std::string(role) + ": add a table [" + std::string(role) +
                        ".NAME]",
                    config.file.string());
    };
    if (!config.node && !config.controller) {
        return fail(Code::kInvalid, "neither [node] nor [controller] is there, so there is nothing to do",
                    config.file.string());
    }
    if (config.node) {
        GANTRY_CHECK(need("node", "transport"));
        GANTRY_CHECK(need("node", "runtime"));
        if (!config.controller) GANTRY_CHECK(need("node", "discovery"));  // else it would never find its controller
    }
    if (config.controller) {
        GANTRY_CHECK(need("controller", "transport"));
        GANTRY_CHECK(need("controller", "placement"));
        GANTRY_CHECK(need("controller", "store"));
    }
    return {};
}

Result<Config> read_tables(Config config, const toml::table& root) {
    Table top(config.file, root, "top");
    GANTRY_TRY(state_dir, top.text("state_dir", config.state_dir.string()));
    GANTRY_TRY(workers, top.integer("workers", config.workers, 1, 64));
    config.state_dir = std::filesystem::absolute(state_dir);
    config.workers = static_cast<unsigned>(workers);
    for (std::string_view name : {"node", "controller", "plugins", "log"}) {
        const auto* node = top.get(name);
        if (!node) continue;
        if (!node->is_table()) return top.wrong(*node, name, "a table");
        const auto& table = *node->as_table();
        if (name == "node") {
            GANTRY_TRY(value, read_node(Table(config.file, table, "node")));
            config.node = value;
        } else if (name == "controller") {
            GANTRY_TRY(value, read_controller(config.file, root, table));
            config.controller = value;
        } else if (name == "plugins") {
            Table plugins(config.file, table, "plugins");
            GANTRY_TRY(paths, plugins.texts("path"));
            GANTRY_TRY(keys, plugins.text("trusted_keys", config.trust.keys.string()));
            GANTRY_TRY(require, plugins.flag("require_signature", false));
            GANTRY_CHECK(plugins.finish());
            if (!keys.starts_with('/')) {
                return plugins.wrong(*table.get("trusted_keys"), "trusted_keys", "an absolute path");
            }
            config.trust.keys = keys;
            config.trust.require_signature = require;
            config.plugin_path.assign(paths.begin(), paths.end());
        } else {
            GANTRY_TRY(level, read_log_level(Table(config.file, table, "log")));
            config.log_level = level;
        }
    }
    std::vector<std::pair<unsigned, host::PluginTable>> ordered;
    for (auto role : kRoles) {
        const auto* node = top.get(role);
        if (!node) continue;
        if (!node->is_table()) return top.wrong(*node, role, "tables, one per plugin");
        for (const auto& [name, value] : *node->as_table()) {
            GANTRY_TRY(table, read_plugin(config.file, role, name.str(), value));
            ordered.emplace_back(table.place.line, std::move(table));
        }
    }
    std::ranges::stable_sort(ordered, {}, [](const auto& item) { return item.first; });
    for (auto& item : ordered) config.plugins.push_back(std::move(item.second));
    GANTRY_CHECK(top.finish());
    return config;
}

}  // namespace

std::uint16_t NodeConfig::ask_port() const {
    const auto colon = listen.rfind(':');
    return colon == listen.npos ? 0 : port_of(std::string_view(listen).substr(colon + 1));
}

Result<Config> read_config(const std::filesystem::path& file, const std::filesystem::path& default_plugin_path) {
    GANTRY_TRY(text, read_file(file, kFileMax));
    return parse_config(std::move(text), file, default_plugin_path);
}

Result<Config> parse_config(std::string text, const std::filesystem::path& file,
                            const std::filesystem::path& default_plugin_path) {
    Config config;
    config.file = file;
    config.text = std::move(text);
    config.trust.package = default_plugin_path;
    try {
        const auto root = toml::parse(config.text, file.string());
        GANTRY_TRY(read, read_tables(std::move(config), root));
        config = std::move(read);
    } catch (const toml::parse_error& error) {
        const auto at = error.source().begin;
        return fail(Code::kInvalid, std::string(error.description()),
                    host::SourcePlace{file.string(), at.line, at.column}.text());
    }
    if (config.plugin_path.empty()) config.plugin_path.push_back(default_plugin_path);
    for (const auto& path : config.plugin_path) {
        if (!path.is_absolute()) {
            return fail(Code::kInvalid, "[plugins] path: expected absolute paths, got " + path.string(), file.string());
        }
    }
    GANTRY_CHECK(check_roles(config));
    mark_required(config);
    return config;
}

}  // namespace gantry::control
