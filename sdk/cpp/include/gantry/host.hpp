// SPDX-License-Identifier: Apache-2.0
//
// Host: the five services of the host, for one instance. Plugin::host() gives it from init on.
//
// Every method may be called from every thread. Callables run on the loop thread (work: on a pool thread), may be
// moved-only, and are freed when no call can come any more; an exception that leaves one is logged. After stop()
// returned nothing here does anything (Code::kStale).
#pragma once

#include <gantry/abi/entry.h>
#include <gantry/abi/host.h>

#include <gantry/callbacks.hpp>
#include <gantry/view.hpp>
#include <initializer_list>
#include <optional>

namespace gantry::inline v1 {

enum class LogLevel : std::uint32_t {
    kTrace = GANTRY_LOG_TRACE,
    kDebug = GANTRY_LOG_DEBUG,
    kInfo = GANTRY_LOG_INFO,
    kWarn = GANTRY_LOG_WARN,
    kError = GANTRY_LOG_ERROR,
};

enum class Metric : std::uint32_t { kCounter = GANTRY_METRIC_COUNTER, kGauge = GANTRY_METRIC_GAUGE };

using Fields = std::initializer_list<std::pair<std::string_view, std::string_view>>;

// Names of what goes on until it is ended; 0 names nothing.
using TimerId = std::uint64_t;
using WatchId = std::uint64_t;

inline constexpr std::uint32_t kReadable = GANTRY_IO_READ;
inline constexpr std::uint32_t kWritable = GANTRY_IO_WRITE;

// Who asks the resource tree. The frontend vouches for it.
struct Principal {
    std::string kind = "none", name;  // "unix", "token", "none"
    std::int64_t uid = -1, gid = -1;
};

struct ControlRequest {
    Principal principal;
    std::string method, path, body;
};

struct ControlResponse {
    int code = 0;  // of HTTP
    std::uint64_t revision = 0;
    std::string body;
};

class Host {
  public:
    explicit Host(const gantry_host& raw)
        : handle_(raw.handle),
          log_(find<gantry_host_log>(raw, GANTRY_HOST_LOG)),
          clock_(find<gantry_host_clock>(raw, GANTRY_HOST_CLOCK)),
          io_(find<gantry_host_io>(raw, GANTRY_HOST_IO)),
          ops_(find<gantry_host_ops>(raw, GANTRY_HOST_OPS)),
          control_(find<gantry_host_control>(raw, GANTRY_HOST_CONTROL)),
          keeper_(raw.handle, io_, log_) {}
    Host(const Host&) = delete;
    Host& operator=(const Host&) = delete;

    // ---- log
    void log(LogLevel level, std::string_view line, Fields fields = {}) const {
        if (!GANTRY_HAS(log_, log)) return;
        const std::vector<gantry_kv> kvs = lower(fields);
        log_->log(handle_, static_cast<std::uint32_t>(level), str(line), kvs.data(), kvs.size());
    }
    void debug(std::string_view line, Fields fields = {}) const { log(LogLevel::kDebug, line, fields); }
    void info(std::string_view line, Fields fields = {}) const { log(LogLevel::kInfo, line, fields); }
    void warn(std::string_view line, Fields fields = {}) const { log(LogLevel::kWarn, line, fields); }
    void error(std::string_view line, Fields fields = {}) const { log(LogLevel::kError, line, fields); }

    // An entry of the event log that operators follow; kind is lower case with dashes.
    void event(std::string_view kind, std::string_view line, Fields fields = {}) const {
        if (!GANTRY_HAS(log_, event)) return;
        const std::vector<gantry_kv> kvs = lower(fields);
        log_->event(handle_, str(kind), str(line), kvs.data(), kvs.size());
    }
    void metric(std::string_view name, Metric kind, double value) const {
        if (GANTRY_HAS(log_, metric)) log_->metric(handle_, str(name), static_cast<std::uint32_t>(kind), value);
    }

    // ---- clock
    Instant now() const { return Instant(GANTRY_HAS(clock_, now) ? clock_->now(handle_) : 0); }
    // Since 1970; for display only.
    Duration wall() const { return Duration(GANTRY_HAS(clock_, wall) ? clock_->wall(handle_) : 0); }

