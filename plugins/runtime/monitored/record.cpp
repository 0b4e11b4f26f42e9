// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/monitored/record.hpp"

#include <boost/json.hpp>
#include <csignal>
#include <gantry/status.hpp>

#include "plugins/runtime/monitored/files.hpp"

namespace monitored {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxRecord = 1 << 20;
constexpr int kVersion = 1;  // for a later one; this one reads what it finds

json::object to_json(const ProcessRef& process) {
    return {{"pid", process.pid}, {"start", process.start}, {"boot", process.boot}};
}

// Absent: the default.
const json::value* member(const json::object& object, std::string_view key) {
    const json::value* found = object.if_contains(key);
    return found == nullptr || found->is_null() ? nullptr : found;
}

// Not to be guessed: who does not know the processes would take the container for one that never ran.
ProcessRef process_of(const json::object& document, std::string_view key) {
    const json::object& object = document.at(key).as_object();
    return {static_cast<pid_t>(object.at("pid").to_number<int>()), object.at("start").to_number<std::uint64_t>(),
            std::string(object.at("boot").as_string())};
}

Record record_of(const json::object& document, const std::string& name) {
    Record out;
    out.name = name;
    if (const json::value* image = member(document, "image")) out.image = image->as_string();
    if (const json::value* labels = member(document, "labels")) {
        for (const json::value& pair : labels->as_array()) {
            out.labels.emplace_back(pair.at(0).as_string(), pair.at(1).as_string());
        }
    }
    if (const json::value* quota = member(document, "cpu_quota_us"))
        out.cpu_quota_us = quota->to_number<std::int64_t>();
    const json::value* signal = member(document, "stop_signal");
    out.stop_signal = signal == nullptr ? SIGTERM : signal->to_number<int>();
    out.process = process_of(document, "process");
    out.monitor = process_of(document, "monitor");
    if (const json::value* started = member(document, "started_ns")) {
        out.started = gantry::Instant(started->to_number<std::int64_t>());
    }
    if (const json::value* bytes = member(document, "checkpoint_bytes"))
        out.checkpoint_bytes = bytes->to_number<std::int64_t>();
    return out;
}

}  // namespace

void save(const Record& record, const std::filesystem::path& dir) {
    json::array labels;
    for (const auto& [key, value] : record.labels) labels.push_back(json::array{key, value});
    const json::object document{{"version", kVersion},
                                {"name", record.name},
                                {"image", record.image},
                                {"labels", std::move(labels)},
                                {"cpu_quota_us", record.cpu_quota_us},
                                {"stop_signal", record.stop_signal},
                                {"process", to_json(record.process)},
                                {"monitor", to_json(record.monitor)},
                                {"started_ns", record.started.count()},
                                {"checkpoint_bytes", record.checkpoint_bytes}};
    const std::string text = json::serialize(document);
    if (text.size() > kMaxRecord) {
        throw gantry::Failure(gantry::Code::kInvalid,
                              "container \"" + record.name + "\": its labels are too large: the record has " +
                                  std::to_string(text.size()) + " bytes, at most " + std::to_string(kMaxRecord));
    }
    replace_file(dir / "record.json", text);
}

std::optional<Record> load(const std::filesystem::path& dir) {
    const std::filesystem::path file = dir / "record.json";
    const std::optional<std::string> text = read_if_there(file, kMaxRecord);
    json::error_code error;
    const json::value document = text ? json::parse(*text, error) : json::value();
    if (error || !document.is_object()) return std::nullopt;
    try {
        return record_of(document.as_object(), dir.filename().string());
    } catch (const std::exception& problem) {
        throw gantry::Failure(gantry::Code::kFailed, "cannot understand " + file.string() + ": " + problem.what() +
                                                         "; put it right, or end the container and move " +
                                                         dir.string() + " away");
    }
}

bool valid_name(std::string_view name) {
    constexpr std::string_view kFirst = "abcdefghijklmnopqrstuvwxyz0123456789";
    constexpr std::string_view kRest = "abcdefghijklmnopqrstuvwxyz0123456789.-";
    return !name.empty() && name.size() <= 63 && kFirst.find(name.front()) != std::string_view::npos &&
           name.find_first_not_of(kRest) == std::string_view::npos;
}

}  // namespace monitored
