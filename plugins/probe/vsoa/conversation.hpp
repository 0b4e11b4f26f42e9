// SPDX-License-Identifier: Apache-2.0
//
// What a probe and a VSOA server say to each other: login, its answer, then questions and their answers, one at a time.
// A question is a ping, or a call of a path. Nothing here touches a socket.
#pragma once

#include <vsoa_parser.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace vsoa_probe {

class Conversation {
  public:
    explicit Conversation(std::string password);

    // Bytes for the server; each call gives what came up since the last.
    std::string take_output() { return std::move(output_); }
    // The next question; the last one is decided. An empty path is a ping.
    void ask(std::string path);
    // Bytes of the server. True: the question is decided, see failure().
    bool feed(char* bytes, std::size_t length);
    // What is being waited for: "login", "ping" or "call".
    std::string_view waits_for() const { return !logged_in_ ? "login" : path_.empty() ? "ping" : "call"; }
    // Empty: the server answered rightly.
    const std::string& failure() const { return failure_; }
    // Nothing more can be asked: the login failed, or that is no VSOA.
    bool broken() const { return broken_; }

  private:
    static bool on_packet(void* self, vsoa_header_t* header);
    void packet(const vsoa_header_t& header);
    void login_answered(const vsoa_header_t& header);
    void put_question();
    void fail(std::string why);

    bool has_password_;
    std::unique_ptr<vsoa_recv_t> stream_;
    std::string output_, failure_, path_;
    std::uint32_t number_ = 0;  // of the last question
    bool logged_in_ = false, decided_ = true, broken_ = false;
};

}  // namespace vsoa_probe
