// SPDX-License-Identifier: Apache-2.0
#include "kernel/crash/record.hpp"

#include <algorithm>

#include "kernel/base/json.hpp"

namespace gantry::crash {
namespace {

Result<Crash> read_crash(const json::value& value) {
    Fields fields(&value, "crash");
    GANTRY_TRY(slot, fields.text("slot"));
    GANTRY_TRY(how, fields.text("how"));
    GANTRY_TRY(boot, fields.text("boot"));
    GANTRY_TRY(at, fields.integer("at_ns"));
    GANTRY_TRY(isolated, fields.boolean("isolated", false));
    return Crash{slot, how, boot, Instant{at}, isolated};
}

}  // namespace

Status Record::read(std::string_view text) {
    plugins_.clear();
    std::map<std::string, History, std::less<>> read;
    GANTRY_TRY(document, parse_json(text));
    Fields top(&document, "");
    GANTRY_TRY(plugins, top.list("plugins"));
    for (const json::value* one : plugins) {
        Fields fields(one, "plugins");
        History history;
        GANTRY_TRY(title, fields.text("plugin"));
        GANTRY_TRY(digest, fields.text("digest"));
        GANTRY_TRY(here, fields.boolean("here", false));
        GANTRY_TRY(isolated, fields.boolean("isolated", false));
        GANTRY_TRY(allowed, fields.boolean("allowed", false));
        GANTRY_TRY(crashes, fields.list("crashes"));
        for (const json::value* each : crashes) {
            GANTRY_TRY(crash, read_crash(*each));
            history.crashes.push_back(std::move(crash));
        }
        history.digest = std::move(digest);
        history.here = here;
        history.isolated = isolated;
        history.allowed = allowed;
        read[title] = std::move(history);
    }
    plugins_ = std::move(read);
    return {};
}

Status Record::save() const {
    json::array plugins;
    for (const auto& [title, history] : plugins_) {
        json::array crashes;
        for (const Crash& c : history.crashes) {
            crashes.push_back(json::object{
                {"slot", c.slot}, {"how", c.how}, {"boot", c.boot}, {"at_ns", c.at.ns}, {"isolated", c.isolated}});
        }
        plugins.push_back(json::object{{"plugin", title},
                                       {"digest", history.digest},
                                       {"here", history.here},
                                       {"isolated", history.isolated},
                                       {"allowed", history.allowed},
                                       {"crashes", std::move(crashes)}});
    }
    return save_(to_text(json::object{{"plugins", std::move(plugins)}}) + "\n");
}

Record::History& Record::history_of(const std::string& title, const std::string& digest) {
    if (!plugins_.contains(title) && plugins_.size() >= kPluginsKept) {
        // Names that a configuration had once. The one that is quiet for the longest knows least.
        const auto newest = [](const auto& item) {
            return item.second.crashes.empty() ? INT64_MIN : item.second.crashes.back().at.ns;
        };
        plugins_.erase(std::ranges::min_element(plugins_, {}, newest));
    }
    History& history = plugins_[title];
    if (history.digest != digest) history = History{digest, {}, false, false, false};
    return history;
}

Status Record::note(const std::string& title, const std::string& digest, Crash crash) {
    History& history = history_of(title, digest);
    history.crashes.push_back(std::move(crash));
    if (history.crashes.size() > kCrashesKept) history.crashes.erase(history.crashes.begin());
    const Crash& last = history.crashes.back();
    const auto near = std::ranges::count_if(history.crashes, [&](const Crash& c) {
        return c.boot == last.boot && c.isolated == last.isolated && c.at <= last.at && last.at - c.at <= kTripWithin;
    });
    if (static_cast<std::size_t>(near) >= kCrashesToTrip) (last.isolated ? history.isolated : history.here) = true;
    return save();
}

Standing Record::standing(std::string_view title, std::string_view digest) const {
    const auto found = plugins_.find(title);
    if (found == plugins_.end() || found->second.digest != digest) return {};
    const History& history = found->second;
    Standing out{history.here, history.isolated, history.allowed, history.crashes.size(), {}};
    if (history.crashes.empty()) return out;
    const Crash& last = history.crashes.back();
    const bool tripped = history.here || history.isolated;
    out.text = "crashed " +
               (tripped ? std::to_string(kCrashesToTrip) + " times within 5 minutes"
                        : std::to_string(history.crashes.size()) + (history.crashes.size() == 1 ? " time" : " times")) +
               ", last in " + last.slot + " (" + last.how + ")" + (history.isolated ? ", isolated as well" : "");
    return out;
}

Status Record::allow(const std::string& title, const std::string& digest) {
    history_of(title, digest).allowed = true;
    return save();
}

Status Record::clear(const std::string& title) {
    if (plugins_.erase(title) == 0) return {};
    return save();
}

}  // namespace gantry::crash
