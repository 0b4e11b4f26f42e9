// SPDX-License-Identifier: Apache-2.0
#include "kernel/isolation/child/servant.hpp"

#include <fcntl.h>
#include <gantry/abi/frontend.h>
#include <poll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "kernel/isolation/child/sandbox.hpp"
#include "kernel/isolation/program.hpp"

namespace gantry::isolation {
namespace {

constexpr Duration kDrain = seconds(1);  // for its jobs, after stop

const void* query_service(std::uint64_t handle, gantry_str id) noexcept {
    if (host::Context::find(handle) == nullptr) return nullptr;
    return host::view(id) == GANTRY_HOST_LOG ? log_proxy() : host::service_table(host::view(id));
}

std::shared_ptr<Caller> find_reporter(std::uint64_t host) {
    std::shared_ptr<host::Context> context = host::Context::find(host);
    void* const target = context == nullptr ? nullptr : context->sink_target.load();
    return target == nullptr ? nullptr : std::shared_ptr<Caller>(std::move(context), static_cast<Caller*>(target));
}

gantry_status status_of(const Status& status) {
    if (status) return GANTRY_OK;
    switch (status.error().code) {
        case Code::kInvalid:
            return GANTRY_INVALID;
        case Code::kNotFound:
            return GANTRY_NOT_FOUND;
        case Code::kExists:
            return GANTRY_EXISTS;
        case Code::kConflict:
            return GANTRY_CONFLICT;
        case Code::kFull:
            return GANTRY_FULL;
        case Code::kUnavailable:
            return GANTRY_UNAVAILABLE;
        case Code::kDeadline:
            return GANTRY_DEADLINE;
        case Code::kRefused:
            return GANTRY_DENIED;
        case Code::kUnsupported:
            return GANTRY_UNSUPPORTED;
        default:
            return GANTRY_FAILED;
    }
}

}  // namespace

Servant::Servant(int socket)
    : socket_(socket), tree_([this](const Head& head, std::string message, int fd) {
          send(head, std::move(message), fd >= 0 ? std::vector<int>{fd} : std::vector<int>{});
      }) {
    Caller::reporter = &find_reporter;
}

int Servant::run() {
    Head head{.kind = Kind::kSocket};
    (void)::fcntl(socket_, F_SETFL, 0);  // blocks until the loop has it
    while (head.kind == Kind::kSocket) {
        if (incoming_.receive(socket_, true) != Message::Got::kOne || incoming_.bytes().size() < sizeof(head))
            return kOrphaned;
        std::memcpy(&head, incoming_.bytes().data(), sizeof(head));
        if (head.kind == Kind::kSocket && !incoming_.fds().empty()) kept_->take(incoming_.fds().front().release());
    }
    Reader rest(incoming_.bytes().substr(sizeof(head)), incoming_.fds());
    init(head, rest);
    if (table_ == nullptr) return kNotStarted;
    if (policy_ != nullptr) serve_alone();
    reader_.assign(socket_);
    listen();
    io_.run();
    return kOrphaned;
}

void Servant::init(const Head& head, Reader& rest) {
    Status status = head.kind == Kind::kInit && rest.number<std::uint32_t>() == kProtocol
                        ? prepare(rest)
                        : fail(Code::kUnsupported,
                               "gantry-plugin-host is of another version than gantryd, which must "
                               "be started again");
    gantry_config config{};
    if (status) {
        take(rest, config);
        if (!rest.complete()) status = fail(Code::kInvalid, "its configuration cannot be read");
    }
    if (status) status = create(config);
    if (!status) {
        table_ = nullptr;
        return answer(Kind::kReady, status);
    }
    answer(Kind::kReady, status, [this](Writer& w) { role_->put_facts(w, table_, self_); });
}

// Confines itself; no line of the plugin has run before.
Status Servant::prepare(Reader& rest) {
    const std::string title(rest.text()), interface(rest.text());
    const auto memory_max = rest.number<std::int64_t>();
    const bool has_tree = rest.number<std::uint8_t>() != 0;
    checked_.size = rest.number<std::int64_t>();
    checked_.modified_ns = rest.number<std::int64_t>();
    std::vector<std::string_view> permissions(rest.count(sizeof(std::uint64_t)));
    for (std::string_view& permission : permissions) permission = rest.text();
    role_ = find_role(interface);
    if (!rest.good() || role_ == nullptr) return fail(Code::kUnsupported, "its role is not known");
    (void)::prctl(PR_SET_NAME, title.c_str(), 0, 0, 0);
    GANTRY_CHECK(confine(Permissions::of(permissions), memory_max));
    host::HostOptions options;
    if (has_tree) options.tree = &tree_;
    kept_->told = [this](int fd) { send({.kind = Kind::kKeep}, open_message(), {fd}); };
    options.kept = kept_;
    options.log = [this](host::LogLevel level, std::string_view, std::string_view text) {
        if (context_)
            log_proxy()->log(context_->handle, static_cast<std::uint32_t>(level), host::str(text), nullptr, 0);
    };
    core_ = std::make_shared<host::Core>(io_, std::move(options));
    context_ = host::Context::make(core_, title);
    context_->sink_target = static_cast<Caller*>(this);
    transport_ = interface == GANTRY_ROLE_TRANSPORT;
    return {};
}

Status Servant::create(const gantry_config& config) {
    host::PluginFile file;
    file.fd = kPluginFd;
    file.path = "the plugin";
    file.identity = checked_;
    file.note = elf::read_plugin(kPluginFd).note;
    GANTRY_TRY(library, host::Library::load(file));
    library_ = library;
    const gantry_host raw{sizeof(raw), 0, context_->handle, &query_service};
    GANTRY_CHECK(library_->create(raw, plugin_));
    host::ErrorBuffer error;
    const gantry_status status =
        context_->timed("init", [&] { return plugin_.init(plugin_.self, &config, &error.raw); });
    if (status != GANTRY_OK) return fail(host::code_of(status), error.text(status));
    table_ = role_table(role_->interface);
    if (table_ == nullptr)
        return fail(Code::kRefused, "has no table " + std::string(role_->interface) + ", which its note promises");
    return {};
}

const void* Servant::role_table(std::string_view interface) {
    const void* const raw = plugin_.query(plugin_.self, host::str(interface));
    self_ = plugin_.self;
    if (raw == nullptr) return nullptr;
    if (transport_) {
        const auto* const table = static_cast<const gantry_transport*>(raw);
        const std::int64_t queue = offers(table, &gantry_transport::facts) ? table->facts->queue_max_bytes : 0;
        const Backlog::Way way{[](void* with, std::uint64_t peer, std::uint32_t channel, std::string_view bytes) {
                                   const auto* const of = static_cast<Servant*>(with);
                                   const auto* const slots = static_cast<const gantry_transport*>(of->table_);
                                   return offers(slots, &gantry_transport::send)
                                              ? slots->send(of->self_, peer, channel, host::bytes(bytes))
                                              : GANTRY_UNSUPPORTED;
                               },
                               [](void* with, std::uint64_t peer) {
                                   const auto* const of = static_cast<Servant*>(with);
                                   const auto* const slots = static_cast<const gantry_transport*>(of->table_);
                                   if (offers(slots, &gantry_transport::close)) slots->close(of->self_, peer);
                               },
                               [](void* with, std::uint64_t peer, std::uint64_t bytes) {
                                   std::string message = open_message();
                                   Writer w(message);
                                   w.number(peer);
                                   w.number(bytes);
                                   static_cast<Servant*>(with)->send({.kind = Kind::kTaken}, std::move(message));
                               },
                               this};
        backlog_.use(way, queue);
    }
    if (interface != GANTRY_ROLE_PLACEMENT) return raw;
    const auto* const table = static_cast<const gantry_placement*>(raw);
    policy_.reset(new Policy{this, plugin_.self, table, {}, {}});
    self_ = policy_.get();
    asked_ = {sizeof(asked_), table->key_count, {}, nullptr};
    std::copy(std::begin(table->key_names), std::end(table->key_names), std::begin(asked_.key_names));
    if (!offers(table, &gantry_placement::score)) return &asked_;
    asked_.score = [](void* with, gantry_op op, const gantry_snapshot* snapshot,
                      const gantry_placement_request* request, const gantry_candidate* candidates,
                      std::size_t n) noexcept -> gantry_status {
        try {
            Policy& policy = *static_cast<Policy*>(with);
            policy.keys.assign(n, host::Keys{});
            auto* const keys = reinterpret_cast<std::int64_t(*)[GANTRY_PLACEMENT_KEYS]>(policy.keys.data());
            host::ErrorBuffer error;
            const gantry_status status =
                policy.table->score(policy.self, snapshot, request, candidates, n, keys, &error.raw);
            const host::PlacementKeys result{sizeof(result), 0, keys, n};
            policy.result.clear();
            Writer w(policy.result);
            if (status == GANTRY_OK) put(w, result);
            policy.servant->done(op.id, status, status == GANTRY_OK ? std::string() : error.text(status),
                                 policy.result);
            return GANTRY_OK;
        } catch (...) {
            return GANTRY_FAILED;
        }
    };
    return &asked_;
}

void Servant::start() {
    host::ErrorBuffer error;
    start_called_ = true;
    const gantry_status status = context_->timed("start", [&] { return plugin_.start(plugin_.self, &error.raw); });
    answer(Kind::kStarted, status == GANTRY_OK ? Status() : fail(host::code_of(status), error.text(status)));
}

// As entry.h says: on another thread, while the loop stands; but that of a frontend turns.
void Servant::stop(std::int64_t deadline_ns) {
    if (std::exchange(stopping_, true)) return;
    struct Stopping {
        std::mutex mutex;
        std::condition_variable done;
        bool returned = false;
        gantry_status said = GANTRY_OK;
        host::ErrorBuffer error;
    };
    auto* const shared = new Stopping;  // as long as the process, which ends with it
    if (!start_called_) stopped(GANTRY_OK, shared->error);
    const bool turns = role_->interface == GANTRY_ROLE_FRONTEND;
    std::thread([this, shared, deadline_ns, turns] {
        const gantry_status said = plugin_.stop(plugin_.self, deadline_ns, &shared->error.raw);
        std::lock_guard lock(shared->mutex);
        shared->said = said;
        shared->returned = true;
        shared->done.notify_all();
        if (turns) core_->loop.post([this, shared] { stopped(shared->said, shared->error); });
    }).detach();
    if (turns) return;
    std::unique_lock lock(shared->mutex);
    const Duration rest = Instant{deadline_ns} - host::boottime_now();
    if (!shared->done.wait_for(lock, rest, [&] { return shared->returned; })) ::_exit(kOrphaned);
    stopped(shared->said, shared->error);
}

void Servant::stopped(gantry_status said, const host::ErrorBuffer& error) {
    const Status status = said == GANTRY_OK ? Status() : fail(host::code_of(said), error.text(said));
    const std::uint64_t handle = context_->handle;
    context_->end("the plugin was stopped");
    // What is still owed is told before the end.
    io_.poll();
    if (core_->pool.drain(handle, kDrain)) plugin_.destroy(plugin_.self);
    answer(Kind::kStopped, status);
    ::_exit(0);
}

// A policy computes and wants nothing of the loop. As long as that is so, its process waits for messages alone, which
// costs half as much. Should its threads want something, the next message, at the latest gantryd's next ping, finds it.
void Servant::serve_alone() {
    for (;;) {
        io_.restart();
        (void)io_.poll();
        if (!io_.stopped()) return;  // something is awaited there
        (void)receive(true);
    }
}

void Servant::listen() {
    reader_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                       [this](const boost::system::error_code& error) {
                           if (error) ::_exit(kOrphaned);
                           while (receive(false) && batch_.more()) continue;
                           batch_.end();
                           listen();
                       });
}

