// For the commands that are a server themselves.
#pragma once

#include <optional>
#include <string>

#include "sdk/vsoa/include/vsoa_server.h"
#include "sdk/vsoa/tools/link.hpp"

namespace vsoa::tools {

/// Starts the server at "IP:PORT", ":PORT" (every IPv4 address), "[v6]:PORT"; port 0 is a free one. With the password
/// and TLS of the settings. Returns where it listens. Throws Failure. tls: must outlive the server.
Endpoint listen_on(vsoa_server_t* server, const std::string& address, const Settings& settings, Tls& tls);

/// Tells the user where: a line on standard error, or with --json one on standard output.
void say_listening(const Settings& settings, const std::string& name, const Endpoint& address);

/// Lines of standard input, taken as they come.
class InputLines {
  public:
    /// Reads what is there; waits when nothing is. Throws Failure for a line that fits no packet.
    void read();
    /// The next whole line (the last one may lack its line end); empty lines are left out.
    std::optional<std::string> next();
    /// Nothing more comes. Lines may be left.
    bool ended() const { return ended_; }

  private:
    std::string waiting_;
    bool ended_ = false;
};

}  // namespace vsoa::tools
