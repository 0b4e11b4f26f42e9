// The position service behind vsoa_position.h: its texts, where its servers are written down, asking them, being one.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sdk/vsoa/include/vsoa_position.h"
#include "sdk/vsoa/src/socket.hpp"

namespace vsoa::position {

inline constexpr uint16_t kDefaultPort = 54;
inline constexpr size_t kMaxServers = 16;
inline constexpr size_t kMaxUnanswered = 1024;  // of one server; above it the oldest is forgotten
// The vendor's Go look-up reads no more.
inline constexpr size_t kMaxAnswer = 1024;
inline constexpr const char* kServersFile = "/etc/vsoa.pos";

struct Query {
    std::string name;
    int domain = -1;  // AF_INET, AF_INET6, -1 any
};

struct Answer {
    std::string name;                // may be empty
    std::optional<Address> address;  // none: there is no such service
    bool secure = false;
};

std::optional<Query> read_query(std::string_view text);
std::string write_query(const Query& query);
/// Nothing: the text is no answer at all.
std::optional<Answer> read_answer(std::string_view text);
std::string write_answer(const Answer& answer);

/// Those of the list (as in VSOA_POS_SERVER; null: not set), else those in the file. Bad entries are skipped.
std::vector<Address> configured_servers(const char* list, const char* file);
/// The one fixed by the program, else the configured ones.
std::vector<Address> servers();
void fix_server(std::optional<Address> address);

/// Asks the servers, in order; the first that knows the name decides. A silent one is asked again now and then, and
/// does not hold up the next for long. Nothing with errno ENOENT, ETIMEDOUT, ECONNREFUSED, EDESTADDRREQ (no servers),
/// ECANCELED (stop_fd became readable) or EINVAL.
std::optional<Answer> look_up(const std::vector<Address>& servers, const Query& query, int64_t timeout_ns,
                              int stop_fd = -1);

class Server {
  public:
    Server(vsoa_position_query_func_t on_query, void* arg) : on_query_(on_query), arg_(arg) {}

    bool start(const Address& address);
    /// On a socket that somebody bound before; the server's when it succeeds.
    bool take(int fd);
    int fd() const { return fd_.get(); }
    void input();
    /// Any thread.
    void respond(vsoa_position_response_t* response, const std::optional<Address>& address, bool secure);

    /// The callback runs.
    bool inside() const { return inside_; }

    void* custom = nullptr;

  private:
    /// A query that has not been answered.
    struct Waiting {
        Address from;
        std::optional<Address> own;  // whom it asked
        std::string name;
    };

    vsoa_position_response_t* keep(Waiting waiting);

    const vsoa_position_query_func_t on_query_;
    void* const arg_;
    Fd fd_;
    bool inside_ = false;
    std::mutex lock_;
    // By number, which is what the program holds as its pointer: an answer to a query that was forgotten, or answered
    // already, can never meet another one.
    std::map<uintptr_t, Waiting> unanswered_;
    uintptr_t last_number_ = 0;
};

}  // namespace vsoa::position
