// SPDX-License-Identifier: Apache-2.0
//
// gantry-board: runs a program, the gantryd that stands for a board, while the board is there, and only then. Whether
// it is there says an SSH connection that does nothing else: it ends when the board is silent. Then the program is
// killed, so that the controller loses the node as it would lose the board; it begins anew when the board is back.
//
//     gantry-board USER@HOST --known-hosts FILE --identity FILE [--port N] [--silence SECONDS] -- PROGRAM ARGUMENT ...
//
// Exits as the program does, when that ends by itself or by a signal to gantry-board (TERM, INT, HUP), which is passed
// on.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

constexpr int kUsage = 64;                // sysexits.h
constexpr int kConnectLimit_ms = 15'000;  // until the board has let us in
constexpr int kRetry_ms = 1'000;

struct Options {
    std::string board, known_hosts, identity;
    int port = 22, silence_s = 3;
    std::vector<std::string> program;
};

[[noreturn]] void usage(const std::string& why) {
    std::fprintf(stderr,
                 "gantry-board: %s\nusage: gantry-board USER@HOST --known-hosts FILE --identity FILE [--port N] "
                 "[--silence SECONDS] -- PROGRAM ARGUMENT ...\n",
                 why.c_str());
    std::exit(kUsage);
}

void say(const std::string& text) { std::fprintf(stderr, "gantry-board: %s\n", text.c_str()); }

int number(std::string_view text, int least, int most, const char* what) {
    int out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error != std::errc() || end != text.data() + text.size() || out < least || out > most) {
        usage(std::string(what) + ": expected " + std::to_string(least) + " to " + std::to_string(most) + ", got \"" +
              std::string(text) + "\"");
    }
    return out;
}

