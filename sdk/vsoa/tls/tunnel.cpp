// Streams under TLS: the program has one end of a socket pair, a thread carries bytes between the other end and the
// peer.
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <set>
#include <thread>

#include "sdk/vsoa/tls/session.hpp"

namespace vsoa::tls {
namespace {

constexpr auto kLastWords = std::chrono::seconds(1);

bool would_block(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

/// Bytes on their way in one direction.
struct Load {
    unsigned char bytes[16 * 1024];  // as much as a record holds
    size_t head = 0, tail = 0;
    bool ended = false;   // nothing more comes
    bool passed = false;  // and the other side has been told

    bool empty() const { return head == tail; }
};

class Tunnel {
  public:
    Tunnel(int pair, int fd, Session* session) : pair_(pair), fd_(fd), session_(session) {}
    ~Tunnel() {
        session_.reset();
        ::close(fd_);
        ::close(pair_);
    }
    Tunnel(const Tunnel&) = delete;
    Tunnel& operator=(const Tunnel&) = delete;

    void run() {
        while (!(out_.passed && in_.passed) && step()) continue;
        session_->goodbye();
    }
    /// The process ends: nothing more will be written.
    void end_of_program() { shutdown(pair_, SHUT_RD); }
    /// All that was written has been handed to the kernel.
    bool sent() const { return sent_; }

  private:
    // False: the tunnel is of no use any more.
    bool step() {
        if (!take_from_program() || !give_to_peer() || !take_from_peer()) return false;
        give_to_program();
        if (out_.passed && in_.passed) return true;
        if (in_.empty() && !in_.ended && !dry_) return true;
        pollfd entries[] = {{pair_, 0, 0}, {fd_, 0, 0}};
        if (out_.empty() && !out_.ended) entries[0].events |= POLLIN;
        if (!in_.empty()) entries[0].events |= POLLOUT;
        if (in_.empty() && !in_.ended) entries[1].events |= POLLIN;
        if (!out_.empty()) entries[1].events |= POLLOUT;
        // Poll tells of a hang-up unasked. Of the program's it is wanted when nothing else would show it.
        if (entries[0].events == 0 && !out_.passed) entries[0].fd = -1;
        if (entries[1].events == 0) entries[1].fd = -1;
        if (poll(entries, 2, -1) < 0) return errno == EINTR;
        return !(out_.passed && (entries[0].revents & POLLHUP) != 0);
    }

    bool take_from_program() {
        if (!out_.empty() || out_.ended) return true;
        const ssize_t got = recv(pair_, out_.bytes, sizeof out_.bytes, MSG_DONTWAIT);
        if (got < 0) return would_block(errno);
        out_.head = 0;
        out_.tail = static_cast<size_t>(got);
        out_.ended = got == 0;
        return true;
    }

    bool give_to_peer() {
        while (!out_.empty()) {
            const ssize_t put = session_->write(out_.bytes + out_.head, out_.tail - out_.head);
            if (put < 0) return false;
            if (put == 0) return true;
            out_.head += static_cast<size_t>(put);
        }
        if (!out_.ended || out_.passed) return true;
        session_->goodbye();
        shutdown(fd_, SHUT_WR);
        out_.passed = true;
        tell_sent();
        // Closed, and not only ended in one direction: nobody will read what the peer sends.
        pollfd entry = {pair_, 0, 0};
        return poll(&entry, 1, 0) <= 0 || (entry.revents & POLLHUP) == 0;
    }

    bool take_from_peer() {
        if (!in_.empty() || in_.ended) return true;
        const ssize_t got = session_->read(in_.bytes, sizeof in_.bytes);
        dry_ = got < 0 && would_block(errno);
        if (got < 0) return dry_;
        in_.head = 0;
        in_.tail = static_cast<size_t>(got);
        in_.ended = got == 0;
        return true;
    }

    void give_to_program() {
        while (!in_.empty()) {
            const ssize_t put = send(pair_, in_.bytes + in_.head, in_.tail - in_.head, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (put < 0 && would_block(errno)) return;
            if (put < 0) {
                // It reads no more; what it has written is still to be sent.
                in_.head = in_.tail = 0;
                in_.ended = true;
                break;
            }
            in_.head += static_cast<size_t>(put);
        }
        if (!in_.ended || in_.passed) return;
        shutdown(pair_, SHUT_WR);
        in_.passed = true;
    }

    void tell_sent();

    const int pair_, fd_;
    std::unique_ptr<Session> session_;
    Load out_, in_;
    bool dry_ = false;  // the peer has sent nothing more so far
    std::atomic<bool> sent_{false};
};

/// Of all tunnels of the process. Never destroyed: threads use it to the end.
struct Tunnels {
    std::mutex lock;
    std::condition_variable changed;
    std::set<Tunnel*> living;
    std::atomic<pid_t> process{0};  // a child after fork has none of them
};

Tunnels& tunnels() {
    static auto* const all = new Tunnels;
    return *all;
}

void Tunnel::tell_sent() {
    const std::lock_guard guard(tunnels().lock);
    sent_ = true;
    tunnels().changed.notify_all();
}

void run(std::unique_ptr<Tunnel> tunnel) {
    tunnel->run();
    {
        const std::lock_guard guard(tunnels().lock);
        tunnels().living.erase(tunnel.get());
        tunnels().changed.notify_all();
    }
}

/// The thread takes no signals: those are the program's business. False: there is none to be had.
bool start(std::unique_ptr<Tunnel> tunnel) {
    Tunnel* const key = tunnel.get();
    {
        const std::lock_guard guard(tunnels().lock);
        tunnels().process = getpid();
        tunnels().living.insert(key);
    }
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool good = true;
    try {
        std::thread([moved = std::move(tunnel)]() mutable { run(std::move(moved)); }).detach();
    } catch (const std::exception&) {
        const std::lock_guard guard(tunnels().lock);
        tunnels().living.erase(key);
        good = false;
    }
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return good;
}

/// A program that writes and then returns from main, or calls exit, expects that to arrive, as it does of a socket.
[[gnu::destructor]] void finish() {
    Tunnels& all = tunnels();
    if (all.process != getpid()) return;
    std::unique_lock held(all.lock);
    for (Tunnel* const tunnel : all.living) tunnel->end_of_program();
    all.changed.wait_for(held, kLastWords, [&] {
        return std::all_of(all.living.begin(), all.living.end(), [](const Tunnel* tunnel) { return tunnel->sent(); });
    });
}

}  // namespace

int OpenSslContext::tunnel(int fd, Session* session) noexcept {
    int pair[2] = {-1, -1};
    std::unique_ptr<Session> owned(session);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        const int error = errno;
        owned.reset();
        ::close(fd);
        errno = error;
        return -1;
    }
    try {
        if (start(std::make_unique<Tunnel>(pair[1], fd, owned.release()))) return pair[0];
        ::close(pair[0]);
        errno = EAGAIN;
    } catch (const std::exception&) {
        ::close(pair[0]);
        ::close(pair[1]);
        ::close(fd);
        errno = ENOMEM;
    }
    return -1;
}

}  // namespace vsoa::tls
