// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/docker/loader.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <gantry/status.hpp>

#include "plugins/runtime/image-store/archive.hpp"

namespace docker {
namespace {

using gantry::Code;
using gantry::Failure;

constexpr std::size_t kAnswerMax = 1 << 20;

gantry::Fd connect_to(const std::string& path, gantry::Duration timeout) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        throw Failure(Code::kInvalid, "socket " + path + ": the path is too long");
    std::copy(path.begin(), path.end(), address.sun_path);
    gantry::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(timeout);
    const timeval limit{seconds.count(),
                        std::chrono::duration_cast<std::chrono::microseconds>(timeout - seconds).count()};
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        throw Failure(Code::kUnavailable, "the engine at " + path + " is not there: " + std::strerror(errno) +
                                              "; start it (systemctl start docker), or correct 'socket'");
    }
    return fd;
}

[[noreturn]] void broken(const std::string& path) {
    const bool late = errno == EAGAIN || errno == EWOULDBLOCK;
    throw Failure(late ? Code::kDeadline : Code::kUnavailable,
                  "the engine at " + path +
                      (late ? " takes no more of the image in time" : " broke off while it loaded an image") + ": " +
                      std::strerror(errno));
}

// The last line of the answer that says something, without its JSON.
std::string words(std::string answer) {
    const std::size_t body = answer.find("\r\n\r\n");
    if (body != std::string::npos) answer.erase(0, body + 4);
    for (char& c : answer) {
        if (static_cast<unsigned char>(c) < 0x20) c = ' ';
    }
    return answer.size() > 400 ? answer.substr(answer.size() - 400) : answer;
}

}  // namespace

void Loader::load(gantry::Operation<> op, gantry::ImageSource source, std::string reference, std::string prefix) {
    std::lock_guard lock(mutex_);
    if (stopping_) return op.fail(Code::kCancelled, "the plugin is stopped");
    if (source.urgent) {
        for (Job& job : jobs_) job.source.urgent = job.source.urgent || job.source.image == source.image;
        std::ranges::stable_partition(jobs_, [](const Job& job) { return job.source.urgent; });
    }
    const auto place =
        source.urgent ? std::ranges::find_if(jobs_, [](const Job& job) { return !job.source.urgent; }) : jobs_.end();
    jobs_.insert(place, Job{std::move(op), std::move(source), std::move(reference), std::move(prefix)});
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
    changed_.notify_all();
}

void Loader::stop() {
    {
        std::lock_guard lock(mutex_);
        stopping_ = true;
        for (Job& job : jobs_) job.op.fail(Code::kCancelled, "the plugin is stopped");
        jobs_.clear();
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void Loader::run() {
    for (std::unique_lock lock(mutex_);;) {
        changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
        if (stopping_) return;
        Job job = std::move(jobs_.front());
        jobs_.pop_front();
        lock.unlock();
        work(job);
        lock.lock();
    }
}

void Loader::work(Job& job) {
    const auto cancelled = [this, &job] {
        std::lock_guard lock(mutex_);
        return stopping_ || job.op.cancelled();
    };
    job.op.answer([&] { send(job, cancelled); });
}

void Loader::send(Job& job, const std::function<bool()>& cancelled) {
    // The same answer for the image itself and for its name.
    const auto ask = [&](const std::string& method, const std::string& target, std::uint64_t bytes,
                         const std::function<void(const std::function<void(std::string_view)>&)>& body) {
        const gantry::Fd fd = connect_to(socket_, timeout_);
        const auto out = [&](std::string_view part) {
            while (!part.empty()) {
                if (cancelled()) throw Failure(Code::kCancelled, "nobody waits for the image any more");
                const ssize_t n = ::send(fd.get(), part.data(), part.size(), MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR) continue;
                if (n < 0) broken(socket_);
                part.remove_prefix(static_cast<std::size_t>(n));
            }
        };
        out(method + " " + job.prefix + target + " HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n" +
            "Content-Type: application/x-tar\r\nContent-Length: " + std::to_string(bytes) + "\r\n\r\n");
        if (body) body(out);
        std::string answer;
        char chunk[4096];
        for (ssize_t n = 0; (n = ::recv(fd.get(), chunk, sizeof chunk, 0)) != 0;) {
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) broken(socket_);
            if (answer.size() < kAnswerMax) answer.append(chunk, static_cast<std::size_t>(n));
        }
        return answer;
    };
    const auto is_ok = [](const std::string& answer) { return answer.starts_with("HTTP/1.1 200"); };
    const std::string look = "/images/" + job.reference + "/json";
    if (is_ok(ask("GET", look, 0, {}))) return;
    const image_store::Archive archive(job.source.layout_dir, job.source.image, job.reference, {}, cancelled);
    const std::string answer =
        ask("POST", "/images/load?quiet=1", archive.size(), [&](const auto& out) { archive.write(out); });
    const std::string found = ask("GET", look, 0, {});
    // The engine computes the digest of every layer's tar and of the configuration anew; its id of the image is that
    // of the configuration.
    if (is_ok(answer) && is_ok(found) && found.find(archive.id().substr(7)) != std::string::npos) return;
    const std::string said = words(answer);
    const bool full = said.find("no space left") != std::string::npos;
    throw Failure(full ? Code::kFull : Code::kInvalid,
                  "image " + job.source.image + ": the engine does not take it: " + said);
}

}  // namespace docker
