// SPDX-License-Identifier: Apache-2.0
//
// One connection to gantryd's Unix socket. Every wait has a deadline and ends early on Ctrl-C (once catch_interrupts()
// was called). A read that timed out took nothing, so it can be tried again.
#pragma once

#include <boost/system/error_code.hpp>
#include <chrono>
#include <cstddef>
#include <string>

#include "kernel/cli/trouble.hpp"

namespace gantry::cli {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// From here on SIGINT and SIGTERM only end waits; until then they end the program.
void catch_interrupts();
bool interrupted();

enum class Waited { kReady, kTimeout, kInterrupted };
// Waits for poll(2) `events` on fd; fd -1 just waits.
Waited wait_for(int fd, short events, Clock::time_point deadline);

class Socket {
  public:
    // Errors: exit_status::kUnreachable with the socket's path, what is wrong with it and what to do.
    static Outcome<Socket> connect(const std::string& path);
    Socket(Socket&& other) noexcept;
    Socket& operator=(Socket&& other) noexcept;
    ~Socket();

    void set_deadline(Clock::time_point deadline) { deadline_ = deadline; }
    // 0 bytes: the other side closed. Errors: timed_out, operation_canceled (Ctrl-C), the system's.
    std::size_t read(void* into, std::size_t size, boost::system::error_code& error);
    std::size_t write(const void* from, std::size_t size, boost::system::error_code& error);
    // There is something to read, or the other side closed.
    bool readable() const;

  private:
    explicit Socket(int fd) : fd_(fd) {}

    int fd_ = -1;
    Clock::time_point deadline_ = Clock::time_point::max();
};

}  // namespace gantry::cli
