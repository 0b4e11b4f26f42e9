// SPDX-License-Identifier: Apache-2.0
#include "kernel/cli/skopeo.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "kernel/base/units.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {

namespace {

constexpr std::size_t kMaxAnswer = 4 << 20, kMaxWords = 64 << 10;
constexpr auto kLook = milliseconds(200);
constexpr int kNoProgram = 127;

// A child with its standard output and standard error on pipes; it ends with this object, and with this program.
class Child {
  public:
    explicit Child(const std::vector<std::string>& arguments) {
        std::array<int, 2> out{-1, -1}, err{-1, -1};
        if (pipe2(out.data(), O_CLOEXEC) != 0 || pipe2(err.data(), O_CLOEXEC) != 0) return;
        pid_ = fork();
        if (pid_ == 0) become(arguments, out[1], err[1]);
        close(out[1]);
        close(err[1]);
        out_ = out[0];
        err_ = err[0];
    }
    ~Child() {
        end();
        for (const int fd : {out_, err_})
            if (fd >= 0) close(fd);
    }
    Child(const Child&) = delete;
    Child& operator=(const Child&) = delete;

    bool running() const { return pid_ > 0; }
    int out() const { return out_; }
    int err() const { return err_; }
    // Both pipes are at their end; the exit status, -1 for a death by a signal.
    int wait() {
        int status = 0;
        while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) continue;
        pid_ = -1;
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    }

  private:
    [[noreturn]] static void become(const std::vector<std::string>& arguments, int out, int err) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, nullptr);
        setpgid(0, 0);  // Ctrl-C is for this program, which ends the child
        const int nothing = open("/dev/null", O_RDONLY);
        dup2(nothing, 0);
        dup2(out, 1);
        dup2(err, 2);
        std::vector<char*> argv;
        for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
        argv.push_back(nullptr);
        execvp(argv[0], argv.data());
        _exit(kNoProgram);
    }
    void end() {
        if (pid_ <= 0) return;
        kill(pid_, SIGKILL);
        wait();
    }

    pid_t pid_ = -1;
    int out_ = -1, err_ = -1;
};

// `time="..." level=fatal msg="..."`: the message of the last line, without its quotes.
std::string last_words(const std::string& text) {
    std::string line;
    for (std::size_t at = 0; at < text.size();) {
        const auto end = std::min(text.find('\n', at), text.size());
        if (end > at) line = text.substr(at, end - at);
        at = end + 1;
    }
    const auto begin = line.find("msg=\"");
    if (begin == std::string::npos) return line;
    std::string out;
    for (auto i = begin + 5; i < line.size() && line[i] != '"'; ++i) {
        if (line[i] == '\\' && i + 1 < line.size()) ++i;
        out += line[i];
    }
    return out;
}

struct Kind {
    const char* words;
    Code code;
    const char* cure;
};
constexpr std::array kKinds = {
    Kind{"no space left on device", Code::kFull, "make room, or let TMPDIR name a folder with more"},
    Kind{"manifest unknown", Code::kNotFound, "the registry does not have that image; is the tag right?"},
    Kind{"name unknown", Code::kNotFound, "the registry does not have that image; is the name right?"},
    Kind{"unauthorized", Code::kRefused, "give credentials with --authfile, or log in with `skopeo login`"},
    Kind{"authentication required", Code::kRefused, "give credentials with --authfile, or log in with `skopeo login`"},
    Kind{"denied", Code::kRefused, "these credentials may not read that image"},
    Kind{"x509", Code::kRefused, "give the registry's certificate with --cert-dir"},
    Kind{"server gave HTTP response to HTTPS client", Code::kRefused,
         "a registry without TLS needs `insecure = true` in registries.conf, or --no-verify-tls"},
    Kind{"policy.json", Code::kFailed, "install golang-github-containers-common, which has the default one"},
    Kind{"not match", Code::kInvalid,  // does, did
         "what the registry sent is not what it promised; nothing was stored"},
    Kind{"unexpected EOF", Code::kUnavailable, "the registry broke off; try again"},
    Kind{"connection re", Code::kUnavailable, "is the registry up, and the name right?"},  // refused, reset
    Kind{"no such host", Code::kUnavailable, "is the name of the registry right?"},
    Kind{"timeout", Code::kUnavailable, "is the registry up and can it be reached from here?"},
};

std::unexpected<Trouble> failed(const Reference& image, const std::string& words) {
    const auto said = last_words(words);
    Code code = Code::kFailed;
    std::string cure;
    for (const auto& kind : kKinds) {
        if (said.find(kind.words) == std::string::npos) continue;
        code = kind.code;
        cure = std::string("; ") + kind.cure;
        break;
    }
    return trouble(
        code == Code::kInvalid ? exit_status::kBadData : status_of(code), code,
        "cannot pull " + image.source() + ": " + (said.empty() ? "skopeo failed and said nothing" : said) + cure);
}

std::int64_t bytes_in(const std::filesystem::path& folder) {
    std::int64_t sum = 0;
    std::error_code gone;
    for (std::filesystem::directory_iterator at(folder, gone), end; !gone && at != end; at.increment(gone)) {
        std::error_code ignored;
        const auto size = at->file_size(ignored);
        if (!ignored) sum += static_cast<std::int64_t>(size);
    }
    return sum;
}

