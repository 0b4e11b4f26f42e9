// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/cli/commands.hpp"
#include "kernel/cli/document.hpp"

namespace gantry::cli {

namespace {

// No echo while it lives.
class QuietTerminal {
  public:
    explicit QuietTerminal(int fd) : fd_(fd), is_one_(tcgetattr(fd, &before_) == 0) {
        if (!is_one_) return;
        auto quiet = before_;
        quiet.c_lflag &= ~static_cast<tcflag_t>(ECHO);
        quiet.c_lflag |= ECHONL;
        tcsetattr(fd_, TCSAFLUSH, &quiet);
    }
    ~QuietTerminal() {
        if (is_one_) tcsetattr(fd_, TCSAFLUSH, &before_);
    }
    QuietTerminal(const QuietTerminal&) = delete;
    QuietTerminal& operator=(const QuietTerminal&) = delete;

    bool is_one() const { return is_one_; }

  private:
    int fd_;
    termios before_{};
    bool is_one_;
};

// To the end, or to the end of the line on a terminal; a little more than a secret may have, so that it is seen.
Outcome<std::string> read_value(int fd, bool one_line) {
    std::string value;
    char room[1024];
    while (value.size() <= limits::kSecret + 1) {
        if (wait_for(fd, POLLIN, Clock::time_point::max()) == Waited::kInterrupted) return interrupted_trouble();
        const auto got = read(fd, room, sizeof room);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) {
            return trouble(exit_status::kFailed, Code::kFailed,
                           "cannot read the secret: " + std::string(std::strerror(errno)));
        }
        value.append(room, static_cast<std::size_t>(got));
        if (got == 0 || (one_line && value.ends_with('\n'))) break;
    }
    if (value.ends_with('\n')) value.pop_back();
    return value;
}

Outcome<std::string> value_from(const std::string& file) {
    if (file.empty() || file == "-") {
        catch_interrupts();
        const QuietTerminal quiet(STDIN_FILENO);
        if (quiet.is_one()) {
            constexpr std::string_view kPrompt = "secret: ";
            if (write(STDERR_FILENO, kPrompt.data(), kPrompt.size()) < 0) return interrupted_trouble();
        }
        return read_value(STDIN_FILENO, quiet.is_one());
    }
    const int fd = open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        const int error = errno;
        return trouble(error == ENOENT ? exit_status::kNotFound : exit_status::kFailed, Code::kFailed,
                       "cannot read the secret: " + std::string(std::strerror(error)), file);
    }
    auto value = read_value(fd, false);
    close(fd);
    return value;
}

}  // namespace

Outcome<int> secrets(const Session& session) {
    GANTRY_TRY(list, session.get("/v1/secrets"));
    Table table({"NAME"});
    for (const auto& secret : items_of(list))
        table.add({secret.is_string() ? written(secret) : text_of(secret, "name")});
    session.show(list, table, "no secrets yet: `gantry secret set NAME` makes one");
    return exit_status::kOk;
}

Outcome<int> secret_set(const Session& session, const std::string& name, const std::string& file) {
    GANTRY_TRY(value, value_from(file));
    if (value.empty() || value.size() > limits::kSecret || !valid_utf8(value)) {
        return trouble(exit_status::kUsage, Code::kInvalid,
                       "this is no secret: expected 1 to 4096 bytes of UTF-8 text, got " +
                           (value.size() > limits::kSecret ? "more"
                            : value.empty()                ? "nothing"
                                                           : std::string("other bytes")));
    }
    GANTRY_TRY(answer, session.change("PUT", "/v1/secrets/" + encode(name), json::object{{"value", value}}));
    if (session.json()) {
        session.show(answer);
    } else {
        session.say_line("secret " + name + " is set");
    }
    return exit_status::kOk;
}

Outcome<int> secret_remove(const Session& session, const std::string& name) {
    GANTRY_TRY(answer, session.change("DELETE", "/v1/secrets/" + encode(name)));
    if (session.json()) {
        session.show(answer);
    } else {
        session.say_line("secret " + name + " is removed");
    }
    return exit_status::kOk;
}

}  // namespace gantry::cli
