// The network of targets that hold a whole server or client: sockets in memory, so that an input costs microseconds and
// does the same every time. The linker puts these functions in the place of the kernel's (--wrap, see CMakeLists.txt);
// what is no socket of the internet, such as timers and files, stays the kernel's. Nothing arrives but what the target
// sends, so whoever waits for more finds at once that the time is over. One thread.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "sdk/vsoa/src/socket.hpp"

namespace fuzz {

/// The library's end of a connection, or its socket that listens or takes datagrams; the target is the other end.
struct Socket {
    int type = 0;
    vsoa::Address own, peer;

    std::vector<uint8_t> in;        // what the library may read
    size_t taken = 0;               // of it
    bool in_ends = false;           // behind it is the end of the stream
    bool broken = false;            // reset by the peer
    std::vector<uint8_t> out;       // what the library has written
    bool out_ends = false;          // it writes no more
    std::function<void()> on_wait;  // told when the library is about to wait for more

    std::deque<std::shared_ptr<Socket>> arriving;
    bool listens = false;
    std::deque<std::pair<vsoa::Address, std::vector<uint8_t>>> datagrams;

    void give(std::span<const uint8_t> bytes) { in.insert(in.end(), bytes.begin(), bytes.end()); }
    uint32_t ready() const;  // as epoll says it
    uint32_t wait() {
        if (on_wait && (ready() & EPOLLIN) == 0) on_wait();
        return ready();
    }
};
using SocketPtr = std::shared_ptr<Socket>;

/// A connection to whoever listens there; null when nobody does.
SocketPtr dial(const vsoa::Address& to);

/// To every socket for datagrams with this port; 0: whatever its port.
void deliver(const vsoa::Address& from, uint16_t to, std::span<const uint8_t> bytes);

/// Told of each connection that the library makes, before it goes on.
void on_connect(std::function<void(const SocketPtr&)> told);

}  // namespace fuzz
