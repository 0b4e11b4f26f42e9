// SPDX-License-Identifier: Apache-2.0
#include "sdk/testing/src/loop.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <gantry/address.hpp>
#include <set>

namespace gantry::testing {
namespace {

constexpr std::size_t kJobsMax = 1'024;
constexpr Duration kCancelGrace = std::chrono::seconds(1), kGrace = std::chrono::seconds(1);

std::mutex g_living_mutex;
std::map<std::uint64_t, Loop*>& living() {
    static std::map<std::uint64_t, Loop*> instances;
    return instances;
}
std::atomic<std::uint64_t> g_next_handle{1};

Instant boottime() {
    timespec t{};
    clock_gettime(CLOCK_BOOTTIME, &t);
    return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

// Where a socket is bound, as gantry_host_io::inherit spells it; empty: nothing that can be kept.
std::string bound_at(int fd) {
    int kind = 0, listens = 0;
    socklen_t length = sizeof kind;
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &length) != 0) return {};
    length = sizeof listens;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) != 0) return {};
    if (kind == SOCK_STREAM && listens == 0) return {};
    const SocketAddress own = SocketAddress::local(fd);
    if (own.family() != AF_UNIX) {
        if (own.length == 0 || own.port() == 0) return {};
        return (kind == SOCK_STREAM ? "tcp:" : "udp:") + own.text();
    }
    const auto& path = reinterpret_cast<const sockaddr_un*>(own.raw())->sun_path;
    const std::size_t room = own.length - offsetof(sockaddr_un, sun_path);
    return path[0] == '\0' || room == 0 ? std::string() : "unix:" + std::string(path, strnlen(path, room));
}

}  // namespace

Loop::Loop(FakeHost& host, const Options& options)
    : host_(host),
      options_(options),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      virtual_now_(options.start),
      random_state_(options.seed) {
    if (wake_fd_ < 0) throw Failure(Code::kFailed, "no eventfd for the loop");
    for (unsigned i = 0; i < options.workers; ++i) threads_.emplace_back([this] { work_loop(); });
}

Loop::~Loop() {
    {
        std::lock_guard lock(mutex);
        closing_ = true;
    }
    job_ready_.notify_all();
    for (std::thread& thread : threads_) thread.join();
    drop_kept();
    ::close(wake_fd_);
}

Loop* Loop::of(std::uint64_t handle) {
    std::lock_guard lock(g_living_mutex);
    auto it = living().find(handle);
    return it == living().end() ? nullptr : it->second;
}

std::uint64_t Loop::add_instance() {
    const std::uint64_t handle = g_next_handle++;
    std::lock_guard lock(g_living_mutex);
    living()[handle] = this;
    return handle;
}

bool Loop::end_instance(std::uint64_t handle) {
    {
        std::lock_guard lock(g_living_mutex);
        living().erase(handle);
    }
    std::unique_lock lock(mutex);
    const auto of_it = [handle](const auto& item) { return item.second.handle == handle; };
    std::erase_if(timers_, of_it);
    std::erase_if(watches_, of_it);
    std::erase_if(watchers_, of_it);
    std::erase_if(jobs_, [handle](const Job& job) { return job.handle == handle; });
    for (auto it = operations_.begin(); it != operations_.end();) {
        if (it->second.handle != handle) {
            ++it;
            continue;
        }
        posted_.emplace_back(
            0, [ended = std::move(it->second.ended)] { ended(Code::kUnknown, "the plugin was stopped"); });
        it = operations_.erase(it);
    }
    return job_done_.wait_for(lock, kGrace, [&] { return running_jobs_.count(handle) == 0; });
}

std::uint64_t Loop::next_number() { return ++numbers_; }

Instant Loop::now() const {
    if (options_.real_time) return boottime();
    std::lock_guard lock(mutex);
    return virtual_now_;
}

void Loop::wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(wake_fd_, &one, sizeof(one));
}

void Loop::post(std::uint64_t handle, std::function<void()> fn) {
    {
        std::lock_guard lock(mutex);
        posted_.emplace_back(handle, std::move(fn));
    }
    wake();
}

