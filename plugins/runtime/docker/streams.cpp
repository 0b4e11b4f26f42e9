// SPDX-License-Identifier: Apache-2.0
//
// Logs and exec: bytes between the engine and a descriptor of the host's.
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <csignal>

#include "plugins/runtime/docker/serve.hpp"

namespace docker {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace std::chrono_literals;
using boost::system::error_code;
using gantry::Code;
using gantry::Duration;
using gantry::Failure;
using gantry::Operation;

constexpr Duration kLook = 200ms;                // whether anybody still waits
constexpr std::int64_t kSecond = 1'000'000'000;  // ns

// The host's end. Shared by the coroutines that read and write it.
struct Outside {
    Outside(asio::io_context& io, gantry::Fd fd) : stream(io, fd.release()) {}
    // False: nobody reads any more.
    Task<bool> write(std::string bytes) {
        error_code error;
        co_await asio::async_write(stream, asio::buffer(bytes), asio::redirect_error(asio::use_awaitable, error));
        co_return !error;
    }
    void close() {
        error_code ignored;
        stream.close(ignored);
    }
    asio::posix::stream_descriptor stream;
};

// Outside of the coroutines: g++ 12 cannot keep a list of initializers in a frame.
// The terminal that counts is the one in the container.
void be_transparent(int fd) {
    termios mode{};
    if (::tcgetattr(fd, &mode) != 0) return;
    ::cfmakeraw(&mode);
    (void)::tcsetattr(fd, TCSANOW, &mode);
}

std::string exec_body(const gantry::ExecRequest& request) {
    return json::serialize(json::object{{"AttachStdin", true},
                                        {"AttachStdout", true},
                                        {"AttachStderr", true},
                                        {"Tty", request.terminal},
                                        {"Cmd", json::array(request.args.begin(), request.args.end())}});
}

std::string start_body(const gantry::ExecRequest& request) {
    return json::serialize(json::object{{"Detach", false}, {"Tty", request.terminal}});
}

}  // namespace

void DockerRuntime::logs(Operation<> op, gantry::LogRequest request) {
    const auto shared = std::make_shared<Operation<>>(std::move(op));
    const auto kept = std::make_shared<gantry::LogRequest>(std::move(request));
    asio::co_spawn(
        io_,
        [this, shared, kept]() -> Task<void> {
            std::exception_ptr failed;
            try {
                const Time time(host(), host().now() + timeout_, timeout_);
                co_await write_logs(shared, kept, time);
                shared->done();
            } catch (...) {
                failed = std::current_exception();
            }
            if (failed) shared->answer([&] { std::rethrow_exception(failed); });
        },
        asio::detached);
}

Task<void> DockerRuntime::write_logs(std::shared_ptr<Operation<>> op, std::shared_ptr<gantry::LogRequest> asked,
                                     Time time) {
    gantry::LogRequest& request = *asked;
    const Inspected found = co_await must_find(request.name, time);
    const std::string tail = request.tail_lines < 0 ? "all" : std::to_string(request.tail_lines);
    std::string target = "/containers/" + request.name + "/logs?stdout=1&stderr=1&tail=" + tail +
                         (request.follow ? "&follow=1" : "&follow=0");
    if (request.since_ns > 0) {
        const std::string fraction = std::to_string(request.since_ns % kSecond + kSecond).substr(1);
        target += "&since=" + std::to_string(request.since_ns / kSecond) + "." + fraction;
    }
    std::shared_ptr<Connection> connection = co_await engine_->open("GET", target, "", time.request());
    const auto out = std::make_shared<Outside>(io_, std::move(request.fd));
    // Ends what waits when nobody does any more.
    const auto over = std::make_shared<bool>(false);
    asio::co_spawn(
        io_,
        [this, op, out, connection, over]() -> Task<void> {
            while (!*over && !op->cancelled()) {
                asio::steady_timer timer(io_, kLook);
                co_await timer.async_wait(asio::use_awaitable);
            }
            if (*over) co_return;
            *over = true;
            connection->close();
            out->close();
        },
        asio::detached);
    Frames frames;
    bool reads = true;
    try {
        while (reads) {
            std::string piece = co_await connection->piece();
            if (piece.empty()) break;
            if (!found.terminal) piece = frames.add(piece);
            reads = co_await out->write(std::move(piece));
        }
    } catch (const Failure&) {
        if (!*over) {
            *over = true;
            throw;
        }
    }
    // The engine's stream ends with the container; the host's when it is removed, or nobody reads.
    while (request.follow && reads && !*over) {
        error_code error;
        asio::steady_timer timer(io_, kLook);
        co_await timer.async_wait(asio::use_awaitable);
        const Time now(host(), host().now() + timeout_, timeout_);
        const auto still = co_await find(request.name, now);
        if (!still) break;
        pollfd hang{out->stream.is_open() ? out->stream.native_handle() : -1, 0, 0};
        reads = ::poll(&hang, 1, 0) == 0;
    }
    *over = true;
    out->close();
}

void DockerRuntime::exec(Operation<gantry::ExecResult> op, gantry::ExecRequest request) {
    const auto shared = std::make_shared<Operation<gantry::ExecResult>>(std::move(op));
    const auto kept = std::make_shared<gantry::ExecRequest>(std::move(request));
    asio::co_spawn(
        io_,
        [this, shared, kept]() -> Task<void> {
            std::exception_ptr failed;
            try {
                const Time time(host(), host().now() + timeout_, timeout_);
                gantry::ExecResult result;
                result.exit_code = co_await execute(shared, kept, time);
                shared->done(result);
            } catch (...) {
                failed = std::current_exception();
            }
            if (failed) shared->answer([&]() -> gantry::ExecResult { std::rethrow_exception(failed); });
        },
        asio::detached);
}

