// A door for shells: a Unix socket that takes lines "METHOD PATH [BODY]" and answers each with "CODE BODY".
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <gantry/frontend.hpp>
#include <map>

namespace {

using gantry::Code;
using gantry::Failure;

constexpr std::size_t kClientsMax = 32;
constexpr std::size_t kLineMax = 256 << 10;  // bytes of a question
constexpr std::size_t kUnsentMax = 4 << 20;  // bytes of answers that a client may leave lying

class LineFrontend final : public gantry::Frontend {
  public:
    void init(const gantry::Config& config) override {
        path_ = config.string("socket");
        if (path_.empty()) path_ = config.state_dir() + "/door";
        if (path_.front() != '/' || path_.size() >= sizeof(sockaddr_un::sun_path)) {
            throw Failure(Code::kInvalid, "socket: expected an absolute path of at most 107 bytes, got " + path_);
        }
    }
    std::string address() const override { return "unix:" + path_; }

    void start() override {
        sockaddr_un name{};
        name.sun_family = AF_UNIX;
        std::memcpy(name.sun_path, path_.data(), path_.size());
        ::unlink(path_.c_str());  // of the gantryd before; two that run have different folders
        door_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        const bool open = door_ && ::bind(door_.get(), reinterpret_cast<const sockaddr*>(&name), sizeof name) == 0 &&
                          ::chmod(path_.c_str(), 0600) == 0 && ::listen(door_.get(), 16) == 0;
        if (!open) throw Failure(Code::kUnavailable, path_ + ": " + std::strerror(errno));
        watch_ = host().watch(door_.get(), gantry::kReadable, [this](std::uint32_t) { accept(); });
    }
    void stop(gantry::Instant) override {
        while (!clients_.empty()) hang_up(clients_.begin()->first);
        host().unwatch(watch_);
        if (door_) ::unlink(path_.c_str());
        door_.reset();
    }

  private:
    struct Client {
        gantry::Fd fd;
        gantry::Principal who;
        gantry::WatchId watch = 0;
        std::string in, out;
        bool asking = false;  // one question at a time: answers come in order
    };

    void accept() {
        gantry::Fd fd(::accept4(door_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        ucred peer{};
        socklen_t size = sizeof peer;
        const bool known = fd && ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
        if (!known || clients_.size() >= kClientsMax) return;  // closed with fd
        const std::uint64_t id = ++last_;
        Client& client = clients_[id];
        client.fd = std::move(fd);
        // Who asks is said with every request; the resource tree decides what that one may do.
        client.who = {"unix", std::to_string(peer.uid), peer.uid, peer.gid};
        client.watch = host().watch(client.fd.get(), gantry::kReadable, [this, id](std::uint32_t e) { ready(id, e); });
    }

    void ready(std::uint64_t id, std::uint32_t event) {
        const auto found = clients_.find(id);
        if (found == clients_.end()) return;
        Client& client = found->second;
        if (event == gantry::kWritable) return flush(id, client);
        char buffer[16 << 10];
        const ssize_t got = ::recv(client.fd.get(), buffer, sizeof buffer, 0);
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (got <= 0 || client.in.size() > kLineMax) return hang_up(id);
        client.in.append(buffer, static_cast<std::size_t>(got));
        ask(id, client);
    }

    void ask(std::uint64_t id, Client& client) {
        const std::size_t end = client.in.find('\n');
        if (client.asking || end == std::string::npos) return;
        const std::string line = client.in.substr(0, end);
        client.in.erase(0, end + 1);
        const std::size_t method = line.find(' ');
        const std::size_t path = method == std::string::npos ? method : line.find(' ', method + 1);
        gantry::ControlRequest request{client.who, line.substr(0, method), {}, {}};
        if (method != std::string::npos) request.path = line.substr(method + 1, path - method - 1);
        if (path != std::string::npos) request.body = line.substr(path + 1);
        client.asking = true;
        const gantry::Status taken =
            host().request(request, [this, id](gantry::ControlResponse response) { answer(id, response); });
        if (!taken) answer(id, {503, 0, "{\"error\": {\"message\": \"gantryd takes no more requests\"}}"});
    }

    void answer(std::uint64_t id, const gantry::ControlResponse& response) {
        const auto found = clients_.find(id);
        if (found == clients_.end()) return;  // it did not wait
        Client& client = found->second;
        client.asking = false;
        client.out += std::to_string(response.code) + " " + response.body + "\n";
        if (client.out.size() > kUnsentMax) return hang_up(id);
        flush(id, client);
        if (clients_.contains(id)) ask(id, client);
    }

    void flush(std::uint64_t id, Client& client) {
        const ssize_t sent = ::send(client.fd.get(), client.out.data(), client.out.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) return hang_up(id);
        if (sent > 0) client.out.erase(0, static_cast<std::size_t>(sent));
        host().change(client.watch, gantry::kReadable | (client.out.empty() ? 0 : gantry::kWritable));
    }

    void hang_up(std::uint64_t id) {
        host().unwatch(clients_[id].watch);
        clients_.erase(id);
    }

    std::string path_;
    gantry::Fd door_;
    gantry::WatchId watch_ = 0;
    std::uint64_t last_ = 0;
    std::map<std::uint64_t, Client> clients_;
};

}  // namespace

GANTRY_PLUGIN(LineFrontend)
