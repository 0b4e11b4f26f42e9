// SPDX-License-Identifier: Apache-2.0
#include "kernel/crash/witness.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "kernel/crash/code.hpp"
#include "kernel/crash/crumb.hpp"

namespace gantry::crash {
namespace {

constexpr std::array<char, 8> kMagic{'G', 'C', 'R', 'A', 'S', 'H', '1', '\n'};
constexpr std::array kSignals{SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS};
constexpr std::size_t kFileBytes = 4'096;  // a page

// As it stands in the file. Texts end with a zero, unless somebody else wrote them.
struct Page {
    std::array<char, 8> magic;
    std::uint32_t written;  // last: kWhole or kNameless; 0: no report
    std::uint32_t padding;
    std::int64_t at_ns;
    std::array<char, 64> boot;
    std::array<char, 128> title;
    std::array<char, 72> digest;
    std::array<char, 64> slot;
    std::array<char, 16> how;
};
static_assert(sizeof(Page) <= kFileBytes);
constexpr std::uint32_t kWhole = 1;
constexpr std::uint32_t kNameless = 2;       // title, digest and slot may be half written
constexpr const char* kThread = "a thread";  // the slot of code that runs on a thread which the plugin made

Page* page = nullptr;  // mapped once, never unmapped
pid_t watched = 0;     // the process
std::atomic<bool> telling{false};

// All of these are used by the handler: no allocation, no lock.
template <std::size_t N>
void put(std::array<char, N>& out, const char* text) {
    std::size_t i = 0;
    for (; text[i] != '\0' && i + 1 < N; ++i) out[i] = text[i];
    out[i] = '\0';
}

void name(const Subject& plugin, const char* slot) {
    put(page->title, plugin.title.data());
    put(page->digest, plugin.digest.data());
    put(page->slot, slot);
}

// `owner` is asked where no call into a plugin is under way: after the rest was told, since it looks at a stack that
// may be broken.
template <class Owner>
void tell(const char* how, const Owner& owner) {
    if (page == nullptr || ::getpid() != watched) return;
    // Another thread may fail while this one writes, or this one again: the first says all.
    if (telling.exchange(true)) return;
    const Crumb crumb = current;
    if (crumb.plugin != nullptr) name(*crumb.plugin, crumb.slot);
    put(page->how, how);
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    page->at_ns = static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
    const std::atomic_ref written(page->written);
    written.store(crumb.plugin != nullptr ? kWhole : kNameless, std::memory_order_release);
    if (crumb.plugin != nullptr) return;
    if (const Subject* const plugin = owner(); plugin != nullptr) {
        name(*plugin, kThread);
        written.store(kWhole, std::memory_order_release);
    }
}

// Whose code failed there.
const Subject* owner_of_failure(const siginfo_t& info, const void* raw) {
#if defined(__x86_64__)
    const auto& registers = static_cast<const ucontext_t*>(raw)->uc_mcontext.gregs;
    const auto at = static_cast<std::uintptr_t>(registers[REG_RIP]);
    const auto caller = [&] { return *reinterpret_cast<const std::uintptr_t*>(registers[REG_RSP]); };
#elif defined(__aarch64__)
    const auto& registers = static_cast<const ucontext_t*>(raw)->uc_mcontext;
    const auto at = static_cast<std::uintptr_t>(registers.pc);
    const auto caller = [&] { return static_cast<std::uintptr_t>(registers.regs[30]); };
#else
#error "which registers say where it failed?"
#endif
    if (const Subject* const plugin = owner_of(at); plugin != nullptr) return plugin;
    // It called what is no code (a null pointer): no table says how to go back from there, but who called is known.
    const bool nowhere = info.si_code > 0 && reinterpret_cast<std::uintptr_t>(info.si_addr) == at;
    return nowhere ? owner_of(caller()) : owner_of_calls();
}

const char* name_of(int number) {
    switch (number) {
        case SIGSEGV:
            return "SIGSEGV";
        case SIGBUS:
            return "SIGBUS";
        case SIGILL:
            return "SIGILL";
        case SIGFPE:
            return "SIGFPE";
        case SIGABRT:
            return "SIGABRT";
        default:
            return "SIGSYS";
    }
}

// SA_RESETHAND: the second time the signal does what it does without us.
void on_signal(int number, siginfo_t* info, void* context) {
    tell(name_of(number), [&] { return owner_of_failure(*info, context); });
    ::raise(number);  // comes when this handler returns
}

template <std::size_t N>
std::string text_of(const std::array<char, N>& text) {
    return {text.data(), ::strnlen(text.data(), N)};
}

std::optional<Report> report_of(const Page& left) {
    if (left.magic != kMagic || left.written == 0) return std::nullopt;
    Report out{text_of(left.title), text_of(left.digest), text_of(left.slot),
               text_of(left.how),   text_of(left.boot),   Instant{left.at_ns}};
    if (left.written == kNameless) out.plugin = out.digest = out.slot = {};
    return out;
}

std::unexpected<Error> cannot(const std::filesystem::path& file, const char* what) {
    return fail(Code::kFailed, file.string() + " cannot be " + what + ": " + std::strerror(errno));
}

}  // namespace

Result<std::optional<Report>> watch(const std::filesystem::path& file, const std::string& boot) {
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
    if (fd < 0) return cannot(file, "opened");
    const std::unique_ptr<const int, void (*)(const int*)> closed(&fd, [](const int* open) { ::close(*open); });
    struct stat info {};
    if (::fstat(fd, &info) != 0) return cannot(file, "examined");
    if (!S_ISREG(info.st_mode) || info.st_uid != ::geteuid()) {
        return fail(Code::kRefused, file.string() + " is no regular file of this user; remove it");
    }
    Page left{};
    const bool whole = ::pread(fd, &left, sizeof(left), 0) == static_cast<ssize_t>(sizeof(left));
    // The room on the disk is taken now: a page that has none cannot be written when it counts.
    if (const int error = ::posix_fallocate(fd, 0, kFileBytes); error != 0) {
        errno = error;
        return cannot(file, "written");
    }
    void* const mapped = ::mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED) return cannot(file, "mapped");
    std::memset(mapped, 0, kFileBytes);
    page = static_cast<Page*>(mapped);
    page->magic = kMagic;
    put(page->boot, boot.c_str());
    watched = ::getpid();
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = static_cast<int>(SA_SIGINFO | SA_ONSTACK | SA_RESETHAND);
    for (const int number : kSignals) ::sigaction(number, &action, nullptr);
    std::atexit([] {
        // An orderly end has none of theirs on the stack.
        const Subject* const plugin = current.plugin != nullptr ? current.plugin : owner_of_calls();
        if (plugin != nullptr) tell("exit", [plugin] { return plugin; });
    });
    return whole ? report_of(left) : std::nullopt;
}

SignalStack::SignalStack() {
    // The system's own answer: with wide vector registers a signal's frame alone is several kilobytes.
    const long least = ::sysconf(_SC_SIGSTKSZ);
    const std::size_t size = (least > 0 ? static_cast<std::size_t>(least) : 8'192) + 8'192;
    memory_.reset(new char[size]);
    stack_t stack{};
    stack.ss_sp = memory_.get();
    stack.ss_size = size;
    if (::sigaltstack(&stack, nullptr) != 0) memory_.reset();
}

SignalStack::~SignalStack() {
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    if (memory_ != nullptr) ::sigaltstack(&none, nullptr);
}

}  // namespace gantry::crash
