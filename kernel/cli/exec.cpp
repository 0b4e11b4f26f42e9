// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <thread>

#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"
#include "kernel/cli/terminal.hpp"

namespace gantry::cli {
namespace {

constexpr std::int64_t kWindow = 256 << 10;  // bytes of input that may be on their way
constexpr std::size_t kPiece = 32 << 10;
constexpr std::size_t kFrameHead = 5, kFrameMax = 1 << 20;
constexpr auto kInputPatience = std::chrono::seconds(5);

int wake = -1;  // an eventfd: the size changed, or there is room for input, or it is over

void on_resize(int) {
    const std::uint64_t one = 1;
    (void)!::write(wake, &one, sizeof one);
}

// The terminal as the command in the container sees it: every key is passed on, Ctrl-C too.
class RawTerminal {
  public:
    explicit RawTerminal(bool wanted) : on_(wanted && tcgetattr(STDIN_FILENO, &before_) == 0) {
        if (!on_) return;
        auto raw = before_;
        cfmakeraw(&raw);
        tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
        struct sigaction action {};
        action.sa_handler = on_resize;
        action.sa_flags = SA_RESTART;
        sigaction(SIGWINCH, &action, nullptr);
    }
    ~RawTerminal() {
        if (on_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
    }
    RawTerminal(const RawTerminal&) = delete;
    RawTerminal& operator=(const RawTerminal&) = delete;

  private:
    termios before_{};
    bool on_;
};

// Passes standard input and the terminal's size on, by requests of its own, on a thread of its own.
class Input {
  public:
    Input(const Session& session, bool reads, bool terminal)
        : client_(session.client().socket(), kInputPatience), reads_(reads), terminal_(terminal) {}
    ~Input() {
        over_ = true;
        on_resize(0);
        if (thread_.joinable()) thread_.join();
    }
    Input(const Input&) = delete;
    Input& operator=(const Input&) = delete;

    void begin(std::int64_t exec) {
        if (!reads_ && !terminal_) return;
        target_ = "/v1/execs/" + std::to_string(exec);
        thread_ = std::thread([this] { run(); });
    }
    void taken(std::int64_t bytes) {
        taken_ = bytes;
        on_resize(0);
    }

  private:
    void run() {
        std::array<char, kPiece> piece;
        auto shown = terminal_size(STDOUT_FILENO);
        while (!over_) {
            const bool room = reads_ && sent_ - taken_ < kWindow;
            pollfd wanted[2] = {{wake, POLLIN, 0}, {room ? STDIN_FILENO : -1, POLLIN, 0}};
            if (::poll(wanted, 2, -1) < 0) continue;
            if (wanted[0].revents != 0) {
                std::uint64_t count = 0;
                (void)!::read(wake, &count, sizeof count);
                const auto size = terminal_size(STDOUT_FILENO);
                const bool changed = size.rows != shown.rows || size.columns != shown.columns;
                if (terminal_ && changed && !over_) say(sized(shown = size), {});
            }
            if (wanted[1].revents == 0) continue;
            const auto got = ::read(STDIN_FILENO, piece.data(), piece.size());
            if (got <= 0) {
                reads_ = false;
                say("?end=1", {});
                continue;
            }
            sent_ += got;
            say("", {piece.data(), static_cast<std::size_t>(got)});
        }
    }
    static std::string sized(const TerminalSize& size) {
        return "?rows=" + std::to_string(size.rows) + "&columns=" + std::to_string(size.columns);
    }
    // That it failed is said by the stream of the command, which ends then.
    void say(const std::string& query, const std::string& bytes) {
        const auto answer = client_.ask("POST", target_ + query, bytes);
        if (!answer || answer->code >= 400) reads_ = false;
    }

