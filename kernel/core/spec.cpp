// SPDX-License-Identifier: Apache-2.0
#include "kernel/core/spec.hpp"

#include <algorithm>
#include <array>
#include <span>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/core/spec_values.hpp"

namespace gantry::core {

namespace {

Status service(Fields f, ServiceSpec& out) {
    GANTRY_TRY(name, f.text("name"));
    if (auto good = check_name(name, "service"); !good) return wrong(f.path("name"), good.error().message);
    GANTRY_TRY(image, f.text("image"));
    if (image.empty() || image.size() > limits::kImageName || has_control(image) ||
        image.find(' ') != std::string::npos)
        return wrong(f.path("image"), "expected the name of an image (\"axis_server:1.0\"), got " + quoted(image));
    GANTRY_TRY(instances, f.integer("instances", 1, 1, limits::kInstances));
    GANTRY_TRY(runtime, name_or_empty(f, "runtime", "runtime"));
    GANTRY_TRY(cut_off, choice(f, "cut_off", {"wait", "start"}));
    GANTRY_TRY(prepull, f.boolean("prepull", true));
    GANTRY_TRY(priority, f.integer("priority", 0, -1'000, 1'000));
    GANTRY_TRY(max_gap, duration(f, "max_gap", Duration(0), Duration(0), seconds(86'400)));
    GANTRY_TRY(max_overlap, duration(f, "max_overlap", Duration(0), Duration(0), seconds(86'400)));
    GANTRY_TRY(after, f.texts("after"));
    if (after.size() > limits::kAfter) return too_many(f.path("after"), after.size(), limits::kAfter);
    for (std::size_t i = 0; i < after.size(); ++i)
        if (auto good = check_name(after[i], "service"); !good)
            return wrong(indexed(f.path("after"), i), good.error().message);
    out.name = std::move(name);
    out.image = std::move(image);
    out.instances = static_cast<std::uint32_t>(instances);
    out.runtime = std::move(runtime);
    out.cut_off_start = cut_off == "start";
    out.prepull = prepull;
    out.priority = static_cast<std::int32_t>(priority);
    out.max_gap = max_gap;
    out.max_overlap = max_overlap;
    out.after = std::move(after);
    return f.finish();
}

Status check_nodes(const Fields& f, const std::vector<std::string>& nodes) {
    if (nodes.size() > limits::kPool) return too_many(f.path("nodes"), nodes.size(), limits::kPool);
    auto sorted = nodes;
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        const auto where = indexed(f.path("nodes"), i);
        if (auto good = check_name(nodes[i], "node"); !good) return wrong(where, good.error().message);
        const auto same = std::equal_range(sorted.begin(), sorted.end(), nodes[i]);
        if (same.second - same.first > 1)
            return wrong(where, quoted(nodes[i]) + " is named twice; expected each node once");
    }
    return {};
}

Force force_of(const std::string& word) {
    return word == "hard" ? Force::kHard : word == "soft" ? Force::kSoft : Force::kNone;
}

Status placement(Fields f, ServiceSpec& out, bool instances_given) {
    GANTRY_TRY(mode, choice(f, "mode", {"dynamic", "static"}));
    GANTRY_TRY(nodes, f.texts("nodes"));
    GANTRY_CHECK(check_nodes(f, nodes));
    GANTRY_TRY(pool_labels, labels(f, "labels", limits::kLabels));
    GANTRY_TRY(constraints, labels(f, "constraints", limits::kLabels));
    GANTRY_TRY(policy, name_or_empty(f, "policy", "policy"));
    GANTRY_TRY(image, choice(f, "image", {"first", "policy"}));
    GANTRY_TRY(overlap, choice(f, "overlap", {"allow", "forbid"}));
    GANTRY_TRY(apart, choice(f, "anti_affinity", {"none", "soft", "hard"}));
    GANTRY_TRY(spread_label, name_or_empty(f, "spread", "label"));
    GANTRY_TRY(spread_mode, choice(f, "spread_mode", {"soft", "hard"}));
    GANTRY_TRY(preempt, f.boolean("preempt", false));
    GANTRY_CHECK(f.finish());
    out.apart = force_of(apart);
    out.spread_label = std::move(spread_label);
    if (!out.spread_label.empty()) out.spread = force_of(spread_mode);
    out.preempt = preempt;
    out.forbid = overlap == "forbid";
    if (out.forbid && out.cut_off_start)
        return wrong("service.cut_off",
                     "overlap \"forbid\" expects \"wait\", got \"start\": without a controller no "
                     "lease is to be had");
    if (mode == "static") {
        if (nodes.empty()) return wrong(f.path("nodes"), "is missing; mode \"static\" expects the nodes by name");
        if (!pool_labels.empty())
            return wrong(f.path("labels"), "mode \"static\" expects the nodes by name, got labels; use `nodes`");
        if (instances_given && out.instances != nodes.size())
            return wrong("service.instances", "mode \"static\" has one instance on each of the " +
                                                  std::to_string(nodes.size()) + " nodes, got " +
                                                  std::to_string(out.instances) + "; leave it out");
        out.mode = Mode::kStatic;
        out.instances = static_cast<std::uint32_t>(nodes.size());
    } else if (nodes.empty() && pool_labels.empty()) {
        return wrong(f.path("nodes"), "is missing; expected the pool: node names in `nodes` or labels in `labels`");
    } else if (!nodes.empty() && !pool_labels.empty()) {
        return wrong(f.path("labels"), "the pool is given by `nodes` already; use `constraints` to narrow it");
    }
    out.nodes = std::move(nodes);
    out.pool_labels = std::move(pool_labels);
    out.constraints = std::move(constraints);
    out.policy = std::move(policy);
    out.image_first = image == "first";
    return {};
}

Status update(Fields f, UpdateSpec& out) {
    const UpdateSpec usual;
    GANTRY_TRY(surge, f.integer("max_surge", usual.max_surge, 0, limits::kInstances));
    GANTRY_TRY(unavailable, f.integer("max_unavailable", usual.max_unavailable, 0, limits::kInstances));
    GANTRY_TRY(canary, f.integer("canary", usual.canary, 0, limits::kInstances));
    GANTRY_TRY(gate, duration(f, "gate", usual.gate, Duration(0), seconds(86'400)));
    GANTRY_TRY(deadline, duration(f, "deadline", usual.deadline, seconds(1), seconds(86'400)));
    GANTRY_TRY(on_failure, choice(f, "on_failure", {"rollback", "stay"}));
    GANTRY_CHECK(f.finish());
    if (surge == 0 && unavailable == 0)
        return wrong(f.path("max_surge"),
                     "max_surge and max_unavailable are both 0, expected one above 0: else nothing can be replaced");
    out = {static_cast<std::uint32_t>(surge),
           static_cast<std::uint32_t>(unavailable),
           static_cast<std::uint32_t>(canary),
           gate,
           deadline,
           on_failure == "rollback"};
    return {};
}

Status resources(Fields f, ServiceSpec& out) {
    GANTRY_TRY(cpu_milli, cpu(f, "cpu"));
    GANTRY_TRY(memory_bytes, size(f, "memory"));
    GANTRY_TRY(pids, f.integer("pids", 0, 0, limits::kPids));
    out.cpu_milli = cpu_milli;
    out.memory_bytes = memory_bytes;
    out.pids = pids;
    GANTRY_CHECK(resource_settings(f, memory_bytes > 0, out.settings));
    return f.finish();
}

// A number of up to nine digits, or a name as accounts have them.
bool account_ok(std::string_view name) {
    const bool digits = name.find_first_not_of("0123456789") == std::string_view::npos;
    return !name.empty() && name.size() <= (digits ? 9 : 32) && !name.starts_with('-') &&
           std::all_of(name.begin(), name.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                      c == '.' || c == '_';
           });
}

bool user_ok(std::string_view user) {
    const auto colon = user.find(':');
    return account_ok(user.substr(0, colon)) && (colon == std::string_view::npos || account_ok(user.substr(colon + 1)));
}

bool hostname_ok(std::string_view name) {
    return name.size() <= 63 && !name.starts_with('-') && !name.starts_with('.') &&
           std::all_of(name.begin(), name.end(), [](char c) {
               return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                      c == '.';
           });
}

Status container(Fields f, ServiceSpec& out) {
    GANTRY_TRY(args, f.texts("args"));
    if (args.size() > limits::kArguments) return too_many(f.path("args"), args.size(), limits::kArguments);
    for (std::size_t i = 0; i < args.size(); ++i)
        if (args[i].find('\0') != std::string::npos)
            return wrong(indexed(f.path("args"), i), "has a zero byte, which no argument can hold");
    GANTRY_CHECK(environment(f, out.env));
    GANTRY_TRY(cwd, absolute_path(f, "cwd", false));
    GANTRY_TRY(user, f.text("user", ""));
    if (!user.empty() && !user_ok(user))
        return wrong(f.path("user"),
                     "expected \"USER\" or \"USER:GROUP\", by numbers or by names of the image, got " + quoted(user));
    GANTRY_TRY(hostname, f.text("hostname", ""));
    if (!hostname_ok(hostname))
        return wrong(f.path("hostname"), "expected at most 63 letters, digits, - and ., got " + quoted(hostname));
    GANTRY_TRY(stop_signal, signal(f, "stop_signal"));
    GANTRY_TRY(stop_grace, duration(f, "stop_grace", seconds(10), Duration(0), seconds(3600)));
    out.args = std::move(args);
    out.cwd = std::move(cwd);
    out.user = std::move(user);
    out.hostname = std::move(hostname);
    out.stop_signal = stop_signal;
    out.stop_grace = stop_grace;
    GANTRY_CHECK(container_settings(f, out.settings));
    return f.finish();
}

// An absolute path, or the name of a volume.
Result<std::string> mount_source(Fields& f) {
    GANTRY_TRY(source, f.text("source"));
    if (source.starts_with('/')) return absolute_path(f, "source", true);
    const bool name = !source.empty() && source.size() <= limits::kName && !source.starts_with('.') &&
                      std::all_of(source.begin(), source.end(), [](char c) {
                          return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                                 c == '-' || c == '_' || c == '.';
                      });
    if (name) return source;
    return wrong(
        f.path("source"),
        "expected an absolute path (\"/data\") or the name of a volume (letters, digits, -, _ and ., at most " +
            std::to_string(limits::kName) + "), got " + quoted(source));
}

Status mount(Fields f, ServiceSpec& out) {
    GANTRY_TRY(source, mount_source(f));
    GANTRY_TRY(target, absolute_path(f, "target", true));
    GANTRY_TRY(read_only, f.boolean("read_only", false));
    GANTRY_TRY(access, f.has("access") ? choice(f, "access", {"rw", "ro", "rx", "rwx"})
                                       : Result<std::string>(read_only ? "rx" : "rwx"));
    if (read_only && access[1] == 'w')
        return wrong(f.path("access"), quoted(access) + " contradicts read_only; leave read_only out");
    if (target.find_first_not_of('/') == std::string::npos)
        return wrong(f.path("target"), "expected a folder below \"/\", got " + quoted(target));
    if (std::any_of(out.mounts.begin(), out.mounts.end(), [&](const MountSpec& m) { return m.target == target; }))
        return wrong(f.path("target"), quoted(target) + " is mounted twice; expected each target once");
    out.mounts.push_back({std::move(source), std::move(target), access[1] != 'w', !access.ends_with('x')});
    return f.finish();
}

Result<std::string> password(Fields& f) {
    const auto* value = f.member("password");
    if (!value) return std::string();
    // The text is not shown: it may be the password itself.
    if (!value->is_object())
        return wrong(
            f.path("password"),
            "expected {secret = \"NAME\"}: a manifest names a secret (gantry secret set NAME), it never holds one");
    Fields inner(value, f.path("password"));
    GANTRY_TRY(secret, inner.text("secret"));
    if (auto good = check_name(secret, "secret"); !good) return wrong(inner.path("secret"), good.error().message);
    GANTRY_CHECK(inner.finish());
    return secret;
}

Status endpoint(Fields f, ServiceSpec& out) {
    EndpointSpec made;
    GANTRY_TRY(kind, f.text("kind", "vsoa"));
    if (auto good = check_name(kind, "kind"); !good) return wrong(f.path("kind"), good.error().message);
    GANTRY_TRY(name, name_or_empty(f, "name", "endpoint"));
    GANTRY_TRY(port, f.has("port") ? f.integer("port", 0, 0, 65535) : f.integer("port"));
    GANTRY_TRY(secret, password(f));
    made.name = name;
    for (const auto& other : out.endpoints) {
        if (port == 0 && other.port == 0 && (name.empty() || other.name.empty()))
            return wrong(f.path("name"),
                         "two endpoints have port 0, expected a name of each: without one a program is not told which "
                         "port is for what");
        if ((port == 0 || other.port == 0) && !name.empty() && other.name != name &&
            other.variable() == made.variable())
            return wrong(f.path("name"), quoted(name) + " and " + quoted(other.name) + " are both told as " +
                                             made.variable() + "; choose another name for one with port 0");
        if (port != 0 && other.port == port)
            return wrong(f.path("port"),
                         "port " + std::to_string(port) + " is used by two endpoints; expected each once");
        if (!name.empty() && other.name == name)
            return wrong(f.path("name"), quoted(name) + " names two endpoints; expected each name once");
    }
    made.kind = std::move(kind);
    made.port = static_cast<std::uint16_t>(port);
    made.secret = std::move(secret);
    out.endpoints.push_back(std::move(made));
    return f.finish();
}

// What the thresholds were called before 1.0: in the store of a cluster that was upgraded.
constexpr std::string_view kOldSuccess = "healthy_after", kOldFailure = "unhealthy_after";

Result<std::uint32_t> threshold(Fields& f, std::string_view key, std::string_view old, std::uint32_t usual) {
    GANTRY_TRY(value, f.integer(f.has(old) ? old : key, usual, 1, 1000));
    return static_cast<std::uint32_t>(value);
}

// The keys of a probe that are not the kernel's go to the plugin. A long word that nearly is one of the kernel's is
// taken for a slip: no plugin should choose such a name.
Status probe_params(Fields& f, const json::object& object, ProbeSpec& out) {
    static constexpr std::array<std::string_view, 11> kOurs = {
        "kind",         "purpose",           "endpoint",          "port",      "interval", "timeout",
        "start_period", "success_threshold", "failure_threshold", kOldSuccess, kOldFailure};
    constexpr std::size_t kLongWord = 5;
    for (const auto& member : object) {
        const std::string_view key = member.key();
        if (std::find(kOurs.begin(), kOurs.end(), key) != kOurs.end()) continue;
        if (key.size() >= kLongWord)
            if (const auto guess = nearest(key, kOurs))
                return wrong(f.path(key), "unknown key `" + std::string(key) + "`, did you mean `" + *guess + "`?");
        const auto& value = member.value();
        const bool texts = value.is_array() && std::all_of(value.get_array().begin(), value.get_array().end(),
                                                           [](const json::value& item) { return item.is_string(); });
        if (value.is_object() || (value.is_array() && !texts) || value.is_null())
            return wrong(f.path(key),
                         "expected a text, a number, true, false or a list of texts, got " + to_text(value));
        out.params.emplace_back(std::string(key), value.is_string() ? std::string(value.get_string()) : to_text(value));
    }
    std::sort(out.params.begin(), out.params.end());
    if (out.params.size() > limits::kLabels) return too_many(f.path("params"), out.params.size(), limits::kLabels);
    return {};
}

Status probe(const json::value& value, Fields f, ServiceSpec& out) {
    ProbeSpec made;
    GANTRY_TRY(kind, f.text("kind"));
    if (auto good = check_name(kind, "kind"); !good) return wrong(f.path("kind"), good.error().message);
    GANTRY_TRY(asked, f.text("endpoint", ""));
    GANTRY_TRY(port, f.has("port") ? f.integer("port", 0, 1, 65535) : Result<std::int64_t>(0));
    GANTRY_TRY(interval, duration(f, "interval", seconds(1), milliseconds(20), seconds(3600)));
    GANTRY_TRY(timeout, duration(f, "timeout", seconds(1), milliseconds(10), seconds(600)));
    GANTRY_TRY(purpose, choice(f, "purpose", {"readiness", "liveness", "startup"}));
    GANTRY_TRY(start_period, duration(f, "start_period", Duration(0), Duration(0), seconds(3600)));
    GANTRY_TRY(success_threshold, threshold(f, "success_threshold", kOldSuccess, 1));
    GANTRY_TRY(failure_threshold, threshold(f, "failure_threshold", kOldFailure, 3));
    if (purpose != "readiness" && success_threshold != 1)
        return wrong(f.path("success_threshold"), "a probe of purpose " + quoted(purpose) + " expects 1, got " +
                                                      std::to_string(success_threshold) +
                                                      ": one success is enough for it");
    GANTRY_CHECK(probe_params(f, value.get_object(), made));
    const auto named = [&](const EndpointSpec& e) { return e.name == asked; };
    if (!asked.empty() && std::none_of(out.endpoints.begin(), out.endpoints.end(), named)) {
        std::vector<std::string_view> names;
        for (const auto& e : out.endpoints) names.push_back(e.name);
        std::string message = "no endpoint is named " + quoted(asked);
        if (const auto guess = nearest(asked, names)) message += "; did you mean " + quoted(*guess) + "?";
        return wrong(f.path("endpoint"), std::move(message));
    }
    made.kind = std::move(kind);
    made.endpoint = std::move(asked);
    made.port = static_cast<std::uint16_t>(port);
    made.interval = interval;
    made.timeout = timeout;
    made.purpose = purpose == "readiness"  ? Purpose::kReadiness
                   : purpose == "liveness" ? Purpose::kLiveness
                                           : Purpose::kStartup;
    made.start_period = start_period;
    made.success_threshold = success_threshold;
    made.failure_threshold = failure_threshold;
    out.probes.push_back(std::move(made));
    return {};
}

std::string_view network_of(const ServiceSpec& spec) {
    const auto* container = spec.settings.if_contains("container");
    const auto* network = container ? container->get_object().if_contains("network") : nullptr;
    return network ? std::string_view(network->get_string()) : "host";
}

Status container_part(Fields& top, ServiceSpec& out) {
    GANTRY_CHECK(service(Fields(top.member("service"), "service"), out));
    GANTRY_CHECK(resources(Fields(top.member("resources"), "resources"), out));
    GANTRY_CHECK(container(Fields(top.member("container"), "container"), out));
    GANTRY_CHECK(environment(top, out.env));
    GANTRY_TRY(mounts, top.list("mount"));
    if (mounts.size() > limits::kMounts) return too_many("mount", mounts.size(), limits::kMounts);
    for (std::size_t i = 0; i < mounts.size(); ++i) GANTRY_CHECK(mount(Fields(mounts[i], indexed("mount", i)), out));
    GANTRY_CHECK(list_settings(top, out));
    GANTRY_TRY(endpoints, top.list("endpoint"));
    if (endpoints.size() > limits::kEndpoints) return too_many("endpoint", endpoints.size(), limits::kEndpoints);
    for (std::size_t i = 0; i < endpoints.size(); ++i)
        GANTRY_CHECK(endpoint(Fields(endpoints[i], indexed("endpoint", i)), out));
    if (network_of(out) == "none" && !endpoints.empty())
        return wrong("container.network", "\"none\" and an [[endpoint]]: nobody could reach it; leave one of them out");
    GANTRY_TRY(probes, top.list("probe"));
    if (probes.size() > limits::kProbes) return too_many("probe", probes.size(), limits::kProbes);
    for (std::size_t i = 0; i < probes.size(); ++i)
        GANTRY_CHECK(probe(*probes[i], Fields(probes[i], indexed("probe", i)), out));
    return {};
}

}  // namespace

// As a variable may be called: in capitals, `_` for every other character.
std::string EndpointSpec::variable() const {
    std::string out = "GANTRY_PORT_";
    for (const char c : name) {
        const bool small = c >= 'a' && c <= 'z', other = !small && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9');
        if ((static_cast<unsigned char>(c) & 0xc0) != 0x80) out += small ? static_cast<char>(c - 32) : other ? '_' : c;
    }
    return out;
}

std::uint16_t ServiceSpec::port(std::size_t endpoint, const std::vector<std::uint16_t>& ports) const {
    const auto asked = endpoints[endpoint].port;
    return asked == 0 && endpoint < ports.size() ? ports[endpoint] : asked;
}

std::size_t ServiceSpec::ports_to_choose() const {
    return static_cast<std::size_t>(std::ranges::count(endpoints, 0, &EndpointSpec::port));
}

Result<ServiceSpec> parse_service(const json::value& document) {
    ServiceSpec out;
    Fields top(&document, "");
    GANTRY_CHECK(container_part(top, out));
    Fields about(top.member("service"), "service");
    GANTRY_CHECK(placement(Fields(top.member("placement"), "placement"), out, about.has("instances")));
    GANTRY_CHECK(update(Fields(top.member("update"), "update"), out.update));
    GANTRY_CHECK(top.finish());
    const auto bytes = to_text(container_part_to_json(out)).size();
    if (bytes > limits::kSpec)
        return wrong("container", "the container's description has " + std::to_string(bytes) +
                                      " bytes, expected at most " + std::to_string(limits::kSpec) +
                                      "; put long texts into a mounted file");
    return out;
}

Result<ServiceSpec> parse_container_part(const json::value& document) {
    ServiceSpec out;
    Fields top(&document, "");
    GANTRY_CHECK(container_part(top, out));
    GANTRY_CHECK(top.finish());
    return out;
}

}  // namespace gantry::core
