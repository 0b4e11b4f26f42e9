// Threads of the library.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <cerrno>
#include <exception>
#include <memory>
#include <thread>
#include <utility>

namespace vsoa {

/// Starts a thread that takes no signals: those are the program's business. It begins when `thread` is known, by which
/// its callbacks tell it from others. False with errno EAGAIN.
template <typename Function>
bool start_thread(std::thread& thread, Function function) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool good = true;
    try {
        const auto known = std::make_shared<std::atomic<bool>>(false);
        thread = std::thread([known, function = std::move(function)]() mutable {
            known->wait(false);
            function();
        });
        known->store(true);
        known->notify_one();
    } catch (const std::exception&) {
        errno = EAGAIN;
        good = false;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return good;
}

}  // namespace vsoa