    // Calls fn() on the loop once after delay, then every `period` if that is not zero. Returns 0 if stopped.
    template <class F>
    TimerId timer(Duration delay, F fn, Duration period = Duration::zero()) {
        if (!GANTRY_HAS(clock_, timer)) return 0;
        auto made = detail::callable<TimerId>(
            [fn = std::move(fn), once = period <= Duration::zero(), this](TimerId id) mutable {
                keeper_.run("timer", fn);
                if (once) keeper_.finish(detail::Series::kTimer, id);
            });
        TimerId id = 0;
        const Status status = keeper_.series(detail::Series::kTimer, std::move(made), id, [&](auto* raw, TimerId* out) {
            return clock_->timer(handle_, delay.count(), period.count(), &on_timer, raw, out);
        });
        return status ? id : 0;
    }
    // On the loop: the callable is not called again. A timer that is over, and 0, are fine.
    void cancel(TimerId timer) {
        if (timer == 0 || !GANTRY_HAS(clock_, cancel)) return;
        clock_->cancel(handle_, timer);
        keeper_.ended(detail::Series::kTimer, timer);
    }
    // Randomness fit for keys.
    void random(void* out, std::size_t len) const {
        if (!GANTRY_HAS(clock_, random) || clock_->random(handle_, out, len) != GANTRY_OK) {
            throw Failure(Code::kUnavailable, "the host gives no randomness");
        }
    }

    // ---- io
    // Calls fn(event) on the loop whenever fd is ready for one of `events` (level-triggered), one event in each call.
    // The descriptor stays yours: unwatch before you close it. It becomes non-blocking, for all who share the open
    // file.
    template <class F>
    WatchId watch(int fd, std::uint32_t events, F fn) {
        if (!GANTRY_HAS(io_, watch)) throw Failure(Code::kUnsupported, "the host watches no descriptors");
        auto made = detail::callable<std::uint32_t>(
            [fn = std::move(fn), this](std::uint32_t ready) mutable { keeper_.run("watch", [&] { fn(ready); }); });
        WatchId id = 0;
        const Status status = keeper_.series(detail::Series::kWatch, std::move(made), id, [&](auto* raw, WatchId* out) {
            return io_->watch(handle_, fd, events, &on_ready, raw, out);
        });
        if (!status) throw Failure(status.code(), "the host refused to watch descriptor " + std::to_string(fd));
        return id;
    }
    // What is waited for from now on; 0 pauses.
    void change(WatchId watch, std::uint32_t events) {
        if (watch != 0 && GANTRY_HAS(io_, change)) io_->change(handle_, watch, events);
    }
    // On the loop: the callable is not called again. 0 is fine.
    void unwatch(WatchId watch) {
        if (watch == 0 || !GANTRY_HAS(io_, unwatch)) return;
        io_->unwatch(handle_, watch);
        keeper_.ended(detail::Series::kWatch, watch);
    }

    // Runs fn() on a thread of the host's pool. kFull: too much waits already; fn is gone.
    template <class F>
    Status work(F fn) {
        if (!GANTRY_HAS(io_, work)) return {Code::kUnsupported, "the host has no pool"};
        return keeper_.once(detail::callable<>(std::move(fn)),
                            [&](auto* raw) { return io_->work(handle_, &on_work, raw); });
    }
    // Runs fn() on the loop in a later turn.
    template <class F>
    Status post(F fn) {
        if (!GANTRY_HAS(io_, post)) return {Code::kUnsupported, "the host has no loop"};
        return keeper_.once(detail::callable<>(std::move(fn)),
                            [&](auto* raw) { return io_->post(handle_, &on_post, raw); });
    }

    // Keeps a duplicate of a bound socket for whoever comes after this instance; until then connections and datagrams
    // wait in its queue. From then on the file of a Unix socket is the host's to remove. kUnsupported: a host older
    // than SDK 1.1, which keeps nothing.
    Status keep(int fd) {
        if (!GANTRY_HAS(io_, keep)) return {Code::kUnsupported, "the host keeps no sockets"};
        const gantry_status status = io_->keep(handle_, fd);
        if (status == GANTRY_OK) return {};
        return {static_cast<Code>(status), "the host does not keep descriptor " + std::to_string(fd)};
    }
    // The socket that was kept, or that gantryd was started with, where it is bound: "unix:/run/gantry/api.sock",
    // "tcp:10.0.0.1:3900", "udp:[fd00::1]:54". Empty: there is none, bind as usual.
    Fd inherit(std::string_view address) {
        std::int32_t fd = -1;
        if (!GANTRY_HAS(io_, inherit) || io_->inherit(handle_, str(address), &fd) != GANTRY_OK) return {};
        return Fd(fd);
    }

