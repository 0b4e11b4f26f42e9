// SPDX-License-Identifier: Apache-2.0
//
// What only runtimes act on: checked and brought into one form here, then passed on as it is.
#include <algorithm>
#include <array>
#include <charconv>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/core/spec_values.hpp"

namespace gantry::core {

namespace {

constexpr std::string_view kCapabilities[] = {"AUDIT_CONTROL",   "AUDIT_READ",   "AUDIT_WRITE",
                                              "BLOCK_SUSPEND",   "BPF",          "CHECKPOINT_RESTORE",
                                              "CHOWN",           "DAC_OVERRIDE", "DAC_READ_SEARCH",
                                              "FOWNER",          "FSETID",       "IPC_LOCK",
                                              "IPC_OWNER",       "KILL",         "LEASE",
                                              "LINUX_IMMUTABLE", "MAC_ADMIN",    "MAC_OVERRIDE",
                                              "MKNOD",           "NET_ADMIN",    "NET_BIND_SERVICE",
                                              "NET_BROADCAST",   "NET_RAW",      "PERFMON",
                                              "SETFCAP",         "SETGID",       "SETPCAP",
                                              "SETUID",          "SYSLOG",       "SYS_ADMIN",
                                              "SYS_BOOT",        "SYS_CHROOT",   "SYS_MODULE",
                                              "SYS_NICE",        "SYS_PACCT",    "SYS_PTRACE",
                                              "SYS_RAWIO",       "SYS_RESOURCE", "SYS_TIME",
                                              "SYS_TTY_CONFIG",  "WAKE_ALARM"};
constexpr std::string_view kRlimits[] = {"as",      "core",     "cpu",        "data",   "fsize", "locks",
                                         "memlock", "msgqueue", "nice",       "nofile", "nproc", "rss",
                                         "rtprio",  "rttime",   "sigpending", "stack"};
// By number on Linux, but for the architectures that have others of their own (MIPS, SPARC, Alpha).
constexpr std::string_view kSignals[] = {"",       "HUP",  "INT",    "QUIT", "ILL",   "TRAP", "ABRT", "BUS",
                                         "FPE",    "KILL", "USR1",   "SEGV", "USR2",  "PIPE", "ALRM", "TERM",
                                         "STKFLT", "CHLD", "CONT",   "STOP", "TSTP",  "TTIN", "TTOU", "URG",
                                         "XCPU",   "XFSZ", "VTALRM", "PROF", "WINCH", "IO",   "PWR",  "SYS"};
constexpr std::int64_t kSignalMost = 64, kCpus = 1024;

std::unexpected<Error> unknown(std::string where, std::string_view what, std::string_view got,
                               std::span<const std::string_view> words) {
    std::string message = "expected " + std::string(what) + ", got " + quoted(got);
    if (const auto guess = nearest(got, words)) message += "; did you mean " + quoted(*guess) + "?";
    return wrong(std::move(where), std::move(message));
}

Status capability_list(Fields& f, std::string_view key, json::object& out) {
    GANTRY_TRY(names, f.texts(key));
    if (names.empty()) return {};
    for (std::size_t i = 0; i < names.size(); ++i) {
        std::string_view name = names[i];
        if (name.starts_with("CAP_")) name.remove_prefix(4);
        const bool all = name == "ALL" && key == "drop";
        if (!all && std::find(std::begin(kCapabilities), std::end(kCapabilities), name) == std::end(kCapabilities))
            return unknown(indexed(f.path(key), i),
                           key == "drop" ? "a capability (\"NET_RAW\") or \"ALL\"" : "a capability (\"NET_RAW\")", name,
                           kCapabilities);
        names[i] = all ? "ALL" : "CAP_" + std::string(name);
    }
    std::sort(names.begin(), names.end());
    out[key] = json::array(names.begin(), std::unique(names.begin(), names.end()));
    return {};
}

Status capabilities(Fields f, json::object& out) {
    json::object made;
    GANTRY_CHECK(capability_list(f, "add", made));
    GANTRY_CHECK(capability_list(f, "drop", made));
    if (!made.empty()) out["capabilities"] = std::move(made);
    return f.finish();
}

// A number or "unlimited"; null: neither.
json::value limit_value(const json::value& value) {
    if (value == "unlimited") return value;
    boost::system::error_code ec;
    const auto number = value.to_number<std::int64_t>(ec);
    return ec || number < 0 ? json::value() : json::value(number);
}

Status rlimits(const json::value* table, const std::string& path, json::object& out) {
    if (!table) return {};
    if (!table->is_object()) return wrong(path, "expected a table of limits ({nofile = 1024}), got " + to_text(*table));
    for (const auto& member : table->get_object())
        if (std::find(std::begin(kRlimits), std::end(kRlimits), member.key()) == std::end(kRlimits))
            return unknown(path + "." + std::string(member.key()), "a limit as ulimit knows it (nofile, core, memlock)",
                           member.key(), kRlimits);
    json::object made;
    for (const auto name : kRlimits) {
        const auto* value = table->get_object().if_contains(name);
        if (!value) continue;
        const std::string where = path + "." + std::string(name);
        const auto* pair = value->if_array();
        if (pair && pair->size() != 2) return wrong(where, "expected [soft, hard], got " + to_text(*value));
        const json::value soft = limit_value(pair ? (*pair)[0] : *value);
        const json::value hard = limit_value(pair ? (*pair)[1] : *value);
        if (soft.is_null() || hard.is_null())
            return wrong(where, "expected a number from 0, \"unlimited\", or both limits as [soft, hard], got " +
                                    to_text(*value));
        const bool above = hard.is_int64() && (soft.is_string() || soft.get_int64() > hard.get_int64());
        if (above) return wrong(where, "the soft limit is above the hard one: " + to_text(*value));
        made[name] = json::array{soft, hard};
    }
    if (!made.empty()) out["rlimits"] = std::move(made);
    return {};
}

// "0-2,5": numbers of processors.
bool cpu_list_ok(std::string_view text) {
    const char *at = text.data(), *const end = text.data() + text.size();
    const auto number = [&](std::int64_t& out) {
        const auto read = std::from_chars(at, end, out);
        const bool good = read.ec == std::errc() && *at != '-' && out < kCpus;
        at = read.ptr;
        return good;
    };
    for (;;) {
        std::int64_t first = 0, last = 0;
        if (at == end || !number(first)) return false;
        if (at != end && *at == '-') {
            ++at;
            if (at == end || !number(last) || last < first) return false;
        }
        if (at == end) return true;
        if (*at++ != ',') return false;
    }
}

Status put_integer(Fields& f, std::string_view key, std::int64_t min, std::int64_t max, json::object& out) {
    if (!f.has(key)) return {};
    GANTRY_TRY(value, f.integer(key, min, min, max));
    out[key] = value;
    return {};
}

Result<std::string> target_of(Fields& f, std::string_view key, std::vector<std::string>& targets) {
    GANTRY_TRY(target, absolute_path(f, key, true));
    if (target.find_first_not_of('/') == std::string::npos)
        return wrong(f.path(key), "expected a path below \"/\", got " + quoted(target));
    if (std::find(targets.begin(), targets.end(), target) != targets.end())
        return wrong(f.path(key), quoted(target) + " is mounted twice; expected each target once");
    targets.push_back(target);
    return target;
}

Result<json::object> tmpfs(Fields f, std::vector<std::string>& targets) {
    GANTRY_TRY(target, target_of(f, "target", targets));
    GANTRY_TRY(bytes, size(f, "size"));
    GANTRY_TRY(mode, f.text("mode", "1777"));
    GANTRY_TRY(access, choice(f, "access", {"rw", "rwx"}));
    if (mode.size() < 3 || mode.size() > 4 || mode.find_first_not_of("01234567") != std::string::npos)
        return wrong(f.path("mode"), "expected permissions as an octal text (\"1777\", \"0750\"), got " + quoted(mode));
    GANTRY_CHECK(f.finish());
    return json::object{{"target", target}, {"size", bytes ? bytes : 64 << 20}, {"mode", mode}, {"access", access}};
}

Result<json::object> device(Fields f, std::vector<std::string>& targets) {
    GANTRY_TRY(path, absolute_path(f, "path", true));
    std::string target = path;
    if (f.has("target")) {
        GANTRY_TRY(other, absolute_path(f, "target", true));
        target = other;
    }
    GANTRY_TRY(access, choice(f, "access", {"rw", "r", "w", "rwm"}));
    GANTRY_CHECK(f.finish());
    if (!target.starts_with("/dev/") || target.size() == 5)
        return wrong(f.path(f.has("target") ? "target" : "path"),
                     "expected a path below \"/dev\" in the container, got " + quoted(target));
    if (std::find(targets.begin(), targets.end(), target) != targets.end())
        return wrong(f.path("path"), quoted(target) + " is there twice; expected each target once");
    targets.push_back(target);
    return json::object{{"path", path}, {"target", target}, {"access", access}};
}

template <class Read>
Status put_list(Fields& top, std::string_view key, std::vector<std::string>& targets, json::object& out, Read read) {
    GANTRY_TRY(items, top.list(key));
    if (items.size() > limits::kMounts) return too_many(std::string(key), items.size(), limits::kMounts);
    json::array list;
    for (std::size_t i = 0; i < items.size(); ++i) {
        GANTRY_TRY(item, read(Fields(items[i], indexed(key, i)), targets));
        list.emplace_back(std::move(item));
    }
    if (!list.empty()) out[key] = std::move(list);
    return {};
}

}  // namespace

Status container_settings(Fields& f, json::object& settings) {
    json::object out;
    GANTRY_CHECK(capabilities(Fields(f.member("capabilities"), f.path("capabilities")), out));
    GANTRY_TRY(read_only, f.boolean("read_only", false));
    if (read_only) out["read_only"] = true;
    GANTRY_CHECK(rlimits(f.member("rlimits"), f.path("rlimits"), out));
    GANTRY_CHECK(put_integer(f, "oom_score_adj", -1000, 1000, out));
    GANTRY_TRY(network, choice(f, "network", {"host", "none", "bridge"}));
    if (network != "host") out["network"] = network;
    if (!out.empty()) settings["container"] = std::move(out);
    return {};
}

Status resource_settings(Fields& f, bool memory_limited, json::object& settings) {
    json::object out;
    GANTRY_CHECK(put_integer(f, "cpu_shares", 2, 262'144, out));
    GANTRY_CHECK(put_integer(f, "io_weight", 10, 1000, out));
    GANTRY_TRY(cpus, f.text("cpus", ""));
    if (f.has("cpus") && !cpu_list_ok(cpus))
        return wrong(f.path("cpus"), "expected processors by number (\"0\", \"0-2,5\"), got " + quoted(cpus));
    if (!cpus.empty()) out["cpus"] = cpus;
    GANTRY_TRY(swap, size(f, "swap"));
    if (swap && !memory_limited)
        return wrong(f.path("swap"), "is what may be used beyond `resources.memory`, which is missing");
    if (swap) out["swap"] = swap;
    if (!out.empty()) settings["resources"] = std::move(out);
    return {};
}

Status list_settings(Fields& top, ServiceSpec& spec) {
    std::vector<std::string> targets;
    for (const auto& mount : spec.mounts) targets.push_back(mount.target);
    GANTRY_CHECK(put_list(top, "tmpfs", targets, spec.settings, tmpfs));
    return put_list(top, "device", targets, spec.settings, device);
}

Result<int> signal(Fields& f, std::string_view key) {
    const auto* value = f.member(key);
    if (!value) return 0;
    boost::system::error_code ec;
    const auto number = value->to_number<std::int64_t>(ec);
    if (!ec && number >= 1 && number <= kSignalMost) return static_cast<int>(number);
    std::string_view name = value->is_string() ? std::string_view(value->get_string()) : "";
    if (name.starts_with("SIG")) name.remove_prefix(3);
    const auto* const found = std::find(std::begin(kSignals) + 1, std::end(kSignals), name);
    if (found != std::end(kSignals)) return static_cast<int>(found - std::begin(kSignals));
    if (!value->is_string())
        return wrong(f.path(key), "expected a signal (\"SIGINT\") or its number from 1 to 64, got " + to_text(*value));
    return unknown(f.path(key), "a signal (\"SIGINT\") or its number from 1 to 64", name, kSignals);
}

std::vector<std::string> ServiceSpec::setting_names() const {
    std::vector<std::string> out;
    for (const auto& table : settings) {
        if (!table.value().is_object())
            out.emplace_back("[[" + std::string(table.key()) + "]]");
        else
            for (const auto& member : table.value().get_object())
                out.push_back(std::string(table.key()) + "." + std::string(member.key()));
    }
    if (std::any_of(mounts.begin(), mounts.end(), [](const MountSpec& m) { return m.no_exec; }))
        out.emplace_back("mount.access");
    if (std::any_of(mounts.begin(), mounts.end(), [](const MountSpec& m) { return !m.source.starts_with('/'); }))
        out.emplace_back("mount.source (a volume)");
    return out;
}

}  // namespace gantry::core
