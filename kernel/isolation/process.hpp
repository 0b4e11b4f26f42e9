// SPDX-License-Identifier: Apache-2.0
//
// One run of gantry-plugin-host as gantryd sees it: its socket, what waits to be sent, and its end. Ends the program
// when it breaks the rules, or when this object goes.
#pragma once

#include <boost/asio/posix/stream_descriptor.hpp>
#include <deque>
#include <filesystem>
#include <functional>

#include "kernel/host/loop.hpp"
#include "kernel/isolation/messages.hpp"
#include "kernel/isolation/packet.hpp"

namespace gantry::isolation {

inline constexpr std::size_t kQueueMax = 16 << 20;  // bytes of messages that wait for the other end to read

class Process : public std::enable_shared_from_this<Process> {
  public:
    struct Events {
        // On the loop, or where pump() was called.
        std::function<void(const Head& head, Reader& rest)> message;
        // The last word, once: what became of it. From listen() on it comes on the loop in a turn of its own.
        std::function<void(const std::string& why)> ended;
    };

    // plugin_file stays the caller's; the program has it as its descriptor. Errors: the program cannot be started.
    static Result<std::shared_ptr<Process>> spawn(host::Loop& loop, const std::filesystem::path& program,
                                                  int plugin_file, Events events);
    ~Process();

    // GANTRY_FULL: kQueueMax bytes wait. GANTRY_OK took the descriptors over.
    gantry_status send(std::string message, const std::vector<int>& fds);
    // From now on messages are read on the loop. [loop]
    void listen();
    // Reads messages where it is called until done() or the deadline; false: neither came to pass, or it ended.
    bool pump(const std::function<bool()>& done, Instant deadline);
    // Ends the program; `why` is what ended() will say.
    void kill(std::string why);
    // No event comes any more, and the program is ended and collected. [loop]
    void drop();

    std::int64_t pid() const { return pid_; }
    bool over() const { return over_; }
    // It is over by a SIGKILL that was not ours: that says nothing of the plugin.
    bool killed_from_outside() const { return over_ && outside_; }
    Instant heard() const { return heard_; }  // when its last message came

  private:
    struct Waiting {
        std::string message;
        std::vector<Fd> fds;
    };

    Process(host::Loop& loop, Events events)
        : loop_(loop), events_(std::move(events)), socket_(loop.io), pidfd_(loop.io) {}
    bool flush();
    void wait_to_send();
    void wait_for_messages();
    void wait_for_end();
    // A batch of messages; false if it ended meanwhile or broke a rule.
    bool read();
    void end();
    std::string collect();

    host::Loop& loop_;
    Events events_;
    boost::asio::posix::stream_descriptor socket_, pidfd_;
    std::int64_t pid_ = 0;
    Message message_;
    Batch batch_;
    std::deque<Waiting> waiting_;
    std::size_t waiting_bytes_ = 0;
    std::string why_;
    Instant heard_{};
    bool listening_ = false, sending_ = false, killed_ = false, over_ = false, outside_ = false;
};

}  // namespace gantry::isolation
