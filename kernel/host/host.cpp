// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/host.hpp"

#include <algorithm>
#include <exception>
#include <ranges>

#include "kernel/host/instance.hpp"

namespace gantry::host {
namespace {

constexpr Duration kStopLimit = seconds(5);

std::unexpected<Error> no_plugin(std::string_view title) {
    return fail(Code::kNotFound, "there is no plugin " + std::string(title) + "; its name is ROLE.NAME of its table");
}

}  // namespace

std::string_view plugin_state_name(PluginState state) {
    switch (state) {
        case PluginState::kLoaded:
            return "loaded";
        case PluginState::kRunning:
            return "running";
        case PluginState::kDegraded:
            return "degraded";
        case PluginState::kRefused:
            return "refused";
        case PluginState::kFailed:
            return "failed";
        case PluginState::kStopped:
            return "stopped";
    }
    return "failed";
}

class Host::Impl {
  public:
    Impl(boost::asio::io_context& io, HostOptions options) : core(std::make_shared<Core>(io, std::move(options))) {}

    // The running instance of that role and name.
    template <class Role>
    Role* find(std::unique_ptr<Role> Adapters::*role, std::string_view name) const {
        for (const auto& one : running(role)) {
            if (one.first == name) return one.second;
        }
        return nullptr;
    }

    // All running instances of a role, in order of the file.
    template <class Role>
    std::vector<std::pair<std::string, Role*>> running(std::unique_ptr<Role> Adapters::*role) const {
        std::vector<std::pair<std::string, Role*>> out;
        for (const auto& instance : instances) {
            Role* const adapter = (instance->adapters().*role).get();
            if (adapter != nullptr && instance->state() == PluginState::kRunning) {
                out.emplace_back(instance->table().name, adapter);
            }
        }
        return out;
    }

    Instance* titled(std::string_view title) const {
        for (const auto& instance : instances) {
            if (instance->title() == title) return instance.get();
        }
        return nullptr;
    }

    template <class Role>
    Role* first(std::unique_ptr<Role> Adapters::*role) const {
        const auto all = running(role);
        return all.empty() ? nullptr : all.front().second;
    }

    template <class Role>
    std::vector<Role*> all(std::unique_ptr<Role> Adapters::*role) const {
        std::vector<Role*> out;
        for (const auto& one : running(role)) out.push_back(one.second);
        return out;
    }

