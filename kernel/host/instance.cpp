// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/instance.hpp"

#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>

#include "kernel/crash/code.hpp"
#include "kernel/crash/witness.hpp"

namespace gantry::host {
namespace {

// Jobs and the thread of stop() get this much more before they count as hanging.
constexpr Duration kGrace = seconds(1);

const void* query_service(std::uint64_t handle, gantry_str id) noexcept {
    return Context::find(handle) == nullptr ? nullptr : service_table(view(id));
}

}  // namespace

// What the thread that runs the plugin's stop shares with the loop; it may outlive the instance if the plugin hangs.
struct Stopping {
    std::mutex mutex;
    std::condition_variable done;
    bool returned = false;
    gantry_status status = GANTRY_OK;
    ErrorBuffer error;
    std::function<void()> told;  // on the loop
    std::thread thread;
};

Instance::Instance(PluginTable table, std::shared_ptr<Core> core)
    : table_(std::move(table)),
      core_(std::move(core)),
      title_(table_.role + "." + table_.name),
      placing_(table_.placing.value_or(Placing::kHost)) {
    info_.role = table_.role;
    info_.name = table_.name;
    info_.plugin = table_.plugin.empty() ? table_.name : table_.plugin;
    info_.required = table_.required;
}

Instance::~Instance() { stop(seconds(5)); }

Status Instance::give_up(PluginState state, Error error) {
    error.message = line(error.message);
    if (state == PluginState::kFailed && !ruled_.empty()) error.message += "; it runs isolated: " + ruled_;
    const crash::Standing past = crashes(info_.digest);
    error.retry = state == PluginState::kFailed && placing_ == Placing::kOwnProcess && !past.allowed &&
                  (past.here || past.isolated);
    info_.state = state;
    info_.reason = error.text();
    // What is required and missing ends the start: the daemon says why.
    if (!table_.required) core_->log(LogLevel::kError, title_, info_.reason);
    return std::unexpected(std::move(error));
}

void Instance::describe(std::shared_ptr<PluginFile> file) {
    file_ = std::move(file);
    info_.file = file_->path;
    info_.id = line(file_->note.id);
    info_.version = line(file_->note.version);
    info_.license = line(file_->note.license);
    info_.trust = line(file_->origin.text);
    info_.digest = file_->origin.digest;
}

Status Instance::prepare() {
    const auto given = core_->options.files.find(title_);
    const bool is_given = given != core_->options.files.end();
    chosen_ = is_given && given->second.chosen;
    Result<std::shared_ptr<PluginFile>> file = is_given ? open_chosen(given->second, table_.role) : open("");
    if (!file) {
        (void)give_up(PluginState::kRefused, std::move(file).error());  // recorded; start() answers for it
        return {};
    }
    describe(std::move(*file));
    GANTRY_TRY(config, check_table(table_, file_->note.config));
    config_ = std::move(config);
    const Ruling ruling = judge(*file_);
    placing_ = ruling.where == Where::kIsolated ? Placing::kOwnProcess : Placing::kHost;
    info_.reason = line(ruling.why);  // shown also of one that runs
    if (placing_ == Placing::kOwnProcess) ruled_ = info_.reason;
    if (ruling.where == Where::kRefused) refuse(ruling);
    return {};
}

void Instance::refuse(const Ruling& ruling) {
    ruled_out_ = true;
    (void)give_up(PluginState::kRefused, {Code::kRefused, file_->path + ": " + ruling.why});
}

crash::Standing Instance::crashes(const std::string& digest) const {
    const crash::Record* const record = core_->options.crashes;
    return record == nullptr ? crash::Standing() : record->standing(title_, digest);
}

// Where the code of that file may run.
Ruling Instance::judge(const PluginFile& file) const {
    const Placing usual = file.note.isolated ? Placing::kOwnProcess : Placing::kHost;
    const bool asked = table_.placing.value_or(usual) == Placing::kOwnProcess;
    return decide({file.origin, core_->verifier.options().require_signature, asked, core_->options.isolation != nullptr,
                   table_.required, crashes(file.origin.digest)});
}

// Its own process ended by itself. False: it is not to be started again.
bool Instance::survives(const std::string& how) {
    crash::Record* const record = core_->options.crashes;
    if (record == nullptr) return true;
    const Status kept = record->note(title_, info_.digest, {"its process", how, record->boot(), boottime_now(), true});
    if (!kept) core_->log(LogLevel::kError, title_, kept.error().text());
    const Ruling ruling = judge(*file_);
    if (ruling.where != Where::kRefused) return true;
    refuse(ruling);
    return false;
}

bool Instance::reconsider() {
    if (isolated_ == nullptr || info_.state != PluginState::kRefused) return false;
    const Ruling ruling = judge(*file_);
    if (ruling.where == Where::kRefused) return false;
    info_.state = PluginState::kRunning;
    info_.reason = ruled_;
    ruled_out_ = false;
    isolated_->revive();
    return true;
}

std::optional<Where> Instance::misplaced() const {
    if (file_ == nullptr) return std::nullopt;
    const Where apart = placing_ == Placing::kOwnProcess ? Where::kIsolated : Where::kInProcess;
    const Where fits = judge(*file_).where;
    return fits == (ruled_out_ ? Where::kRefused : apart) ? std::nullopt : std::optional(fits);
}

// Its code into this process; nothing of it if it has one of its own.
Status Instance::load() {
    if (placing_ != Placing::kHost) return {};
    const crash::Subject subject(title_, info_.digest);
    const crash::Crumbs crumbs(subject, "load");  // constructors of globals run
    GANTRY_TRY(library, Library::load(*file_));
    library_ = library;
    crash::claim(library_->address(), subject);
    return {};
}

Status Instance::start() {
    if (info_.state == PluginState::kRefused) return fail(Code::kRefused, info_.reason, table_.place.text());
    start_called_ = false;  // it may be a second time
    if (Status loaded = load(); !loaded) return give_up(PluginState::kRefused, std::move(loaded).error());
    Status made = placing_ == Placing::kHost ? create() : create_isolated();
    if (!made) return give_up(PluginState::kFailed, std::move(made).error());
    Status status = init();
    if (status) status = attach();
    if (status) {
        ErrorBuffer error;
        start_called_ = true;
        const gantry_status started = context_->timed("start", [&] { return plugin_.start(plugin_.self, &error.raw); });
        if (started != GANTRY_OK) status = fail(code_of(started), "cannot start: " + error.text(started));
    }
    if (!status) {
        stop(seconds(5));
        return give_up(PluginState::kFailed, std::move(status).error());
    }
    info_.state = PluginState::kRunning;
    if (!ruled_.empty()) info_.reason = ruled_;  // it may have failed before
    core_->log(LogLevel::kDebug, title_, "running: " + info_.id + " " + info_.version);
    return {};
}

Status Instance::create() {
    context_ = Context::make(core_, title_, info_.digest);
    const gantry_host raw{sizeof(raw), 0, context_->handle, &query_service};
    GANTRY_CHECK(context_->timed("create", [&] { return library_->create(raw, plugin_); }));
    created_ = true;
    return {};
}

Status Instance::create_isolated() {
    context_ = Context::make(core_, title_, info_.digest);
    isolated_ = core_->options.isolation->host(
        {context_, file_, table_.memory_max_bytes, [this](const std::string& how) { return survives(how); }});
    plugin_ = isolated_->plugin();
    created_ = true;
    return {};
}

std::string Instance::make_state_dir(Status& status) const {
    const std::filesystem::path path = core_->options.state_dir / "plugins" / title_;
    std::error_code error;
    std::filesystem::create_directories(path, error);
    if (!error) std::filesystem::permissions(path, std::filesystem::perms::owner_all, error);
    if (error) {
        status = fail(Code::kFailed, "its folder " + path.string() + " cannot be made: " + error.message());
    }
    return path.string();
}

Status Instance::init() {
    Status status;
    const std::string state_dir = make_state_dir(status);
    GANTRY_CHECK(status);
    const LoweredConfig config(table_.name, state_dir, config_);
    ErrorBuffer error;
    const gantry_status done =
        context_->timed("init", [&] { return plugin_.init(plugin_.self, config.get(), &error.raw); });
    if (done == GANTRY_OK) return {};
    return fail(code_of(done), "does not accept its configuration: " + error.text(done), table_.place.text());
}

Status Instance::attach() try {
    const std::string interface = elf::role_interface(file_->note.role);
    const void* const raw = context_->timed("query", [&] { return plugin_.query(plugin_.self, str(interface)); });
    if (raw == nullptr) return fail(Code::kRefused, "has no table " + interface + ", which its note promises");
    const auto site = [&]<class Table>(const Table* table) { return Site<Table>{context_, plugin_.self, table}; };
    if (interface == GANTRY_ROLE_DISCOVERY)
        adapters_.discovery = adapt(site(static_cast<const gantry_discovery*>(raw)));
    if (interface == GANTRY_ROLE_PLACEMENT) {
        adapters_.placement = isolated_ ? adapt(site(static_cast<const AskedPlacement*>(raw)))
                                        : adapt(site(static_cast<const gantry_placement*>(raw)));
    }
    if (interface == GANTRY_ROLE_RUNTIME) adapters_.runtime = adapt(site(static_cast<const gantry_runtime*>(raw)));
    if (interface == GANTRY_ROLE_PROBE) adapters_.probe = adapt(site(static_cast<const gantry_probe*>(raw)));
    if (interface == GANTRY_ROLE_TRANSPORT)
        adapters_.transport = adapt(site(static_cast<const gantry_transport*>(raw)));
    if (interface == GANTRY_ROLE_DIRECTORY)
        adapters_.directory = adapt(site(static_cast<const gantry_directory*>(raw)));
    if (interface == GANTRY_ROLE_STORE) adapters_.store = adapt(site(static_cast<const gantry_store*>(raw)));
    if (interface == GANTRY_ROLE_FRONTEND) {
        const auto door = site(static_cast<const gantry_frontend*>(raw));
        if (door.has(&gantry_frontend::address)) {
            info_.address = line(context_->timed("address", [&] { return door.table->address(plugin_.self); }));
        }
    }
    return {};
} catch (const std::runtime_error& e) {
    return fail(Code::kRefused, std::string("its facts cannot be read: ") + e.what());
}

void Instance::stop(Duration limit) {
    if (!created_) {
        if (info_.state == PluginState::kLoaded) info_.state = PluginState::kStopped;
        if (context_ != nullptr) context_->end("the plugin was not created");
        return;
    }
    if (adapters_.discovery) adapters_.discovery->end();
    bool back = true;
    std::string reason;
    if (start_called_) {
        begin_stop(limit);
        std::unique_lock lock(stopping_->mutex);
        back = stopping_->done.wait_for(lock, limit + kGrace, [&] { return stopping_->returned; });
        stopping_->told = nullptr;
        if (back && stopping_->status != GANTRY_OK)
            reason = "did not stop in order: " + stopping_->error.text(stopping_->status);
        lock.unlock();
        back ? stopping_->thread.join() : stopping_->thread.detach();
        stopping_.reset();
    }
    context_->end("the plugin was stopped");
    back = core_->pool.drain(context_->handle, kGrace) && back;
    created_ = false;
    if (!back) {
        // Its code still runs somewhere: nothing of it may be freed.
        info_.state = PluginState::kFailed;
        info_.reason = "hangs: it did not stop before its deadline";
        core_->log(LogLevel::kError, title_, info_.reason);
        adapters_ = {};
        return;
    }
    destroy();
    if (!reason.empty()) core_->log(LogLevel::kWarn, title_, reason);
    if (info_.state == PluginState::kRunning) {
        info_.state = PluginState::kStopped;
        info_.reason = reason;
    }
}

// The plugin's stop on a thread of its own.
void Instance::begin_stop(Duration limit) {
    if (stopping_) return;
    stopping_ = std::make_shared<Stopping>();
    const std::int64_t deadline = (boottime_now() + limit).ns;
    stopping_->thread = std::thread([shared = stopping_, plugin = plugin_, deadline, context = context_] {
        const crash::SignalStack stack;
        const crash::Crumbs crumbs(context->subject, "stop");
        const gantry_status status = plugin.stop(plugin.self, deadline, &shared->error.raw);
        std::lock_guard lock(shared->mutex);
        shared->status = status;
        shared->returned = true;
        shared->done.notify_all();
        if (shared->told) context->core->loop.post(std::exchange(shared->told, nullptr));
    });
}

// Of a frontend: stop() finds what this began.
void Instance::finish(Duration limit, std::function<void()> done) {
    if (!created_ || !start_called_ || stopping_) return done();
    if (isolated_ != nullptr) return isolated_->finish(std::move(done));
    auto shared = std::make_shared<std::function<void()>>(std::move(done));
    begin_stop(limit);
    std::lock_guard lock(stopping_->mutex);
    if (!stopping_->returned) {
        stopping_->told = [shared] { (*shared)(); };
    } else {
        core_->loop.post([shared] { (*shared)(); });
    }
}

void Instance::destroy() {
    adapters_ = {};
    context_->timed("destroy", [&] { plugin_.destroy(plugin_.self); });
    plugin_ = {};
    isolated_.reset();
}

// The file at that path, or, without one, that of the plugin path.
Result<std::shared_ptr<PluginFile>> Instance::open(const std::string& file) {
    return file.empty() ? open_plugin(core_->options.plugin_path, table_.role, info_.plugin, core_->verifier)
                        : open_plugin_file(file, table_.role, core_->verifier);
}

void Instance::reload(const std::string& file, Done<void> done) {
    if (isolated_ == nullptr)
        return done(fail(Code::kUnsupported, title_ + " runs in this process and has none of its own to be exchanged"));
    core_->verifier.refresh();
    Result<std::shared_ptr<PluginFile>> opened = open(file);
    if (!opened) return done(std::unexpected(std::move(opened).error()));
    const Ruling ruling = judge(**opened);
    if (ruling.where == Where::kRefused) return done(fail(Code::kRefused, (*opened)->path + ": " + ruling.why));
    auto config = check_table(table_, (*opened)->note.config);
    if (!config) return done(std::unexpected(std::move(config).error()));
    Status status;
    const std::string state_dir = make_state_dir(status);
    if (!status) return done(status);
    const LoweredConfig lowered(table_.name, state_dir, *config);
    isolated_->exchange(*opened, *lowered.get(),
                        [this, opened = *opened, chosen = !file.empty(), done = std::move(done)](Result<void> taken) {
                            if (taken) {
                                describe(opened);
                                chosen_ = chosen;
                            }
                            done(std::move(taken));
                        });
}

std::optional<ChosenFile> Instance::file() const {
    if (file_ == nullptr) return std::nullopt;
    return ChosenFile{file_->path, file_->fd, file_->origin, chosen_};
}

Result<Host::Exchange> Instance::look_at(const std::string& file) {
    core_->verifier.refresh();
    GANTRY_TRY(opened, open(file));
    const Ruling ruling = judge(*opened);
    if (ruling.where == Where::kRefused) return fail(Code::kRefused, opened->path + ": " + ruling.why);
    GANTRY_CHECK(check_table(table_, opened->note.config));
    Host::Exchange out;
    out.file = {opened->path, opened->fd, opened->origin, true};
    out.keeps = opened;
    return out;
}

Status Instance::rehearse() {
    if (info_.state == PluginState::kRefused) return fail(Code::kRefused, info_.reason, table_.place.text());
    if (placing_ == Placing::kOwnProcess) return {};  // its own process tries it when it is started
    GANTRY_CHECK(load());
    GANTRY_CHECK(create());
    stop(kGrace);
    return {};
}

PluginInfo Instance::info() const {
    PluginInfo out = info_;
    out.crashes = crashes(info_.digest).crashes;
    if (context_ != nullptr) {
        out.calls = context_->calls.load();
        out.slow_calls = context_->slow_calls.load();
        out.operations_pending = context_->pending->load();
        std::lock_guard lock(context_->metrics_mutex);
        out.metrics.assign(context_->metrics.begin(), context_->metrics.end());
    }
    out.placing = placing_;
    if (placing_ == Placing::kOwnProcess) out.memory_max_bytes = table_.memory_max_bytes;
    if (isolated_ != nullptr) {
        const IsolatedState now = isolated_->state();
        out.pid = now.pid;
        out.restarts = now.restarts;
        if (out.state == PluginState::kRunning && !now.up) {
            out.state = PluginState::kDegraded;
            out.reason = now.reason;
        }
    }
    return out;
}

}  // namespace gantry::host
