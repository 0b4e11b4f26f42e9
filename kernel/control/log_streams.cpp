// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/log_streams.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>

#include "kernel/base/limits.hpp"
#include "kernel/control/files.hpp"

namespace gantry::control {
namespace {

constexpr std::size_t kLinkBusy = 256 << 10;  // bytes that may wait on the link before reading pauses
constexpr Duration kLinkPause = milliseconds(20);
constexpr std::uint64_t kOutputAhead = 1 << 20;    // bytes that a command may have written and nobody read
constexpr std::uint64_t kTold = kOutputAhead / 8;  // bytes read that are worth a message
constexpr std::size_t kInputMost = 1 << 20;        // bytes of input that wait for a command
constexpr Duration kCommandMost = std::chrono::hours(24);
constexpr Duration kLinger = std::chrono::seconds(1);  // for what holds a command's output open after its end

// A letter, the length (four bytes, big endian), the bytes.
std::string framed(char kind, std::string_view bytes) {
    std::string out{kind};
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(bytes.size() >> shift);
    return out.append(bytes);
}

std::string failed(Code code, const std::string& text) {
    return framed('e', to_text(json::object{{"error", json::object{{"code", code_name(code)}, {"message", text}}}}));
}

// By this node's clock, which wrote the times of the lines.
std::int64_t since_ns(std::int64_t since_ms) {
    const std::chrono::nanoseconds now = std::chrono::system_clock::now().time_since_epoch(),
                                   wanted = milliseconds(since_ms);
    return since_ms < 0 ? std::max<std::int64_t>(1, (now + wanted).count()) : wanted.count();
}

// Both ends of a terminal, ours first.
bool open_terminal(std::array<int, 2>& ends, std::uint16_t rows, std::uint16_t columns) {
    ends[0] = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    const winsize size{rows, columns, 0, 0};
    if (ends[0] < 0 || ::unlockpt(ends[0]) != 0 || ::ioctl(ends[0], TIOCSWINSZ, &size) != 0) return false;
    ends[1] = ::ioctl(ends[0], TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return ends[1] >= 0;
}

}  // namespace

LogWriters::~LogWriters() {
    while (!writers_.empty()) close(writers_.begin()->first);
}

std::uint64_t LogWriters::open(host::PeerId peer, int fd, bool command) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    const auto stream = next_++;
    const auto writer = std::make_shared<Writer>(io_, peer, fd);
    writer->command = command;
    writers_.emplace(stream, writer);
    // A reader that leaves is noticed though nothing is written: nobody sends anything on this descriptor.
    writer->out.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                           [this, alive = std::weak_ptr(alive_), stream, writer](boost::system::error_code cancelled) {
                               if (!cancelled && !alive.expired() && writers_.contains(stream)) abandon(stream);
                           });
    return stream;
}

void LogWriters::data(host::PeerId peer, const core::LogData& data, std::string text) {
    const auto found = writers_.find(data.stream);
    if (found == writers_.end() || found->second->peer != peer) return;
    auto& writer = *found->second;
    if (!writer.command) {
        if (!data.error.empty()) text += "gantry: " + data.error + "\n";
        return add(data.stream, std::move(text), data.end);
    }
    writer.came += text.size();
    if (!text.empty()) text = framed('o', text);
    if (data.taken > 0) text += framed('i', to_text(json::object{{"taken", data.taken}}));
    if (data.exit_code) text += framed('e', to_text(json::object{{"exit_code", *data.exit_code}}));
    if (!data.error.empty()) text += failed(Code::kFailed, data.error);
    add(data.stream, std::move(text), data.end);
}

void LogWriters::say(std::uint64_t stream, char kind, const json::value& document) {
    add(stream, framed(kind, to_text(document)), false);
}

std::optional<host::PeerId> LogWriters::command(std::uint64_t stream) const {
    const auto found = writers_.find(stream);
    if (found == writers_.end() || !found->second->command || found->second->ended) return std::nullopt;
    return found->second->peer;
}

void LogWriters::peer_down(host::PeerId peer) {
    std::vector<std::uint64_t> streams;
    for (const auto& [stream, writer] : writers_) {
        if (writer->peer == peer) streams.push_back(stream);
    }
    for (auto stream : streams) {
        const std::string lost = "the connection to the node was lost";
        add(stream,
            writers_.at(stream)->command ? failed(Code::kUnavailable, lost + "; the node ends the command")
                                         : "gantry: " + lost + "\n",
            true);
    }
}