gantry_status Loop::work(std::uint64_t handle, gantry_work_fn fn, void* arg) {
    {
        std::lock_guard lock(mutex);
        if (jobs_.size() >= kJobsMax) return GANTRY_FULL;
        jobs_.push_back({handle, fn, arg});
    }
    job_ready_.notify_one();
    if (options_.workers == 0) wake();
    return GANTRY_OK;
}

bool Loop::run_job() {
    std::unique_lock lock(mutex);
    if (jobs_.empty()) return false;
    const Job job = jobs_.front();
    jobs_.pop_front();
    const auto running = running_jobs_.emplace(job.handle, 0);
    lock.unlock();
    job.fn(job.arg);
    lock.lock();
    running_jobs_.erase(running);
    lock.unlock();
    job_done_.notify_all();
    return true;
}

void Loop::work_loop() {
    for (;;) {
        {
            std::unique_lock lock(mutex);
            job_ready_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
            if (closing_) return;
        }
        run_job();
    }
}

std::uint64_t Loop::add_timer(std::uint64_t handle, Duration delay, Duration period, gantry_timer_fn fn, void* arg) {
    const Instant due = now() + std::max(delay, Duration::zero());
    std::lock_guard lock(mutex);
    const std::uint64_t id = next_number();
    timers_[id] = {handle, due, period, fn, arg};
    wake();
    return id;
}

gantry_status Loop::cancel_timer(std::uint64_t timer) {
    std::lock_guard lock(mutex);
    return timers_.erase(timer) != 0 ? GANTRY_OK : GANTRY_NOT_FOUND;
}

gantry_status Loop::add_watch(std::uint64_t handle, int fd, std::uint32_t wanted, gantry_io_fn fn, void* arg,
                              std::uint64_t& id) {
    struct stat info {};
    if (::fstat(fd, &info) != 0 || S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) return GANTRY_INVALID;
    auto duplicate = std::make_shared<Fd>(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!*duplicate) return GANTRY_FULL;
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    std::lock_guard lock(mutex);
    id = next_number();
    watches_[id] = {handle, fd, std::move(duplicate), wanted, fn, arg};
    wake();
    return GANTRY_OK;
}

gantry_status Loop::change_watch(std::uint64_t watch, std::uint32_t wanted) {
    std::lock_guard lock(mutex);
    auto it = watches_.find(watch);
    if (it == watches_.end()) return GANTRY_NOT_FOUND;
    it->second.events = wanted;
    wake();
    return GANTRY_OK;
}

gantry_status Loop::end_watch(std::uint64_t watch) {
    std::lock_guard lock(mutex);
    return watches_.erase(watch) != 0 ? GANTRY_OK : GANTRY_NOT_FOUND;
}

gantry_status Loop::keep(int fd) {
    const std::string address = bound_at(fd);
    if (address.empty()) return GANTRY_INVALID;
    Fd duplicate(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!duplicate) return GANTRY_FULL;
    std::lock_guard lock(mutex);
    kept[address] = std::move(duplicate);
    return GANTRY_OK;
}

void Loop::drop_kept() {
    std::lock_guard lock(mutex);
    for (const auto& [address, socket] : kept) {
        if (address.starts_with("unix:")) ::unlink(address.c_str() + 5);
    }
    kept.clear();
}

