// SPDX-License-Identifier: Apache-2.0
#include "kernel/isolation/child/sandbox.hpp"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <malloc.h>
#include <pthread.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <sstream>
#include <string>

namespace gantry::isolation {
namespace {

constexpr std::size_t kThreadStack = 512 << 10;  // bytes; they count against the memory limit

Status failed(const std::string& what, int error) {
    return fail(Code::kUnsupported, what + ": " + std::strerror(error));
}

// --- capabilities ---------------------------------------------------------------------------------------------------

// Leaves what `keep` has of what this process has.
Status drop_capabilities(std::uint64_t keep) {
    __user_cap_header_struct head{_LINUX_CAPABILITY_VERSION_3, 0};
    std::array<__user_cap_data_struct, 2> sets{};
    if (::syscall(SYS_capget, &head, sets.data()) != 0) return failed("capabilities cannot be read", errno);
    const bool may_bound = (sets[0].effective >> CAP_SETPCAP & 1) != 0;
    for (int cap = 0; may_bound && ::prctl(PR_CAPBSET_READ, cap) >= 0; ++cap) {
        if ((keep >> cap & 1) == 0 && ::prctl(PR_CAPBSET_DROP, cap) != 0)
            return failed("capability " + std::to_string(cap) + " cannot be dropped", errno);
    }
    (void)::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (std::size_t i = 0; i < sets.size(); ++i) {
        const auto part = static_cast<std::uint32_t>(keep >> (32 * i));
        sets[i].permitted &= part;
        sets[i].effective &= part;
        sets[i].inheritable = 0;
    }
    if (::syscall(SYS_capset, &head, sets.data()) != 0) return failed("capabilities cannot be dropped", errno);
    return {};
}

// --- system calls ---------------------------------------------------------------------------------------------------

// Computing, threads, reading files, waiting, and descriptors that are there already.
constexpr std::string_view kBase =
    "read write readv writev pread64 pwrite64 preadv pwritev close close_range lseek fstat newfstatat stat lstat "
    "statx statfs fstatfs access faccessat faccessat2 readlink readlinkat getcwd getdents64 mmap munmap mprotect "
    "mremap madvise mincore msync brk memfd_create membarrier futex futex_waitv set_robust_list get_robust_list "
    "rseq set_tid_address gettid getpid getppid getuid geteuid getgid getegid getgroups getpgrp getpgid getsid "
    "sched_yield sched_getaffinity sched_getparam sched_getscheduler getcpu getpriority nanosleep "
    "clock_nanosleep clock_gettime clock_getres gettimeofday time times rt_sigaction rt_sigprocmask rt_sigreturn "
    "rt_sigtimedwait rt_sigpending sigaltstack restart_syscall exit exit_group epoll_create epoll_create1 "
    "epoll_ctl epoll_wait epoll_pwait epoll_pwait2 poll ppoll select pselect6 eventfd eventfd2 timerfd_create "
    "timerfd_settime timerfd_gettime pipe pipe2 dup dup2 dup3 fcntl socketpair sendto recvfrom sendmsg recvmsg "
    "sendmmsg recvmmsg shutdown getsockopt getsockname getpeername getrandom uname sysinfo getrlimit getrusage "
    "arch_prctl fadvise64";
constexpr std::string_view kFiles =
    "open openat openat2 creat mkdir mkdirat rename renameat renameat2 unlink unlinkat rmdir link linkat symlink "
    "symlinkat ftruncate truncate fallocate fsync fdatasync sync_file_range syncfs flock chmod fchmod fchmodat "
    "chown fchown fchownat lchown utimensat umask copy_file_range sendfile splice inotify_init1 "
    "inotify_add_watch inotify_rm_watch";
constexpr std::string_view kNetwork = "bind connect listen accept accept4 setsockopt";
// Of those that do all that gantryd may do, what no runtime needs and what would take the machine along.
constexpr std::string_view kNever =
    "kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff acct settimeofday "
    "clock_settime clock_adjtime adjtimex iopl ioperm open_by_handle_at userfaultfd perf_event_open";

class Filter {
  public:
    explicit Filter(std::uint32_t otherwise) : context_(::seccomp_init(otherwise)) {
        if (context_ == nullptr) error_ = ENOMEM;
    }
    ~Filter() {
        if (context_ != nullptr) ::seccomp_release(context_);
    }
    Filter(const Filter&) = delete;
    Filter& operator=(const Filter&) = delete;

    void set(scmp_filter_attr attribute, std::uint32_t value) { note(::seccomp_attr_set(context_, attribute, value)); }
    // A call that this machine or libseccomp does not know is none that could be made.
    template <class... Conditions>
    void rule(std::uint32_t action, const char* name, Conditions... conditions) {
        const int call = ::seccomp_syscall_resolve_name(name);
        if (call == __NR_SCMP_ERROR || error_ != 0) return;
        const std::array<scmp_arg_cmp, sizeof...(Conditions)> all{conditions...};
        note(::seccomp_rule_add_array(context_, action, call, static_cast<unsigned>(all.size()), all.data()));
    }
    void rules(std::uint32_t action, std::string_view names) {
        std::istringstream all{std::string(names)};
        for (std::string name; all >> name;) rule(action, name.c_str());
    }
    int load() {
        if (error_ == 0) note(::seccomp_load(context_));
        return error_;
    }

