// SPDX-License-Identifier: Apache-2.0
//
// The file of a scenario, read and checked.
#include <algorithm>
#include <array>
#include <map>

#define TOML_EXCEPTIONS 0
#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "kernel/base/units.hpp"
#include "kernel/sim/recorder.hpp"
#include "kernel/sim/scenario.hpp"

namespace gantry::sim {

namespace {

constexpr std::array<std::string_view, 14> kFaults = {
    "power-off", "cut",        "cut-in",          "cut-out",          "clog",  "reset", "restart-agent", "kill-agent",
    "go-down",   "clock-jump", "kill-controller", "pause-controller", "plant", "drain"};

// Tables as JSON, and where each member stands.
class Document {
  public:
    explicit Document(std::string file) : file_(std::move(file)) {}

    json::value convert(const toml::node& node, const std::string& path) {
        places_.try_emplace(path, place(node.source()));
        if (const auto* table = node.as_table()) {
            json::object out;
            for (const auto& [key, value] : *table) {
                const std::string below = path.empty() ? std::string(key.str()) : path + "." + std::string(key.str());
                places_[below] = place(key.source());
                out[std::string(key.str())] = convert(value, below);
            }
            return out;
        }
        if (const auto* list = node.as_array()) {
            json::array out;
            for (const auto& value : *list)
                out.push_back(convert(value, path + "[" + std::to_string(out.size()) + "]"));
            return out;
        }
        if (const auto text = node.value_exact<std::string>()) return json::value(json::string(*text));
        if (const auto number = node.value_exact<std::int64_t>()) return *number;
        if (const auto flag = node.value_exact<bool>()) return *flag;
        if (const auto number = node.value_exact<double>()) return *number;
        return nullptr;
    }

    std::string place(const toml::source_region& at) const {
        return file_ + ":" + std::to_string(at.begin.line) + ":" + std::to_string(at.begin.column);
    }
    // Of the innermost member on the path that the file has.
    std::string place(std::string path) const {
        for (;;) {
            if (const auto at = places_.find(path); at != places_.end()) return at->second;
            const auto dot = path.find_last_of(".[");
            if (dot == std::string::npos) return file_;
            path.resize(dot);
        }
    }
    std::unexpected<Error> located(Error error) const {
        const std::string path = error.where;
        error.where = place(path);
        if (!path.empty()) error.where += ": " + path;
        return std::unexpected(std::move(error));
    }