Task<int> DockerRuntime::execute(std::shared_ptr<Operation<gantry::ExecResult>> op,
                                 std::shared_ptr<gantry::ExecRequest> asked, Time time) {
    gantry::ExecRequest& request = *asked;
    const Inspected found = co_await must_find(request.name, time);
    if (found.container.state != gantry::ContainerState::kRunning)
        throw Failure(Code::kConflict, "container \"" + request.name + "\" does not run");
    if (request.args.empty()) throw Failure(Code::kInvalid, "exec: no program is named");
    const Answer made =
        co_await engine_->ask("POST", "/containers/" + request.name + "/exec", exec_body(request), time.request());
    const json::value said = made.expect("exec").json("exec");
    const json::value* id = said.is_object() ? said.as_object().if_contains("Id") : nullptr;
    if (id == nullptr || !id->is_string()) throw Failure(Code::kFailed, "exec: the engine names no Id");
    const std::string exec = "/exec/" + std::string(id->as_string());
    std::shared_ptr<Connection> connection =
        co_await engine_->open("POST", exec + "/start", start_body(request), time.request(), true);
    const auto outside = std::make_shared<Outside>(io_, std::move(request.fd));
    const auto over = std::make_shared<bool>(false), gone = std::make_shared<bool>(false);
    if (request.terminal) be_transparent(outside->stream.native_handle());
    asio::co_spawn(  // what is typed
        io_,
        [outside, connection, over]() -> Task<void> {
            std::string bytes(16 << 10, '\0');
            while (!*over) {
                error_code error;
                const std::size_t got = co_await outside->stream.async_read_some(
                    asio::buffer(bytes), asio::redirect_error(asio::use_awaitable, error));
                if (*over) co_return;
                if (error || got == 0) co_return connection->send_end();
                try {
                    std::string part(bytes, 0, got);
                    co_await connection->send(std::move(part));
                } catch (const Failure&) {
                    co_return;
                }
            }
        },
        asio::detached);
    asio::co_spawn(  // whether anybody still waits
        io_,
        [this, op, outside, connection, over, gone, exec, follows = request.terminal]() -> Task<void> {
            winsize shown{};
            while (!*over) {
                winsize size{};
                const bool known = follows && outside->stream.is_open() &&
                                   ::ioctl(outside->stream.native_handle(), TIOCGWINSZ, &size) == 0;
                if (known && (size.ws_row != shown.ws_row || size.ws_col != shown.ws_col)) {
                    shown = size;
                    const Time now(host(), host().now() + timeout_, timeout_);
                    const std::string wanted =
                        "/resize?h=" + std::to_string(size.ws_row) + "&w=" + std::to_string(size.ws_col);
                    try {
                        // A size that it does not take is no reason to end what runs.
                        const Answer answer = co_await engine_->ask("POST", exec + wanted, "", now.request());
                        (void)answer;
                    } catch (const Failure& failure) {
                        host().debug("exec: the terminal keeps its size: " + std::string(failure.what()));
                    }
                    if (*over) co_return;
                }
                pollfd hang{outside->stream.is_open() ? outside->stream.native_handle() : -1, 0, 0};
                if (op->cancelled() || (::poll(&hang, 1, 0) > 0 && (hang.revents & (POLLHUP | POLLERR)) != 0)) {
                    *gone = true;
                    co_return connection->close();
                }
                asio::steady_timer timer(io_, kLook);
                co_await timer.async_wait(asio::use_awaitable);
            }
        },
        asio::detached);
    Frames frames;
    try {
        while (!*gone) {
            std::string piece = co_await connection->receive();
            if (piece.empty()) break;
            if (!request.terminal) piece = frames.add(piece);
            const bool read = co_await outside->write(std::move(piece));
            if (!read) *gone = true;
        }
    } catch (const Failure&) {
        if (!*gone) {
            *over = true;
            outside->close();
            throw;
        }
    }
    *over = true;
    outside->close();
    for (bool killed = false;;) {
        const Time now(host(), host().now() + timeout_, timeout_);
        const Answer answer = co_await engine_->ask("GET", exec + "/json", "", now.request());
        const json::value state = answer.expect("exec").json("exec");
        const auto member = [&](const char* key) {
            return state.is_object() ? state.as_object().if_contains(key) : nullptr;
        };
        const json::value *running = member("Running"), *code = member("ExitCode"), *pid = member("Pid");
        if (running == nullptr || !running->is_bool() || !running->as_bool()) {
            json::error_code error;
            const int status = code != nullptr ? code->to_number<int>(error) : -1;
            if (status == 126 || status == 127) {
                throw Failure(Code::kNotFound, "exec: " + request.args[0] + " cannot be run in container \"" +
                                                   request.name + "\" (status " + std::to_string(status) + ")");
            }
            co_return error ? -1 : status;
        }
        // The API cannot end it; its process can be.
        json::error_code error;
        const std::int64_t number = pid != nullptr ? pid->to_number<std::int64_t>(error) : 0;
        if (*gone && !std::exchange(killed, true) && number > 1) ::kill(static_cast<pid_t>(number), SIGKILL);
        asio::steady_timer timer(io_, 20ms);
        co_await timer.async_wait(asio::use_awaitable);
    }
}

}  // namespace docker