  private:
    void note(int status) {
        if (status < 0 && error_ == 0) error_ = -status;
    }
    scmp_filter_ctx context_;
    int error_ = 0;
};

void allow_base(Filter& filter) {
    filter.rules(SCMP_ACT_ALLOW, kBase);
    // Threads, not processes; clone3 hides its flags from a filter, and the C library has clone for that case.
    filter.rule(SCMP_ACT_ALLOW, "clone", SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    filter.rule(SCMP_ACT_ERRNO(ENOSYS), "clone3");
    // Its own threads, for abort() and the like.
    const auto self = static_cast<scmp_datum_t>(::getpid());
    filter.rule(SCMP_ACT_ALLOW, "tgkill", SCMP_A0(SCMP_CMP_EQ, self));
    filter.rule(SCMP_ACT_ALLOW, "prlimit64", SCMP_A2(SCMP_CMP_EQ, 0));  // only asks
    for (const int option : {PR_SET_NAME, PR_GET_NAME, PR_GET_DUMPABLE})
        filter.rule(SCMP_ACT_ALLOW, "prctl", SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(option)));
    for (const std::uint64_t request : {FIONBIO, FIONREAD, FIOCLEX, TCGETS})
        filter.rule(SCMP_ACT_ALLOW, "ioctl", SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffff'ffff, request));
}

void allow_reading(Filter& filter) {
    constexpr scmp_datum_t kWriting = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC;
    filter.rule(SCMP_ACT_ALLOW, "openat", SCMP_A2(SCMP_CMP_MASKED_EQ, kWriting, 0));
    filter.rule(SCMP_ACT_ALLOW, "open", SCMP_A1(SCMP_CMP_MASKED_EQ, kWriting, 0));
}

void allow_sockets(Filter& filter) {
    filter.rules(SCMP_ACT_ALLOW, kNetwork);
    for (const int family : {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK})
        filter.rule(SCMP_ACT_ALLOW, "socket", SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(family)));
}

int filter_calls(const Permissions& permissions) {
    if (permissions.root) {
        Filter filter(SCMP_ACT_ALLOW);
        filter.set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ALLOW);  // 32-bit containers inherit this filter
        filter.rules(SCMP_ACT_ERRNO(EPERM), kNever);
        return filter.load();
    }
    Filter filter(SCMP_ACT_ERRNO(EPERM));
    allow_base(filter);
    permissions.files ? filter.rules(SCMP_ACT_ALLOW, kFiles) : allow_reading(filter);
    if (permissions.network) allow_sockets(filter);
    return filter.load();
}

int limit_memory(std::int64_t bytes) {
    const auto most = static_cast<rlim_t>(bytes);
    const rlimit limit{most, most};
    return ::setrlimit(RLIMIT_DATA, &limit) == 0 ? 0 : errno;
}

}  // namespace

Permissions Permissions::of(std::span<const std::string_view> names) {
    const auto has = [&](std::string_view name) { return std::ranges::find(names, name) != names.end(); };
    const bool root = has("root");
    return {root || has("files"), root || has("network"), root};
}

Status confine(const Permissions& permissions, std::int64_t memory_max_bytes) {
    ::mallopt(M_ARENA_MAX, 1);
    pthread_attr_t threads;
    ::pthread_attr_init(&threads);
    ::pthread_attr_setstacksize(&threads, kThreadStack);
    ::pthread_setattr_default_np(&threads);
    ::pthread_attr_destroy(&threads);
    const rlimit no_core{0, 0};
    if (!permissions.root) ::setrlimit(RLIMIT_CORE, &no_core);
    if (!permissions.root) {
        std::uint64_t keep = 0;
        if (permissions.network) keep |= std::uint64_t{1} << CAP_NET_BIND_SERVICE;
        if (permissions.files) keep |= std::uint64_t{1} << CAP_CHOWN;
        GANTRY_CHECK(drop_capabilities(keep));
    }
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return failed("no_new_privs cannot be set", errno);
#ifndef GANTRY_SANITIZED  // a sanitizer maps terabytes and calls what it likes
    // First: the filter lets nobody set a limit.
    if (const int error = memory_max_bytes > 0 ? limit_memory(memory_max_bytes) : 0; error != 0)
        return failed("the limit of memory cannot be set", error);
    if (const int error = filter_calls(permissions); error != 0)
        return failed("the filter of system calls cannot be loaded", error);
#else
    (void)memory_max_bytes;
    (void)&filter_calls;
    (void)&limit_memory;
#endif
    return {};
}

}  // namespace gantry::isolation
