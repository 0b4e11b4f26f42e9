// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/check/sealed.hpp"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

#include "sdk/tools/check/interposed.hpp"

namespace gantry::check {
namespace {

// What allocating, locking and the end of a thread need.
constexpr int kAllowed[] = {SYS_mmap,    SYS_munmap,     SYS_mremap,         SYS_mprotect,
                            SYS_madvise, SYS_brk,        SYS_futex,          SYS_sched_yield,
                            SYS_exit,    SYS_exit_group, SYS_rt_sigprocmask, SYS_rt_sigreturn};

std::atomic<int> g_tried{-1};

void on_forbidden(int, siginfo_t* info, void* context) {
    int none = -1;
    g_tried.compare_exchange_strong(none, info->si_syscall);
    auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
    machine.gregs[REG_RAX] = -EPERM;
#elif defined(__aarch64__)
    machine.regs[0] = static_cast<unsigned long long>(-EPERM);
#else
    (void)machine;
#endif
}

// Of this thread alone.
bool seal() {
    std::vector<sock_filter> filter;
    filter.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
    for (int number : kAllowed) {
        filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1));
        filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    }
    filter.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP));
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return false;
    return ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

std::string name_of(int number) {
    struct Name {
        int number;
        const char* name;
    };
    static constexpr Name kNames[] = {{SYS_openat, "openat"},        {SYS_read, "read"},
                                      {SYS_write, "write"},          {SYS_socket, "socket"},
                                      {SYS_getrandom, "getrandom"},  {SYS_clock_nanosleep, "clock_nanosleep"},
                                      {SYS_nanosleep, "nanosleep"},  {SYS_clock_gettime, "clock_gettime"},
                                      {SYS_newfstatat, "newfstatat"}};
    for (const Name& known : kNames) {
        if (known.number == number) return known.name;
    }
    return "system call " + std::to_string(number);
}

}  // namespace

Sealed run_sealed(const std::function<void()>& body) {
    struct sigaction action {};
    action.sa_sigaction = &on_forbidden;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGSYS, &action, nullptr);
    g_tried = -1;
    Sealed out;
    std::exception_ptr thrown;
    std::thread([&] {
        out.possible = seal();
        const Watched watched;
        try {
            body();
        } catch (...) {
            thrown = std::current_exception();
        }
        out.clock = Watched::clock();
    }).join();
    if (thrown) std::rethrow_exception(thrown);
    if (g_tried >= 0) out.forbidden = name_of(g_tried);
    return out;
}

}  // namespace gantry::check
