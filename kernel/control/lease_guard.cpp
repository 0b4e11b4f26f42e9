// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/lease_guard.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>

#include "kernel/base/limits.hpp"
#include "kernel/control/files.hpp"

namespace gantry::control {
namespace {

static_assert(GUARD_ENTRIES >= limits::kNodeCopies);
constexpr Duration kBackWithin = milliseconds(100);  // faults.md 5: else what it covered is killed
constexpr Duration kAnswerWithin = seconds(1);
constexpr Duration kFoundWithin = seconds(3);  // what an earlier gantryd left
constexpr Duration kLookEvery = milliseconds(5), kRunAgain = seconds(1);
constexpr std::chrono::milliseconds kWatchEvery{250};
constexpr std::size_t kInFlight = 64;

guard_message request(std::uint32_t kind) {
    guard_message out{};
    out.version = GUARD_VERSION;
    out.kind = kind;
    return out;
}

template <std::size_t N>
bool put(char (&to)[N], const std::string& text) {
    if (text.size() >= N) return false;
    std::memcpy(to, text.c_str(), text.size() + 1);
    return true;
}

template <std::size_t N>
std::string text_of(const char (&from)[N]) {
    return std::string(from, ::strnlen(from, N));
}

}  // namespace

LeaseGuard::LeaseGuard(Parts parts)
    : parts_(std::move(parts)), socket_(parts_.io), timer_(parts_.io), watch_timer_(parts_.io) {}

LeaseGuard::~LeaseGuard() {
    if (starter_ > 0) ::waitpid(starter_, nullptr, WNOHANG);
}

void LeaseGuard::start() {
    lost_at_ = host::boottime_now();
    if (connect()) return look();
    told_ = true;
    boost::asio::post(parts_.io, [this] {
        if (!stopped_) parts_.state({true, {}});
    });
}

void LeaseGuard::stop() {
    stopped_ = true;
    boost::system::error_code ignored;
    socket_.close(ignored);
    timer_.cancel();
    watch_timer_.cancel();
}

// --- finding it -----------------------------------------------------------------------------------------------------

// By the folder's descriptor: the path itself may be longer than an address takes.
bool LeaseGuard::connect() {
    const FileDescriptor folder(::open(parts_.folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    FileDescriptor fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = "/proc/self/fd/" + std::to_string(folder.get()) + "/" + GUARD_SOCKET;
    if (!folder || !fd || !put(address.sun_path, path)) return false;
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return false;
    ucred peer{};
    socklen_t size = sizeof peer;
    if (::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
    if (peer.uid != 0 && peer.uid != ::geteuid()) {
        if (!std::exchange(warned_, true))
            parts_.log(host::LogLevel::kError, "who listens at " + (parts_.folder / GUARD_SOCKET).string() +
                                                   " belongs to user " + std::to_string(peer.uid) +
                                                   ": no guard of ours");
        return false;
    }
    guard_ = peer.pid;
    ++connections_;
    is_ = Is::kGreeted;
    socket_.assign(fd.release());
    listen();
    send(request(GUARD_HELLO), nullptr);
    return true;
}

void LeaseGuard::run_program() {
    const std::string program = parts_.program.string(), folder = parts_.folder.string();
    char* argv[] = {const_cast<char*>(program.c_str()), const_cast<char*>(folder.c_str()), nullptr};
    const int error = ::posix_spawn(&starter_, program.c_str(), nullptr, nullptr, argv, environ);
    if (error == 0) return;
    starter_ = 0;
    parts_.log(host::LogLevel::kError, "cannot start " + program + ": " + std::strerror(error) +
                                           ": nothing under overlap \"forbid\" runs here");
}

void LeaseGuard::find_again(const std::string& why) {
    if (stopped_) return;
    parts_.log(host::LogLevel::kError, "gantry-guard " + why + ", another one is started");
    boost::system::error_code ignored;
    socket_.close(ignored);
    for (auto& [id, asked] : asked_)
        if (asked.done && !asked.ours) waiting_.push_back(std::move(asked));
    asked_.clear();
    unsent_.clear();
    for (auto& [name, held] : held_) held.covered = false;
    covering_ = 0;
    is_ = Is::kLooking;
    lost_at_ = host::boottime_now();
    run_program();
    look();
}

// It holds the lock that the next one needs.
void LeaseGuard::replace(const std::string& why) {
    if (guard_ > 0) ::kill(guard_, SIGKILL);
    find_again(why);
}

// Until it is found and holds everything, and who started it has ended.
void LeaseGuard::look() {
    if (starter_ > 0 && ::waitpid(starter_, nullptr, WNOHANG) != 0) starter_ = 0;
    if (stopped_ || is_ == Is::kAbsent) return;
    if (is_ != Is::kUp) seek();
    if (is_ == Is::kUp && starter_ == 0) return;
    timer_.expires_after(kLookEvery);
    timer_.async_wait([this](boost::system::error_code error) {
        if (!error) look();
    });
}

void LeaseGuard::seek() {
    const Instant now = host::boottime_now();
    if (is_ == Is::kLooking && !connect() && starter_ == 0 && now - lost_at_ >= kRunAgain) {
        lost_at_ = now;
        run_program();
    }
    const bool missed = was_up_ ? now - lost_at_ >= kBackWithin && !held_.empty() : now - lost_at_ >= kFoundWithin;
    if (missed && !told_down_) give_up();
    while (!waiting_.empty() && std::max(waiting_.front().by, heard_ + kAnswerWithin) <= now) {
        const auto late = std::move(waiting_.front());
        waiting_.pop_front();
        late.done(fail(Code::kUnavailable, "gantry-guard does not answer"));
    }
}

void LeaseGuard::give_up() {
    told_down_ = told_ = true;
    parts_.log(host::LogLevel::kError, "gantry-guard is not to be had: what runs by a lease is killed");
    parts_.state({false, {}});
}

// --- talking --------------------------------------------------------------------------------------------------------

void LeaseGuard::send(guard_message message, host::Done<void> done, bool ours) {
    message.id = ++last_id_;
    asked_[message.id] = {message, host::boottime_now() + kAnswerWithin, std::move(done), ours};
    if (asked_.size() == 1) watch();
    unsent_.push_back(message);
    flush();
}

// So few at a time that every answer finds room; what is lost is never answered, which watch() sees.
void LeaseGuard::flush() {
    while (!unsent_.empty() && asked_.size() - unsent_.size() < kInFlight) {
        const auto sent =
            ::send(socket_.native_handle(), &unsent_.front(), sizeof(guard_message), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) return;
        unsent_.pop_front();
    }
}

void LeaseGuard::watch() {
    watch_timer_.expires_after(kWatchEvery);
    watch_timer_.async_wait([this](boost::system::error_code error) {
        if (error || asked_.empty()) return;
        // Many at once take their time; what counts is that it answers.
        if (host::boottime_now() < std::max(asked_.begin()->second.by, heard_ + kAnswerWithin)) return watch();
        replace("has not answered for " + std::to_string(kAnswerWithin / milliseconds(1)) + " ms");
    });
}

void LeaseGuard::listen() {
    socket_.async_wait(boost::asio::posix::stream_descriptor::wait_read, [this](boost::system::error_code error) {
        if (!error && !stopped_) hear();
    });
}

void LeaseGuard::hear() {
    for (const auto mine = connections_; !stopped_ && socket_.is_open() && connections_ == mine;) {
        guard_message message{};
        const auto size = ::recv(socket_.native_handle(), &message, sizeof message, MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
            flush();
            return listen();
        }
        if (size != sizeof message) return find_again("has ended");
        if (message.version != GUARD_VERSION) return replace("speaks another version");
        heard_ = host::boottime_now();
        answered(message);
    }
}

void LeaseGuard::answered(const guard_message& message) {
    const std::string name = text_of(message.name);
    if (message.kind == GUARD_KILLED) {
        const auto late = Duration(message.killed_ns - message.deadline_ns) / milliseconds(1);
        return parts_.log(host::LogLevel::kWarn,
                          "the guard has killed " + name + ": its lease was over " + std::to_string(late) + " ms ago");
    }
    if (message.kind == GUARD_ENTRY) {
        Held& held = held_[name];
        held = {text_of(message.folder), std::max(held.until, Instant{message.deadline_ns}), true};
        return;
    }
    auto asked = asked_.extract(message.id);
    if (!asked) return;
    if (message.kind == GUARD_HELLO) return greeted(message);
    if (message.kind == GUARD_LIST) {
        for (const auto& [container, held] : held_)
            if (!held.covered) cover(container, held);
        if (covering_ == 0) up();
        return;
    }
    const auto done = std::move(asked.mapped().done);
    if (!done) return;
    if (message.status == 0) return done({});
    done(fail(Code::kFailed, "gantry-guard refuses it: " + std::string(std::strerror(message.status))));
}

void LeaseGuard::greeted(const guard_message& hello) {
    if (hello.status != 0) return replace("speaks another version");
    std::string lacks;
    if (!(hello.flags & GUARD_LOCKED)) lacks = "its memory cannot be locked";
    if (!(hello.flags & GUARD_LAST_KILLED))
        lacks += (lacks.empty() ? "" : ", ") + std::string("its OOM score cannot be the lowest");
    if (!lacks.empty() && !std::exchange(warned_, true))
        parts_.log(host::LogLevel::kWarn, "gantry-guard: " + lacks + "; give gantryd the capability that it lacks");
    send(request(GUARD_LIST), nullptr);
}

// A new guard is told what the one before it held.
void LeaseGuard::cover(const std::string& container, const Held& held) {
    guard_message message = request(GUARD_ARM);
    message.deadline_ns = held.until.ns;
    if (!put(message.name, container) || !put(message.folder, held.folder.string())) return;
    ++covering_;
    send(
        message,
        [this, container](Result<void> result) {
            if (const auto at = held_.find(container); at != held_.end()) at->second.covered = result.has_value();
            if (--covering_ == 0) up();
        },
        true);
}

void LeaseGuard::up() {
    is_ = Is::kUp;
    was_up_ = true;
    const bool lost_some = std::ranges::any_of(held_, [](const auto& entry) { return !entry.second.covered; });
    if (std::exchange(told_down_, false) || !std::exchange(told_, true) || lost_some) {
        core::GuardState state{true, {}};
        for (const auto& [name, held] : held_)
            if (held.covered) state.held.push_back({name, held.until});
        parts_.state(std::move(state));
    }
    for (auto& waiting : std::exchange(waiting_, {})) {
        if (is_ == Is::kUp)
            send(waiting.message, std::move(waiting.done));
        else
            waiting_.push_back(std::move(waiting));
    }
}

// --- what the core wants --------------------------------------------------------------------------------------------

std::filesystem::path LeaseGuard::folder_of(const std::string& container) const {
    const auto at = held_.find(container);
    return at == held_.end() ? std::filesystem::path() : at->second.folder;
}

void LeaseGuard::arm(const std::string& container, const std::filesystem::path& folder, Instant until,
                     host::Done<void> done) {
    guard_message message = request(GUARD_ARM);
    message.deadline_ns = until.ns;
    if (!put(message.name, container) || !put(message.folder, folder.string())) {
        return boost::asio::post(parts_.io, [done = std::move(done)] {
            done(fail(Code::kInvalid, "the name of the container or its cgroup is too long"));
        });
    }
    Held& held = held_[container];
    held = {folder, std::max(held.until, until), is_ == Is::kUp || !was_up_};
    if (is_ == Is::kUp) return send(message, std::move(done));
    waiting_.push_back({message, host::boottime_now() + kAnswerWithin, std::move(done)});
    if (is_ != Is::kAbsent) return;
    is_ = Is::kLooking;
    lost_at_ = host::boottime_now();
    run_program();
    boost::asio::post(parts_.io, [this] { look(); });
}

void LeaseGuard::disarm(const std::string& container) {
    if (held_.erase(container) == 0 || is_ != Is::kUp) return;
    guard_message message = request(GUARD_DISARM);
    if (put(message.name, container)) send(message, nullptr);
}

}  // namespace gantry::control
