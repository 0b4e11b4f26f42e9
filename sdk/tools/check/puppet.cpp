// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/check/puppet.hpp"

#include <fcntl.h>
#include <gantry/abi/frontend.h>
#include <gantry/abi/host.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <map>
#include <memory>

#include "kernel/isolation/launch.hpp"
#include "kernel/isolation/messages.hpp"
#include "kernel/isolation/packet.hpp"
#include "kernel/isolation/roles.hpp"
#include "kernel/isolation/window.hpp"

namespace gantry::check {
namespace {

using namespace isolation;

constexpr std::int64_t kStartLimitNs = 10'000'000'000;        // of init, and of start: as gantryd's
constexpr std::int64_t kMemoryMax = std::int64_t{256} << 20;  // bytes: what gantryd gives where no table says otherwise
constexpr std::int64_t kWishesNs = 20'000'000;                // how often operations are looked at for being cancelled
constexpr int kBatch = 16;                                    // messages of one turn

PuppetOf g_subject;
std::string g_fell;

// What processes have kept, for those of later instances: handed on as gantryd does.
struct KeptSocket {
    Fd fd;
    std::uint64_t cookie;  // the same for all descriptors of one socket
    const void* holder;    // the instance that lives and has it, or null
};
std::vector<KeptSocket> g_kept;

void keep_for(const void* holder, int fd) {
    std::uint64_t cookie = 0;
    socklen_t size = sizeof cookie;
    if (::getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) != 0) return;
    const auto known = std::ranges::find(g_kept, cookie, &KeptSocket::cookie);
    if (known != g_kept.end()) return (void)(known->holder = holder);
    if (Fd duplicate(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); duplicate)
        g_kept.push_back({std::move(duplicate), cookie, holder});
}

std::int64_t now_ns() {
    timespec t{};
    ::clock_gettime(CLOCK_BOOTTIME, &t);
    return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

gantry_status told(gantry_error* error, gantry_status status, std::string_view text) {
    if (error != nullptr && error->text != nullptr) {
        error->text_len = static_cast<std::uint32_t>(std::min<std::size_t>(text.size(), error->text_cap));
        std::memcpy(error->text, text.data(), error->text_len);
    }
    return status;
}

template <class Table>
const Table* service(const gantry_host& host, std::string_view name) {
    return static_cast<const Table*>(host.query(host.handle, host::str(name)));
}

class Puppet final : public Caller {
  public:
    explicit Puppet(const gantry_host& host)
        : handle_(host.handle),
          log_(service<gantry_host_log>(host, GANTRY_HOST_LOG)),
          clock_(service<gantry_host_clock>(host, GANTRY_HOST_CLOCK)),
          io_(service<gantry_host_io>(host, GANTRY_HOST_IO)),
          ops_(service<gantry_host_ops>(host, GANTRY_HOST_OPS)),
          control_(service<gantry_host_control>(host, GANTRY_HOST_CONTROL)),
          role_(*find_role(g_subject.interface)) {}
    ~Puppet() override {
        phase_ = Phase::kStopping;
        kill();
    }

    gantry_plugin plugin() {
        static constexpr auto puppet = [](void* self) { return static_cast<Puppet*>(static_cast<Caller*>(self)); };
        return {sizeof(gantry_plugin),
                0,
                static_cast<Caller*>(this),
                [](void* self, const gantry_config* config, gantry_error* error) noexcept {
                    return puppet(self)->init(*config, error);
                },
                [](void* self, gantry_error* error) noexcept { return puppet(self)->start(error); },
                [](void* self, std::int64_t deadline, gantry_error* error) noexcept {
                    return puppet(self)->stop(deadline, error);
                },
                [](void* self) noexcept { delete puppet(self); },
                [](void* self, gantry_str id) noexcept { return puppet(self)->query(host::view(id)); }};
    }

    gantry_status call(const Call& call, std::string message, const Writer& arguments) noexcept override {
        try {
            const Slot& slot = role_.slots[call.slot];
            if (arguments.sink != nullptr) sink_ = arguments.sink;
            if (over_) return GANTRY_UNAVAILABLE;
            seal(message, {.kind = Kind::kCall,
                           .table = call.table,
                           .slot = call.slot,
                           .id = call.op.id,
                           .deadline_ns = call.op.deadline_ns});
            if (slot.operation) operations_[call.op.id] = {&slot, false};
            if (role_.interface == GANTRY_ROLE_TRANSPORT && call.slot == kTransportClose)
                window_.close(peer_of(message));
            const gantry_status status = send(std::move(message), arguments.fds);
            if (slot.operation && status != GANTRY_OK) operations_.erase(call.op.id);
            return status;
        } catch (...) {
            return GANTRY_FAILED;
        }
    }
    gantry_str address() const noexcept override { return host::str(address_); }

  private:
    enum class Phase : std::uint8_t { kNone, kIniting, kReady, kStarting, kRunning, kStopping, kStopped, kFailed };
    struct Waiting {
        std::string message;
        std::vector<Fd> fds;
    };
    struct Ongoing {
        const Slot* slot;
        bool told;  // that nobody waits for it
    };
    struct Asked {
        Puppet* puppet;
        std::uint64_t id, number;
        std::uint64_t watch = 0;
    };

    // --- life
    gantry_status init(const gantry_config& config, gantry_error* error) {
        const Fd file(::open(g_subject.file.c_str(), O_RDONLY | O_CLOEXEC));
        struct stat info {};
        if (!file || ::fstat(file.get(), &info) != 0) return told(error, GANTRY_FAILED, "its file cannot be opened");
        auto launched = launch(g_subject.program, file.get());
        if (!launched) return told(error, GANTRY_UNAVAILABLE, launched.error().text());
        process_ = std::move(*launched);
        over_ = false;
        const auto& permissions = g_subject.permissions;
        const bool all = std::ranges::find(permissions, "root") != permissions.end();
        phase_ = Phase::kIniting;
        hand_on_sockets();
        const std::int64_t modified = std::int64_t{info.st_mtim.tv_sec} * 1'000'000'000 + info.st_mtim.tv_nsec;
        send(init_message({.title = host::view(config.name),
                           .interface = role_.interface,
                           .memory_max_bytes = all ? 0 : kMemoryMax,
                           .has_tree = true,
                           .file_size = info.st_size,
                           .file_modified_ns = modified,
                           .permissions = permissions},
                          config),
             {});
        return wait_for(Phase::kReady, error);
    }

    // Before init, which may bind.
    void hand_on_sockets() {
        for (const KeptSocket& kept : g_kept) {
            if (kept.holder != nullptr) continue;
            std::string message = open_message();
            seal(message, {.kind = Kind::kSocket});
            const int fd = ::fcntl(kept.fd.get(), F_DUPFD_CLOEXEC, 0);
            if (send(std::move(message), {fd}) != GANTRY_OK) ::close(fd);
        }
    }

    gantry_status start(gantry_error* error) {
        phase_ = Phase::kStarting;
        tell({.kind = Kind::kStart});
        if (const gantry_status status = wait_for(Phase::kRunning, error); status != GANTRY_OK) return status;
        std::uint64_t wishes = 0;
        const gantry_status watched = io_->watch(
            handle_, process_.socket.get(), GANTRY_IO_READ,
            [](void* arg, std::int32_t, std::uint32_t) noexcept { static_cast<Puppet*>(arg)->ready(); }, this, &watch_);
        const gantry_status timed = clock_->timer(
            handle_, kWishesNs, kWishesNs,
            [](void* arg, std::uint64_t) noexcept { static_cast<Puppet*>(arg)->pass_wishes(); }, this, &wishes);
        if (watched == GANTRY_OK && timed == GANTRY_OK) return GANTRY_OK;
        return told(error, GANTRY_FAILED, "the host watches no more");
    }

    gantry_status wait_for(Phase phase, gantry_error* error) {
        const auto there = [&] { return phase_ == phase || phase_ == Phase::kFailed; };
        if (!pump(there, now_ns() + kStartLimitNs))
            return told(error, GANTRY_FAILED, over_ ? "its process ended: " + end_ : "no answer within 10 s");
        return phase_ == phase ? GANTRY_OK : told(error, error_status_, error_);
    }

    // On a thread of its own, while the loop stands.
    gantry_status stop(std::int64_t deadline_ns, gantry_error* error) {
        if (over_) return end_.empty() ? GANTRY_OK : told(error, GANTRY_FAILED, "its process ended: " + end_);
        phase_ = Phase::kStopping;
        error_status_ = GANTRY_OK;
        tell({.kind = Kind::kStop, .deadline_ns = deadline_ns});
        pump([] { return false; }, deadline_ns);
        if (!over_) {
            kill();
            return told(error, GANTRY_DEADLINE, "it did not stop before its deadline and was killed");
        }
        if (phase_ != Phase::kStopped) return told(error, GANTRY_FAILED, "its process ended: " + end_);
        return error_status_ == GANTRY_OK ? GANTRY_OK : told(error, error_status_, error_);
    }

    const void* query(std::string_view id) const {
        if (id != role_.interface || !ready_) return nullptr;
        return id == GANTRY_ROLE_PLACEMENT ? static_cast<const void*>(&policy_) : table_;
    }

    // --- the socket
    gantry_status send(std::string message, const std::vector<int>& fds) {
        if (over_) return GANTRY_UNAVAILABLE;
        if (waiting_.empty()) {
            const Sent sent = send_message(process_.socket.get(), message, fds);
            if (sent == Sent::kNo) return message.size() > kLargeMax ? GANTRY_FULL : GANTRY_UNAVAILABLE;
            if (sent == Sent::kYes) {
                for (const int fd : fds) ::close(fd);
                return GANTRY_OK;
            }
        }
        Waiting& last = waiting_.emplace_back();
        for (const int fd : fds) last.fds.emplace_back(fd);
        last.message = std::move(message);
        if (watch_ != 0) io_->change(handle_, watch_, GANTRY_IO_READ | GANTRY_IO_WRITE);
        return GANTRY_OK;
    }
    void tell(const Head& head, std::string message = open_message()) {
        seal(message, head);
        send(std::move(message), {});
    }

    void flush() {
        while (!waiting_.empty()) {
            std::vector<int> fds;
            for (const Fd& fd : waiting_.front().fds) fds.push_back(fd.get());
            const Sent sent = send_message(process_.socket.get(), waiting_.front().message, fds);
            if (sent == Sent::kLater) return;
            if (sent == Sent::kNo) return waiting_.clear();  // its end follows
            waiting_.pop_front();
        }
        if (watch_ != 0) io_->change(handle_, watch_, GANTRY_IO_READ);
    }

    void ready() {
        flush();
        read();
    }

    bool pump(const std::function<bool()>& done, std::int64_t deadline_ns) {
        while (!done()) {
            const std::int64_t rest = deadline_ns - now_ns();
            if (over_ || rest <= 0) return false;
            flush();
            pollfd socket{process_.socket.get(), static_cast<short>(waiting_.empty() ? POLLIN : POLLIN | POLLOUT), 0};
            (void)::poll(&socket, 1, static_cast<int>(std::min<std::int64_t>(rest / 1'000'000 + 1, 1'000)));
            if ((socket.revents & (POLLIN | POLLHUP | POLLERR)) != 0) read();
        }
        return true;
    }

    void read() {
        for (int i = 0; i < kBatch && !over_; ++i) {
            const Message::Got got = incoming_.receive(process_.socket.get());
            if (got == Message::Got::kNothing) return;
            if (got == Message::Got::kEnd) return end();
            Head head;
            if (got == Message::Got::kBroken || incoming_.bytes().size() < sizeof(head)) return broken("a message");
            std::memcpy(&head, incoming_.bytes().data(), sizeof(head));
            Reader rest(incoming_.bytes().substr(sizeof(head)), incoming_.fds());
            if (!message(head, rest)) broken("its message of kind " + std::to_string(static_cast<unsigned>(head.kind)));
            incoming_.fds().clear();  // what nobody took
        }
    }

    void broken(const std::string& what) {
        broken_ = "it broke the rules: " + what + " cannot be read";
        kill();
    }

    void kill() {
        if (over_) return;
        ::kill(static_cast<pid_t>(process_.pid), SIGKILL);  // not collected yet: the number is still its own
        end();
    }

    // The process has ended, or will in a moment; what it still owed ends here.
    void end() {
        if (std::exchange(over_, true)) return;
        if (watch_ != 0) io_->unwatch(handle_, std::exchange(watch_, 0));
        end_ = describe_end(collect(process_.pidfd.get()));
        if (!broken_.empty()) end_ = broken_;
        const bool asked_to = phase_ == Phase::kStopping || phase_ == Phase::kStopped || phase_ == Phase::kFailed;
        if (!asked_to && g_fell.empty()) g_fell = end_;
        waiting_.clear();
        for (KeptSocket& kept : g_kept)
            if (kept.holder == this) kept.holder = nullptr;
        const std::string text = "its process ended: " + end_;
        for (const auto& [id, ongoing] : std::exchange(operations_, {}))
            ops_->complete(handle_, id, GANTRY_OUTCOME_UNKNOWN, host::str(text), nullptr);
        if (role_.interface != GANTRY_ROLE_TRANSPORT || sink_ == nullptr) return;
        for (const auto& [peer, window] : window_.peers())
            static_cast<const gantry_transport_sink*>(sink_)->down(handle_, peer, GANTRY_DOWN_RESET, host::str(text));
    }

    // The fake host tells a plugin of cancelled operations only when it asks.
    void pass_wishes() {
        for (auto& [id, ongoing] : operations_) {
            if (ongoing.told || ops_->cancelled(handle_, id) == 0) continue;
            ongoing.told = true;
            tell({.kind = Kind::kCancel, .id = id});
        }
    }

    // --- messages; false: one that cannot be read
    bool message(const Head& head, Reader& rest) {
        switch (head.kind) {
            case Kind::kReady:
            case Kind::kStarted:
            case Kind::kStopped:
                return answered(head, rest);
            case Kind::kDone:
                return done(head, rest);
            case Kind::kReport:
                return reported(head, rest);
            case Kind::kRequest:
                return requested(head, rest);
            case Kind::kFollow:
                return followed(head, rest);
            case Kind::kUnfollow:
                return unfollow(head.id);
            case Kind::kTaken: {
                const auto peer = rest.number<std::uint64_t>();
                window_.taken(peer, rest.number<std::uint64_t>());
                for (const std::uint64_t one : window_.writable())
                    if (sink_ != nullptr) static_cast<const gantry_transport_sink*>(sink_)->writable(handle_, one);
                return rest.complete();
            }
            case Kind::kKeep: {
                const int fd = rest.descriptor();
                if (!rest.complete()) return false;
                keep_for(this, fd);
                return true;
            }
            default:
                return head.kind == Kind::kPong;
        }
    }

    bool answered(const Head& head, Reader& rest) {
        error_ = rest.text();
        error_status_ = head.status;
        if (!rest.good()) return false;
        if (head.kind == Kind::kStopped) {
            phase_ = Phase::kStopped;
            return true;
        }
        if (head.status != GANTRY_OK) {
            phase_ = Phase::kFailed;
            return true;
        }
        if (head.kind == Kind::kReady && !take_facts(rest)) return false;
        phase_ = head.kind == Kind::kReady ? Phase::kReady : Phase::kRunning;
        return true;
    }

    bool take_facts(Reader& rest) {
        facts_ = rest.rest();
        facts_reader_ = std::make_unique<Reader>(facts_, no_fds_);
        role_.take_facts(*facts_reader_, table_);
        if (role_.interface == GANTRY_ROLE_FRONTEND) address_ = facts_reader_->text();
        ready_ = facts_reader_->complete();
        if (role_.interface == GANTRY_ROLE_PLACEMENT) {
            const auto& asked = *reinterpret_cast<const host::AskedPlacement*>(table_);
            policy_ = {sizeof(policy_), asked.key_count, {}, &score};
            std::copy(std::begin(asked.key_names), std::end(asked.key_names), std::begin(policy_.key_names));
        }
        if (role_.interface == GANTRY_ROLE_TRANSPORT) {
            auto& table = *reinterpret_cast<gantry_transport*>(table_);
            send_slot_ = std::exchange(table.send, &transport_send);
            if (table.facts != nullptr) window_.use(table.facts->message_max_bytes, table.facts->queue_max_bytes);
        }
        return ready_;
    }

    bool done(const Head& head, Reader& rest) {
        const std::string_view text = rest.text();
        const bool has_result = rest.number<std::uint8_t>() != 0;
        const auto found = operations_.find(head.id);
        if (found == operations_.end()) return rest.good();
        const Slot& slot = *found->second.slot;
        const void* const result = has_result && slot.take_result != nullptr ? slot.take_result(rest) : nullptr;
        if (!rest.complete()) return false;
        operations_.erase(found);
        if (role_.interface == GANTRY_ROLE_PLACEMENT) {
            scored_ = {true, head.status, std::string(text), {}};
            if (result == nullptr) return true;
            const auto& keys = *static_cast<const host::PlacementKeys*>(result);
            const auto* const first = reinterpret_cast<const std::int64_t*>(keys.keys);
            scored_.keys.assign(first, first + keys.count * GANTRY_PLACEMENT_KEYS);
            return true;
        }
        ops_->complete(handle_, head.id, head.status, host::str(text), result);
        return true;
    }

    bool reported(const Head& head, Reader& rest) {
        const bool log = head.table == kLogTable;
        if (!log && head.table != kSinkTable) return false;
        const std::span<const Slot> slots = log ? log_slots() : role_.sink;
        if (head.slot >= slots.size()) return false;
        if (!log && role_.interface == GANTRY_ROLE_TRANSPORT) {
            Reader look(rest.rest(), no_fds_);
            const auto peer = look.number<std::uint64_t>();
            if (head.slot == kSinkUp) window_.up(peer);
            if (head.slot == kSinkDown) window_.down(peer);
            if (head.slot == kSinkWritable) return rest.number<std::uint64_t>() == peer && rest.complete();  // we tell
        }
        slots[head.slot].call(rest, log ? static_cast<const void*>(log_) : sink_, nullptr, handle_, {});
        return rest.complete();
    }

    bool requested(const Head& head, Reader& rest) {
        gantry_principal principal{};
        gantry_control_request request{sizeof(request), 0, &principal, {}, {}, {}};
        take(rest, principal);
        take(rest, request.method);
        take(rest, request.path);
        take(rest, request.body);
        const bool stream = rest.number<std::uint8_t>() != 0;
        const int fd = stream ? rest.descriptor() : -1;
        if (!rest.complete()) return false;
        rest.release_descriptors();  // the tree's from the call on
        Asked& asked = ask(head.id);
        const gantry_status status = stream ? control_->open(handle_, &request, fd, &on_response, &asked)
                                            : control_->request(handle_, &request, &on_response, &asked);
        if (status == GANTRY_OK) return true;
        const gantry_control_response refused{sizeof(refused), 503, 0, {}};
        on_response(&asked, &refused);
        return true;
    }

    bool followed(const Head& head, Reader& rest) {
        gantry_principal principal{};
        gantry_str prefix{};
        take(rest, principal);
        take(rest, prefix);
        const auto after = rest.number<std::uint64_t>();
        if (!rest.complete()) return false;
        Asked& asked = ask(head.id);
        if (control_->watch(handle_, &principal, prefix, after, &on_event, &asked, &asked.watch) != GANTRY_OK)
            asked_.erase(asked.number);
        return true;
    }

    bool unfollow(std::uint64_t id) {
        const auto found =
            std::ranges::find_if(asked_, [&](const auto& one) { return one.second.watch != 0 && one.second.id == id; });
        if (found == asked_.end()) return true;
        control_->unwatch(handle_, found->second.watch);
        asked_.erase(found);
        return true;
    }

    Asked& ask(std::uint64_t id) {
        const std::uint64_t number = ++last_asked_;
        return asked_[number] = {this, id, number};
    }

    static void on_response(void* arg, const gantry_control_response* response) noexcept {
        const Asked asked = *static_cast<Asked*>(arg);
        asked.puppet->asked_.erase(asked.number);
        std::string message = open_message();
        Writer w(message);
        put(w, *response);
        asked.puppet->tell({.kind = Kind::kResponse, .id = asked.id}, std::move(message));
    }

    static void on_event(void* arg, std::uint64_t number, gantry_str event) noexcept {
        const Asked& asked = *static_cast<Asked*>(arg);
        std::string message = open_message();
        Writer w(message);
        w.number(number);
        put(w, event);
        asked.puppet->tell({.kind = Kind::kTreeEvent, .id = asked.id}, std::move(message));
    }

    // --- slots with a mind of their own
    static gantry_status transport_send(void* self, std::uint64_t peer, std::uint32_t channel,
                                        gantry_bytes bytes) noexcept {
        Puppet& puppet = *static_cast<Puppet*>(static_cast<Caller*>(self));
        if (puppet.over_) return GANTRY_NOT_FOUND;
        const gantry_status room = puppet.window_.take(peer, bytes.len);
        if (room != GANTRY_OK) return room;
        const gantry_status status = puppet.send_slot_(self, peer, channel, bytes);
        if (status != GANTRY_OK) puppet.window_.give_back(peer, bytes.len);
        return status;
    }

    // Waits for the answer, which gantryd takes in a later turn.
    static gantry_status score(void* self, const gantry_snapshot* snapshot, const gantry_placement_request* request,
                               const gantry_candidate* candidates, std::size_t n,
                               std::int64_t (*keys)[GANTRY_PLACEMENT_KEYS], gantry_error* error) noexcept {
        Puppet& puppet = *static_cast<Puppet*>(static_cast<Caller*>(self));
        const auto& asked = *reinterpret_cast<const host::AskedPlacement*>(puppet.table_);
        puppet.scored_ = {};
        const std::int64_t deadline = now_ns() + kStartLimitNs;
        const gantry_status taken =
            asked.score(self, {++puppet.questions_, deadline}, snapshot, request, candidates, n);
        if (taken != GANTRY_OK) return told(error, taken, "it was not asked");
        if (!puppet.pump([&] { return puppet.scored_.done; }, deadline))
            return told(error, GANTRY_FAILED, puppet.over_ ? "its process ended: " + puppet.end_ : "no answer");
        const Scored& scored = puppet.scored_;
        if (scored.status != GANTRY_OK) return told(error, scored.status, scored.text);
        if (scored.keys.size() != n * GANTRY_PLACEMENT_KEYS) return told(error, GANTRY_FAILED, "keys are missing");
        if (n > 0) std::memcpy(keys, scored.keys.data(), scored.keys.size() * sizeof(std::int64_t));
        return GANTRY_OK;
    }
    struct Scored {
        bool done = false;
        gantry_status status = GANTRY_OK;
        std::string text;
        std::vector<std::int64_t> keys;
    };

    const std::uint64_t handle_;
    const gantry_host_log* const log_;
    const gantry_host_clock* const clock_;
    const gantry_host_io* const io_;
    const gantry_host_ops* const ops_;
    const gantry_host_control* const control_;
    const Role& role_;
    Launched process_;
    Phase phase_ = Phase::kNone;
    bool over_ = true, ready_ = false;
    std::string error_, end_, broken_, address_, facts_;
    gantry_status error_status_ = GANTRY_OK;
    alignas(16) char table_[kTableRoom]{};
    std::unique_ptr<Reader> facts_reader_;
    std::vector<Fd> no_fds_;
    gantry_placement policy_{};
    Scored scored_;
    std::uint64_t questions_ = 0;
    Window window_;
    gantry_status (*send_slot_)(void*, std::uint64_t, std::uint32_t, gantry_bytes) noexcept = nullptr;
    const void* sink_ = nullptr;
    std::uint64_t watch_ = 0;
    std::deque<Waiting> waiting_;
    Message incoming_;
    std::map<std::uint64_t, Ongoing> operations_;
    std::map<std::uint64_t, Asked> asked_;
    std::uint64_t last_asked_ = 0;
};

gantry_status create(const gantry_host* host, gantry_plugin* out, gantry_error* error) noexcept {
    if (find_role(g_subject.interface) == nullptr) return told(error, GANTRY_UNSUPPORTED, "its role is not known");
    *out = (new Puppet(*host))->plugin();
    return GANTRY_OK;
}

const gantry_entry kEntry{
    sizeof(gantry_entry), GANTRY_ENTRY_MAGIC, GANTRY_ABI_MAJOR, GANTRY_ABI_MINOR, "puppet", "1.0.0", "puppet", &create};

}  // namespace

void make_puppet_of(PuppetOf subject) { g_subject = std::move(subject); }
const gantry_entry& puppet_entry() { return kEntry; }
void drop_puppet_sockets() { g_kept.clear(); }

std::string puppet_fell() { return g_fell; }

}  // namespace gantry::check
