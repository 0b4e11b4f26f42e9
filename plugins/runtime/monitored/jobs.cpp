// SPDX-License-Identifier: Apache-2.0
//
// Work of MonitoredRuntime on other threads, and how it ends.
#include <malloc.h>

#include <algorithm>
#include <system_error>

#include "plugins/runtime/monitored/runtime.hpp"

namespace monitored {

using gantry::Code;
using gantry::Status;

// Counted, so that stop() can wait for it: the step uses members of this object.
Status MonitoredRuntime::in_pool(Step step) {
    {
        std::lock_guard lock(mutex_);
        ++jobs_;
    }
    const auto leave = [this] {
        std::lock_guard lock(mutex_);
        --jobs_;
        changed_.notify_all();
    };
    const Status status = host().work([step = std::move(step), leave]() mutable {
        step();
        step = nullptr;  // frees what it holds while the object is still there for sure
        leave();
    });
    if (!status) leave();
    return status;
}

// Runs work in the pool, then done with how it ended on the loop; until then the container is busy.
void MonitoredRuntime::job(const Shared& container, Step work, Done done) {
    struct Task {
        Step work;
        Done done;
        Status status;
    };
    const auto task = std::make_shared<Task>(std::move(work), std::move(done), Status());
    container->busy = true;
    const auto finished = [this, container, task] {
        container->busy = false;
        task->done(task->status);
        idle(container);
    };
    const Status taken = in_pool([this, task, finished] {
        try {
            task->work();
        } catch (const gantry::Failure& failure) {
            task->status = failure.status();
        } catch (const std::exception& error) {
            task->status = {Code::kFailed, error.what()};
        }
        host().post(finished);
    });
    if (taken) return;
    task->status = {taken.code(), "too much work waits on this node: " + taken.text()};
    host().post(finished);
}

void MonitoredRuntime::idle(const Shared& container) {
    while (!container->busy && !container->waiting.empty()) {
        Step step = std::move(container->waiting.front());
        container->waiting.pop_front();
        step();
    }
}

// What a container waits for goes first, and so does then what was asked for that image without haste. Nothing passes
// the removal of the same image.
void MonitoredRuntime::queue(ImageStep step) {
    const std::string image = step.image;
    const bool urgent = step.urgent;
    image_steps_.push_back(std::move(step));
    if (!urgent) return;
    const auto removal = std::find_if(image_steps_.rbegin(), image_steps_.rend(),
                                      [&](const ImageStep& one) { return one.removes && one.image == image; });
    for (auto one = removal.base(); one != image_steps_.end(); ++one) one->urgent |= one->image == image;
    const auto lazy =
        std::find_if(removal.base(), image_steps_.end(), [](const ImageStep& one) { return !one.urgent; });
    std::stable_partition(lazy, image_steps_.end(),
                          [&](const ImageStep& one) { return one.urgent && one.image == image; });
}

// The thread lives only while there is work: images come seldom.
void MonitoredRuntime::on_image_thread(ImageStep step) {
    std::deque<ImageStep> refused;  // ends their operations, without the lock
    std::lock_guard lock(mutex_);
    queue(std::move(step));
    if (image_thread_busy_ || stopping_) return;
    if (image_thread_.joinable()) image_thread_.join();  // it has left its loop
    try {
        image_thread_ = std::thread([this] { run_image_thread(); });
        image_thread_busy_ = true;  // the thread waits for the lock
    } catch (const std::system_error& error) {
        host().error(std::string("image store: no thread can be started: ") + error.what());
        refused.swap(image_steps_);
    }
}

void MonitoredRuntime::run_image_thread() {
    std::unique_lock lock(mutex_);
    while (!image_steps_.empty() && !stopping_) {
        Step step = std::move(image_steps_.front().run);
        image_steps_.pop_front();
        lock.unlock();
        try {
            step();
        } catch (const std::exception& error) {
            host().error(std::string("image store: ") + error.what());
        }
        step = nullptr;
        ::malloc_trim(0);  // what reading an image's documents took
        lock.lock();
    }
    image_thread_busy_ = false;
}

void MonitoredRuntime::stop(gantry::Instant deadline) {
    std::unique_lock lock(mutex_);
    stopping_ = true;
    const auto left = std::max(deadline - now(), gantry::Duration::zero());
    const bool idle = changed_.wait_for(lock, left, [this] { return jobs_ == 0; });
    lock.unlock();
    end_execs();
    lock.lock();
    std::deque<ImageStep> dropped = std::move(image_steps_);
    lock.unlock();
    dropped.clear();
    if (image_thread_.joinable()) image_thread_.join();
    // Closing it waits some milliseconds for the kernel: here, and not in the destructor, which holds the loop.
    host().unwatch(inotify_watch_);
    host().cancel(log_timer_);
    inotify_.reset();
    if (!idle) throw gantry::Failure(Code::kDeadline, "work on containers did not end in time");
}

}  // namespace monitored
