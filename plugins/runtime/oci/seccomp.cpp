// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/oci/seccomp.hpp"

#include <boost/json.hpp>
#include <cerrno>
#include <gantry/runtime.hpp>

#include "plugins/runtime/monitored/files.hpp"

namespace oci {
namespace {

namespace json = boost::json;
using gantry::Code;
using gantry::Failure;

constexpr std::size_t kMaxProfile = 1 << 20;
constexpr std::int64_t kNewNamespaces = 0x7e020000;  // the CLONE_NEW... flags of clone(2) that Docker refuses

// Large or old parts of the kernel that no service on a gateway has a use for: what is not reached there cannot be
// broken. Most of them also want a capability that containers do not have; this is the second lock. A list of what is
// refused, not of what is allowed: a new system call of a new libc must not break a service in the field.
constexpr const char* kRefused[] = {
    // modules, other kernels, the machine as a whole
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "query_module",
    "get_kernel_syms",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "nfsservctl",
    "quotactl",
    "quotactl_fd",
    "lookup_dcookie",
    "iopl",
    "ioperm",
    "vm86",
    "vm86old",
    "uselib",
    "ustat",
    "sysfs",
    "_sysctl",
    "syslog",
    // the clock, which is the whole node's
    "settimeofday",
    "stime",
    "clock_settime",
    "clock_settime64",
    "clock_adjtime",
    "clock_adjtime64",
    "adjtimex",
    // namespaces and mounts
    "setns",
    "unshare",
    "pivot_root",
    "mount",
    "umount",
    "umount2",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "name_to_handle_at",
    "open_by_handle_at",
    // what exploits are made of
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "keyctl",
    "add_key",
    "request_key",
    "process_vm_readv",
    "process_vm_writev",
    "kcmp",
    "process_madvise",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "mbind",
    "set_mempolicy",
    "migrate_pages",
    "move_pages",
    "fanotify_init",
};

json::array architectures() {
#if defined(__x86_64__)
    return {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
#elif defined(__aarch64__)
    return {"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"};
#else
#error "no name for this architecture yet"
#endif
}

json::object default_profile() {
    json::array refused;
    for (const char* name : kRefused) refused.emplace_back(name);
    json::array calls{json::object{{"names", std::move(refused)}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", EPERM}},
                      // Its flags lie in memory, where no filter looks: libc then takes clone, whose flags are seen.
                      json::object{{"names", {"clone3"}}, {"action", "SCMP_ACT_ERRNO"}, {"errnoRet", ENOSYS}}};
    // Each flag alone: a masked comparison is one of equality.
    for (std::int64_t flag = 1; flag <= kNewNamespaces; flag <<= 1) {
        if ((kNewNamespaces & flag) == 0) continue;
        json::object condition{{"index", 0}, {"value", flag}, {"valueTwo", flag}, {"op", "SCMP_CMP_MASKED_EQ"}};
        calls.push_back(json::object{{"names", {"clone"}},
                                     {"action", "SCMP_ACT_ERRNO"},
                                     {"errnoRet", EPERM},
                                     {"args", json::array{std::move(condition)}}});
    }
    return {{"defaultAction", "SCMP_ACT_ALLOW"}, {"architectures", architectures()}, {"syscalls", std::move(calls)}};
}

}  // namespace

json::object seccomp_profile(const std::string& choice) {
    if (choice == "none") return {};
    if (choice == "default") return default_profile();
    const auto wrong = [&](const std::string& why) {
        return Failure(Code::kInvalid, "seccomp = \"" + choice + "\": " + why);
    };
    if (!choice.starts_with('/')) throw wrong("expected \"default\", \"none\" or the absolute path of a profile");
    const auto text = monitored::read_file(choice, kMaxProfile);
    if (!text) throw wrong("cannot read a file of at most 1 MiB there");
    json::error_code error;
    json::value document = json::parse(*text, error);
    json::object* profile = error ? nullptr : document.if_object();
    const json::value* action = profile == nullptr ? nullptr : profile->if_contains("defaultAction");
    if (action == nullptr || !action->is_string()) {
        throw wrong("expected a JSON object with the member defaultAction, as `linux.seccomp` of a bundle has it");
    }
    // Docker's own form is another one: rules that depend on capabilities, which no engine understands.
    const json::value* calls = profile->if_contains("syscalls");
    for (const json::value& call : calls != nullptr && calls->is_array() ? calls->get_array() : json::array()) {
        if (call.is_object() && (call.get_object().contains("includes") || call.get_object().contains("excludes")))
            throw wrong(
                "this is a profile of Docker, with `includes`; expected one as `linux.seccomp` of a bundle has it");
    }
    return std::move(*profile);
}

}  // namespace oci
