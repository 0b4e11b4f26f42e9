// SPDX-License-Identifier: Apache-2.0
//
// Processes that die in calls of plugins: each is a child of the test.
#include "kernel/crash/witness.hpp"

#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

#include "kernel/crash/code.hpp"
#include "kernel/crash/crumb.hpp"

namespace gantry::crash {
namespace {

const Subject kBad("placement.bad", std::string(64, 'd'));

class Folder {
  public:
    Folder() {
        std::string name = (std::filesystem::temp_directory_path() / "gantry-crash-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path = name;
        file = path / "last-crash";
    }
    ~Folder() { std::filesystem::remove_all(path); }

    // What a child that watches over itself and then does `work` leaves; its wait status in `ended`.
    std::optional<Report> left_by(const std::function<void()>& work) {
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            const rlimit no_core{0, 0};
            ::setrlimit(RLIMIT_CORE, &no_core);
            ::signal(SIGSEGV, SIG_DFL);  // what the test's own frame installed is not what a gantryd has
            ::signal(SIGABRT, SIG_DFL);
            if (!watch(file, "boot-1")) ::_exit(99);
            const SignalStack stack;
            work();
            ::_exit(0);
        }
        REQUIRE(::waitpid(child, &ended, 0) == child);
        // Read as the next process does it, in a child again: watching is for a whole process.
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        const pid_t next = ::fork();
        if (next == 0) {
            const auto found = watch(file, "boot-2");
            std::string text = !found ? "error " + found.error().message : !*found ? "none" : "";
            if (found && *found) {
                const Report& r = **found;
                for (const auto& part : {r.plugin, r.digest, r.slot, r.how, r.boot, std::to_string(r.at.ns)})
                    text += part + "\n";
            }
            ::_exit(::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1);
        }
        ::close(ends[1]);
        std::string text(4'096, '\0');
        const ssize_t count = ::read(ends[0], text.data(), text.size());
        ::close(ends[0]);
        int status = 0;
        REQUIRE(::waitpid(next, &status, 0) == next);
        text.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
        if (text == "none") return std::nullopt;
        REQUIRE_FALSE(text.starts_with("error"));
        Report out;
        std::istringstream lines(text);
        std::string at_ns;
        for (std::string* part : {&out.plugin, &out.digest, &out.slot, &out.how, &out.boot, &at_ns})
            std::getline(lines, *part);
        out.at.ns = std::stoll(at_ns);
        return out;
    }

    std::filesystem::path path, file;
    int ended = 0;
};

[[gnu::noinline]] int deeper(volatile int* n) {
    volatile char room[4'096];
    room[0] = static_cast<char>(*n);
    *n = *n + 1;
    return *n < 0 ? room[0] : deeper(n) + room[0];
}

}  // namespace

TEST_CASE("a process that dies of a signal in a plugin's slot says which, and dies of that signal") {
    for (const auto& [number, name] :
         {std::pair{SIGSEGV, "SIGSEGV"}, std::pair{SIGABRT, "SIGABRT"}, std::pair{SIGILL, "SIGILL"}}) {
        Folder folder;
        const auto report = folder.left_by([number = number] {
            const Crumbs crumbs(kBad, "score");
            ::raise(number);
        });
        REQUIRE(report);
        CHECK(report->plugin == "placement.bad");
        CHECK(report->digest == std::string(64, 'd'));
        CHECK(report->slot == "score");
        CHECK(report->how == name);
        CHECK(report->boot == "boot-1");
        CHECK(report->at.ns > 0);
        CHECK(WIFSIGNALED(folder.ended));
        CHECK(WTERMSIG(folder.ended) == number);
    }
}

TEST_CASE("a null pointer, abort() and exit() in a slot are told apart") {
    Folder folder;
    const auto how = [&](const std::function<void()>& work) {
        const auto report = folder.left_by([&] {
            const Crumbs crumbs(kBad, "check");
            work();
        });
        return report ? report->how : "";
    };
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    CHECK(how([] {
              volatile int* volatile nowhere = nullptr;
              *nowhere = 1;
          }) == "SIGSEGV");
    CHECK(how([] {
              volatile int n = 0;
              deeper(&n);
          }) == "SIGSEGV");  // no stack is left, the handler has its own
#endif
    CHECK(how([] { std::abort(); }) == "SIGABRT");
    CHECK(how([] { std::exit(0); }) == "exit");
    CHECK(how([] { ::_exit(0); }) == "");  // nothing says so: it counts as an orderly end
}

TEST_CASE("calls that lead from one plugin into another are told by the inner one, and left again") {
    Folder folder;
    const Subject outer("frontend.http", ""), inner("store.sqlite", "");
    auto report = folder.left_by([&] {
        const Crumbs first(outer, "a watch");
        const Crumbs second(inner, "commit");
        ::raise(SIGSEGV);
    });
    REQUIRE(report);
    CHECK(report->plugin == "store.sqlite");
    report = folder.left_by([&] {
        const Crumbs first(outer, "a watch");
        { const Crumbs second(inner, "commit"); }
        ::raise(SIGSEGV);
    });
    REQUIRE(report);
    CHECK(report->plugin == "frontend.http");
    CHECK(report->slot == "a watch");
}

TEST_CASE("another thread's crash is not blamed on the plugin that the loop is in") {
    Folder folder;
    const auto report = folder.left_by([] {
        const Crumbs crumbs(kBad, "score");
        std::thread([] { ::raise(SIGSEGV); }).join();
    });
    REQUIRE(report);
    CHECK(report->plugin == "");
    CHECK(report->how == "SIGSEGV");
}

TEST_CASE("a crash on a thread that a plugin made itself is blamed on the plugin whose code is on its stack") {
    const Subject mine("probe.threaded", std::string(64, 'e'));
    for (const auto& [way, how] : {
             std::pair{"abort", "SIGABRT"}, std::pair{"exit", "exit"},
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
                 std::pair{"null", "SIGSEGV"}, std::pair{"library", "SIGSEGV"}, std::pair {
                 "call", "SIGSEGV"
             }
#endif
         }) {
        INFO(way);
        Folder folder;
        const auto report = folder.left_by([&, way = way] {
            void* const library = ::dlopen(OWN_THREAD, RTLD_NOW | RTLD_LOCAL);
            if (library == nullptr) ::_exit(98);
            const auto fail = reinterpret_cast<void (*)(const char*)>(::dlsym(library, "fail_on_a_thread"));
            claim(reinterpret_cast<const void*>(fail), mine);
            const Crumbs crumbs(kBad, "score");  // what the loop is in meanwhile
            fail(way);
        });
        REQUIRE(report);
        CHECK(report->plugin == "probe.threaded");
        CHECK(report->digest == std::string(64, 'e'));
        CHECK(report->slot == "a thread");
        CHECK(report->how == how);
    }
}

TEST_CASE("an orderly end, SIGKILL and a child of fork leave nothing") {
    Folder folder;
    CHECK_FALSE(folder.left_by([] {}));
    CHECK_FALSE(folder.left_by([] {
        const Crumbs crumbs(kBad, "score");
        ::raise(SIGKILL);
    }));
    CHECK_FALSE(folder.left_by([] {
        const Crumbs crumbs(kBad, "start");
        const pid_t child = ::fork();
        if (child == 0) ::raise(SIGSEGV);
        int status = 0;
        ::waitpid(child, &status, 0);
    }));
}

TEST_CASE("a report is taken once") {
    Folder folder;
    CHECK(folder.left_by([] { ::raise(SIGSEGV); }));
    CHECK_FALSE(folder.left_by([] {}));
}

TEST_CASE("a file that holds something else, or nothing whole, is no report") {
    Folder folder;
    for (const std::string& text : {std::string(), std::string("GCRASH1\n"), std::string(4'096, 'x')}) {
        std::ofstream(folder.file, std::ios::binary | std::ios::trunc) << text;
        CHECK_FALSE(folder.left_by([] {}));
    }
}

TEST_CASE("what is no regular file of this user is refused with words") {
    Folder folder;
    std::filesystem::create_symlink("elsewhere", folder.file);
    const auto link = watch(folder.file, "b");
    REQUIRE_FALSE(link);
    CHECK(link.error().message.starts_with(folder.file.string() + " cannot be opened: "));
    std::filesystem::remove(folder.file);
    REQUIRE(::mkfifo(folder.file.c_str(), 0600) == 0);
    const auto pipe = watch(folder.file, "b");
    REQUIRE_FALSE(pipe);
    CHECK(pipe.error().message == folder.file.string() + " is no regular file of this user; remove it");
}

}  // namespace gantry::crash
