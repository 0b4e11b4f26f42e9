// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/check/runner.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gantry/status.hpp>
#include <set>

#include "sdk/tools/check/puppet.hpp"
#include "sdk/tools/trouble.hpp"

namespace gantry::check {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kBlocks = "blocks";
constexpr std::size_t kOutputShown = 2'000;  // bytes of what a plugin wrote

// What a child says at its end: fields with their lengths, so that any text may be in them.
std::string packed(const std::vector<std::string>& fields) {
    std::string out;
    for (const std::string& field : fields) out += std::to_string(field.size()) + ":" + field;
    return out;
}

std::vector<std::string> unpacked(const std::string& text) {
    std::vector<std::string> out;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t colon = text.find(':', at);
        if (colon == std::string::npos) return {};
        const std::size_t size = std::strtoull(text.c_str() + at, nullptr, 10);
        if (size > text.size() - colon - 1) return {};
        out.push_back(text.substr(colon + 1, size));
        at = colon + 1 + size;
    }
    return out;
}

// What may have led to a failure: that the plugin's own process fell.
std::string behind_it() {
    const std::string how = puppet_fell();
    return how.empty() ? "" : "; the plugin's process ended: " + how;
}

std::vector<std::string> run_body(const Check& check, Trial& trial) {
    const auto said = [&](Outcome outcome, const std::string& expected, const std::string& got) {
        return std::vector<std::string>{std::to_string(static_cast<int>(outcome)), expected, got, trial.remarks};
    };
    try {
        check.body(trial);
    } catch (const Failed& failed) {
        return said(Outcome::kFail, failed.expected, failed.got + behind_it());
    } catch (const Skipped& skipped) {
        return said(Outcome::kSkip, skipped.reason, skipped.blocks ? kBlocks : "");
    } catch (const gantry::Failure& failure) {
        return said(Outcome::kFail, "no error here", failure.what() + behind_it());
    } catch (const std::exception& error) {
        return said(Outcome::kFail, "no exception out of the plugin", error.what());
    } catch (...) {
        return said(Outcome::kFail, "no exception out of the plugin", "an exception that is no std::exception");
    }
    if (const std::string how = puppet_fell(); !how.empty())
        return said(Outcome::kFail, "a process that lives until it is told to stop", how);
    if (trial.warning) return said(Outcome::kWarn, trial.warning->expected, trial.warning->got);
    return said(Outcome::kPass, "", "");
}

[[noreturn]] void child(const Subject& subject, const Check& check, const std::string& folder, std::uint64_t seed,
                        int results, int output) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    ::dup2(nothing, 0);
    ::dup2(output, 1);
    ::dup2(output, 2);
    ::close(nothing);
    ::close(output);
    ::setenv("TMPDIR", folder.c_str(), 1);
    Trial trial(subject, check.placing, folder, seed);
    const std::string text = packed(run_body(check, trial));
    for (std::size_t at = 0; at < text.size();) {
        const ssize_t n = ::write(results, text.data() + at, text.size() - at);
        if (n < 0 && errno != EINTR) break;
        if (n > 0) at += static_cast<std::size_t>(n);
    }
    // What the plugin left running ends here; code that it wants run at exit is not part of any promise.
    ::_exit(0);
}

std::string last_lines(const std::string& file) {
    std::ifstream in(file, std::ios::binary);
    std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    if (text.size() > kOutputShown) text = "..." + text.substr(text.size() - kOutputShown);
    for (char& c : text) {
        if (static_cast<unsigned char>(c) < 0x20 && c != '\n') c = ' ';
    }
    while (text.ends_with('\n')) text.pop_back();
    return text;
}

// Processes that a check left behind become ours (PR_SET_CHILD_SUBREAPER).
void end_orphans() {
    const auto until = Clock::now() + std::chrono::seconds(5);
    const std::string children = "/proc/self/task/" + std::to_string(::getpid()) + "/children";
    while (Clock::now() < until) {
        std::ifstream list(children);
        for (pid_t pid = 0; list >> pid;) ::kill(pid, SIGKILL);
        const pid_t reaped = ::waitpid(-1, nullptr, WNOHANG);
        if (reaped < 0 && errno == ECHILD) return;
        if (reaped == 0) ::poll(nullptr, 0, 1);
    }
}

class Run {
  public:
    Run(const Subject& subject, const Check& check, std::uint64_t seed) : subject_(subject), check_(check) {
        // Of each check its own, and the same when it runs alone.
        std::seed_seq mixed(check.name.begin(), check.name.end());
        std::uint32_t parts[2];
        mixed.generate(parts, parts + 2);
        seed_ = seed ^ (std::uint64_t{parts[0]} << 32 | parts[1]);
        folder_ = (std::filesystem::temp_directory_path() / "gantry-check-XXXXXX").string();
        if (::mkdtemp(folder_.data()) == nullptr) {
            throw tools::Failure(tools::exit_status::kCannotCreate,
                                 "no folder for a check at " + folder_ + ": " + std::strerror(errno));
        }
    }
    ~Run() {
        std::error_code ignored;  // what stays behind is told by the next check of the same world
        std::filesystem::remove_all(folder_, ignored);
    }
    Run(const Run&) = delete;
    Run& operator=(const Run&) = delete;

