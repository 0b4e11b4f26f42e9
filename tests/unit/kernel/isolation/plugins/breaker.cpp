// SPDX-License-Identifier: Apache-2.0
//
// A probe that does what the container's name says: falls in one way or another, or tries what it may not and answers
// with what came of it.
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <gantry/probe.hpp>
#include <thread>

using namespace gantry;

class Breaker final : public Probe {
  public:
    void init(const Config& config) override {
        fall_in_ = config.string("fall_in");
        state_dir_ = config.state_dir();
        fall("init");
    }
    void start() override { fall("start"); }
    void stop(Instant) override { fall("stop"); }

    void check(Operation<ProbeResult> op, ProbeRequest request) override {
        const std::string& what = request.container;
        if (what == "well") return answer(op, "well");
        if (what == "pid") return answer(op, std::to_string(::getpid()));
        if (what == "null") return answer(op, std::to_string(*nothing_));
        if (what == "abort") std::abort();
        if (what == "exit") std::exit(5);
        if (what == "spin") {
            for (volatile bool forever = true; forever;) continue;
        }
        if (what == "eat") return eat(op);
        if (what == "keep") return keep(std::move(op));
        if (what == "flood") return flood(op);
        if (what == "large") return answer(op, std::string(3 << 20, 'x'));
        if (what == "thread") return in_thread(std::move(op));
        answer(op, tried(what));
    }

  private:
    static void answer(Operation<ProbeResult>& op, std::string text) {
        op.done({Verdict::kHealthy, {}, std::move(text)});
    }
    void fall(std::string_view where) const {
        if (fall_in_ == where) std::abort();
    }
    void keep(Operation<ProbeResult> op) { kept_.push_back(std::move(op)); }

    // Every byte is written to, so that it is there.
    static void eat(Operation<ProbeResult>& op) {
        std::vector<std::vector<char>> all;
        for (int i = 0; i < 4'096; ++i) {
            all.emplace_back(1 << 20, 'x');
            asm volatile("" : : "r"(all.back().data()) : "memory");  // the compiler must not see that nobody reads it
        }
        answer(op, "4 GiB");
    }
    void flood(Operation<ProbeResult>& op) {
        for (int i = 0; i < 5'000; ++i) host().info("line " + std::to_string(i));
        answer(op, "told");
    }
    static void in_thread(Operation<ProbeResult> op) {
        std::thread([op = std::move(op)]() mutable { answer(op, "of a thread"); }).detach();
    }

    static std::string outcome(bool done) { return done ? "done" : std::strerror(errno); }

    std::string tried(const std::string& what) const {
        const std::string file = state_dir_ + "/file";
        if (what == "write") return outcome(Fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)).get() >= 0);
        if (what == "read") return outcome(Fd(::open("/proc/self/status", O_RDONLY | O_CLOEXEC)).get() >= 0);
        if (what == "socket") return outcome(Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)).get() >= 0);
        if (what == "packet") return outcome(Fd(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0)).get() >= 0);
        if (what == "port") return low_port();
        if (what == "fork") {
            const pid_t child = ::fork();
            if (child == 0) ::_exit(0);
            return outcome(child > 0);
        }
        if (what == "exec") return outcome(::execl("/bin/true", "true", nullptr) == 0);
        if (what == "kill") return outcome(::kill(::getppid(), SIGKILL) == 0);
        if (what == "mount") return outcome(::mount("none", "/mnt", "tmpfs", 0, nullptr) == 0);
        if (what == "status") return status();
        throw Failure(Code::kInvalid, "what is " + what + "?");
    }
    static std::string low_port() {
        const Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(1);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return outcome(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    }
    static std::string status() {
        std::ifstream file("/proc/self/status");
        std::string out;
        for (std::string line; std::getline(file, line);) {
            for (const char* wanted : {"CapEff", "CapBnd", "NoNewPrivs", "Seccomp:"})
                if (line.starts_with(wanted)) out += line + " ";
        }
        return out;
    }

    std::string fall_in_, state_dir_;
    const volatile int* const nothing_ = nullptr;
    std::vector<Operation<ProbeResult>> kept_;
};

GANTRY_PLUGIN(Breaker)
