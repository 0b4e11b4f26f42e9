// A connection to a server, over the public C interface, and the loop that drives connections until something happens.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "sdk/vsoa/include/vsoa_client.h"
#include "sdk/vsoa/tools/target.hpp"
#include "sdk/vsoa/tools/tls.hpp"

namespace vsoa::tools {

/// What the options that every command has came to.
struct Settings {
    bool json = false;
    std::string password;
    int64_t timeout_ns = 5'000'000'000;
    TlsOptions tls;
};

/// From here on SIGINT and SIGTERM only end waits; until then they end the program.
void catch_interrupts();
bool interrupted();
/// Readable once interrupted.
int interrupt_fd();
/// For fd_sets: waits until one of them is readable, deadline or an interrupt. True: one is.
bool select_until(int highest, fd_set& set, int64_t deadline);

/// Must not move: callbacks hold its address.
class Link {
  public:
    using Message = std::function<void(const char* type, std::string_view url, const vsoa_payload_t&, bool quick)>;

    /// on_message may be empty.
    Link(Target target, const Settings& settings, Message on_message = {});
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;

    /// Resolves and connects; again after a loss. Throws Failure.
    void connect();

    vsoa_client_t* client() const { return client_.get(); }
    const Target& target() const { return target_; }
    const std::string& address() const { return address_; }  // the resolved one
    const std::string& info() const { return info_; }
    timespec timeout() const { return timespec_of(settings_.timeout_ns); }
    /// "axis_server (127.0.0.1:3002)"
    std::string name() const;

  private:
    struct Close {
        void operator()(vsoa_client_t* client) const { vsoa_client_close(client); }
    };

    const Target target_;
    const Settings& settings_;
    const Message on_message_;
    Tls tls_;
    std::unique_ptr<vsoa_client_t, Close> client_;
    std::string address_, info_;
};

enum class Ended { kDone, kTime, kLost, kInterrupted };

/// Drives the links until done() holds (asked after every step), the deadline, a lost connection or an interrupt.
/// lost: receives which.
Ended run_until(std::span<const std::unique_ptr<Link>> links, int64_t deadline, const std::function<bool()>& done,
                Link** lost = nullptr);

/// Fails with what it means that a wait for an answer ended so.
[[noreturn]] void fail_waiting(Ended ended, const Link& link, const std::string& what);

}  // namespace vsoa::tools
