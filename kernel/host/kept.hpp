// SPDX-License-Identifier: Apache-2.0
//
// Kept: the sockets that outlive the plugin which bound them (gantry_host_io keep and inherit). Connections and
// datagrams wait in them while a plugin is exchanged, while its process is started again, and while gantryd starts anew
// on itself, which hands them on as LISTEN_FDS; what a service manager gave gantryd comes in the same way.
//
// Threads: any.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "kernel/base/result.hpp"

namespace gantry::host {

class Kept {
  public:
    static constexpr std::size_t kOfOne = 16;  // sockets of one owner

    Kept() = default;
    // Closes all, and removes the files of Unix sockets.
    ~Kept();
    Kept(const Kept&) = delete;
    Kept& operator=(const Kept&) = delete;

    // Takes what LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES give this process, and unsets them. A socket whose name is
    // no table ("frontend.http") is anybody's.
    static std::shared_ptr<Kept> from_environment();

    // Takes fd over as one that was kept before; it is closed if it is no such socket. owner: empty for anybody.
    void take(int fd, const std::string& owner = {});
    // Called with a duplicate of each socket that a plugin of this process keeps or inherits, for a process that keeps
    // it.
    std::function<void(int fd)> told;

    // A duplicate of fd for later. Errors: kInvalid (not bound, a stream that does not listen), kFull.
    Status keep(const std::string& owner, int fd);
    // A duplicate of the socket at that address which `owner` kept, or nobody; -1 if there is none.
    int inherit(const std::string& owner, std::string_view address);
    // Duplicates of all that inherit could give, for a process that will ask for itself.
    std::vector<int> all_of(const std::string& owner);
    // Closes what nobody kept or inherited in this run: nobody listens there any more. `but`: owners that may yet.
    void drop_unclaimed(const std::vector<std::string>& but);

    // For a program that takes this process over: puts all at the numbers from 3 on, without close-on-exec, whatever
    // was there, and sets the variables. How many. Nothing else of this process may run any more.
    std::size_t hand_over();

  private:
    struct Socket {
        int fd = -1;
        std::string address, owner;  // owner: empty if nobody said
        bool claimed = false;        // by a plugin of this run
    };
    void drop(Socket& socket);

    std::mutex mutex_;
    std::vector<Socket> sockets_;
};

// "unix:/run/gantry/api.sock", "tcp:10.0.0.1:3900", "udp:[fd00::1]:54"; empty: nothing that can be kept.
std::string bound_address(int fd);

}  // namespace gantry::host
