// Asking position servers.
#include <poll.h>
#include <strings.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "sdk/vsoa/src/position.hpp"

namespace vsoa::position {
namespace {

constexpr int64_t kNextServer_ns = 200 * kNanosPerMs;  // silence after which the next server is asked as well
constexpr int64_t kAskAgain_ns = 500 * kNanosPerMs;    // a datagram may be lost
constexpr int kBatch = 64;                             // datagrams of one server between two looks at the clock

class LookUp {
  public:
    LookUp(const std::vector<Address>& servers, const Query& query, int64_t deadline, int stop_fd)
        : servers_(servers), query_(query), text_(write_query(query)), deadline_(deadline), stop_fd_(stop_fd) {}

    std::optional<Answer> run();

  private:
    enum class State { kAsking, kUnknown, kFailed };
    struct Asked {
        Fd fd;
        State state = State::kAsking;
        int64_t again_at = 0;
    };

    bool waiting() const;
    void ask_next(int64_t now);
    void send(Asked& asked, int64_t now);
    bool wait(int64_t now);
    std::optional<Answer> receive(Asked& asked);
    std::optional<Answer> give_up();

    const std::vector<Address>& servers_;
    const Query& query_;
    const std::string text_;
    const int64_t deadline_;
    const int stop_fd_;
    std::vector<Asked> asked_;
    int64_t next_at_ = 0;
};

bool LookUp::waiting() const {
    return std::any_of(asked_.begin(), asked_.end(), [](const Asked& a) { return a.state == State::kAsking; });
}

void LookUp::send(Asked& asked, int64_t now) {
    asked.again_at = now + kAskAgain_ns;
    if (::send(asked.fd.get(), text_.data(), text_.size(), MSG_NOSIGNAL) < 0 && errno != EAGAIN && errno != EINTR) {
        asked.state = State::kFailed;
    }
}

void LookUp::ask_next(int64_t now) {
    const Address& server = servers_[asked_.size()];
    Asked asked;
    asked.fd = open_socket(server.family(), SOCK_DGRAM);
    if (!asked.fd || connect(asked.fd.get(), server.raw(), server.length) != 0) {
        asked.state = State::kFailed;
    } else {
        send(asked, now);
    }
    asked_.push_back(std::move(asked));
    next_at_ = now + kNextServer_ns;
}

/// False: it shall end.
bool LookUp::wait(int64_t now) {
    std::array<pollfd, kMaxServers + 1> entries;
    entries[0] = {stop_fd_, POLLIN, 0};  // poll passes over what is negative
    nfds_t count = 1;
    int64_t until = deadline_;
    if (asked_.size() < servers_.size()) until = std::min(until, next_at_);
    for (const Asked& asked : asked_) {
        if (asked.state != State::kAsking) continue;
        until = std::min(until, asked.again_at);
        entries[count++] = {asked.fd.get(), POLLIN, 0};
    }
    return poll(entries.data(), count, poll_timeout_ms(until, now)) <= 0 || entries[0].revents == 0;
}

std::optional<Answer> LookUp::receive(Asked& asked) {
    char text[4096];
    for (int i = 0; i < kBatch; ++i) {
        const ssize_t got = recv(asked.fd.get(), text, sizeof text, 0);
        if (got < 0) {
            if (errno != EAGAIN && errno != EINTR) asked.state = State::kFailed;
            return std::nullopt;
        }
        auto answer = read_answer({text, static_cast<size_t>(got)});
        // What is no answer, or answers another question, is as good as lost.
        if (!answer || (!answer->name.empty() && strcasecmp(answer->name.c_str(), query_.name.c_str()) != 0)) continue;
        if (answer->address && (query_.domain == -1 || query_.domain == answer->address->family())) return answer;
        asked.state = State::kUnknown;
        return std::nullopt;
    }
    return std::nullopt;
}

std::optional<Answer> LookUp::give_up() {
    const bool unknown =
        std::any_of(asked_.begin(), asked_.end(), [](const Asked& a) { return a.state == State::kUnknown; });
    errno = unknown ? ENOENT : waiting() ? ETIMEDOUT : ECONNREFUSED;
    return std::nullopt;
}

std::optional<Answer> LookUp::run() {
    for (;;) {
        const int64_t now = now_ns();
        if (now >= deadline_) return give_up();
        const bool more = asked_.size() < servers_.size();
        if (more && (now >= next_at_ || !waiting())) {
            ask_next(now);
            continue;
        }
        if (!waiting()) return give_up();
        for (Asked& asked : asked_) {
            if (asked.state == State::kAsking && now >= asked.again_at) send(asked, now);
        }
        if (!wait(now)) {
            errno = ECANCELED;
            return std::nullopt;
        }
        for (Asked& asked : asked_) {
            if (asked.state != State::kAsking) continue;
            if (auto answer = receive(asked)) return answer;
        }
    }
}

}  // namespace

std::optional<Answer> look_up(const std::vector<Address>& servers, const Query& query, int64_t timeout_ns,
                              int stop_fd) {
    if (query.name.empty() || query.name.size() > VSOA_POSITION_MAX_NAME_LEN || servers.size() > kMaxServers) {
        errno = EINVAL;
        return std::nullopt;
    }
    if (servers.empty()) {
        errno = EDESTADDRREQ;
        return std::nullopt;
    }
    return LookUp(servers, query, now_ns() + timeout_ns, stop_fd).run();
}

}  // namespace vsoa::position