Options parse(int argc, char** argv) {
    Options out;
    int i = 1;
    for (; i < argc && std::string_view(argv[i]) != "--"; ++i) {
        const std::string_view word = argv[i];
        if (!word.starts_with("--")) {
            out.board = word;
            continue;
        }
        if (++i == argc) usage(std::string(word) + ": what?");
        if (word == "--known-hosts") {
            out.known_hosts = argv[i];
        } else if (word == "--identity") {
            out.identity = argv[i];
        } else if (word == "--port") {
            out.port = number(argv[i], 1, 65'535, "--port");
        } else if (word == "--silence") {
            out.silence_s = number(argv[i], 2, 3'600, "--silence");
        } else {
            usage("unknown option " + std::string(word));
        }
    }
    for (++i; i < argc; ++i) out.program.emplace_back(argv[i]);
    if (out.board.find('@') == std::string::npos || out.board[0] == '-')
        usage("expected USER@HOST, got \"" + out.board + "\"");
    if (out.known_hosts.empty() || out.identity.empty())
        usage("--known-hosts and --identity are required: nobody types a password");
    if (out.program.empty()) usage("no program behind --");
    return out;
}

struct Child {
    pid_t pid = -1;
    int handle = -1;  // a pidfd
};

Child start(const std::vector<std::string>& words, int output) {
    const pid_t parent = ::getpid();
    Child out;
    out.pid = ::fork();
    if (out.pid < 0) {
        say(std::string("cannot make a process: ") + std::strerror(errno));
        std::exit(71);
    }
    if (out.pid == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(1);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, nullptr);
        if (output >= 0) ::dup2(output, 1);
        std::vector<char*> argv;
        for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
        argv.push_back(nullptr);
        ::execvp(argv[0], argv.data());
        std::fprintf(stderr, "gantry-board: %s cannot be run: %s\n", argv[0], std::strerror(errno));
        ::_exit(127);
    }
    out.handle = static_cast<int>(::syscall(SYS_pidfd_open, out.pid, 0));
    return out;
}

// Its status as a shell tells it.
int bury(Child& child) {
    int status = 0;
    while (::waitpid(child.pid, &status, 0) < 0 && errno == EINTR) {
    }
    ::close(child.handle);
    child = {};
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int end(Child& child, int signal) {
    if (child.pid < 0) return 0;
    ::kill(child.pid, signal);
    return bury(child);
}

std::vector<std::string> link_words(const Options& o) {
    std::vector<std::string> out{"ssh", "-N", "-T", "-F", "/dev/null", "-p", std::to_string(o.port), "-i", o.identity};
    // Silent for so long: the connection ends. Nothing of the board's is needed for that but its SSH server.
    for (const std::string& option :
         {std::string("ServerAliveInterval=1"), "ServerAliveCountMax=" + std::to_string(o.silence_s - 1),
          "ConnectTimeout=" + std::to_string(o.silence_s), std::string("StrictHostKeyChecking=yes"),
          "UserKnownHostsFile=" + o.known_hosts, std::string("GlobalKnownHostsFile=/dev/null"),
          std::string("UpdateHostKeys=no"), std::string("IdentitiesOnly=yes"), std::string("BatchMode=yes"),
          std::string("LogLevel=ERROR"), std::string("ControlPath=none"), std::string("PermitLocalCommand=yes"),
          std::string("LocalCommand=echo connected")}) {
        out.insert(out.end(), {"-o", option});
    }
    out.push_back(o.board);
    return out;
}

class Watch {
  public:
    explicit Watch(const Options& options) : options_(options) {
        sigset_t wanted;
        sigemptyset(&wanted);
        for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&wanted, signal);
        sigprocmask(SIG_BLOCK, &wanted, nullptr);
        signals_ = ::signalfd(-1, &wanted, SFD_CLOEXEC);
    }

    int run() {
        for (bool told = false;;) {
            if (connect()) {
                told = false;
                say("the board " + options_.board + " is there");
                program_ = start(options_.program, -1);
                if (const int status = follow(); status >= 0) return status;
                say("the board " + options_.board + " is silent; its node ends with it");
                end(program_, SIGKILL);
            } else if (!std::exchange(told, true)) {
                say("the board " + options_.board + " is not there; it is tried again every second");
            }
            end(link_, SIGKILL);
            if (const int signal = wait_signal(kRetry_ms); signal != 0) return 128 + signal;
        }
    }

  private:
    // The signal that came within so long; 0: none.
    int wait_signal(int limit_ms) {
        pollfd one{signals_, POLLIN, 0};
        return ::poll(&one, 1, limit_ms) > 0 ? taken() : 0;
    }
    int taken() {
        signalfd_siginfo info{};
        return ::read(signals_, &info, sizeof info) == sizeof info ? static_cast<int>(info.ssi_signo) : 0;
    }

    bool connect() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return false;
        link_ = start(link_words(options_), ends[1]);
        ::close(ends[1]);
        pollfd one{ends[0], POLLIN, 0};
        char said[16];
        // Its end without a word closes the pipe.
        const bool up = ::poll(&one, 1, kConnectLimit_ms) > 0 && ::read(ends[0], said, sizeof said) > 0;
        ::close(ends[0]);
        return up;
    }

    // The program's status, if it ended; -1: the board is silent.
    int follow() {
        for (;;) {
            pollfd all[] = {{signals_, POLLIN, 0}, {program_.handle, POLLIN, 0}, {link_.handle, POLLIN, 0}};
            if (::poll(all, 3, -1) < 0) continue;
            if (all[0].revents != 0) {
                if (const int signal = taken(); signal != 0) ::kill(program_.pid, signal);
            }
            if (all[1].revents != 0) {
                const int status = bury(program_);
                end(link_, SIGKILL);
                return status;
            }
            if (all[2].revents != 0) return -1;
        }
    }

    const Options& options_;
    int signals_ = -1;
    Child link_, program_;
};

}  // namespace

int main(int argc, char** argv) {
    const Options options = parse(argc, argv);
    return Watch(options).run();
}
