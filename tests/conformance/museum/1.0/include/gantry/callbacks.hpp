// SPDX-License-Identifier: Apache-2.0
//
// Keeps the callables that the host was given a pointer to, and frees each when no call can come any more.
// Part of the layer; authors use Host.
#pragma once

#include <gantry/abi/host.h>

#include <gantry/status.hpp>
#include <memory>
#include <mutex>
#include <unordered_map>

namespace gantry::inline v1::detail {

class Keeper;

struct Kept {
    virtual ~Kept() = default;
    Keeper* keeper = nullptr;
};

// One callable, of any type (it need not be copyable).
template <class... Args>
struct Callable : Kept {
    virtual void call(Args... args) = 0;
};

template <class F, class... Args>
struct CallableOf final : Callable<Args...> {
    explicit CallableOf(F&& f) : function(std::move(f)) {}
    void call(Args... args) override { function(args...); }
    F function;
};

template <class... Args, class F>
std::unique_ptr<Callable<Args...>> callable(F function) {
    return std::make_unique<CallableOf<F, Args...>>(std::move(function));
}

enum class Series { kTimer, kWatch, kControlWatch };

class Keeper {
  public:
    Keeper(std::uint64_t handle, const gantry_host_io* io, const gantry_host_log* log)
        : handle_(handle), io_(io), log_(log) {}
    Keeper(const Keeper&) = delete;
    Keeper& operator=(const Keeper&) = delete;

    // Takes a callable that is called once, offers it to the host by start(pointer), and drops it if refused.
    template <class T, class Start>
    Status once(std::unique_ptr<T> made, Start&& start) {
        Kept* raw = adopt(std::move(made));
        const gantry_status status = start(raw);
        if (status != GANTRY_OK) release(raw);
        return Status(static_cast<Code>(status));
    }

    // The same for one that is called until it is ended by its number; start(pointer, &number).
    template <class T, class Start>
    Status series(Series kind, std::unique_ptr<T> made, std::uint64_t& number, Start&& start) {
        Kept* raw = adopt(std::move(made));
        gantry_status status = GANTRY_OK;
        {
            std::lock_guard lock(mutex_);  // a call that comes at once waits in finish() until the number is known
            status = start(raw, &number);
            if (status == GANTRY_OK) numbers_[{kind, number}] = raw;
        }
        if (status != GANTRY_OK) release(raw);
        return Status(static_cast<Code>(status));
    }

    // The host took the end of a series: frees the callable in a later turn of the loop, when no call is under way.
    void ended(Series kind, std::uint64_t number) noexcept {
        Kept* raw = forget(kind, number);
        if (raw == nullptr) return;
        // What the host does not take (stopped) is freed with the instance.
        if (GANTRY_HAS(io_, post)) io_->post(handle_, &Keeper::free_kept, raw);
    }

    // A series that ends by itself, called from its own last call.
    void finish(Series kind, std::uint64_t number) noexcept {
        if (Kept* raw = forget(kind, number)) release(raw);
    }

    // No call comes any more.
    std::unique_ptr<Kept> release(Kept* raw) noexcept {
        std::lock_guard lock(mutex_);
        auto it = kept_.find(raw);
        if (it == kept_.end()) return nullptr;
        std::unique_ptr<Kept> out = std::move(it->second);
        kept_.erase(it);
        return out;
    }

    // The instance ends: nothing is called any more, all callables are freed.
    void clear() noexcept {
        std::unordered_map<Kept*, std::unique_ptr<Kept>> all;  // freed after the lock: destructors may call us
        std::lock_guard lock(mutex_);
        numbers_.clear();
        all.swap(kept_);
    }

    // Runs plugin code that the host called back; what it throws is logged.
    template <class F>
    void run(const char* what, F&& body) noexcept {
        try {
            body();
        } catch (...) {
            describe_exception([&](Code, std::string_view text) {
                if (!GANTRY_HAS(log_, log)) return;
                try {
                    const std::string line = std::string("exception in a ") + what + ": " + std::string(text);
                    log_->log(handle_, GANTRY_LOG_ERROR, {line.data(), line.size()}, nullptr, 0);
                } catch (...) {
                    log_->log(handle_, GANTRY_LOG_ERROR, {what, std::strlen(what)}, nullptr, 0);
                }
            });
        }
    }

  private:
    struct Key {
        Series kind;
        std::uint64_t number;
        bool operator==(const Key&) const = default;
    };
    struct Hash {
        std::size_t operator()(const Key& key) const noexcept {
            return std::hash<std::uint64_t>()(key.number * 4 + static_cast<std::uint64_t>(key.kind));
        }
    };

    Kept* adopt(std::unique_ptr<Kept> made) {
        Kept* raw = made.get();
        raw->keeper = this;
        std::lock_guard lock(mutex_);
        kept_.emplace(raw, std::move(made));
        return raw;
    }

    Kept* forget(Series kind, std::uint64_t number) noexcept {
        std::lock_guard lock(mutex_);
        auto it = numbers_.find({kind, number});
        if (it == numbers_.end()) return nullptr;
        Kept* raw = it->second;
        numbers_.erase(it);
        return raw;
    }

    static void free_kept(void* arg) noexcept {
        Kept* raw = static_cast<Kept*>(arg);
        raw->keeper->release(raw);
    }

    const std::uint64_t handle_;
    const gantry_host_io* const io_;
    const gantry_host_log* const log_;
    std::mutex mutex_;
    std::unordered_map<Kept*, std::unique_ptr<Kept>> kept_;
    std::unordered_map<Key, Kept*, Hash> numbers_;
};

}  // namespace gantry::inline v1::detail