// False at the end of the pipe.
bool take(int fd, std::string& into, std::size_t most) {
    std::array<char, 16 << 10> room;
    const auto got = read(fd, room.data(), room.size());
    if (got < 0) return errno == EINTR || errno == EAGAIN;
    into.append(room.data(), std::min<std::size_t>(static_cast<std::size_t>(got), most - std::min(most, into.size())));
    return got > 0;
}

}  // namespace

Outcome<Skopeo> Skopeo::with(const RegistryOptions& options) {
    Skopeo out;
    out.options_ = options;
    GANTRY_TRY(silence, timeout_of(options.timeout));
    out.silence_ = silence;
    return out;
}

Outcome<std::string> Skopeo::run(std::vector<std::string> arguments, const Reference& image,
                                 const std::function<std::int64_t()>& progress) const {
    std::vector<std::string> all{"skopeo"};
    if (!options_.registries_file.empty()) all.insert(all.end(), {"--registries-conf", options_.registries_file});
    all.insert(all.end(), arguments.begin(), arguments.end());
    catch_interrupts();
    Child child(all);
    if (!child.running()) {
        return trouble(exit_status::kFailed, Code::kFailed,
                       std::string("cannot start skopeo: ") + std::strerror(errno));
    }
    std::string answer, words;
    std::int64_t last = -1;
    auto heard = Clock::now();
    // Standard error ends when the program does; standard output is small or nothing.
    for (bool out = true, err = true; out || err;) {
        const auto waited = wait_for(out ? child.out() : child.err(), POLLIN, Clock::now() + kLook);
        if (waited == Waited::kInterrupted) return interrupted_trouble();
        pollfd both[2] = {{out ? child.out() : -1, POLLIN, 0}, {err ? child.err() : -1, POLLIN, 0}};
        poll(both, 2, 0);
        const auto before = answer.size() + words.size();
        if (both[0].revents != 0) out = take(child.out(), answer, kMaxAnswer + 1);
        if (both[1].revents != 0) err = take(child.err(), words, kMaxWords);
        const auto now = progress ? progress() : 0;
        if (now != last || answer.size() + words.size() != before) heard = Clock::now();
        last = now;
        if (Clock::now() - heard >= silence_) {
            return trouble(exit_status::kNotReady, Code::kDeadline,
                           "cannot pull " + image.source() + ": the registry sent nothing for " +
                               format_duration(silence_) + "; try again, or give it longer with --timeout");
        }
    }
    const int status = child.wait();
    if (status == kNoProgram) {
        return trouble(exit_status::kFailed, Code::kUnavailable,
                       "registries are asked through skopeo, which is not installed here: apt install skopeo");
    }
    if (status != 0) return failed(image, words);
    return answer;
}

std::vector<std::string> Skopeo::asking(const std::string& command) const {
    std::vector<std::string> out{command};
    if (!options_.auth_file.empty()) out.insert(out.end(), {"--authfile", options_.auth_file});
    if (!options_.certificates.empty()) out.insert(out.end(), {"--cert-dir", options_.certificates});
    if (!options_.verify_tls) out.push_back("--tls-verify=false");
    return out;
}

Outcome<std::string> Skopeo::manifest(const Reference& image) const {
    auto arguments = asking("inspect");
    arguments.insert(arguments.end(), {"--raw", "docker://" + image.source()});
    GANTRY_TRY(text, run(std::move(arguments), image, {}));
    if (text.size() <= kMaxAnswer) return text;
    return trouble(exit_status::kBadData, Code::kInvalid,
                   "cannot pull " + image.source() + ": its manifest is longer than 4 MiB");
}

Outcome<std::vector<std::string>> Skopeo::tags(const Reference& image) const {
    auto arguments = asking("list-tags");
    arguments.push_back("docker://" + image.registry + "/" + image.path);
    GANTRY_TRY(text, run(std::move(arguments), image, {}));
    const auto document = parse_json(text, kMaxAnswer);
    if (!document || !document->is_object()) {
        return trouble(exit_status::kBadData, Code::kInvalid,
                       "the registry's list of the tags of " + image.path + " cannot be read, or is longer than 4 MiB");
    }
    std::vector<std::string> out;
    for (const auto& tag : items_of(*document, "Tags"))
        if (tag.is_string()) out.emplace_back(tag.as_string());
    return out;
}

Outcome<bool> Skopeo::copy(const Reference& image, const std::filesystem::path& folder,
                           const std::function<void(std::int64_t)>& received) const {
    std::vector<std::string> arguments{"copy", "--quiet", "--preserve-digests"};
    if (!options_.auth_file.empty()) arguments.insert(arguments.end(), {"--src-authfile", options_.auth_file});
    if (!options_.certificates.empty()) arguments.insert(arguments.end(), {"--src-cert-dir", options_.certificates});
    if (!options_.verify_tls) arguments.push_back("--src-tls-verify=false");
    arguments.insert(arguments.end(), {"docker://" + image.source(), "dir:" + folder.string()});
    const auto progress = [&] {
        const auto bytes = bytes_in(folder);
        received(bytes);
        return bytes;
    };
    GANTRY_CHECK(run(std::move(arguments), image, progress));
    return true;
}

}  // namespace gantry::cli