// False: there is none.
bool Servant::receive(bool wait) {
    const Message::Got got = incoming_.receive(socket_, wait);
    if (got == Message::Got::kNothing) return false;
    Head head;
    if (got != Message::Got::kOne || incoming_.bytes().size() < sizeof(head)) ::_exit(kOrphaned);
    std::memcpy(&head, incoming_.bytes().data(), sizeof(head));
    Reader rest(incoming_.bytes().substr(sizeof(head)), incoming_.fds());
    message(head, rest);
    incoming_.fds().clear();  // what nobody took
    return true;
}

void Servant::message(const Head& head, Reader& rest) {
    switch (head.kind) {
        case Kind::kStart:
            return start();
        case Kind::kStop:
            return stop(head.deadline_ns);
        case Kind::kCall:
            return called(head, rest);
        case Kind::kCancel: {
            const auto found = operations_.find(head.id);
            if (found != operations_.end()) core_->operations.cancel(found->second.own);
            return;
        }
        case Kind::kResponse:
            return tree_.response(head, rest);
        case Kind::kTreeEvent:
            return tree_.event(head, rest);
        case Kind::kPing:
            return send({.kind = Kind::kPong}, open_message());
        default:
            ::_exit(kOrphaned);
    }
}

void Servant::called(const Head& head, Reader& rest) {
    if (head.slot >= role_->slots.size()) ::_exit(kOrphaned);
    const Slot& slot = role_->slots[head.slot];
    rest.sink = role_->sink_proxy;
    if (!slot.operation) return notified(slot, head, rest);
    if (policy_ != nullptr) {
        const gantry_status status = context_->timed(slot.name, [&] {
            return slot.call(rest, table_, self_, 0, gantry_op{head.id, head.deadline_ns});
        });
        if (status != GANTRY_OK) done(head.id, status, {}, {});
        return;
    }
    Ongoing& ongoing = operations_[head.id] = {this, &slot, head.id, 0, {}};
    host::Operations::Call call;
    call.handle = context_->handle;
    call.deadline = Instant{head.deadline_ns};
    call.at_once = true;
    if (slot.put_result != nullptr) {
        call.decode = [of = &ongoing](const void* raw) {
            of->result.reserve(kUsual);
            Writer w(of->result);
            of->slot->put_result(w, raw);
        };
    }
    call.ended = [of = &ongoing](gantry_status status, const std::string& text) {
        of->servant->ended(*of, status, text);
    };
    const std::uint64_t own = ongoing.own = core_->operations.begin(std::move(call));
    const gantry_status status = context_->timed(slot.name, [&] {
        return slot.call(rest, table_, self_, 0, gantry_op{own, head.deadline_ns});
    });
    if (status != GANTRY_OK) core_->operations.refused(own, status);
}

