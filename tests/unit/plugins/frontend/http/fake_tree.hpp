// SPDX-License-Identifier: Apache-2.0
//
// A host with a scripted resource tree and a loop thread of its own, over the real tables of the border.
#pragma once

#include <gantry/abi/host.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <gantry/host.hpp>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

struct Question {
    std::string method, path, body;
    std::string kind, name;
    std::int64_t uid = -1, gid = -1;
};

struct Reply {
    int code = 200;
    std::uint64_t revision = 0;
    std::string body = "{}";
};

class FakeTree {
  public:
    FakeTree() : loop_([this] { run(); }) {}
    ~FakeTree() { shut(); }
    FakeTree(const FakeTree&) = delete;
    FakeTree& operator=(const FakeTree&) = delete;

    // ---- the script; set it before the first request
    std::function<Reply(const Question&)> on_request = [](const Question&) { return Reply(); };
    // On a thread of its own; owns fd; calls the function exactly once.
    std::function<void(const Question&, int fd, std::function<void(Reply)>)> on_open;
    gantry_status refuse = GANTRY_OK;  // what every call answers

    gantry_host host() { return {sizeof(gantry_host), 0, reinterpret_cast<std::uint64_t>(this), &query}; }

    // Ends the streams and the loop; nothing is called afterwards, as after a plugin's destroy.
    void shut() {
        for (std::thread& stream : std::exchange(streams_, {})) stream.join();
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
        }
        wake_.notify_all();
        if (loop_.joinable()) loop_.join();
    }
    void emit(std::uint64_t number, const std::string& document) {
        post([this, number, document] {
            for (const auto& [id, watch] : watches_)
                if (number > watch.after) watch.fn(watch.arg, number, {document.data(), document.size()});
        });
    }
    std::size_t watchers() {
        const std::lock_guard lock(mutex_);
        return watch_count_;
    }
    std::string log_text() {
        const std::lock_guard lock(mutex_);
        return log_text_;
    }

  private:
    struct Watch {
        gantry_control_event_fn fn;
        void* arg;
        std::uint64_t after;
    };

    static FakeTree& of(std::uint64_t handle) { return *reinterpret_cast<FakeTree*>(handle); }
    static std::string copy(gantry_str s) { return {s.ptr ? s.ptr : "", s.len}; }
    static Question question(const gantry_control_request& r) {
        return {copy(r.method),          copy(r.path),     copy(r.body),    copy(r.principal->kind),
                copy(r.principal->name), r.principal->uid, r.principal->gid};
    }
    static void tell(gantry_control_fn fn, void* arg, const Reply& reply) {
        const gantry_control_response raw{
            sizeof raw, reply.code, reply.revision, {reply.body.data(), reply.body.size()}};
        fn(arg, &raw);
    }

    static const void* query(std::uint64_t, gantry_str id) noexcept {
        const std::string name = copy(id);
        if (name == GANTRY_HOST_LOG) return &kLog;
        if (name == GANTRY_HOST_IO) return &kIo;
        if (name == GANTRY_HOST_CONTROL) return &kControl;
        return nullptr;
    }
    static gantry_status log(std::uint64_t h, std::uint32_t, gantry_str text, const gantry_kv*, std::size_t) noexcept {
        const std::lock_guard lock(of(h).mutex_);
        of(h).log_text_ += copy(text) + "\n";
        return GANTRY_OK;
    }
    static gantry_status post_raw(std::uint64_t h, gantry_work_fn fn, void* arg) noexcept {
        of(h).post([fn, arg] { fn(arg); });
        return GANTRY_OK;
    }
    static gantry_status request(std::uint64_t h, const gantry_control_request* r, gantry_control_fn fn,
                                 void* arg) noexcept {
        FakeTree& self = of(h);
        if (self.refuse != GANTRY_OK) return self.refuse;
        self.post([&self, q = question(*r), fn, arg] { tell(fn, arg, self.on_request(q)); });
        return GANTRY_OK;
    }
    static gantry_status open(std::uint64_t h, const gantry_control_request* r, std::int32_t fd, gantry_control_fn fn,
                              void* arg) noexcept {
        FakeTree& self = of(h);
        if (self.refuse != GANTRY_OK) {
            close(fd);
            return self.refuse;
        }
        const std::lock_guard lock(self.mutex_);
        self.streams_.emplace_back([&self, q = question(*r), fd, fn, arg] {
            self.on_open(q, fd, [&self, fn, arg](const Reply& reply) { self.post([=] { tell(fn, arg, reply); }); });
        });
        return GANTRY_OK;
    }
    static gantry_status watch(std::uint64_t h, const gantry_principal*, gantry_str, std::uint64_t after,
                               gantry_control_event_fn fn, void* arg, std::uint64_t* id) noexcept {
        FakeTree& self = of(h);
        if (self.refuse != GANTRY_OK) return self.refuse;
        const std::lock_guard lock(self.mutex_);
        *id = ++self.last_watch_;
        ++self.watch_count_;
        self.jobs_.push_back([&self, number = *id, w = Watch{fn, arg, after}] { self.watches_.emplace(number, w); });
        self.wake_.notify_all();
        return GANTRY_OK;
    }
    static gantry_status unwatch(std::uint64_t h, std::uint64_t id) noexcept {
        FakeTree& self = of(h);
        {
            const std::lock_guard lock(self.mutex_);
            --self.watch_count_;
        }
        self.post([&self, id] { self.watches_.erase(id); });
        return GANTRY_OK;
    }

    static constexpr gantry_host_log kLog{sizeof(gantry_host_log), 0, &log, nullptr, nullptr};
    static constexpr gantry_host_io kIo{
        sizeof(gantry_host_io), 0, nullptr, nullptr, nullptr, nullptr, &post_raw, nullptr, nullptr};
    static constexpr gantry_host_control kControl{sizeof(gantry_host_control), 0, &request, &watch, &unwatch, &open};

    void post(std::function<void()> job) {
        {
            const std::lock_guard lock(mutex_);
            jobs_.push_back(std::move(job));
        }
        wake_.notify_all();
    }
    void run() {
        std::unique_lock lock(mutex_);
        while (true) {
            wake_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
            if (jobs_.empty()) return;
            const auto job = std::move(jobs_.front());
            jobs_.pop_front();
            lock.unlock();
            job();
            lock.lock();
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> jobs_;
    bool ending_ = false;
    std::string log_text_;
    std::uint64_t last_watch_ = 0;
    std::size_t watch_count_ = 0;
    std::map<std::uint64_t, Watch> watches_;  // of the loop
    std::vector<std::thread> streams_;
    std::thread loop_;
};
