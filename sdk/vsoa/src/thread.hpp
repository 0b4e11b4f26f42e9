// Threads of the library.
#pragma once

#include <pthread.h>
#include <signal.h>

#include <cerrno>
#include <exception>
#include <thread>
#include <utility>

namespace vsoa {

/// Starts a thread that takes no signals: those are the program's business. False with errno EAGAIN.
template <typename Function>
bool start_thread(std::thread& thread, Function function) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool good = true;
    try {
        thread = std::thread(std::move(function));
    } catch (const std::exception&) {
        errno = EAGAIN;
        good = false;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return good;
}

}  // namespace vsoa
