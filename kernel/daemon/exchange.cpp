// SPDX-License-Identifier: Apache-2.0
//
// How one gantryd becomes the next in the same process: for a plugin that was exchanged, and for a changed
// configuration. Everything is tried before anything stops (ADR 14).
#include <fcntl.h>

#include <algorithm>

#include "kernel/daemon/daemon.hpp"
#include "kernel/daemon/log.hpp"

namespace gantry::daemon {
namespace {

constexpr Duration kFinish = seconds(2);  // of frontends, for what they were asked
constexpr std::chrono::seconds kPatience{3};
constexpr std::size_t kKeysTold = 20;

std::string title_of(const host::PluginInfo& plugin) { return plugin.role + "." + plugin.name; }

bool runs(const host::PluginInfo& plugin) {
    return plugin.state == host::PluginState::kRunning || plugin.state == host::PluginState::kDegraded;
}

std::string keys_text(const std::vector<std::string>& keys) {
    std::string out;
    for (std::size_t i = 0; i < keys.size() && i < kKeysTold; ++i) out += (out.empty() ? "" : ", ") + keys[i];
    if (keys.size() > kKeysTold) out += ", and " + std::to_string(keys.size() - kKeysTold) + " more";
    return out;
}

}  // namespace

// As things are now; what shall change is the caller's to say.
Handover Daemon::successor() const {
    Handover out;
    out.path = program_.path;
    out.config = out.config_before = config_.text;
    out.files_before = host_.files();
    out.files = out.files_before;
    std::erase_if(out.files, [](const auto& file) { return !file.second.chosen; });
    for (const auto& plugin : host_.plugins()) {
        if (runs(plugin)) out.running.push_back(title_of(plugin));
    }
    return out;
}

void Daemon::exchange_plugin(const std::string& title, const std::string& file, const std::string& who, Answer answer) {
    Handover next = successor();
    next.what = next.plugin = title;
    auto look = host_.look_at(title, file);
    if (!look) return refuse(next, look.error(), who, answer);
    if (file.empty())
        next.files.erase(title);
    else
        next.files[title] = look->file;
    if (std::ranges::count(next.running, title) == 0) next.running.push_back(title);
    attempt(std::move(next), look->keeps, who, std::move(answer));
}

void Daemon::reload_config(const std::string& who, Answer answer) {
    Handover next = successor();
    next.what = "the configuration";
    const auto config = control::read_config(config_.file, config_.trust.package);
    if (!config) return refuse(next, config.error(), who, answer);
    auto changed = control::changed_keys(config_.text, config->text, config_.file);
    if (!changed) return refuse(next, changed.error(), who, answer);
    if (changed->empty()) {
        log(host::LogLevel::kInfo, "gantryd", config_.file.string() + " was read again: nothing in it has changed");
        return answer(json::object{{"changed", json::array{}}, {"restarts", false}});
    }
    next.config = config->text;
    next.changed = std::move(*changed);
    const auto plugins = host_.plugins();
    next.running.clear();
    for (const auto& table : config->plugins) {
        const std::string title = table.role + "." + table.name;
        const auto now = std::ranges::find(plugins, title, title_of);
        if (now == plugins.end() || runs(*now)) next.running.push_back(title);
    }
    // A table that is gone needs no file, one whose `plugin` is another not this one.
    std::erase_if(next.files, [&](const auto& file) {
        const auto about = [&](const std::string& key) { return key == file.first || key == file.first + ".plugin"; };
        return std::ranges::any_of(next.changed, about);
    });
    attempt(std::move(next), nullptr, who, std::move(answer));
}

void Daemon::attempt(Handover next, std::shared_ptr<void> keeps, const std::string& who, Answer answer) {
    if (stopping_ || std::exchange(exchanging_, true)) {
        return answer(fail(Code::kConflict, "another exchange is under way, try again"));
    }
    auto shared = std::make_shared<Handover>(std::move(next));
    try_successor(io_, program_, *shared, [this, shared, keeps, who, answer = std::move(answer)](Status passed) {
        exchanging_ = false;
        if (passed && stopping_) passed = fail(Code::kConflict, "gantryd is stopping");
        if (passed && tree_->streams() > 0)
            passed = fail(Code::kUnavailable, "an image is uploaded or read now, which would be cut: try again later");
        if (!passed) return refuse(*shared, passed.error(), who, answer);
        const auto after = events_.last_number();
        events_.add("gantryd-restarts", "gantryd starts anew on itself: " + shared->what,
                    {{"plugin", shared->plugin}, {"keys", keys_text(shared->changed)}, {"by", who}});
        json::array changed(shared->changed.begin(), shared->changed.end());
        answer(json::object{
            {"plugin", shared->plugin}, {"changed", std::move(changed)}, {"restarts", true}, {"after", after}});
        leave(shared, keeps);
    });
}

// Nothing was begun.
void Daemon::refuse(const Handover& next, const Error& why, const std::string& who, const Answer& answer) {
    const bool plugin = !next.plugin.empty();
    const std::string text = (plugin ? next.plugin + " was not exchanged: "
                                     : std::string("the configuration was not changed, the old one goes on: ")) +
                             why.text();
    log(host::LogLevel::kError, "gantryd", text);
    events_.add(plugin ? "plugin-exchange-failed" : "configuration-refused", text,
                {{"plugin", next.plugin}, {"by", who}});
    answer(std::unexpected(why));
}

// The node says that it comes back, frontends answer what they were asked; all the while the API goes on.
void Daemon::leave(std::shared_ptr<Handover> next, std::shared_ptr<void> keeps) {
    stopping_ = handed_over_ = true;
    log(host::LogLevel::kInfo, "gantryd", "starting anew on itself: " + next->what + "; containers go on");
    const auto go = [this, next, keeps, gone = std::make_shared<bool>(false)] {
        if (std::exchange(*gone, true)) return;
        patience_.cancel();
        boost::asio::post(io_, [this, next, keeps] { hand_over(*next); });
    };
    const auto finish = [this, go] {
        patience_.expires_after(kPatience);
        patience_.async_wait([go](boost::system::error_code error) {
            if (!error) go();
        });
        host_.finish_frontends(kFinish, go);
    };
    if (agent_) return agent_->stop({}, finish);
    finish();
}

void Daemon::hand_over(Handover& next) {
    if (controller_) controller_->stop();
    const control::FileDescriptor program(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    next.program = program.get();
    host_.stop();
    if (handed_over_) {
        manager_.give_back();
        become_successor(program_, std::move(next), *kept_);
    }
    signals_.cancel();  // somebody wants an end
    io_.stop();
}

Status Daemon::complete(bool frontends) const {
    if (!handover_ || !handover_->failed.empty()) return {};
    for (const auto& plugin : host_.plugins()) {
        if (plugin.role == "frontend" && !frontends) continue;
        if (std::ranges::count(handover_->running, title_of(plugin)) > 0 && !runs(plugin))
            return fail(Code::kFailed,
                        title_of(plugin) + " " + std::string(plugin_state_name(plugin.state)) + ": " + plugin.reason);
    }
    return {};
}

// What was to be is; or, on the way back, what was before. Only now doors open: until here this gantryd might have had
// to make way, and what it had been asked would have been lost.
void Daemon::settle() {
    if (handover_) {
        Status open = host_.start();
        if (open) open = complete(true);
        if (!open) turn_back(open.error().text());
    }
    std::vector<std::string> may_ask;  // for sockets, when they run again
    for (const auto& plugin : host_.plugins()) {
        if (plugin.state != host::PluginState::kRunning) may_ask.push_back(title_of(plugin));
    }
    kept_->drop_unclaimed(may_ask);
    if (!handover_) return;
    const Handover& from = *handover_;
    const bool about_plugin = !from.plugin.empty();
    json::object fields{{"plugin", from.plugin}};
    std::string kind, text;
    if (!from.failed.empty()) {
        kind = about_plugin ? "plugin-exchange-failed" : "configuration-refused";
        text = from.what + " did not start, what was before goes on: " + from.failed;
        host_.remark(from.plugin, "its exchange failed, the old file runs on: " + from.failed);
    } else if (about_plugin) {
        kind = "plugin-exchanged";
        for (const auto& plugin : host_.plugins()) {
            if (title_of(plugin) != from.plugin) continue;
            text = from.plugin + " is version " + plugin.version + " now, from " + plugin.file;
            fields["version"] = plugin.version;
            fields["file"] = plugin.file;
        }
    } else {
        kind = "configuration-changed";
        text = "the configuration is in force: " + keys_text(from.changed);
    }
    log(from.failed.empty() ? host::LogLevel::kInfo : host::LogLevel::kError, "gantryd", text);
    events_.add(kind, text, std::move(fields));
    handover_.reset();
}

// Returns if there is nothing to go back to.
void Daemon::turn_back(const std::string& why) {
    if (!handover_ || handover_->program < 0) return;
    log(host::LogLevel::kError, "gantryd", why + "; what ran before is started again");
    if (controller_) controller_->stop();
    host_.stop();
    manager_.give_back();
    go_back(program_, std::move(*handover_), *kept_, why);
}

}  // namespace gantry::daemon
