// SPDX-License-Identifier: Apache-2.0
//
// frontend: whoever knocks, the tree hears who it is.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <gantry/testing/drivers.hpp>

#include "sdk/tools/check/exercise.hpp"

namespace gantry::check {
namespace {

using namespace std::chrono_literals;

constexpr std::string_view kUnix = "unix:";

struct Door {
    explicit Door(Trial& trial) : rig(trial, true), instance(rig.make()), driver(instance) { instance.start(); }
    Rig rig;
    testing::Instance& instance;
    testing::FrontendDriver driver;
};

void name_address(Trial& trial) {
    Door door(trial);
    const std::string address = door.driver.address();
    expect(!address.empty(), "an address for people, \"unix:/run/gantry/api.sock\"", "none");
    trial.remark(address);
}

Fd knock(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof(address.sun_path)) throw Skipped{"the socket's path is too long for this machine"};
    std::memcpy(address.sun_path, path.data(), path.size());
    Fd out(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    expect(::connect(out.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0,
           "a socket that takes connections at " + path, std::strerror(errno));
    return out;
}

// Asks like the world says, or in HTTP, over the Unix socket that the address names.
void pass_principal(Trial& trial) {
    Door door(trial);
    const std::string address = door.driver.address();
    if (!address.starts_with(kUnix)) throw Skipped{"no Unix socket: " + address};
    std::vector<Principal> asked;
    door.rig.host.tree = [&](testing::ControlCall call) {
        asked.push_back(call.request.principal);
        call.answer({200, 1, "{}"});
    };
    std::string request = trial.subject.world.text("frontend.request");
    if (request.empty()) request = "GET /v1/nodes HTTP/1.1\r\nHost: gantry\r\nConnection: close\r\n\r\n";
    const Fd socket = knock(address.substr(kUnix.size()));
    expect(::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size()),
           "the request is taken", std::strerror(errno));
    std::string answer;
    char piece[4096];
    const auto answered = [&] {
        const ssize_t n = ::recv(socket.get(), piece, sizeof(piece), 0);
        if (n > 0) answer.append(piece, static_cast<std::size_t>(n));
        return !answer.empty();
    };
    const bool came = door.rig.host.run_until(answered, 5s);
    expect(!asked.empty(), "a request to the tree that names who asks", came ? "none, but an answer" : "none");
    expect(came, "an answer to the client", "none");
    for (const Principal& who : asked) {
        expect(who.kind == "unix", "the principal of a local user: kind \"unix\"", "'" + who.kind + "'");
        expect(who.uid == static_cast<std::int64_t>(::getuid()),
               "the uid that the kernel says, " + std::to_string(::getuid()), std::to_string(who.uid));
    }
}

}  // namespace

void add_frontend(std::vector<Check>& out) {
    out.push_back({"frontend.address",
                   "The door has an address that people can read.",
                   "Give it in address(): it is asked once, after init.",
                   {"lifecycle.use"},
                   &name_address,
                   20,
                   "frontend"});
    out.push_back({"frontend.principal",
                   "Every request to the tree says who asks.",
                   "Take the peer's uid from SO_PEERCRED and put it into the principal of every request.",
                   {"frontend.address"},
                   &pass_principal,
                   30,
                   "frontend"});
}

}  // namespace gantry::check
