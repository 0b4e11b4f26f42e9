// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/record.hpp"

#include <boost/json.hpp>

#include "plugins/runtime/monitored/files.hpp"

namespace monitored {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxRecord = 1 << 20;

json::object to_json(const ProcessRef& process) {
    return {{"pid", process.pid}, {"start", process.start}, {"boot", process.boot}};
}

ProcessRef process_of(const json::value& value) {
    return {static_cast<pid_t>(value.at("pid").to_number<int>()), value.at("start").to_number<std::uint64_t>(),
            std::string(value.at("boot").as_string())};
}

}  // namespace

void save(const Record& record, const std::filesystem::path& dir) {
    json::array labels;
    for (const auto& [key, value] : record.labels) labels.push_back(json::array{key, value});
    const json::object document{{"name", record.name},
                                {"image", record.image},
                                {"labels", std::move(labels)},
                                {"stop_signal", record.stop_signal},
                                {"process", to_json(record.process)},
                                {"monitor", to_json(record.monitor)},
                                {"started_ns", record.started.count()}};
    replace_file(dir / "record.json", json::serialize(document));
}

std::optional<Record> load(const std::filesystem::path& dir) {
    const std::optional<std::string> text = read_file(dir / "record.json", kMaxRecord);
    if (!text) return std::nullopt;
    try {
        const json::value document = json::parse(*text);
        Record out;
        out.name = document.at("name").as_string();
        out.image = document.at("image").as_string();
        for (const json::value& pair : document.at("labels").as_array()) {
            out.labels.emplace_back(pair.at(0).as_string(), pair.at(1).as_string());
        }
        out.stop_signal = document.at("stop_signal").to_number<int>();
        out.process = process_of(document.at("process"));
        out.monitor = process_of(document.at("monitor"));
        out.started = gantry::Instant(document.at("started_ns").to_number<std::int64_t>());
        if (out.name != dir.filename().string()) return std::nullopt;
        return out;
    } catch (const std::exception&) {
        return std::nullopt;  // cut short by a power failure: as good as absent
    }
}

bool valid_name(std::string_view name) {
    constexpr std::string_view kFirst = "abcdefghijklmnopqrstuvwxyz0123456789";
    constexpr std::string_view kRest = "abcdefghijklmnopqrstuvwxyz0123456789.-";
    return !name.empty() && name.size() <= 63 && kFirst.find(name.front()) != std::string_view::npos &&
           name.find_first_not_of(kRest) == std::string_view::npos;
}

}  // namespace monitored
