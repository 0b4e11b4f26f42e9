#include "sdk/vsoa/tools/link.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/select.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {
namespace {

constexpr size_t kMaxInfo = 64 * 1024;

std::atomic<bool> was_interrupted{false};
int interrupt_pipe[2] = {-1, -1};

// May run in any thread of the library; the pipe ends the select of the one that waits.
void on_signal(int) {
    const int kept = errno;
    was_interrupted = true;
    [[maybe_unused]] const ssize_t written = write(interrupt_pipe[1], "", 1);
    errno = kept;
}

[[noreturn]] void fail_connecting(const Link& link, int error, const std::string& reason) {
    const std::string what = "cannot connect to " + link.name() + ": ";
    if (!reason.empty()) {
        const bool refused = error == EKEYREJECTED || error == EKEYEXPIRED || error == ENOKEY;
        throw Failure(refused ? exit_status::kNoPermission : exit_status::kUnreachable, what + clean(reason));
    }
    switch (error) {
        case EACCES:
            throw Failure(exit_status::kNoPermission,
                          what + "wrong password; give it with --password-file, VSOA_PASSWORD or --password");
        case EPROTO:
            throw Failure(exit_status::kUnreachable, what + "what answers there does not speak VSOA, or wants TLS");
        case ECONNREFUSED:
            throw Failure(exit_status::kUnreachable, what + "connection refused; is the server running?");
        case ETIMEDOUT:
            throw Failure(exit_status::kUnreachable, what + "no answer within --timeout");
        default:
            throw Failure(exit_status::kUnreachable, what + std::strerror(error));
    }
}

}  // namespace

void catch_interrupts() {
    if (interrupt_pipe[0] >= 0) return;
    if (pipe2(interrupt_pipe, O_CLOEXEC | O_NONBLOCK) != 0) {
        throw Failure(exit_status::kFailed, std::string("cannot make a pipe: ") + std::strerror(errno));
    }
    struct sigaction action {};
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);
}

bool interrupted() { return was_interrupted; }
int interrupt_fd() { return interrupt_pipe[0]; }

bool select_until(int highest, fd_set& set, int64_t deadline) {
    if (interrupt_fd() >= 0) {
        FD_SET(interrupt_fd(), &set);
        highest = std::max(highest, interrupt_fd());
    }
    const timespec left = timespec_of(std::max<int64_t>(0, deadline - monotonic_ns()));
    const int ready = pselect(highest + 1, &set, nullptr, nullptr, deadline == INT64_MAX ? nullptr : &left, nullptr);
    if (ready < 0 && errno != EINTR) {
        throw Failure(exit_status::kFailed, std::string("cannot wait for input: ") + std::strerror(errno));
    }
    return ready > 0 && !interrupted();
}

Link::Link(Target target, const Settings& settings, Message on_message)
    : target_(std::move(target)),
      settings_(settings),
      on_message_(std::move(on_message)),
      client_(vsoa_client_create(
          [](void* arg, vsoa_client_t*, vsoa_url_t* url, vsoa_payload_t* payload, bool quick) {
              const auto& to = static_cast<Link*>(arg)->on_message_;
              if (to) to("publish", view(*url), *payload, quick);
          },
          this)) {
    if (!client_) throw Failure(exit_status::kFailed, std::string("cannot make a client: ") + std::strerror(errno));
    vsoa_client_on_datagram(
        client_.get(),
        [](void* arg, vsoa_client_t*, vsoa_url_t* url, vsoa_payload_t* payload, bool quick) {
            const auto& to = static_cast<Link*>(arg)->on_message_;
            if (to) to("datagram", view(*url), *payload, quick);
        },
        this);
    tls_.use(client_.get(), settings.tls, target_.kind == Target::Kind::kAddress ? "" : target_.host);
}

std::string Link::name() const {
    return address_.empty() || target_.server == address_ ? clean(target_.server)
                                                          : clean(target_.server) + " (" + address_ + ')';
}

void Link::connect() {
    const int64_t deadline = monotonic_ns() + settings_.timeout_ns;
    const Endpoint endpoint = resolve(target_, settings_.timeout_ns);
    address_ = endpoint.text();
    if (endpoint.secure && !settings_.tls.wanted()) {
        throw Failure(exit_status::kFailed, "cannot connect to " + name() +
                                                ": the position server says that it wants TLS; give --tls, or --tls-ca "
                                                "with the file of its authority");
    }
    const timespec left = timespec_of(std::max<int64_t>(1'000'000, deadline - monotonic_ns()));
    info_.assign(kMaxInfo, '\0');
    if (!vsoa_client_connect(client_.get(), endpoint.raw(), endpoint.length, &left, settings_.password.c_str(),
                             info_.data(), info_.size())) {
        const int error = errno;
        info_.clear();
        fail_connecting(*this, error, tls_.take_reason());
    }
    info_.resize(std::strlen(info_.c_str()));
}

Ended run_until(std::span<const std::unique_ptr<Link>> links, int64_t deadline, const std::function<bool()>& done,
                Link** lost) {
    while (!done()) {
        if (interrupted()) return Ended::kInterrupted;
        fd_set set;
        FD_ZERO(&set);
        int highest = -1;
        for (const auto& link : links) highest = std::max(highest, vsoa_client_fds(link->client(), &set));
        if (!select_until(highest, set, deadline)) {
            if (interrupted()) return Ended::kInterrupted;
            if (monotonic_ns() >= deadline) return Ended::kTime;
            continue;
        }
        for (const auto& link : links) {
            if (vsoa_client_input_fds(link->client(), &set)) continue;
            if (done()) return Ended::kDone;
            if (lost != nullptr) *lost = link.get();
            return Ended::kLost;
        }
    }
    return Ended::kDone;
}

void fail_waiting(Ended ended, const Link& link, const std::string& what) {
    switch (ended) {
        case Ended::kLost:
            throw Failure(exit_status::kUnreachable, what + ": " + link.name() + " closed the connection");
        case Ended::kInterrupted:
            throw Failure(exit_status::kInterrupted, what + ": interrupted");
        default:
            throw Failure(exit_status::kTimedOut, what + ": no answer from " + link.name() + " within --timeout");
    }
}

}  // namespace vsoa::tools