gantry_status Loop::inherit(const std::string& address, std::int32_t& fd) {
    std::lock_guard lock(mutex);
    const auto found = kept.find(address);
    if (found == kept.end()) return GANTRY_NOT_FOUND;
    fd = ::fcntl(found->second.get(), F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? GANTRY_FULL : GANTRY_OK;
}

// splitmix64: small, and the same on every machine.
void Loop::random(void* bytes, std::size_t len) {
    std::lock_guard lock(mutex);
    auto* out = static_cast<unsigned char*>(bytes);
    for (std::size_t i = 0; i < len; ++i) {
        std::uint64_t z = (random_state_ += 0x9e3779b97f4a7c15u);
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        out[i] = static_cast<unsigned char>(z >> 56);
    }
}

std::uint64_t Loop::add_operation(Operation operation) {
    std::lock_guard lock(mutex);
    const std::uint64_t id = next_number();
    operations_[id] = std::move(operation);
    return id;
}

void Loop::drop_operation(std::uint64_t id) {
    std::lock_guard lock(mutex);
    operations_.erase(id);
}

void Loop::cancel_operation(std::uint64_t id) {
    std::lock_guard lock(mutex);
    auto it = operations_.find(id);
    if (it == operations_.end()) return;
    it->second.cancelled = true;
    const Instant at = options_.real_time ? boottime() : virtual_now_;
    it->second.deadline = std::min<Instant>(it->second.deadline, at + kCancelGrace);
    wake();
}

gantry_status Loop::complete(std::uint64_t handle, std::uint64_t id, gantry_status status, std::string text,
                             const void* result) {
    std::lock_guard lock(mutex);
    auto it = operations_.find(id);
    if (it == operations_.end() || it->second.handle != handle) return GANTRY_STALE;
    if (status == GANTRY_OK && result != nullptr) it->second.decode(result);
    posted_.emplace_back(0, [ended = std::move(it->second.ended), status, text = std::move(text)]() mutable {
        ended(static_cast<Code>(status), std::move(text));
    });
    operations_.erase(it);
    wake();
    return GANTRY_OK;
}

bool Loop::operation_over(std::uint64_t handle, std::uint64_t id) const {
    const Instant at = now();
    std::lock_guard lock(mutex);
    auto it = operations_.find(id);
    return it == operations_.end() || it->second.handle != handle || it->second.cancelled || it->second.deadline <= at;
}

void Loop::expire_operations() {
    const Instant at = now();
    std::lock_guard lock(mutex);
    for (auto it = operations_.begin(); it != operations_.end();) {
        if (it->second.deadline > at) {
            ++it;
            continue;
        }
        posted_.emplace_back(0,
                             [ended = std::move(it->second.ended)] { ended(Code::kUnknown, "the deadline passed"); });
        it = operations_.erase(it);
    }
}

bool Loop::run_posted() {
    decltype(posted_) batch;
    {
        std::lock_guard lock(mutex);
        batch.swap(posted_);
    }
    for (auto& [handle, fn] : batch) {
        if (handle == 0 || alive(handle)) fn();
    }
    return !batch.empty();
}

std::optional<Instant> Loop::next_due() const {
    std::lock_guard lock(mutex);
    std::optional<Instant> out;
    for (const auto& [id, timer] : timers_) out = std::min(out.value_or(timer.due), timer.due);
    for (const auto& [id, operation] : operations_)
        out = std::min(out.value_or(operation.deadline), operation.deadline);
    return out;
}

// Runs the due timers in order of their time, each once.
bool Loop::run_timers() {
    const Instant at = now();
    bool any = false;
    std::set<std::uint64_t> done;
    for (;;) {
        std::unique_lock lock(mutex);
        auto next = timers_.end();
        for (auto it = timers_.begin(); it != timers_.end(); ++it) {
            if (it->second.due > at || done.count(it->first) != 0) continue;
            if (next == timers_.end() || it->second.due < next->second.due) next = it;
        }
        if (next == timers_.end()) return any;
        const std::uint64_t id = next->first;
        const Timer timer = next->second;
        done.insert(id);
        if (timer.period > Duration::zero()) {
            next->second.due += timer.period;
        } else {
            timers_.erase(next);
        }
        lock.unlock();
        {
            const InSlot inside("timer");
            timer.fn(timer.arg, id);
        }
        any = true;
    }
}

bool Loop::run_descriptors(Duration wait) {
    std::vector<pollfd> fds{{wake_fd_, POLLIN, 0}};
    std::vector<std::uint64_t> ids{0};
    std::vector<std::shared_ptr<Fd>> held;  // a watch may end while we wait
    {
        std::lock_guard lock(mutex);
        for (const auto& [id, watch] : watches_) {
            if (watch.events == 0) continue;
            const int wanted = ((watch.events & GANTRY_IO_READ) != 0 ? POLLIN : 0) |
                               ((watch.events & GANTRY_IO_WRITE) != 0 ? POLLOUT : 0);
            fds.push_back({watch.duplicate->get(), static_cast<short>(wanted), 0});
            ids.push_back(id);
            held.push_back(watch.duplicate);
        }
    }
    const auto millis = std::chrono::ceil<std::chrono::milliseconds>(wait).count();
    if (::poll(fds.data(), fds.size(), static_cast<int>(millis)) <= 0) return false;
    if (fds[0].revents != 0) {
        std::uint64_t count = 0;
        [[maybe_unused]] const ssize_t n = ::read(wake_fd_, &count, sizeof(count));
    }
    bool any = false;
    for (std::size_t i = 1; i < fds.size(); ++i) {
        // An error or hang-up is told as whatever was waited for; each direction in a call of its own.
        const bool failed = (fds[i].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0;
        if (failed || (fds[i].revents & POLLIN) != 0) any = tell_ready(ids[i], GANTRY_IO_READ) || any;
        if (failed || (fds[i].revents & POLLOUT) != 0) any = tell_ready(ids[i], GANTRY_IO_WRITE) || any;
    }
    return any;
}

bool Loop::tell_ready(std::uint64_t id, std::uint32_t event) {
    std::unique_lock lock(mutex);
    auto it = watches_.find(id);  // an earlier call may have ended it
    if (it == watches_.end() || (it->second.events & event) == 0) return false;
    const Watch watch = it->second;
    lock.unlock();
    const InSlot inside("watch");
    watch.fn(watch.arg, watch.fd, event);
    return true;
}

bool Loop::turn(Duration wait) {
    expire_operations();
    bool any = run_posted();
    any = run_timers() || any;
    if (options_.workers == 0) any = run_job() || any;
    any = run_descriptors(any ? Duration::zero() : wait) || any;
    return any;
}

void Loop::advance(Duration by) {
    const Instant target = now() + by;
    if (options_.real_time) {
        run_until([&] { return now() >= target; }, by + std::chrono::seconds(1));
        return;
    }
    for (;;) {
        for (int i = 0; i < 1'000 && turn(Duration::zero()); ++i) continue;
        const std::optional<Instant> due = next_due();
        std::lock_guard lock(mutex);
        if (!due || *due > target) {
            virtual_now_ = target;
            break;
        }
        virtual_now_ = std::max(virtual_now_, *due);
    }
    for (int i = 0; i < 1'000 && turn(Duration::zero()); ++i) continue;
}

bool Loop::run_until(const std::function<bool()>& condition, Duration limit) {
    const Instant end = boottime() + limit;
    while (!condition()) {
        const Instant at = boottime();
        if (at >= end) return false;
        Duration wait = std::min<Duration>(end - at, std::chrono::milliseconds(50));
        if (options_.real_time) {
            if (const auto due = next_due()) wait = std::clamp<Duration>(*due - at, Duration::zero(), wait);
        }
        turn(wait);
    }
    return true;
}

std::uint64_t Loop::add_watcher(Watcher watcher) {
    std::lock_guard lock(mutex);
    const std::uint64_t id = next_number();
    watchers_[id] = watcher;
    return id;
}

gantry_status Loop::end_watcher(std::uint64_t id) {
    std::lock_guard lock(mutex);
    return watchers_.erase(id) != 0 ? GANTRY_OK : GANTRY_NOT_FOUND;
}

void Loop::emit(std::uint64_t number, const std::string& document) {
    std::vector<std::uint64_t> ids;
    {
        std::lock_guard lock(mutex);
        for (const auto& [id, watcher] : watchers_) ids.push_back(id);
    }
    for (std::uint64_t id : ids) {
        post(0, [this, id, number, document] {
            std::unique_lock lock(mutex);
            auto it = watchers_.find(id);
            if (it == watchers_.end() || number <= it->second.after) return;
            const Watcher watcher = it->second;
            lock.unlock();
            const InSlot inside("control event");
            watcher.fn(watcher.arg, number, str(document));
        });
    }
}

}  // namespace gantry::testing
