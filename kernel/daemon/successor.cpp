// SPDX-License-Identifier: Apache-2.0
#include "kernel/daemon/successor.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>

#include "kernel/base/units.hpp"
#include "kernel/daemon/log.hpp"

namespace gantry::daemon {
namespace {

constexpr int kFirst = 3;                // descriptor of the text in the child, and where LISTEN_FDS begins
constexpr std::size_t kWords = 8 << 10;  // bytes that a child may say
constexpr std::chrono::seconds kTrial{10};

std::vector<char*> pointers(std::vector<std::string>& words) {
    std::vector<char*> out;
    for (std::string& word : words) out.push_back(word.data());
    out.push_back(nullptr);
    return out;
}

// One child that tries; it lives until its answer is told.
struct Trial : std::enable_shared_from_this<Trial> {
    explicit Trial(boost::asio::io_context& io) : out(io), limit(io) {}

    Status spawn(const Program& program, const Handover& handover);
    void listen();
    void ended();

    boost::asio::posix::stream_descriptor out;
    boost::asio::steady_timer limit;
    host::Done<void> done;
    pid_t pid = -1;
    bool late = false;
    std::array<char, 1024> room{};
    std::string words;
};

Status Trial::spawn(const Program& program, const Handover& handover) {
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) return control::fail_errno("no pipe for the trial");
    out.assign(ends[0]);
    const control::FileDescriptor theirs(ends[1]);
    const Parcel parcel = pack(handover, kFirst);
    const control::FileDescriptor text = text_file(parcel.text);
    if (!text) return control::fail_errno("no memory for the trial");
    // First away from the numbers that they shall have.
    std::vector<control::FileDescriptor> aside;
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    const int above = kFirst + 1 + static_cast<int>(parcel.descriptors.size());
    const auto give = [&](int number, int fd) {
        aside.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, above));
        ::posix_spawn_file_actions_adddup2(&actions, aside.back().get(), number);
    };
    give(STDOUT_FILENO, theirs.get());
    give(STDERR_FILENO, theirs.get());
    give(kFirst, text.get());
    for (const auto& [number, fd] : parcel.descriptors) give(number, fd);
    std::vector<std::string> words_of = program.arguments, variables{"GANTRY_HANDOVER=" + std::to_string(kFirst)};
    words_of.emplace_back("--check");
    for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
    const int failed = ::posix_spawn(&pid, program.path.c_str(), &actions, nullptr, pointers(words_of).data(),
                                     pointers(variables).data());
    ::posix_spawn_file_actions_destroy(&actions);
    if (failed == 0) return {};
    return fail(Code::kRefused, program.path + " cannot be started: " + std::strerror(failed));
}

void Trial::listen() {
    out.async_read_some(
        boost::asio::buffer(room), [self = shared_from_this()](boost::system::error_code error, std::size_t count) {
            if (error) return self->ended();
            self->words.append(self->room.data(), std::min(count, kWords - std::min(kWords, self->words.size())));
            self->listen();
        });
}

// It has closed its output: it has ended, or is about to.
void Trial::ended() {
    limit.cancel();
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return done({});
    std::string why = one_line(words, kWords);
    while (why.ends_with(' ')) why.pop_back();
    if (late)
        why = "it did not end its check within 10 s";
    else if (WIFSIGNALED(status))
        why += (why.empty() ? "" : "; ") + std::string("its check was ended by ") + ::strsignal(WTERMSIG(status));
    else if (why.empty())
        why = "its check ended with status " + std::to_string(WEXITSTATUS(status));
    done(fail(Code::kRefused, std::move(why)));
}

// At its number, for the program to come. What has a number that is given away is closed by that.
void place(const Parcel& parcel, int first) {
    const int above = first + 1 + static_cast<int>(parcel.descriptors.size());
    std::vector<std::pair<int, int>> aside;
    const auto give = [&](int number, int fd) { aside.emplace_back(number, ::fcntl(fd, F_DUPFD_CLOEXEC, above)); };
    give(first, text_file(parcel.text).get());
    for (const auto& [number, fd] : parcel.descriptors) give(number, fd);
    for (const auto& [number, fd] : aside) ::dup2(fd, number);
    ::setenv("GANTRY_HANDOVER", std::to_string(first).c_str(), 1);
}

// Out of the way of the numbers that the successor's sockets shall have. Nothing else passes on: what a library opened
// without close-on-exec would be one more each time.
void lift(Handover& handover) {
    (void)::close_range(kFirst, ~0U, CLOSE_RANGE_CLOEXEC);
    constexpr int kAbove = 256;
    const auto up = [](int& fd) {
        if (fd >= 0) fd = ::fcntl(fd, F_DUPFD_CLOEXEC, kAbove);
    };
    up(handover.program);
    for (Files* const files : {&handover.files, &handover.files_before}) {
        for (auto& [title, file] : *files) up(file.fd);
    }
}

void execute(const std::string& path, std::vector<std::string> arguments) {
    // A signal waits for the next one to be ready for it.
    sigset_t wait;
    ::sigemptyset(&wait);
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&wait, number);
    ::sigprocmask(SIG_BLOCK, &wait, nullptr);
    ::execve(path.c_str(), pointers(arguments).data(), environ);
}

// The successor of a failed one: what ran before, with nothing to go back to.
Handover way_back(Handover&& handover, std::string why) {
    Handover out;
    out.path = std::move(handover.path);
    out.what = std::move(handover.what);
    out.plugin = std::move(handover.plugin);
    out.changed = std::move(handover.changed);
    out.config = std::move(handover.config_before);
    out.files = std::move(handover.files_before);
    out.failed = std::move(why);
    return out;
}

}  // namespace

void try_successor(boost::asio::io_context& io, const Program& program, const Handover& handover,
                   host::Done<void> done) {
    auto trial = std::make_shared<Trial>(io);
    if (Status spawned = trial->spawn(program, handover); !spawned) {
        return boost::asio::post(io, [done = std::move(done), spawned = std::move(spawned)] { done(spawned); });
    }
    trial->done = std::move(done);
    trial->limit.expires_after(kTrial);
    trial->limit.async_wait([trial](boost::system::error_code error) {
        if (error) return;
        trial->late = true;
        ::kill(trial->pid, SIGKILL);
    });
    trial->listen();
}

void become_successor(const Program& program, Handover handover, host::Kept& kept) {
    lift(handover);
    const int first = kFirst + static_cast<int>(kept.hand_over());
    place(pack(handover, first), first);
    execute(program.path, program.arguments);
    const std::string why = program.path + " cannot be executed: " + std::strerror(errno);
    log(host::LogLevel::kError, "gantryd", why);
    place(pack(way_back(std::move(handover), why), first), first);
    execute("/proc/self/exe", program.arguments);
    std::abort();  // the program that runs can be executed
}

void go_back(const Program& program, Handover handover, host::Kept& kept, std::string why) {
    lift(handover);
    const int old = handover.program;
    const int first = kFirst + static_cast<int>(kept.hand_over());
    place(pack(way_back(std::move(handover), std::move(why)), first), first);
    execute("/proc/self/fd/" + std::to_string(old), program.arguments);
    std::abort();  // as above
}

}  // namespace gantry::daemon
