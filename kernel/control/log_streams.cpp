// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/log_streams.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>

#include "kernel/base/limits.hpp"
#include "kernel/control/files.hpp"

namespace gantry::control {
namespace {

constexpr std::size_t kLinkBusy = 256 << 10;  // bytes that may wait on the link before reading pauses
constexpr Duration kLinkPause = milliseconds(20);

}  // namespace

LogWriters::~LogWriters() {
    while (!writers_.empty()) close(writers_.begin()->first);
}

std::uint64_t LogWriters::open(host::PeerId peer, int fd) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    const auto stream = next_++;
    const auto writer = std::make_shared<Writer>(io_, peer, fd);
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
    if (!data.error.empty()) text += "gantry: " + data.error + "\n";
    add(data.stream, std::move(text), data.end);
}

void LogWriters::peer_down(host::PeerId peer) {
    std::vector<std::uint64_t> streams;
    for (const auto& [stream, writer] : writers_) {
        if (writer->peer == peer) streams.push_back(stream);
    }
    for (auto stream : streams) add(stream, "gantry: the connection to the node was lost\n", true);
}

void LogWriters::add(std::uint64_t stream, std::string text, bool end) {
    auto& writer = *writers_.at(stream);
    if (writer.ended) return;
    writer.ended = end;
    writer.waiting += text;
    if (writer.waiting.size() > kBufferMax) {
        writer.waiting = "\ngantry: cut off, the reader is too slow\n";
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
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) {
        return send_(peer, {{}, request.stream, true, "no descriptor left"}, "");
    }
    FileDescriptor in(ends[0]), out(ends[1]);
    fcntl(in.get(), F_SETFL, O_NONBLOCK);
    const Id id{peer, request.stream};
    auto reader = std::make_shared<Reader>(io_, in.release(), runtime);
    readers_[id] = reader;
    reader->operation =
        runtime.logs(container, request.follow, request.tail_lines, out.release(), [reader](Result<void> done) {
            if (!done) reader->error = done.error().text();
        });
    read(id);
}

void LogReaders::read(Id id) {
    auto reader = readers_.at(id);
    if (outbox_.waiting(id.first) > kLinkBusy) {
        reader->wait.expires_after(kLinkPause);
        reader->wait.async_wait([this, alive = std::weak_ptr(alive_), id](auto) {
            if (!alive.expired() && readers_.contains(id)) read(id);
        });
        return;
    }
    reader->in.async_read_some(
        boost::asio::buffer(reader->buffer),
        [this, alive = std::weak_ptr(alive_), id, reader](boost::system::error_code error, std::size_t n) {
            if (alive.expired() || !readers_.contains(id)) return;
            if (error) return end(id);
            send_(id.first, {{}, id.second, false, ""}, {reader->buffer.data(), n});
            read(id);
        });
}

void LogReaders::end(Id id) {
    auto reader = readers_.at(id);
    readers_.erase(id);
    // The runtime closes its end before it completes, so what it has to say comes a moment later.
    reader->wait.expires_after(kLinkPause);
    reader->wait.async_wait([this, alive = std::weak_ptr(alive_), id, reader](auto) {
        if (!alive.expired()) send_(id.first, {{}, id.second, true, reader->error}, "");
    });
}

void LogReaders::close(host::PeerId peer, std::uint64_t stream) {
    const auto found = readers_.find({peer, stream});
    if (found == readers_.end()) return;
    found->second->runtime->stop_logs(found->second->operation);
    readers_.erase(found);
}

void LogReaders::peer_down(host::PeerId peer) {
    std::vector<std::uint64_t> streams;
    for (const auto& [id, reader] : readers_) {
        if (id.first == peer) streams.push_back(id.second);
    }
    for (auto stream : streams) close(peer, stream);
}

}  // namespace gantry::control