void Servant::ended(Ongoing& ongoing, gantry_status status, const std::string& text) {
    const std::uint64_t id = ongoing.id;
    const std::string result = std::move(ongoing.result);
    operations_.erase(id);
    done(id, status, text, result);
}

void Servant::done(std::uint64_t id, gantry_status status, std::string_view text, std::string_view result) {
    std::string message = open_message();
    Writer w(message);
    const bool fits = result.size() + text.size() + kHead + 64 <= kLargeMax;
    w.text(fits ? text : "its result has " + std::to_string(result.size()) + " bytes, more than a message can");
    w.number<std::uint8_t>(fits && !result.empty() ? 1 : 0);
    if (fits) message += result;
    send({.kind = Kind::kDone, .id = id, .status = fits ? status : GANTRY_FAILED}, std::move(message));
}

void Servant::notified(const Slot& slot, const Head& head, Reader& rest) {
    if (transport_ && head.slot == kTransportSend) {
        const auto peer = rest.number<std::uint64_t>();
        const auto channel = rest.number<std::uint32_t>();
        const std::string_view bytes = rest.text();
        return context_->timed(slot.name, [&] { backlog_.send(peer, channel, bytes); });
    }
    if (transport_ && head.slot == kTransportClose) return backlog_.close(rest.number<std::uint64_t>());
    const gantry_status status = context_->timed(slot.name, [&] { return slot.call(rest, table_, self_, 0, {}); });
    if (status == GANTRY_OK || status == GANTRY_UNSUPPORTED) return;
    context_->log(host::LogLevel::kError,
                  "did not take " + std::string(slot.name) + ": " + std::string(host::status_text(status)));
}