    // ---- control, for frontends
    // Asks the resource tree; fn(ControlResponse) is called once.
    template <class F>
    Status request(const ControlRequest& question, F fn) {
        if (!GANTRY_HAS(control_, request)) return {Code::kUnsupported, "this host has no resource tree"};
        const Lowered raw(question);
        return keeper_.once(answer_callable(std::move(fn)),
                            [&](auto* made) { return control_->request(handle_, &raw.request, &on_response, made); });
    }
    // The same with a stream beside it; fd (a pipe or socket) is the host's from the call on.
    template <class F>
    Status open(const ControlRequest& question, Fd fd, F fn) {
        if (!GANTRY_HAS(control_, open)) return {Code::kUnsupported, "this host has no resource tree"};
        const Lowered raw(question);
        return keeper_.once(answer_callable(std::move(fn)), [&](auto* made) {
            return control_->open(handle_, &raw.request, fd.release(), &on_response, made);
        });
    }
    // Follows the event log: fn(number, JSON document) for each event above `after`. Throws Failure: kFull (64 follow
    // already), kUnavailable (no tree yet).
    template <class F>
    WatchId watch_events(const Principal& who, std::string_view prefix, std::uint64_t after, F fn) {
        if (!GANTRY_HAS(control_, watch)) throw Failure(Code::kUnsupported, "this host has no resource tree");
        auto made = detail::callable<std::uint64_t, std::string_view>(
            [fn = std::move(fn), this](std::uint64_t number, std::string_view event) mutable {
                keeper_.run("watch of events", [&] { fn(number, event); });
            });
        const gantry_principal principal = lower(who);
        WatchId id = 0;
        const Status status =
            keeper_.series(detail::Series::kControlWatch, std::move(made), id, [&](auto* raw, WatchId* out) {
                return control_->watch(handle_, &principal, str(prefix), after, &on_event, raw, out);
            });
        if (!status) throw Failure(status.code(), "the host refused to watch " + std::string(prefix));
        return id;
    }
    void unwatch_events(WatchId watch) {
        if (watch == 0 || !GANTRY_HAS(control_, unwatch)) return;
        control_->unwatch(handle_, watch);
        keeper_.ended(detail::Series::kControlWatch, watch);
    }

    // For this layer.
    std::uint64_t handle() const noexcept { return handle_; }
    const gantry_host_ops* ops() const noexcept { return ops_; }
    void drop_callables() noexcept { keeper_.clear(); }

  private:
    struct Lowered {
        explicit Lowered(const ControlRequest& r)
            : principal(Host::lower(r.principal)),
              request{sizeof(gantry_control_request), 0, &principal, str(r.method), str(r.path), str(r.body)} {}
        Lowered(const Lowered&) = delete;
        gantry_principal principal;
        gantry_control_request request;
    };

    template <class T>
    static const T* find(const gantry_host& raw, const char* id) noexcept {
        return raw.query == nullptr ? nullptr : static_cast<const T*>(raw.query(raw.handle, str(id)));
    }
    static std::vector<gantry_kv> lower(Fields fields) {
        std::vector<gantry_kv> out;
        out.reserve(fields.size());
        for (const auto& [key, value] : fields) out.push_back({str(key), str(value)});
        return out;
    }
    static gantry_principal lower(const Principal& who) noexcept {
        return {sizeof(gantry_principal), 0, str(who.kind), str(who.name), who.uid, who.gid};
    }
    template <class F>
    auto answer_callable(F fn) {
        return detail::callable<ControlResponse&>([fn = std::move(fn), this](ControlResponse& response) mutable {
            keeper_.run("control response", [&] { fn(std::move(response)); });
        });
    }

    static void on_timer(void* arg, std::uint64_t id) noexcept {
        static_cast<detail::Callable<TimerId>*>(static_cast<detail::Kept*>(arg))->call(id);
    }
    static void on_ready(void* arg, std::int32_t, std::uint32_t events) noexcept {
        static_cast<detail::Callable<std::uint32_t>*>(static_cast<detail::Kept*>(arg))->call(events);
    }
    static void run_once(void* arg, const char* what) noexcept {
        detail::Kept* raw = static_cast<detail::Kept*>(arg);
        detail::Keeper* keeper = raw->keeper;
        std::unique_ptr<detail::Kept> mine = keeper->release(raw);
        keeper->run(what, [&] {
            static_cast<detail::Callable<>*>(raw)->call();
            mine.reset();
        });
    }
    static void on_work(void* arg) noexcept { run_once(arg, "job"); }
    static void on_post(void* arg) noexcept { run_once(arg, "posted call"); }
    static void on_response(void* arg, const gantry_control_response* raw) noexcept {
        detail::Kept* kept = static_cast<detail::Kept*>(arg);
        detail::Keeper* keeper = kept->keeper;
        std::unique_ptr<detail::Kept> mine = keeper->release(kept);
        keeper->run("control response", [&] {
            ControlResponse response{raw->code, raw->revision, text(raw->body)};
            static_cast<detail::Callable<ControlResponse&>*>(kept)->call(response);
            mine.reset();
        });
    }
    static void on_event(void* arg, std::uint64_t number, gantry_str event) noexcept {
        static_cast<detail::Callable<std::uint64_t, std::string_view>*>(static_cast<detail::Kept*>(arg))
            ->call(number, view(event));
    }

    const std::uint64_t handle_;
    const gantry_host_log* const log_;
    const gantry_host_clock* const clock_;
    const gantry_host_io* const io_;
    const gantry_host_ops* const ops_;
    const gantry_host_control* const control_;
    detail::Keeper keeper_;
};

}  // namespace gantry::inline v1