void LogWriters::add(std::uint64_t stream, std::string text, bool end) {
    auto& writer = *writers_.at(stream);
    if (writer.ended) return;
    writer.ended = end;
    writer.waiting += text;
    if (writer.waiting.size() > kBufferMax) {
        const std::string slow = "cut off, the reader is too slow";
        writer.waiting = writer.command ? failed(Code::kFull, slow) : "\ngantry: " + slow + "\n";
        writer.ended = true;
        if (!end) abandoned_(stream, writer.peer);
    }
    if (writer.writing.empty()) write(stream);
}

void LogWriters::write(std::uint64_t stream) {
    auto writer = writers_.at(stream);
    if (writer->waiting.empty()) {
        if (writer->ended) close(stream);
        return;
    }
    writer->writing.swap(writer->waiting);
    writer->out.async_write_some(
        boost::asio::buffer(writer->writing),
        [this, alive = std::weak_ptr(alive_), stream, writer](boost::system::error_code error, std::size_t n) {
            if (alive.expired() || !writers_.contains(stream)) return;
            if (error) return abandon(stream);
            writer->writing.erase(0, n);
            writer->waiting.insert(0, writer->writing);
            writer->writing.clear();
            const auto left = std::min<std::uint64_t>(writer->came, writer->waiting.size());
            if (writer->command && !writer->ended && writer->came - left >= writer->told + kTold)
                taken_(stream, writer->peer, writer->told = writer->came - left);
            write(stream);
        });
}

void LogWriters::abandon(std::uint64_t stream) {
    const auto writer = close(stream);
    if (!writer->ended) abandoned_(stream, writer->peer);
}

std::shared_ptr<LogWriters::Writer> LogWriters::close(std::uint64_t stream) {
    auto writer = writers_.extract(stream).mapped();
    boost::system::error_code ignored;
    writer->out.close(ignored);  // also ends the wait for its reader
    return writer;
}

LogReaders::~LogReaders() {
    boost::system::error_code ignored;
    for (const auto& [id, reader] : readers_) reader->in.close(ignored);
}

void LogReaders::open(host::PeerId peer, const core::LogOpen& request, host::Runtime& runtime,
                      const std::string& container) {
    if (readers_.size() >= limits::kLogStreams) {
        return send_(peer, {{}, request.stream, true, "too many read logs on this node already; try again"}, "");
    }
    if (request.since_ms != 0 && !runtime.facts().log_since) {
        return send_(peer, {{}, request.stream, true, "the runtime there cannot say when a line was written"}, "");
    }
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
        return send_(peer, {{}, request.stream, true, "no descriptor left"}, "");
    }
    FileDescriptor in(ends[0]), out(ends[1]);
    fcntl(in.get(), F_SETFL, O_NONBLOCK);
    const Id id{peer, request.stream};
    auto reader = std::make_shared<Reader>(io_, in.release(), runtime);
    readers_[id] = reader;
    reader->operation = runtime.logs(container, request.follow, request.tail_lines, since_ns(request.since_ms),
                                     out.release(), [reader](Result<void> done) {
                                         if (!done) reader->error = done.error().text();
                                     });
    read(id);
}

void LogReaders::read(Id id) {
    auto reader = readers_.at(id);
    if (outbox_.waiting(id.first) > kLinkBusy || (reader->command && reader->sent - reader->read > kOutputAhead)) {
        reader->wait.expires_after(kLinkPause);
        reader->wait.async_wait([this, alive = std::weak_ptr(alive_), id](auto) {
            if (!alive.expired() && readers_.contains(id)) read(id);
        });
        return;
    }
    reader->reading = true;
    reader->in.async_read_some(
        boost::asio::buffer(reader->buffer),
        [this, alive = std::weak_ptr(alive_), id, reader](boost::system::error_code error, std::size_t n) {
            if (alive.expired() || !readers_.contains(id)) return;
            reader->reading = false;
            if (error) return end(id);
            reader->sent += n;
            send_(id.first, {{}, id.second, false, ""}, {reader->buffer.data(), n});
            read(id);
        });
}

void LogReaders::end(Id id) {
    auto reader = readers_.at(id);
    if (reader->command) {
        boost::system::error_code ignored;
        reader->in.close(ignored);
        return finish(id, reader);
    }
    readers_.erase(id);
    // The runtime closes its end before it completes, so what it has to say comes a moment later.
    reader->wait.expires_after(kLinkPause);
    reader->wait.async_wait([this, alive = std::weak_ptr(alive_), id, reader](auto) {
        if (!alive.expired()) send_(id.first, {{}, id.second, true, reader->error}, "");
    });
}

