// SPDX-License-Identifier: Apache-2.0
#include "kernel/host/pool.hpp"

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "kernel/base/limits.hpp"
#include "kernel/crash/witness.hpp"

namespace gantry::host {

// Shared with the threads, so that one that hangs in a plugin outlives the pool without harm.
struct Pool::State {
    struct Job {
        std::uint64_t owner;
        std::function<void()> run;
    };

    void loop() {
        std::unique_lock lock(mutex);
        for (;;) {
            ready.wait(lock, [this] { return closing || !jobs.empty(); });
            if (jobs.empty()) return;
            Job job = std::move(jobs.front());
            jobs.pop_front();
            ++running[job.owner];
            ++busy;
            lock.unlock();
            job.run();
            job.run = nullptr;
            lock.lock();
            --busy;
            if (--running[job.owner] == 0) running.erase(job.owner);
            done.notify_all();
        }
    }

    std::mutex mutex;
    std::condition_variable ready, done;
    std::deque<Job> jobs;
    std::map<std::uint64_t, unsigned> running;
    unsigned busy = 0;
    bool closing = false;
    std::vector<std::thread> threads;
};

Pool::Pool(unsigned threads) : state_(std::make_shared<State>()) {
    for (unsigned i = 0; i < (threads == 0 ? 1 : threads); ++i) {
        state_->threads.emplace_back([state = state_] {
            const crash::SignalStack stack;
            state->loop();
        });
    }
}

Pool::~Pool() { close(); }

void Pool::close() {
    std::deque<State::Job> dropped;
    std::vector<std::thread> threads;
    bool idle = false;
    {
        std::unique_lock lock(state_->mutex);
        state_->closing = true;
        dropped.swap(state_->jobs);
        state_->ready.notify_all();
        idle = state_->done.wait_for(lock, std::chrono::seconds(1), [this] { return state_->busy == 0; });
        threads.swap(state_->threads);
    }
    for (std::thread& thread : threads) idle ? thread.join() : thread.detach();
}

bool Pool::submit(std::uint64_t owner, std::function<void()> job) {
    {
        std::lock_guard lock(state_->mutex);
        if (state_->closing || state_->jobs.size() >= limits::kWorkQueue) return false;
        state_->jobs.push_back({owner, std::move(job)});
    }
    state_->ready.notify_one();
    return true;
}

void Pool::submit_own(std::function<void()> job) {
    {
        std::lock_guard lock(state_->mutex);
        if (state_->closing) return;
        state_->jobs.push_back({0, std::move(job)});
    }
    state_->ready.notify_one();
}

bool Pool::drain(std::uint64_t owner, Duration limit) {
    std::deque<State::Job> dropped;
    std::unique_lock lock(state_->mutex);
    std::deque<State::Job> kept;
    for (State::Job& job : state_->jobs) (job.owner == owner ? dropped : kept).push_back(std::move(job));
    state_->jobs.swap(kept);
    return state_->done.wait_for(lock, limit, [&] { return !state_->running.contains(owner); });
}

}  // namespace gantry::host
