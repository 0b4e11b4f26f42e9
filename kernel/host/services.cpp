// SPDX-License-Identifier: Apache-2.0
//
// The host services log, clock, io and ops.
#include <sys/random.h>
#include <time.h>

#include <algorithm>

#include "kernel/base/limits.hpp"
#include "kernel/host/border.hpp"
#include "kernel/host/context.hpp"
#include "kernel/host/kept.hpp"

namespace gantry::host {
namespace {

constexpr std::size_t kMetrics = 1'024;  // names one instance may use
constexpr std::size_t kShortText = 128;  // bytes of a kind, a metric's or a field's name

// Runs body(context) for a living instance and keeps exceptions (memory) on this side.
template <class F>
gantry_status served(std::uint64_t handle, F&& body) noexcept {
    try {
        const std::shared_ptr<Context> context = Context::find(handle);
        return context == nullptr ? GANTRY_STALE : body(*context);
    } catch (...) {
        return GANTRY_FAILED;
    }
}

std::string line_of(gantry_str text, const gantry_kv* fields, std::size_t count) {
    std::string out(view(text).substr(0, kTextMax + 1));
    for (std::size_t i = 0; i < count && out.size() <= kTextMax; ++i) {
        out.append(" ").append(view(fields[i].key), 0, kTextMax);
        out.append("=").append(view(fields[i].value), 0, kTextMax);
    }
    return out;
}

const gantry_host_log kLog{
    sizeof(gantry_host_log), 0,
    [](std::uint64_t handle, std::uint32_t level, gantry_str text, const gantry_kv* fields,
       std::size_t count) noexcept -> gantry_status {
        return served(handle, [&](Context& context) {
            if (fields == nullptr && count > 0) return GANTRY_INVALID;
            context.log(static_cast<LogLevel>(std::min<std::uint32_t>(level, GANTRY_LOG_ERROR)),
                        line_of(text, fields, count));
            return GANTRY_OK;
        });
    },
    [](std::uint64_t handle, gantry_str kind, gantry_str text, const gantry_kv* fields,
       std::size_t count) noexcept -> gantry_status {
        return served(handle, [&](Context& context) {
            if ((fields == nullptr && count > 0) || count > limits::kEventFields) return GANTRY_INVALID;
            json::object more;
            for (std::size_t i = 0; i < count; ++i) more[line(fields[i].key, kShortText)] = line(fields[i].value);
            more["plugin"] = context.name;
            return context.event(line(kind, kShortText), line(text), std::move(more));
        });
    },
    [](std::uint64_t handle, gantry_str name, std::uint32_t kind, double value) noexcept -> gantry_status {
        return served(handle, [&](Context& context) {
            const std::string key = line(name, kShortText);
            std::lock_guard lock(context.metrics_mutex);
            if (context.metrics.size() >= kMetrics && !context.metrics.contains(key)) return GANTRY_FULL;
            double& number = context.metrics[key];
            number = kind == GANTRY_METRIC_COUNTER ? number + value : value;
            return GANTRY_OK;
        });
    }};

const gantry_host_clock kClock{sizeof(gantry_host_clock),
                               0,
                               [](std::uint64_t) noexcept -> std::int64_t { return boottime_now().ns; },
                               [](std::uint64_t) noexcept -> std::int64_t {
                                   timespec t{};
                                   ::clock_gettime(CLOCK_REALTIME, &t);
                                   return static_cast<std::int64_t>(t.tv_sec) * 1'000'000'000 + t.tv_nsec;
                               },
                               [](std::uint64_t handle, std::int64_t delay, std::int64_t period, gantry_timer_fn fn,
                                  void* arg, std::uint64_t* timer) noexcept -> gantry_status {
                                   return served(handle, [&](Context& context) {
                                       if (timer == nullptr) return GANTRY_INVALID;
                                       return context.add_timer(Duration(delay), Duration(period), fn, arg, *timer);
                                   });
                               },
                               [](std::uint64_t handle, std::uint64_t timer) noexcept -> gantry_status {
                                   return served(handle, [&](Context& context) { return context.cancel_timer(timer); });
                               },
                               [](std::uint64_t handle, void* bytes, std::size_t len) noexcept -> gantry_status {
                                   return served(handle, [&](Context&) {
                                       if (bytes == nullptr && len > 0) return GANTRY_INVALID;
                                       auto* out = static_cast<char*>(bytes);
                                       for (std::size_t have = 0; have < len;) {
                                           const ssize_t n = ::getrandom(out + have, len - have, 0);
                                           if (n < 0 && errno != EINTR) return GANTRY_FAILED;
                                           if (n > 0) have += static_cast<std::size_t>(n);
                                       }
                                       return GANTRY_OK;
                                   });
                               }};

const gantry_host_io kIo{
    sizeof(gantry_host_io),
    0,
    [](std::uint64_t handle, std::int32_t fd, std::uint32_t events, gantry_io_fn fn, void* arg,
       std::uint64_t* watch) noexcept -> gantry_status {
        return served(handle, [&](Context& context) {
            return watch == nullptr ? GANTRY_INVALID : context.add_watch(fd, events, fn, arg, *watch);
        });
    },
    [](std::uint64_t handle, std::uint64_t watch, std::uint32_t events) noexcept -> gantry_status {
        return served(handle, [&](Context& context) { return context.change_watch(watch, events); });
    },
    [](std::uint64_t handle, std::uint64_t watch) noexcept -> gantry_status {
        return served(handle, [&](Context& context) { return context.end_watch(watch); });
    },
    [](std::uint64_t handle, gantry_work_fn fn, void* arg) noexcept -> gantry_status {
        return served(handle, [&](Context& context) { return context.work(fn, arg); });
    },
    [](std::uint64_t handle, gantry_work_fn fn, void* arg) noexcept -> gantry_status {
        return served(handle, [&](Context& context) {
            if (fn == nullptr) return GANTRY_INVALID;
            context.post("a posted call", [fn, arg] { fn(arg); });
            return GANTRY_OK;
        });
    },
    [](std::uint64_t handle, std::int32_t fd) noexcept -> gantry_status {
        return served(handle, [&](Context& context) {
            const auto& kept = context.core->options.kept;
            if (kept == nullptr) return GANTRY_UNSUPPORTED;
            const Status done = kept->keep(context.name, fd);
            if (done) return GANTRY_OK;
            return done.error().code == Code::kFull ? GANTRY_FULL : GANTRY_INVALID;
        });
    },
    [](std::uint64_t handle, gantry_str address, std::int32_t* fd) noexcept -> gantry_status {
        return served(handle, [&](Context& context) {
            if (fd == nullptr) return GANTRY_INVALID;
            const auto& kept = context.core->options.kept;
            *fd = kept == nullptr ? -1 : kept->inherit(context.name, view(address));
            return *fd < 0 ? GANTRY_NOT_FOUND : GANTRY_OK;
        });
    }};

const gantry_host_ops kOps{sizeof(gantry_host_ops), 0,
                           [](std::uint64_t handle, std::uint64_t op, gantry_status status, gantry_str text,
                              const void* result) noexcept -> gantry_status {
                               return served(handle, [&](Context& context) {
                                   return context.core->operations.complete(handle, op, status, line(text), result);
                               });
                           },
                           [](std::uint64_t handle, std::uint64_t op) noexcept -> std::int32_t {
                               const std::shared_ptr<Context> context = Context::find(handle);
                               return context == nullptr || context->core->operations.over(handle, op) ? 1 : 0;
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

}  // namespace gantry::host
