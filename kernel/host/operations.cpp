// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/operations.hpp"

#include <algorithm>
#include <exception>
#include <vector>

#include "kernel/host/host.hpp"

namespace gantry::host {

Operations::Operations(Loop& loop) : loop_(loop), alive_(std::make_shared<Operations*>(this)), timer_(loop.io) {}

Operations::~Operations() { *alive_ = nullptr; }

std::uint64_t Operations::begin(Call call) {
    std::uint64_t id = 0;
    {
        std::lock_guard lock(mutex_);
        id = ++last_id_;
        if (call.pending) ++*call.pending;
        if (call.deadline != kNever) deadlines_.emplace(call.deadline, id);
        entries_.emplace(id, Entry{std::move(call)});
    }
    arm();
    return id;
}

void Operations::deliver(Call call, gantry_status status, std::string text) {
    if (call.pending) --*call.pending;
    auto tell = [ended = std::move(call.ended), status, text = std::move(text)]() mutable {
        ended(status, std::move(text));
    };
    call.at_once ? loop_.dispatch(std::move(tell)) : loop_.post(std::move(tell));
}

void Operations::refused(std::uint64_t id, gantry_status status) {
    std::lock_guard lock(mutex_);
    auto it = entries_.find(id);
    if (it == entries_.end()) return;  // it completed the operation and refused it as well: the first counts
    deadlines_.erase({it->second.call.deadline, id});
    Call call = std::move(it->second.call);
    entries_.erase(it);
    deliver(std::move(call), status, {});
}

gantry_status Operations::complete(std::uint64_t handle, std::uint64_t id, gantry_status status, std::string text,
                                   const void* result) {
    Call call;
    {
        std::lock_guard lock(mutex_);
        auto it = entries_.find(id);
        if (it == entries_.end() || it->second.call.handle != handle) return GANTRY_STALE;
        deadlines_.erase({it->second.call.deadline, id});
        call = std::move(it->second.call);
        entries_.erase(it);
    }
    try {
        if (status == GANTRY_OK && result != nullptr && call.decode) call.decode(result);
    } catch (const std::exception& e) {
        status = GANTRY_OUTCOME_UNKNOWN;
        text = std::string("its result cannot be read: ") + e.what();
    }
    deliver(std::move(call), status, std::move(text));
    return GANTRY_OK;
}

bool Operations::over(std::uint64_t handle, std::uint64_t id) const {
    std::lock_guard lock(mutex_);
    auto it = entries_.find(id);
    return it == entries_.end() || it->second.call.handle != handle || it->second.cancelled ||
           it->second.call.deadline <= boottime_now();
}

void Operations::on_cancel(std::uint64_t id, std::function<void()> wish) {
    std::lock_guard lock(mutex_);
    auto it = entries_.find(id);
    if (it != entries_.end()) it->second.wish = std::move(wish);
}

void Operations::cancel(std::uint64_t id) {
    std::function<void()> wish;
    {
        std::lock_guard lock(mutex_);
        auto it = entries_.find(id);
        if (it == entries_.end()) return;
        it->second.cancelled = true;
        wish = std::exchange(it->second.wish, nullptr);
        Instant& deadline = it->second.call.deadline;
        deadlines_.erase({deadline, id});
        deadline = std::min(deadline, boottime_now() + kCancelGrace);
        deadlines_.emplace(deadline, id);
    }
    if (wish) wish();
    arm();
}

void Operations::abandon(std::uint64_t handle, const std::string& why) {
    std::lock_guard lock(mutex_);
    for (auto it = entries_.begin(); it != entries_.end();) {
        if (it->second.call.handle != handle) {
            ++it;
            continue;
        }
        deadlines_.erase({it->second.call.deadline, it->first});
        Call call = std::move(it->second.call);
        it = entries_.erase(it);
        deliver(std::move(call), GANTRY_OUTCOME_UNKNOWN, why);
    }
}

void Operations::arm() {
    Instant next = kNever;
    {
        std::lock_guard lock(mutex_);
        if (!deadlines_.empty()) next = deadlines_.begin()->first;
    }
    if (next >= armed_ || !timer_) return;  // completions leave an early timer behind, which then finds nothing
    armed_ = next;
    timer_->expires_at(BootClock::at(next));
    timer_->async_wait([alive = alive_](const boost::system::error_code& error) {
        if (!error && *alive != nullptr) (*alive)->expire();
    });
}

void Operations::expire() {
    armed_ = kNever;
    const Instant now = boottime_now();
    {
        std::lock_guard lock(mutex_);
        while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
            auto it = entries_.find(deadlines_.begin()->second);
            deadlines_.erase(deadlines_.begin());
            Call call = std::move(it->second.call);
            const char* const why =
                it->second.cancelled ? "cancelled, and no answer since" : "no answer before the deadline";
            entries_.erase(it);
            deliver(std::move(call), GANTRY_OUTCOME_UNKNOWN, why);
        }
    }
    arm();
}

}  // namespace gantry::host
