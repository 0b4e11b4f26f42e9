// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/progress.hpp"

#include <unistd.h>

#include "kernel/cli/document.hpp"

namespace gantry::cli {

namespace {

constexpr std::size_t kExplained = 10;  // instances of which why_not_ready tells

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    for (std::size_t at = 0; at < text.size();) {
        const auto end = text.find('\n', at);
        lines.push_back(text.substr(at, end - at));
        at = end + 1;
    }
    return lines;
}

std::string short_reason(const json::value& instance) {
    auto reason = text_of(instance, "reason");
    const auto& pending = items_of(instance, "pending");
    if (reason.empty() && !pending.empty()) {
        reason = text_of(pending[0], "node") + ": " + text_of(pending[0], "reason");
        if (pending.size() > 1) reason += ", and " + std::to_string(pending.size() - 1) + " more nodes";
    }
    return reason;
}

}  // namespace

Progress::Progress(const Session& session, std::string service, std::int64_t revision)
    : session_(session), service_(std::move(service)), revision_(revision), live_(STDOUT_FILENO) {}

std::string Progress::elapsed() const {
    return age_text(std::chrono::duration_cast<milliseconds>(Clock::now() - start_).count());
}

void Progress::event(const json::value& event) {
    if (session_.json()) return session_.show(event);
    const auto text = text_of(event, "text");
    last_event_ = text;
    event_since_state_ = true;
    if (!session_.live()) session_.say_line(local_time(text_of(event, "time"), false) + " " + text);
}

void Progress::state(const json::value& service) {
    if (session_.json()) return;
    session_.live() ? draw(service) : print_changes(service);
    event_since_state_ = false;
}

void Progress::draw(const json::value& service) {
    Table table({"INSTANCE", "STATE", "NODE", "EPOCH", "REASON"});
    std::vector<Color> colors = {Color::kNone, Color::kDim};
    for (const auto& instance : items_of(service, "instances")) {
        const auto state = text_of(instance, "state");
        table.add({text_of(instance, "instance"), state, text_of(instance, "node"), text_of(instance, "epoch"),
                   short_reason(instance)});
        colors.push_back(session_.colored() ? color_of_state(state) : Color::kNone);
    }
    if (!session_.colored()) colors[1] = Color::kNone;
    auto lines = lines_of(table.text(0, false));
    lines.insert(lines.begin(), service_ + " revision " + std::to_string(revision_) + ": " + text_of(service, "ready") +
                                    " of " + text_of(service, "desired") + " ready, " + elapsed() +
                                    (last_event_.empty() ? "" : ": " + last_event_));
    live_.draw(lines, colors);
}

// The events tell most of it; what none told is told here.
void Progress::print_changes(const json::value& service) {
    for (const auto& instance : items_of(service, "instances")) {
        const auto name = text_of(instance, "instance");
        auto line = name + " " + text_of(instance, "state");
        if (const auto node = text_of(instance, "node"); !node.empty()) line += " on " + node;
        if (const auto reason = short_reason(instance); !reason.empty()) line += ": " + reason;
        if (shown_[name] == line) continue;
        shown_[name] = line;
        if (!event_since_state_) session_.say_line(local_time(std::chrono::system_clock::now(), false) + " " + line);
    }
}

void Progress::end() {
    if (session_.live()) live_.clear();
}

std::vector<std::string> why_not_ready(const json::value& service) {
    std::vector<std::string> lines;
    std::size_t more = 0, told = 0;
    for (const auto& instance : items_of(service, "instances")) {
        const auto state = text_of(instance, "state");
        if (state == "ready") continue;
        if (++told > kExplained) {
            ++more;
            continue;
        }
        auto line = text_of(instance, "instance") + " is " + state;
        if (const auto node = text_of(instance, "node"); !node.empty()) line += " on " + node;
        if (const auto reason = text_of(instance, "reason"); !reason.empty()) line += ": " + reason;
        lines.push_back(line);
        const bool crashed = number_of(instance, "crashes") > 0;
        if (crashed) {
            lines.push_back("  crashed " + text_of(instance, "crashes") + " times in a row, exit code " +
                            text_of(instance, "exit_code") + "; see `gantry logs " + text_of(instance, "instance") +
                            "`");
        }
        for (const auto& node : items_of(instance, "pending")) {
            lines.push_back("  " + text_of(node, "node") + ": " + text_of(node, "reason"));
        }
    }
    if (more > 0) lines.push_back("and " + std::to_string(more) + " more instances; see `gantry ps`");
    return lines;
}

}  // namespace gantry::cli