    const Client client_;
    bool reads_;
    const bool terminal_;
    std::string target_;
    std::int64_t sent_ = 0;
    std::atomic<std::int64_t> taken_{0};
    std::atomic<bool> over_{false};
    std::thread thread_;
};

// What came of a command: frames of a letter, four bytes of length (big endian) and that many bytes.
class Frames {
  public:
    // The next whole frame: its letter, 0 if it is not there yet. Bytes that no gantryd writes are Trouble.
    Outcome<char> next(std::string& body) {
        if (bytes_.size() < kFrameHead) return '\0';
        std::size_t length = 0;
        for (std::size_t i = 1; i < kFrameHead; ++i) length = length << 8 | static_cast<unsigned char>(bytes_[i]);
        if (length > kFrameMax) {
            return trouble(exit_status::kFailed, Code::kFailed,
                           "what gantryd sent cannot be read: a frame of " + std::to_string(length) + " bytes");
        }
        if (bytes_.size() < kFrameHead + length) return '\0';
        const char kind = bytes_[0];
        body = bytes_.substr(kFrameHead, length);
        bytes_.erase(0, kFrameHead + length);
        return kind;
    }
    void add(std::string_view bytes) { bytes_ += bytes; }

  private:
    std::string bytes_;
};

Outcome<int> status_in(const std::string& body) {
    GANTRY_TRY(document, parse_json(body, kFrameMax));
    if (const auto* error = member_of(document, "error"); error && error->is_object())
        return std::unexpected(refusal({0, std::move(document)}));
    return static_cast<int>(number_of(document, "exit_code", exit_status::kFailed));
}

// Until the command has ended: its exit status.
Outcome<int> follow(const Session& session, Client::Stream& stream, Input& input) {
    Frames frames;
    std::string bytes, body;
    while (true) {
        GANTRY_TRY(got, stream.read(bytes, std::chrono::hours(1)));
        if (got == Client::Stream::Got::kEnd) break;
        frames.add(bytes);
        while (true) {
            GANTRY_TRY(kind, frames.next(body));
            if (kind == '\0') break;
            if (kind == 'e') return status_in(body);
            if (kind == 'o') {
                session.say(body);
                std::fflush(stdout);
                continue;
            }
            GANTRY_TRY(document, parse_json(body, kFrameMax));
            if (kind == 's') input.begin(number_of(document, "exec", 0));
            if (kind == 'i') input.taken(number_of(document, "taken", 0));
        }
    }
    return trouble(exit_status::kFailed, Code::kUnknown,
                   "gantryd closed the connection before the command had ended; the command is being killed");
}

// An instance (SERVICE.NUMBER) or a container is taken as it is; of a service the first instance that is ready, or else
// runs.
Outcome<std::string> instance_of(const Session& session, const std::string& target) {
    const auto dot = target.rfind('.');
    const bool number =
        dot != target.npos && dot + 1 < target.size() && target.find_first_not_of("0123456789", dot + 1) == target.npos;
    if (number || target.starts_with("gantry-")) return target;
    GANTRY_TRY(instances, session.get("/v1/instances"));
    std::string found;
    for (const auto& instance : items_of(instances, "items")) {
        if (text_of(instance, "service") != target) continue;
        const auto state = text_of(instance, "state");
        if (state == "ready") return text_of(instance, "instance");
        if (found.empty() || state == "running") found = text_of(instance, "instance");
    }
    if (!found.empty()) return found;
    return trouble(exit_status::kNotFound, Code::kNotFound,
                   "there is no service " + target + "; `gantry ps` lists the instances");
}

}  // namespace

Outcome<int> exec(const Session& session, const ExecOptions& options) {
    if (options.terminal && (isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0)) {
        return trouble(exit_status::kUsage, Code::kInvalid,
                       "-t needs a terminal, and standard input or output is none; leave it away");
    }
    wake = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0) return trouble(exit_status::kFailed, Code::kFull, "no descriptor is left for this program");
    catch_interrupts();
    GANTRY_TRY(instance, instance_of(session, options.target));
    json::object body{{"args", json::array(options.command.begin(), options.command.end())},
                      {"input", options.input || options.terminal}};
    if (options.terminal) {
        const auto size = terminal_size(STDOUT_FILENO);
        body["terminal"] = true;
        body["rows"] = size.rows;
        body["columns"] = size.columns;
    }
    GANTRY_TRY(stream, session.client().open("/v1/instances/" + encode(instance) + "/exec", to_text(body)));
    const RawTerminal raw(options.terminal);
    Input input(session, options.input || options.terminal, options.terminal);
    return follow(session, *stream, input);
}

}  // namespace gantry::cli