void LogReaders::exec(host::PeerId peer, const core::ExecOpen& request, host::Runtime& runtime,
                      const std::string& container) {
    std::array<int, 2> ends{-1, -1};
    const bool full = readers_.size() >= limits::kLogStreams;
    const bool open =
        !full && (request.terminal ? open_terminal(ends, request.rows, request.columns)
                                   : ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    const std::string why =
        full ? "too many read logs or run commands on this node already; try again" : std::strerror(errno);
    FileDescriptor ours(ends[0]), theirs(ends[1]);
    if (!open) return send_(peer, {{}, request.stream, true, why}, "");
    fcntl(ours.get(), F_SETFL, O_NONBLOCK);
    const Id id{peer, request.stream};
    auto reader = std::make_shared<Reader>(io_, ours.release(), runtime);
    readers_[id] = reader;
    reader->command = true;
    reader->terminal = request.terminal;
    reader->operation = runtime.exec(container, request.args, request.terminal, theirs.release(), kCommandMost,
                                     [this, alive = std::weak_ptr(alive_), id, reader](Result<int> code) {
                                         if (alive.expired() || !readers_.contains(id)) return;
                                         reader->ended = std::move(code);
                                         finish(id, reader);
                                     });
    read(id);
    if (!request.input && !request.terminal) input(peer, {request.stream, true}, "");
}

void LogReaders::input(host::PeerId peer, const core::ExecInput& input, const std::string& bytes) {
    const Id id{peer, input.stream};
    const auto found = readers_.find(id);
    if (found == readers_.end() || !found->second->command) return;
    const auto reader = found->second;
    reader->read = std::max(reader->read, input.taken);
    const winsize size{input.rows, input.columns, 0, 0};
    if (input.rows != 0 && reader->in.is_open()) (void)::ioctl(reader->in.native_handle(), TIOCSWINSZ, &size);
    reader->input_ends = reader->input_ends || input.end;
    reader->input += bytes;
    if (reader->input.size() > kInputMost) {
        send_(peer, {{}, input.stream, true, "more input came than the command had taken; it was ended"}, "");
        return close(peer, input.stream);
    }
    write(id, reader);
}

void LogReaders::write(Id id, const std::shared_ptr<Reader>& reader) {
    if (reader->writing || !reader->in.is_open()) return;
    if (reader->input.empty()) {
        if (!std::exchange(reader->input_ends, false)) return;
        if (!reader->terminal) return (void)::shutdown(reader->in.native_handle(), SHUT_WR);
        reader->input = "\4";  // as who types ends it
    }
    reader->writing = true;
    reader->going = std::exchange(reader->input, {});
    boost::asio::async_write(reader->in, boost::asio::buffer(reader->going),
                             [this, alive = std::weak_ptr(alive_), id, reader](boost::system::error_code, std::size_t) {
                                 if (alive.expired() || !readers_.contains(id)) return;
                                 reader->writing = false;
                                 reader->taken +=
                                     reader->going.size();  // what it does not want any more counts as taken
                                 send_(id.first, {{}, id.second, false, "", {}, reader->taken}, "");
                                 write(id, reader);
                             });
}

// A command has ended when the runtime says so and all of its output was read, or nothing comes from who still holds
// it.
void LogReaders::finish(Id id, const std::shared_ptr<Reader>& reader) {
    if (!reader->ended) return;
    if (reader->in.is_open()) return linger(id, reader, reader->sent);
    readers_.erase(id);
    const auto& code = *reader->ended;
    send_(id.first, {{}, id.second, true, code ? "" : code.error().text(), code ? std::optional(*code) : std::nullopt},
          "");
}

void LogReaders::linger(Id id, const std::shared_ptr<Reader>& reader, std::uint64_t sent) {
    reader->linger.expires_after(kLinger);
    reader->linger.async_wait([this, alive = std::weak_ptr(alive_), id, reader, sent](auto) {
        if (alive.expired() || !readers_.contains(id)) return;
        if (reader->reading && reader->sent == sent) {
            boost::system::error_code ignored;
            reader->in.close(ignored);
        }
        finish(id, reader);
    });
}

void LogReaders::close(host::PeerId peer, std::uint64_t stream) {
    const auto found = readers_.find({peer, stream});
    if (found == readers_.end()) return;
    const auto reader = found->second;
    readers_.erase(found);
    boost::system::error_code ignored;
    if (reader->command) reader->in.close(ignored);  // a terminal hangs up
    reader->runtime->stop_logs(reader->operation);
}

void LogReaders::peer_down(host::PeerId peer) {
    std::vector<std::uint64_t> streams;
    for (const auto& [id, reader] : readers_) {
        if (id.first == peer) streams.push_back(id.second);
    }
    for (auto stream : streams) close(peer, stream);
}

}  // namespace gantry::control
