// SPDX-License-Identifier: Apache-2.0
//
// The host services log, clock, io and ops as the fake host serves them.
#include <time.h>

#include <algorithm>

#include "sdk/testing/src/loop.hpp"

namespace gantry::testing {
namespace {

constexpr std::size_t kEventFields = 32, kTextMax = 4'096;

// As the real host lets text leave: one line without control characters, cut. (It repairs broken UTF-8 as well.)
std::string one_line(gantry_str raw) {
    std::string out(view(raw).substr(0, kTextMax));
    for (char& c : out) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
    }
    return view(raw).size() > kTextMax ? out + "..." : out;
}

// Runs body(loop) for a living instance; GANTRY_STALE otherwise.
template <class F>
gantry_status served(std::uint64_t handle, const char* service, const char* slot, F&& body,
                     std::uint64_t op = 0) noexcept {
    if (const gantry_status status = tell_monitor(handle, service, slot, op); status != GANTRY_OK) return status;
    Loop* loop = Loop::of(handle);
    if (loop == nullptr) return GANTRY_STALE;
    gantry_status status = GANTRY_OK;
    const gantry_status thrown = detail::guarded(nullptr, [&] { status = body(*loop); });
    return thrown == GANTRY_OK ? status : thrown;
}

const gantry_host_log kLog{
    sizeof(gantry_host_log), 0,
    [](std::uint64_t handle, std::uint32_t level, gantry_str line, const gantry_kv* fields,
       std::size_t count) noexcept -> gantry_status {
        return served(handle, GANTRY_HOST_LOG, "log", [&](Loop& loop) {
            if (fields == nullptr && count > 0) return GANTRY_INVALID;
            std::lock_guard lock(loop.mutex);
            loop.logs.push_back({static_cast<LogLevel>(std::min<std::uint32_t>(level, GANTRY_LOG_ERROR)),
                                 one_line(line), labels(fields, count)});
            return GANTRY_OK;
        });
    },
    [](std::uint64_t handle, gantry_str kind, gantry_str line, const gantry_kv* fields,
       std::size_t count) noexcept -> gantry_status {
        return served(handle, GANTRY_HOST_LOG, "event", [&](Loop& loop) {
            if ((fields == nullptr && count > 0) || count > kEventFields) return GANTRY_INVALID;
            std::lock_guard lock(loop.mutex);
            loop.events.push_back({one_line(kind), one_line(line), labels(fields, count)});
            return GANTRY_OK;
        });
    },
    [](std::uint64_t handle, gantry_str name, std::uint32_t kind, double value) noexcept -> gantry_status {
        return served(handle, GANTRY_HOST_LOG, "metric", [&](Loop& loop) {
            std::lock_guard lock(loop.mutex);
            double& number = loop.metrics[text(name)];
            number = kind == GANTRY_METRIC_COUNTER ? number + value : value;
            return GANTRY_OK;
        });
    }};

const gantry_host_clock kClock{sizeof(gantry_host_clock),
                               0,
                               [](std::uint64_t handle) noexcept -> std::int64_t {
                                   tell_monitor(handle, GANTRY_HOST_CLOCK, "now");
                                   Loop* loop = Loop::of(handle);
                                   return loop == nullptr ? 0 : loop->now().count();
                               },
                               [](std::uint64_t handle) noexcept -> std::int64_t {
                                   tell_monitor(handle, GANTRY_HOST_CLOCK, "wall");
                                   // A fixed day, moved by the same clock: 2026-01-01T00:00:00Z.
                                   Loop* loop = Loop::of(handle);
                                   return loop == nullptr ? 0 : 1'767'225'600'000'000'000 + loop->now().count();
                               },
                               [](std::uint64_t handle, std::int64_t delay, std::int64_t period, gantry_timer_fn fn,
                                  void* arg, std::uint64_t* timer) noexcept -> gantry_status {
                                   return served(handle, GANTRY_HOST_CLOCK, "timer", [&](Loop& loop) {
                                       if (timer == nullptr || fn == nullptr || period < 0) return GANTRY_INVALID;
                                       *timer = loop.add_timer(handle, Duration(delay), Duration(period), fn, arg);
                                       return GANTRY_OK;
                                   });
                               },
                               [](std::uint64_t handle, std::uint64_t timer) noexcept -> gantry_status {
                                   return served(handle, GANTRY_HOST_CLOCK, "cancel",
                                                 [&](Loop& loop) { return loop.cancel_timer(timer); });
                               },
                               [](std::uint64_t handle, void* bytes, std::size_t len) noexcept -> gantry_status {
                                   return served(handle, GANTRY_HOST_CLOCK, "random", [&](Loop& loop) {
                                       if (bytes == nullptr && len > 0) return GANTRY_INVALID;
                                       loop.random(bytes, len);
                                       return GANTRY_OK;
                                   });
                               }};

const gantry_host_io kIo{
    sizeof(gantry_host_io),
    0,
    [](std::uint64_t handle, std::int32_t fd, std::uint32_t events, gantry_io_fn fn, void* arg,
       std::uint64_t* watch) noexcept -> gantry_status {
        return served(handle, GANTRY_HOST_IO, "watch", [&](Loop& loop) {
            if (fn == nullptr || watch == nullptr) return GANTRY_INVALID;
            return loop.add_watch(handle, fd, events, fn, arg, *watch);
        });
    },
    [](std::uint64_t handle, std::uint64_t watch, std::uint32_t events) noexcept -> gantry_status {
        return served(handle, GANTRY_HOST_IO, "change", [&](Loop& loop) { return loop.change_watch(watch, events); });
    },
    [](std::uint64_t handle, std::uint64_t watch) noexcept -> gantry_status {
        return served(handle, GANTRY_HOST_IO, "unwatch", [&](Loop& loop) { return loop.end_watch(watch); });
    },
    [](std::uint64_t handle, gantry_work_fn fn, void* arg) noexcept -> gantry_status {
        return served(handle, GANTRY_HOST_IO, "work",
                      [&](Loop& loop) { return fn == nullptr ? GANTRY_INVALID : loop.work(handle, fn, arg); });
    },
    [](std::uint64_t handle, gantry_work_fn fn, void* arg) noexcept -> gantry_status {
        return served(handle, GANTRY_HOST_IO, "post", [&](Loop& loop) {
            if (fn == nullptr) return GANTRY_INVALID;
            loop.post(handle, [fn, arg] {
                const InSlot inside("post");
                fn(arg);
            });
            return GANTRY_OK;
        });
    },
    [](std::uint64_t handle, std::int32_t fd) noexcept -> gantry_status {
        return served(handle, GANTRY_HOST_IO, "keep", [&](Loop& loop) { return loop.keep(fd); });
    },
    [](std::uint64_t handle, gantry_str address, std::int32_t* fd) noexcept -> gantry_status {
        return served(handle, GANTRY_HOST_IO, "inherit",
                      [&](Loop& loop) { return fd == nullptr ? GANTRY_INVALID : loop.inherit(text(address), *fd); });
    }};

const gantry_host_ops kOps{sizeof(gantry_host_ops), 0,
                           [](std::uint64_t handle, std::uint64_t op, gantry_status status, gantry_str why,
                              const void* result) noexcept -> gantry_status {
                               return served(
                                   handle, GANTRY_HOST_OPS, "complete",
                                   [&](Loop& loop) { return loop.complete(handle, op, status, one_line(why), result); },
                                   op);
                           },
                           [](std::uint64_t handle, std::uint64_t op) noexcept -> std::int32_t {
                               tell_monitor(handle, GANTRY_HOST_OPS, "cancelled", op);
                               Loop* loop = Loop::of(handle);
                               return loop == nullptr || loop->operation_over(handle, op) ? 1 : 0;
                           }};

}  // namespace

const void* service_table(std::string_view id) {
    if (id == GANTRY_HOST_LOG) return &kLog;
    if (id == GANTRY_HOST_CLOCK) return &kClock;
    if (id == GANTRY_HOST_IO) return &kIo;
    if (id == GANTRY_HOST_OPS) return &kOps;
    if (id == GANTRY_HOST_CONTROL) return control_table();
    return nullptr;
}

}  // namespace gantry::testing
