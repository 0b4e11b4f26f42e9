// SPDX-License-Identifier: Apache-2.0
//
// A container's log, or what a command in it writes, on its way from the node where it runs to the person who reads it.
// The agent reads what the runtime writes and sends it on as the link takes it; the controller writes it to the
// reader's descriptor. Both ends are bounded: a reader of a log that falls kBufferMax behind is cut off with a line
// that says so; a command waits for its reader, and who types for it.
//
// Threads: the loop.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "kernel/control/outbox.hpp"
#include "kernel/core/messages.hpp"
#include "kernel/host/roles.hpp"

namespace gantry::control {

// Controller's end.
class LogWriters {
  public:
    static constexpr std::size_t kBufferMax = 4 << 20;

    explicit LogWriters(boost::asio::io_context& io) : io_(io) {}
    // Closes the readers' descriptors; what the loop still holds of a stream does nothing any more.
    ~LogWriters();
    // fn is told when a reader left, so that the agent can stop.
    void on_abandoned(std::function<void(std::uint64_t stream, host::PeerId peer)> fn) { abandoned_ = std::move(fn); }
    // fn is told how much of a command's output its reader has taken so far.
    void on_taken(std::function<void(std::uint64_t stream, host::PeerId peer, std::uint64_t bytes)> fn) {
        taken_ = std::move(fn);
    }
    // A command's output is written in frames (docs/api.md), a log as it is.
    std::uint64_t open(host::PeerId peer, int fd, bool command = false);
    std::size_t size() const { return writers_.size(); }
    // A frame of a command that has not ended.
    void say(std::uint64_t stream, char kind, const json::value& document);
    // Where the command of this stream runs; none: there is none.
    std::optional<host::PeerId> command(std::uint64_t stream) const;
    void data(host::PeerId peer, const core::LogData& data, std::string text);
    void peer_down(host::PeerId peer);

  private:
    struct Writer {
        Writer(boost::asio::io_context& io, host::PeerId from, int fd) : peer(from), out(io, fd) {}
        host::PeerId peer;
        boost::asio::posix::stream_descriptor out;
        std::string waiting, writing;
        bool ended = false, command = false;
        std::uint64_t came = 0, told = 0;  // bytes of a command's output; of these on_taken was told
    };
    void add(std::uint64_t stream, std::string text, bool end);
    void write(std::uint64_t stream);
    void abandon(std::uint64_t stream);
    std::shared_ptr<Writer> close(std::uint64_t stream);

    boost::asio::io_context& io_;
    std::function<void(std::uint64_t, host::PeerId)> abandoned_;
    std::function<void(std::uint64_t, host::PeerId, std::uint64_t)> taken_;
    std::map<std::uint64_t, std::shared_ptr<Writer>> writers_;
    std::uint64_t next_ = 1;
    const std::shared_ptr<const bool> alive_ =
        std::make_shared<const bool>(true);  // handlers look before they use this
};

// Agent's end.
class LogReaders {
  public:
    using SendData = std::function<void(host::PeerId, const core::LogData&, std::string_view text)>;

    LogReaders(boost::asio::io_context& io, Outbox& outbox, SendData send)
        : io_(io), outbox_(outbox), send_(std::move(send)) {}
    // Closes the pipes of the runtimes; nothing is sent any more.
    ~LogReaders();
    void open(host::PeerId peer, const core::LogOpen& request, host::Runtime& runtime, const std::string& container);
    // Runs a command; it is ended when its stream is closed.
    void exec(host::PeerId peer, const core::ExecOpen& request, host::Runtime& runtime, const std::string& container);
    void input(host::PeerId peer, const core::ExecInput& input, const std::string& bytes);
    void close(host::PeerId peer, std::uint64_t stream);
    void peer_down(host::PeerId peer);

  private:
    using Id = std::pair<host::PeerId, std::uint64_t>;
    struct Reader {
        Reader(boost::asio::io_context& io, int fd, host::Runtime& from)
            : in(io, fd), wait(io), runtime(&from), linger(io) {}
        boost::asio::posix::stream_descriptor in;
        boost::asio::steady_timer wait;
        host::Runtime* runtime;
        std::uint64_t operation = 0;
        std::string error;
        std::array<char, 32 << 10> buffer;
        // Of a command:
        boost::asio::steady_timer linger;
        bool command = false, terminal = false, writing = false, input_ends = false, reading = false;
        std::optional<Result<int>> ended;
        std::uint64_t sent = 0, read = 0;  // bytes that it wrote; that its reader has
        std::uint64_t taken = 0;           // bytes of input that it was given
        std::string input, going;
    };
    void read(Id id);
    void end(Id id);
    void write(Id id, const std::shared_ptr<Reader>& reader);
    void linger(Id id, const std::shared_ptr<Reader>& reader, std::uint64_t sent);
    void finish(Id id, const std::shared_ptr<Reader>& reader);

    boost::asio::io_context& io_;
    Outbox& outbox_;
    SendData send_;
    std::map<Id, std::shared_ptr<Reader>> readers_;
    const std::shared_ptr<const bool> alive_ = std::make_shared<const bool>(true);  // as above
};

}  // namespace gantry::control