    std::shared_ptr<Core> core;
    std::vector<std::unique_ptr<Instance>> instances;
};

Host::Host(boost::asio::io_context& io, HostOptions options) : impl_(std::make_unique<Impl>(io, std::move(options))) {}

Host::~Host() {
    stop();
    impl_->core->close();
}

void Host::set_tree(ResourceTree* tree) { impl_->core->tree = tree; }

Status Host::configure(std::vector<PluginTable> tables) {
    Status first;
    impl_->core->verifier.refresh();
    for (PluginTable& table : tables) {
        if (known_role(table.role).empty()) {
            return fail(Code::kInvalid, "unknown role `" + table.role + "` in [" + table.role + "." + table.name + "]",
                        table.place.text());
        }
        impl_->instances.push_back(std::make_unique<Instance>(std::move(table), impl_->core));
        Instance& instance = *impl_->instances.back();
        Status status = instance.prepare();
        if (status && instance.state() == PluginState::kRefused && instance.table().required) {
            status = fail(Code::kFailed,
                          "the required plugin " + instance.title() + " is refused: " + instance.info().reason,
                          instance.table().place.text());
        }
        if (status) continue;
        if (!first) impl_->core->log(LogLevel::kError, instance.title(), status.error().text());
        if (first) first = std::move(status);
    }
    return first;
}

Status Host::start(bool frontends) {
    Status first;
    for (const auto& instance : impl_->instances) {
        if (!frontends && instance->table().role == "frontend") continue;
        const bool failed = instance->state() == PluginState::kFailed;
        if (instance->state() == PluginState::kRunning || (failed && !instance->table().required)) continue;
        Status status = instance->start();
        if (status || !instance->table().required) continue;
        Error error = std::move(status).error();
        status = fail(error.code,
                      "the required plugin " + instance->title() + " " +
                          (instance->state() == PluginState::kRefused ? "is refused: " : "failed: ") + error.message,
                      error.where.empty() ? instance->table().place.text() : error.where);
        status.error().retry = error.retry;
        if (!error.retry) return status;
        if (first) first = std::move(status);
    }
    return first;
}

void Host::stop() {
    for (const auto& instance : std::views::reverse(impl_->instances)) instance->stop(kStopLimit);
    impl_->core->pool.close();
}

bool Host::reconsider(std::string_view title) {
    return std::ranges::any_of(
        impl_->instances, [&](const auto& instance) { return instance->title() == title && instance->reconsider(); });
}

std::optional<Where> Host::misplaced(std::string_view title) const {
    const Instance* const instance = impl_->titled(title);
    return instance != nullptr ? instance->misplaced() : std::nullopt;
}

void Host::reload(std::string_view title, const std::string& file, Done<void> done) {
    if (Instance* const instance = impl_->titled(title)) return instance->reload(file, std::move(done));
    done(no_plugin(title));
}

std::map<std::string, ChosenFile, std::less<>> Host::files() const {
    std::map<std::string, ChosenFile, std::less<>> out;
    for (const auto& instance : impl_->instances) {
        if (auto file = instance->file()) out.emplace(instance->title(), std::move(*file));
    }
    return out;
}

Result<Host::Exchange> Host::look_at(std::string_view title, const std::string& file) {
    if (Instance* const instance = impl_->titled(title)) return instance->look_at(file);
    return no_plugin(title);
}

Status Host::rehearse(std::string_view title) {
    if (Instance* const instance = impl_->titled(title)) return instance->rehearse();
    return no_plugin(title);
}

void Host::remark(std::string_view title, const std::string& reason) {
    if (Instance* const instance = impl_->titled(title)) instance->remark(reason);
}

void Host::finish_frontends(Duration limit, std::function<void()> done) {
    // Gone, and so called, when the last one has ended.
    const std::shared_ptr<void> all(nullptr, [done = std::move(done)](void*) { done(); });
    for (const auto& instance : impl_->instances) {
        if (instance->table().role == "frontend") instance->finish(limit, [all] {});
    }
}

std::vector<PluginInfo> Host::plugins() const {
    std::vector<PluginInfo> out;
    for (const auto& instance : impl_->instances) out.push_back(instance->info());
    return out;
}

Placement* Host::placement(std::string_view name) const { return impl_->find(&Adapters::placement, name); }
Runtime* Host::runtime(std::string_view name) const { return impl_->find(&Adapters::runtime, name); }
Probe* Host::probe(std::string_view name) const { return impl_->find(&Adapters::probe, name); }
Transport* Host::transport() const { return impl_->first(&Adapters::transport); }
Store* Host::store() const { return impl_->first(&Adapters::store); }
std::vector<Discovery*> Host::discoveries() const { return impl_->all(&Adapters::discovery); }
std::vector<Directory*> Host::directories() const { return impl_->all(&Adapters::directory); }
std::vector<std::pair<std::string, Runtime*>> Host::runtimes() const { return impl_->running(&Adapters::runtime); }
std::vector<std::pair<std::string, Probe*>> Host::probes() const { return impl_->running(&Adapters::probe); }
std::vector<std::pair<std::string, Placement*>> Host::placements() const {
    return impl_->running(&Adapters::placement);
}

void Host::work(std::function<void()> work, std::function<void(const Status&)> done) {
    impl_->core->pool.submit_own([core = impl_->core, work = std::move(work), done = std::move(done)]() mutable {
        Status ran;
        try {
            work();
        } catch (const std::exception& e) {
            ran = fail(Code::kFailed, std::string("the job threw: ") + e.what());
        }
        work = nullptr;
        core->loop.post([ran = std::move(ran), done = std::move(done)] { done(ran); });
    });
}

}  // namespace gantry::host
