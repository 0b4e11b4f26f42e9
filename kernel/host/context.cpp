// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/context.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <unordered_map>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/host/boot_clock.hpp"

namespace gantry::host {

namespace asio = boost::asio;

namespace {

struct Numbers {
    std::mutex mutex;
    std::uint64_t last = 0;
    std::unordered_map<std::uint64_t, std::weak_ptr<Context>> living;
};

// Never destroyed: a plugin's thread may still ask while the process ends.
Numbers& numbers() {
    static auto* const all = new Numbers;
    return *all;
}

}  // namespace

struct Context::Timer {
    Timer(asio::io_context& io, Duration every, gantry_timer_fn with, void* given)
        : timer(io), period(every), fn(with), arg(given) {}
    BootTimer timer;
    Duration period;
    gantry_timer_fn fn;
    void* arg;
    Instant due{};
};

// Watches a duplicate of the plugin's descriptor: the plugin may close its own before the loop has heard of it, and a
// number that comes back meanwhile is another descriptor.
struct Context::Watch {
    Watch(asio::io_context& io, int own, int duplicate, gantry_io_fn with, void* given)
        : descriptor(io), fd(own), dup(duplicate), fn(with), arg(given) {}
    ~Watch() {
        if (dup >= 0) ::close(dup);
    }
    asio::posix::stream_descriptor descriptor;
    int fd, dup;  // dup until the descriptor has it
    gantry_io_fn fn;
    void* arg;
    std::uint32_t events = 0;   // wanted; under the context's mutex
    std::uint32_t waiting = 0;  // asked of the loop; on the loop
};

Context::Context(std::shared_ptr<Core> with, std::string called, std::string_view digest, std::uint64_t number)
    : core(std::move(with)),
      name(std::move(called)),
      subject(name, digest),
      handle(number),
      pending(std::make_shared<std::atomic<std::uint64_t>>(0)) {}

Context::~Context() {
    std::lock_guard lock(numbers().mutex);
    numbers().living.erase(handle);
}

std::shared_ptr<Context> Context::make(std::shared_ptr<Core> core, std::string name, std::string_view digest) {
    std::uint64_t number = 0;
    {
        std::lock_guard lock(numbers().mutex);
        number = ++numbers().last;
    }
    std::shared_ptr<Context> made(new Context(std::move(core), std::move(name), digest, number));
    std::lock_guard lock(numbers().mutex);
    numbers().living[number] = made;
    return made;
}

std::shared_ptr<Context> Context::find(std::uint64_t handle) {
    std::lock_guard lock(numbers().mutex);
    auto it = numbers().living.find(handle);
    return it == numbers().living.end() ? nullptr : it->second.lock();
}

void Context::end(const std::string& why) {
    {
        std::lock_guard lock(numbers().mutex);
        numbers().living.erase(handle);
    }
    alive_.store(false, std::memory_order_release);
    sink_target = nullptr;
    decltype(timers_) timers;
    decltype(watches_) watches;
    {
        std::lock_guard lock(mutex_);
        timers.swap(timers_);
        watches.swap(watches_);
    }
    for (auto& [id, timer] : timers) timer->timer.cancel();
    for (auto& [id, watch] : watches) {
        boost::system::error_code ignored;  // it is gone either way
        watch->descriptor.close(ignored);
    }
    std::map<std::uint64_t, std::uint64_t> followed;
    {
        std::lock_guard lock(control_mutex);
        followed.swap(control_watches);
    }
    for (const auto& [id, of_tree] : followed) {
        ResourceTree* const tree = core->tree;
        if (tree != nullptr && of_tree != 0) tree->unwatch(of_tree);
    }
    core->operations.abandon(handle, why);
}

void Context::count(const char* slot, Duration took) {
    calls.fetch_add(1, std::memory_order_relaxed);
    if (took < kSlowCall) return;
    slow_calls.fetch_add(1, std::memory_order_relaxed);
    if (took < kVerySlowCall) return;
    log(LogLevel::kWarn, std::string(slot) + " held the loop for " + format_duration(took) + ", expected at most " +
                             format_duration(kSlowCall));
}

gantry_status Context::add_timer(Duration delay, Duration period, gantry_timer_fn fn, void* arg, std::uint64_t& id) {
    if (fn == nullptr || period < Duration::zero()) return GANTRY_INVALID;
    auto timer = std::make_shared<Timer>(core->loop.io, period, fn, arg);
    timer->due = boottime_now() + std::clamp(delay, Duration::zero(), Duration(INT64_MAX / 4));
    {
        std::lock_guard lock(mutex_);
        id = ++last_id_;
        timers_.emplace(id, timer);
    }
    core->loop.dispatch([self = shared_from_this(), timer, number = id] { self->arm(timer, number); });
    return GANTRY_OK;
}

void Context::arm(const std::shared_ptr<Timer>& timer, std::uint64_t id) {
    {
        std::lock_guard lock(mutex_);
        if (!timers_.contains(id)) return;  // cancelled meanwhile
    }
    timer->timer.expires_at(BootClock::at(timer->due));
    timer->timer.async_wait([self = shared_from_this(), id](const boost::system::error_code& error) {
        if (!error) self->fire(id);
    });
}

void Context::fire(std::uint64_t id) {
    std::shared_ptr<Timer> timer;
    {
        std::lock_guard lock(mutex_);
        auto it = timers_.find(id);
        if (it == timers_.end()) return;
        timer = it->second;
        if (timer->period == Duration::zero()) timers_.erase(it);
    }
    timed("a timer", [&] { timer->fn(timer->arg, id); });
    if (timer->period == Duration::zero()) return;
    // Turns that were missed are not made up for.
    timer->due = std::max(timer->due + timer->period, boottime_now());
    arm(timer, id);
}

gantry_status Context::cancel_timer(std::uint64_t id) {
    std::shared_ptr<Timer> timer;
    {
        std::lock_guard lock(mutex_);
        auto it = timers_.find(id);
        if (it == timers_.end()) return GANTRY_NOT_FOUND;
        timer = std::move(it->second);
        timers_.erase(it);
    }
    core->loop.dispatch([timer] { timer->timer.cancel(); });
    return GANTRY_OK;
}

gantry_status Context::add_watch(int fd, std::uint32_t events, gantry_io_fn fn, void* arg, std::uint64_t& id) {
    struct stat info {};
    if (fn == nullptr || ::fstat(fd, &info) != 0 || S_ISREG(info.st_mode) || S_ISDIR(info.st_mode))
        return GANTRY_INVALID;
    const int duplicate = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (duplicate < 0) return GANTRY_FULL;
    auto watch = std::make_shared<Watch>(core->loop.io, fd, duplicate, fn, arg);
    watch->events = events;
    {
        std::lock_guard lock(mutex_);
        id = ++last_id_;
        watches_.emplace(id, watch);
    }
    core->loop.dispatch([self = shared_from_this(), watch, number = id] {
        if (self->watch_of(number) == nullptr) return;
        boost::system::error_code error;
        watch->descriptor.assign(watch->dup, error);
        if (error) {
            self->log(LogLevel::kError,
                      "cannot watch descriptor " + std::to_string(watch->fd) + ": " + error.message());
            return;
        }
        watch->dup = -1;
        self->wait(watch, number);
    });
    return GANTRY_OK;
}

std::shared_ptr<Context::Watch> Context::watch_of(std::uint64_t id) {
    std::lock_guard lock(mutex_);
    auto it = watches_.find(id);
    return it == watches_.end() ? nullptr : it->second;
}

// Asks the loop for each wanted direction that is not asked for yet.
void Context::wait(const std::shared_ptr<Watch>& watch, std::uint64_t id) {
    std::uint32_t wanted = 0;
    {
        std::lock_guard lock(mutex_);
        wanted = watch->events & ~watch->waiting;
    }
    if (!watch->descriptor.is_open()) return;
    for (const std::uint32_t event : {GANTRY_IO_READ, GANTRY_IO_WRITE}) {
        if ((wanted & event) == 0) continue;
        watch->waiting |= event;
        watch->descriptor.async_wait(
            event == GANTRY_IO_READ ? asio::posix::stream_descriptor::wait_read
                                    : asio::posix::stream_descriptor::wait_write,
            [self = shared_from_this(), watch, id, event](const boost::system::error_code& error) {
                watch->waiting &= ~event;
                if (error != asio::error::operation_aborted) self->ready(id, event);
            });
    }
}

void Context::ready(std::uint64_t id, std::uint32_t event) {
    std::shared_ptr<Watch> watch;
    bool wanted = false;
    {
        std::lock_guard lock(mutex_);
        auto it = watches_.find(id);
        if (it == watches_.end()) return;
        watch = it->second;
        wanted = (watch->events & event) != 0;
    }
    if (wanted) timed("a watch", [&] { watch->fn(watch->arg, watch->fd, event); });
    if (watch_of(id) != nullptr) wait(watch, id);
}

gantry_status Context::change_watch(std::uint64_t id, std::uint32_t events) {
    std::shared_ptr<Watch> watch;
    {
        std::lock_guard lock(mutex_);
        auto it = watches_.find(id);
        if (it == watches_.end()) return GANTRY_NOT_FOUND;
        watch = it->second;
        watch->events = events;
    }
    core->loop.dispatch([self = shared_from_this(), watch, id] {
        if (self->watch_of(id) != nullptr) self->wait(watch, id);
    });
    return GANTRY_OK;
}

gantry_status Context::end_watch(std::uint64_t id) {
    std::shared_ptr<Watch> watch;
    {
        std::lock_guard lock(mutex_);
        auto it = watches_.find(id);
        if (it == watches_.end()) return GANTRY_NOT_FOUND;
        watch = std::move(it->second);
        watches_.erase(it);
    }
    core->loop.dispatch([watch] {
        boost::system::error_code ignored;  // it is gone either way
        watch->descriptor.close(ignored);
    });
    return GANTRY_OK;
}

gantry_status Context::work(gantry_work_fn fn, void* arg) {
    if (fn == nullptr) return GANTRY_INVALID;
    const bool taken = core->pool.submit(handle, [self = shared_from_this(), fn, arg] {
        const crash::Crumbs crumbs(self->subject, "a job");
        fn(arg);
    });
    return taken ? GANTRY_OK : GANTRY_FULL;
}

gantry_status Context::event(std::string kind, std::string text, json::object fields) {
    if (!core->options.event) return GANTRY_OK;
    if (events_waiting_.fetch_add(1) >= limits::kPluginEvents) {
        --events_waiting_;
        return GANTRY_FULL;
    }
    core->loop.post(
        [self = shared_from_this(), kind = std::move(kind), text = std::move(text), more = std::move(fields)] {
            --self->events_waiting_;
            self->core->options.event(kind, text, more);
        });
    return GANTRY_OK;
}

void Context::post(const char* slot, std::function<void()> call) {
    core->loop.post([self = shared_from_this(), slot, call = std::move(call)] {
        if (self->alive()) self->timed(slot, call);
    });
}

}  // namespace gantry::host