    Result result() {
        Result out;
        out.check = &check_;
        const auto began = Clock::now();
        const std::string written = folder_ + "/output";
        int ends[2];
        const Fd output(::open(written.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
        if (!output || ::pipe2(ends, O_CLOEXEC) != 0) {
            throw tools::Failure(tools::exit_status::kInternal, std::string("no pipe: ") + std::strerror(errno));
        }
        Fd reader(ends[0]), writer(ends[1]);
        const pid_t pid = ::fork();
        if (pid < 0) throw tools::Failure(tools::exit_status::kInternal, "cannot fork");
        if (pid == 0) child(subject_, check_, folder_, seed_, writer.get(), output.get());
        writer.reset();
        const std::string said = read_until(reader.get(), began + std::chrono::seconds(check_.limit_s));
        const std::vector<std::string> fields = unpacked(said);
        int status = 0;
        const bool ended = wait_for(
            pid,
            fields.size() == 4 ? Clock::now() + std::chrono::seconds(2) : began + std::chrono::seconds(check_.limit_s),
            status);
        ::kill(-pid, SIGKILL);
        if (!ended) ::waitpid(pid, &status, 0);
        end_orphans();
        out.seconds = std::chrono::duration<double>(Clock::now() - began).count();
        out.output = last_lines(written);
        judge(out, fields, ended, status);
        return out;
    }

  private:
    static std::string read_until(int fd, Clock::time_point until) {
        std::string out;
        char piece[4096];
        for (;;) {
            const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
            pollfd ready{fd, POLLIN, 0};
            if (left <= 0 || ::poll(&ready, 1, static_cast<int>(left)) == 0) return out;
            const ssize_t n = ::read(fd, piece, sizeof(piece));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return out;
            out.append(piece, static_cast<std::size_t>(n));
            // A child of the plugin may hold the pipe open: whole is whole.
            if (unpacked(out).size() == 4) return out;
        }
    }

    static bool wait_for(pid_t pid, Clock::time_point until, int& status) {
        for (;;) {
            const pid_t done = ::waitpid(pid, &status, WNOHANG);
            if (done == pid) return true;
            if (Clock::now() >= until) return false;
            ::poll(nullptr, 0, 1);
        }
    }

    void judge(Result& out, const std::vector<std::string>& fields, bool ended, int status) const {
        const bool spoke = fields.size() == 4;
        if (spoke) {
            out.outcome = static_cast<Outcome>(std::stoi(fields[0]));
            (out.outcome == Outcome::kSkip ? out.reason : out.expected) = fields[1];
            out.got = fields[2];
            out.blocks = out.outcome > Outcome::kWarn && (out.outcome != Outcome::kSkip || out.got == kBlocks);
            out.remarks = fields[3];
            return;
        }
        out.outcome = Outcome::kCrash;
        out.expected = check_.promise;
        if (!ended) {
            out.got = "it hung: no end within " + std::to_string(check_.limit_s) + " s";
        } else if (WIFSIGNALED(status)) {
            out.got = std::string("killed by signal ") + std::to_string(WTERMSIG(status)) + " (" +
                      ::strsignal(WTERMSIG(status)) + ")";
        } else {
            out.got = "the process was ended from inside with exit status " + std::to_string(WEXITSTATUS(status));
        }
    }

    const Subject& subject_;
    const Check& check_;
    std::uint64_t seed_ = 0;
    std::string folder_;
};

std::string_view not_passed(Outcome outcome) {
    switch (outcome) {
        case Outcome::kFail:
            return " failed";
        case Outcome::kCrash:
            return " crashed";
        default:
            return " was skipped";
    }
}

}  // namespace

std::string_view outcome_name(Outcome outcome) {
    constexpr std::string_view kNames[] = {"pass", "warn", "fail", "crash", "skip"};
    return kNames[static_cast<std::size_t>(outcome)];
}

std::vector<Result> run_checks(const Subject& subject, const std::vector<Check>& checks,
                               const std::function<bool(const Check&)>& wanted, std::uint64_t seed,
                               const std::function<void(const Result&)>& told) {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    // What is wanted, and what that needs: the list is ordered, so from its end.
    std::set<std::string_view> taken;
    for (auto check = checks.rbegin(); check != checks.rend(); ++check) {
        if (!check->role.empty() && check->role != subject.role) continue;
        if (!wanted(*check) && !taken.contains(check->name)) continue;
        taken.insert(check->name);
        taken.insert(check->needs.begin(), check->needs.end());
    }
    std::vector<Result> out;
    std::map<std::string_view, Outcome> blocked;  // what may not be rested on
    for (const Check& check : checks) {
        if (!taken.contains(check.name) || (!check.role.empty() && check.role != subject.role)) continue;
        Result result;
        result.check = &check;
        for (std::string_view need : check.needs) {
            const auto found = blocked.find(need);
            if (found != blocked.end() && result.reason.empty())
                result.reason = std::string(need) + std::string(not_passed(found->second));
        }
        if (result.reason.empty()) result = Run(subject, check, seed).result();
        if (result.blocks) blocked[check.name] = result.outcome;
        out.push_back(result);
        told(out.back());
    }
    return out;
}

}  // namespace gantry::check
