// SPDX-License-Identifier: Apache-2.0
//
// What a probe and a VSOA server say to each other: login, its answer, ping, its answer. Nothing here touches a socket.
#pragma once

#include <vsoa_parser.h>

#include <memory>
#include <string>
#include <string_view>

namespace vsoa_probe {

class Conversation {
  public:
    explicit Conversation(std::string password);

    // Bytes for the server; each call gives what came up since the last.
    std::string take_output() { return std::move(output_); }
    // Bytes of the server. True: it is decided, see failure().
    bool feed(char* bytes, std::size_t length);
    // What is being waited for, "login" or "ping".
    std::string_view waits_for() const { return logged_in_ ? "ping" : "login"; }
    // Empty: the server answered everything rightly.
    const std::string& failure() const { return failure_; }

  private:
    static bool on_packet(void* self, vsoa_header_t* header);
    void packet(const vsoa_header_t& header);
    void login_answered(const vsoa_header_t& header);
    void fail(std::string why);

    bool has_password_;
    std::unique_ptr<vsoa_recv_t> stream_;
    std::string output_, failure_;
    bool logged_in_ = false, decided_ = false;
};

}  // namespace vsoa_probe
