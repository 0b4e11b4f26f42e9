#include "sdk/vsoa/tools/serve.hpp"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {

Endpoint listen_on(vsoa_server_t* server, const std::string& address, const Settings& settings, Tls& tls) {
    auto at = parse_address(address.starts_with(':') ? "0.0.0.0" + address : address, 0, true);
    if (!at || address.find(':') == address.npos) {
        throw Failure(exit_status::kUsage, "--listen: expected IP:PORT or :PORT, got `" + clean(address) + '`');
    }
    if (!vsoa_server_passwd(server, settings.password.c_str())) {
        throw Failure(exit_status::kUsage, std::string("the password cannot be used: ") + std::strerror(errno));
    }
    tls.use(server, settings.tls);
    if (!vsoa_server_start(server, at->raw(), at->length)) {
        const int error = errno;
        throw Failure(error == EACCES || error == EPERM ? exit_status::kNoPermission : exit_status::kFailed,
                      "cannot listen on " + at->text() + ": " + std::strerror(error) +
                          (error == EADDRINUSE ? "; choose another port with --listen" : ""));
    }
    at->length = sizeof at->storage;
    vsoa_server_address(server, at->raw(), &at->length);
    return *at;
}

void say_listening(const Settings& settings, const std::string& name, const Endpoint& address) {
    if (settings.json) {
        JsonLine line;
        say(line.text("listening", address.text()).text("name", name).done());
    } else {
        note(clean(name) + " listens on " + address.text());
    }
}

void InputLines::read() {
    char chunk[16 * 1024];
    const ssize_t got = ::read(STDIN_FILENO, chunk, sizeof chunk);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got < 0)
        throw Failure(exit_status::kFailed, std::string("cannot read standard input: ") + std::strerror(errno));
    ended_ = got == 0;
    waiting_.append(chunk, static_cast<size_t>(got));
    if (waiting_.size() > VSOA_MAX_DATA_LENGTH + sizeof chunk && waiting_.find('\n') == waiting_.npos) {
        throw Failure(exit_status::kBadData, "standard input has a line that fits no packet");
    }
}

std::optional<std::string> InputLines::next() {
    while (!waiting_.empty()) {
        const size_t end = waiting_.find('\n');
        if (end == waiting_.npos && !ended_) return std::nullopt;
        std::string line = waiting_.substr(0, end);
        waiting_.erase(0, end == waiting_.npos ? end : end + 1);
        if (!line.empty() && line.back() == '\r') line.pop_back();
        if (!line.empty()) return line;
    }
    return std::nullopt;
}

}  // namespace vsoa::tools