gantry_status Servant::call(const Call& call, std::string message, const Writer& arguments) noexcept {
    try {
        if (transport_ && call.table == kSinkTable && (call.slot == kSinkWritable || call.slot == kSinkDown)) {
            core_->loop.post([this, peer = peer_of(message), writable = call.slot == kSinkWritable] {
                writable ? backlog_.writable(peer) : backlog_.down(peer);
            });
            if (call.slot == kSinkWritable) return GANTRY_OK;
        }
        send({.kind = Kind::kReport, .table = call.table, .slot = call.slot}, std::move(message), arguments.fds);
        return GANTRY_OK;
    } catch (...) {
        return GANTRY_FAILED;
    }
}

void Servant::answer(Kind kind, const Status& status, const std::function<void(Writer&)>& more) {
    std::string message = open_message();
    Writer w(message);
    w.text(status ? std::string() : status.error().message);
    if (more) more(w);
    send({.kind = kind, .status = status_of(status)}, std::move(message));
}

// Waits while the socket is full: gantryd never waits for us. The descriptors are ours to close.
void Servant::send(const Head& head, std::string message, const std::vector<int>& fds) {
    seal(message, head);
    for (;;) {
        const Sent sent = send_message(socket_, message, fds);
        if (sent == Sent::kNo) ::_exit(kOrphaned);
        if (sent == Sent::kYes) break;
        pollfd ready{socket_, POLLOUT, 0};
        (void)::poll(&ready, 1, 1'000);
    }
    for (const int fd : fds) ::close(fd);
}

}  // namespace gantry::isolation