  private:
    std::string file_;
    std::map<std::string, std::string> places_;
};

Result<Duration> duration(Fields& f, std::string_view key, Duration fallback) {
    if (!f.has(key)) return fallback;
    GANTRY_TRY(text, f.text(key));
    auto value = parse_duration(text);
    if (!value)
        return fail(Code::kInvalid, "expected a duration such as \"200ms\" or \"30s\", got \"" + text + "\"",
                    f.path(key));
    return *value;
}

Result<int> rate(Fields& f, std::string_view key) {
    GANTRY_TRY(value, f.integer(key, 0, 0, 1'000));
    return static_cast<int>(value);
}

Result<std::optional<std::uint64_t>> count(Fields& f, std::string_view key) {
    if (!f.has(key)) return std::optional<std::uint64_t>();
    GANTRY_TRY(value, f.integer(key, 0, 0, 1'000'000'000));
    return std::optional(static_cast<std::uint64_t>(value));
}

Status read_faults(const json::value* value, Faults& out) {
    Fields f(value, "faults");
    const std::array<std::pair<const char*, int*>, 16> rates = {
        std::pair{"loss", &out.loss},
        {"duplicates", &out.duplicates},
        {"disorder", &out.disorder},
        {"delays", &out.delays},
        {"slow_runtime", &out.slow_runtime},
        {"failing_runtime", &out.failing_runtime},
        {"unknown_outcomes", &out.unknown_outcomes},
        {"zombies", &out.zombies},
        {"lost_exits", &out.lost_exits},
        {"hidden", &out.hidden},
        {"crashes", &out.crashes},
        {"probes", &out.probes},
        {"images", &out.images},
        {"commits", &out.commits},
        {"saves", &out.saves},
        {"policies", &out.policies},
    };
    for (const auto& [name, member] : rates) {
        GANTRY_TRY(of_thousand, rate(f, name));
        *member = of_thousand;
    }
    GANTRY_TRY(ppm, rate(f, "drift_ppm"));
    GANTRY_TRY(slow, f.boolean("slow_disks", false));
    out.drift_ppm = ppm;
    out.slow_disks = slow;
    return f.finish();
}

Status read_timing(const json::value* value, core::Timing& out) {
    Fields f(value, "timing");
    for (const auto& each : timing_members()) {
        GANTRY_TRY(time, duration(f, each.name, out.*each.member));
        out.*each.member = time;
    }
    GANTRY_TRY(crashes, f.integer("crashes_to_move", out.crashes_to_move, 1, 1'000));
    out.crashes_to_move = static_cast<std::uint32_t>(crashes);
    GANTRY_CHECK(f.finish());
    return core::check_timing(out);
}

Status check_nodes(Fields& f, const std::vector<std::string>& nodes, int all) {
    for (const auto& node : nodes) {
        bool there = false;
        for (int i = 1; i <= all; ++i) there = there || node == "n" + std::to_string(i);
        if (!there)
            return fail(Code::kInvalid, "there is no node " + node + ", expected n1 to n" + std::to_string(all),
                        f.path("nodes"));
    }
    return {};
}

Result<Scenario::Deploy> read_deploy(const json::value& value, const std::string& path) {
    Fields f(&value, path);
    GANTRY_TRY(at, duration(f, "at", seconds(2)));
    json::value document = value;
    document.as_object().erase("at");
    if (auto spec = core::parse_service(document); !spec) {
        Error error = spec.error();
        error.where = path + "." + error.where;
        return std::unexpected(std::move(error));
    }
    return Scenario::Deploy{{at.count()}, std::move(document)};
}

Result<Scenario::Fault> read_fault(const json::value& value, const std::string& path, int all) {
    Fields f(&value, path);
    Scenario::Fault out;
    GANTRY_TRY(at, duration(f, "at", Duration(0)));
    GANTRY_TRY(what, f.text("what"));
    GANTRY_TRY(nodes, f.texts("nodes"));
    GANTRY_TRY(lasts, duration(f, "for", seconds(5)));
    GANTRY_TRY(by, duration(f, "by", seconds(86'400)));
    GANTRY_TRY(copy, f.text("copy", ""));
    GANTRY_CHECK(f.finish());
    if (std::ranges::count(kFaults, what) == 0) {
        const auto guess = nearest(what, kFaults);
        return fail(Code::kInvalid,
                    "there is no fault `" + what + "`" + (guess ? ", did you mean `" + *guess + "`?" : ""),
                    f.path("what"));
    }
    GANTRY_CHECK(check_nodes(f, nodes, all));
    if (what == "plant" && !core::parse_copy_id(copy))
        return fail(Code::kInvalid, "expected a copy (\"12.0#3\"), got \"" + copy + "\"", f.path("copy"));
    return Scenario::Fault{{at.count()}, what, nodes, lasts, by, copy};
}

Result<Scenario::Expect> read_expect(const json::value& value, const std::string& path) {
    Fields f(&value, path);
    Scenario::Expect out;
    if (f.has("at")) {
        GANTRY_TRY(at, duration(f, "at", Duration(0)));
        out.at = Instant{at.count()};
    }
    const std::array<std::pair<const char*, std::string*>, 4> words = {
        std::pair{"service", &out.service}, {"node", &out.node}, {"event", &out.event}, {"liveness", &out.liveness}};
    for (const auto& [key, member] : words) {
        GANTRY_TRY(text, f.text(key, ""));
        *member = std::move(text);
    }
    const std::array<std::pair<const char*, std::optional<std::uint64_t>*>, 4> numbers = {
        std::pair{"ready", &out.ready},
        {"copies", &out.copies},
        {"at_least", &out.at_least},
        {"at_most", &out.at_most}};
    for (const auto& [key, member] : numbers) {
        GANTRY_TRY(number, count(f, key));
        *member = number;
    }
    GANTRY_CHECK(f.finish());
    if (out.service.empty() + out.node.empty() + out.event.empty() != 2)
        return fail(Code::kInvalid, "expected one of `service`, `node` and `event`", path);
    return out;
}

Status read_all(const json::value& document, const Document& file, Scenario& out) {
    Fields f(&document, "");
    Fields head(f.member("scenario"), "scenario");
    GANTRY_TRY(about, head.text("about"));
    GANTRY_TRY(seed, head.integer("seed", 1, 0, INT64_MAX));
    GANTRY_TRY(nodes, head.integer("nodes", 4, 1, 1'000));
    GANTRY_TRY(lasts, duration(head, "lasts", seconds(60)));
    GANTRY_CHECK(head.finish());
    out.about = about;
    out.seed = static_cast<std::uint64_t>(seed);
    out.nodes = static_cast<int>(nodes);
    out.lasts = lasts;
    GANTRY_CHECK(read_faults(f.member("faults"), out.faults));
    GANTRY_CHECK(read_timing(f.member("timing"), out.timing));
    GANTRY_TRY(deploys, f.list("deploy"));
    GANTRY_TRY(faults, f.list("fault"));
    GANTRY_TRY(expects, f.list("expect"));
    GANTRY_CHECK(f.finish());
    const auto path = [](const char* of, std::size_t i) { return std::string(of) + "[" + std::to_string(i) + "]"; };
    for (std::size_t i = 0; i < deploys.size(); ++i) {
        GANTRY_TRY(deploy, read_deploy(*deploys[i], path("deploy", i)));
        out.deploys.push_back(std::move(deploy));
    }
    for (std::size_t i = 0; i < faults.size(); ++i) {
        GANTRY_TRY(fault, read_fault(*faults[i], path("fault", i), out.nodes));
        out.happens.push_back(std::move(fault));
    }
    for (std::size_t i = 0; i < expects.size(); ++i) {
        GANTRY_TRY(expect, read_expect(*expects[i], path("expect", i)));
        expect.where = file.place(path("expect", i));
        out.expects.push_back(std::move(expect));
    }
    return {};
}

}  // namespace

Result<Scenario> Scenario::read(const std::filesystem::path& file) {
    Document document(file.string());
    const toml::parse_result parsed = toml::parse_file(file.string());
    if (!parsed) {
        const auto& error = parsed.error();
        return fail(Code::kInvalid, "the scenario cannot be read: " + std::string(error.description()),
                    document.place(error.source()));
    }
    const json::value value = document.convert(parsed.table(), "");
    Scenario out;
    if (auto good = read_all(value, document, out); !good) return document.located(good.error());
    return out;
}

}  // namespace gantry::sim
