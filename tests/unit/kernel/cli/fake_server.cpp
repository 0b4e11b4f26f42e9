// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/kernel/cli/fake_server.hpp"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

namespace gantry::cli {

TempFolder::TempFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "gantry-cli-test.XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("mkdtemp failed");
    path = name;
}

TempFolder::~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
}

bool FakeConnection::send(std::string_view bytes) {
    while (!bytes.empty()) {
        const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (sent <= 0) return false;
        bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
}

void FakeConnection::answer(int code, std::string_view body) {
    send("HTTP/1.1 " + std::to_string(code) + " X\r\nContent-Type: application/json\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + std::string(body));
}

std::string FakeConnection::receive() {
    char room[65536];
    const auto got = recv(fd_, room, sizeof room, 0);
    return got <= 0 ? std::string() : std::string(room, static_cast<std::size_t>(got));
}

FakeServer::FakeServer(Handler handler) : handler_(std::move(handler)) {
    socket_ = (folder_.path / "api.sock").string();
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_.c_str(), socket_.size() + 1);
    if (bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || listen(listener_, 16) != 0) {
        throw std::runtime_error("cannot listen");
    }
    acceptor_ = std::thread([this] {
        while (true) {
            const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
            if (fd < 0) return;
            const std::lock_guard lock(mutex_);
            open_.push_back(fd);
            threads_.emplace_back([this, fd] { serve(fd); });
        }
    });
}

FakeServer::~FakeServer() {
    stopping_ = true;
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    close(listener_);
    {
        const std::lock_guard lock(mutex_);
        for (const int fd : open_) shutdown(fd, SHUT_RDWR);
    }
    for (auto& thread : threads_) thread.join();
}

void FakeServer::serve(int fd) {
    FakeConnection connection(fd);
    std::string bytes;
    const auto ended = [&] {
        const std::lock_guard lock(mutex_);
        open_.remove(fd);
        close(fd);
    };
    while (bytes.find("\r\n\r\n") == std::string::npos) {
        const auto more = connection.receive();
        if (more.empty()) return ended();
        bytes += more;
    }
    FakeRequest request;
    request.method = bytes.substr(0, bytes.find(' '));
    const auto target = bytes.find(' ') + 1;
    request.target = bytes.substr(target, bytes.find(' ', target) - target);
    if (head_handler_) {
        head_handler_(request, connection);
        return ended();
    }
    const auto body = bytes.find("\r\n\r\n") + 4;
    std::size_t length = 0;
    if (const auto at = bytes.find("Content-Length: "); at < body) length = std::stoul(bytes.substr(at + 16));
    while (bytes.size() < body + length) {
        const auto more = connection.receive();
        if (more.empty()) return ended();
        bytes += more;
    }
    request.body = bytes.substr(body);
    {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
    }
    handler_(request, connection);
    ended();
}

std::vector<FakeRequest> FakeServer::requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
}

int FakeServer::count(std::string_view text) const {
    const auto all = requests();
    return static_cast<int>(
        std::count_if(all.begin(), all.end(), [&](const FakeRequest& request) { return request.text() == text; }));
}

}  // namespace gantry::cli
