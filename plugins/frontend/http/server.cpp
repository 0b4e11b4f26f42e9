// SPDX-License-Identifier: Apache-2.0
#include "plugins/frontend/http/server.hpp"

#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <future>
#include <thread>

#include "plugins/frontend/http/session.hpp"
#include "plugins/frontend/http/socket_file.hpp"

namespace gantry::http {

namespace {

using Acceptor = asio::local::stream_protocol::acceptor;

// The last handler of a coroutine: what it threw is not lost.
auto log_failure(Core& core) {
    return [&core](const std::exception_ptr& failure) {
        if (!failure) return;
        try {
            std::rethrow_exception(failure);
        } catch (const std::exception& error) {
            core.host.error(std::string("a connection ended: ") + error.what());
        }
    };
}

void turn_away(Socket socket) {
    const ControlResponse busy = error_answer(
        503, "unavailable", "there are " + std::to_string(kConnections) + " connections already; try again");
    const std::string text =
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: " +
        std::to_string(busy.body.size()) + "\r\n\r\n" + busy.body;
    // Goes into the socket's buffer or not at all: nobody waits for a client that is turned away.
    (void)::send(socket.native_handle(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

Task<> accept_all(Core& core, Acceptor& acceptor) {
    asio::steady_timer pause(core.io);
    while (!core.finishing) {
        auto [ec, socket] = co_await acceptor.async_accept(kTuple);
        // One that was accepted just before the door closed is served.
        if (ec == asio::error::operation_aborted || core.stopping) break;
        if (ec) {
            core.host.warn("cannot accept a connection: " + ec.message());
            pause.expires_after(std::chrono::milliseconds(200));
            co_await pause.async_wait(kTuple);
        } else if (core.sessions.size() >= kConnections) {
            turn_away(std::move(socket));
        } else {
            auto who = peer_of(socket.native_handle());
            auto session = std::make_shared<Session>(core, std::move(socket), std::move(who));
            asio::co_spawn(core.io, Session::run(std::move(session)), log_failure(core));
        }
    }
}

}  // namespace

struct Server::Thread {
    Thread(const std::shared_ptr<Core>& core)
        : file(core->settings, core->host), acceptor(core->io, asio::local::stream_protocol(), file.release()) {
        asio::co_spawn(core->io, accept_all(*core, acceptor), log_failure(*core));
        thread = std::thread([this, core] {
            core->io.run();
            ended.set_value();
        });
    }

    SocketFile file;
    Acceptor acceptor;
    std::promise<void> ended;
    std::thread thread;
};

Server::Server(const Settings& settings, Host& host) : core_(std::make_shared<Core>(settings, host)) {}

Server::~Server() { stop(); }

void Server::start() { thread_ = std::make_unique<Thread>(core_); }

void Server::stop(Duration limit) {
    if (!thread_) return;
    const auto ended = thread_->ended.get_future();
    asio::post(core_->io, [core = core_.get(), acceptor = &thread_->acceptor] {
        core->finishing = true;
        error_code ignored;
        acceptor->close(ignored);
        const auto sessions = core->sessions;  // one that ends leaves the set
        for (Session* session : sessions) session->finish();
    });
    if (limit > Duration::zero()) (void)ended.wait_for(limit);
    asio::post(core_->io, [core = core_.get()] {
        core->stopping = true;
        for (Session* session : core->sessions) session->close();
    });
    // Every coroutine ends now; a handler that does not must not hold the daemon.
    constexpr std::chrono::seconds kPatience{2};
    if (ended.wait_for(kPatience) != std::future_status::ready) core_->io.stop();
    thread_->thread.join();
    thread_.reset();
}

}  // namespace gantry::http
