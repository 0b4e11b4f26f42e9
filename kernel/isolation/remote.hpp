// SPDX-License-Identifier: Apache-2.0
//
// Remote: an isolated plugin in gantryd. A table of proxies in front, behind it one process after the other: what ends
// is started again with growing pauses, told again what lasts, and what was under way ends as unknown.
//
// Threads: the loop, but for stop, which runs on a thread of its own while the loop stands.
#pragma once

#include <gantry/abi/host.h>

#include <map>
#include <optional>
#include <set>

#include "kernel/host/context.hpp"
#include "kernel/host/file.hpp"
#include "kernel/host/isolation.hpp"
#include "kernel/isolation/process.hpp"
#include "kernel/isolation/roles.hpp"
#include "kernel/isolation/window.hpp"

namespace gantry::isolation {

inline constexpr Duration kStartLimit = seconds(10);       // of init, and of start
inline constexpr Duration kRestartMin = milliseconds(50);  // pause before the first restart; doubled each time
inline constexpr Duration kRestartMax = seconds(10);       // longest pause, give or take a quarter
inline constexpr Duration kStableAfter = seconds(10);      // a process that ran so long begins the pauses anew
inline constexpr Duration kTick = seconds(1);              // how often a process is asked whether it lives
inline constexpr Duration kSilenceLimit = seconds(5);      // a process that says nothing for so long is ended
inline constexpr Duration kLeaveLimit = seconds(5);        // of an exchanged process to finish what it owes
inline constexpr std::size_t kRequestsMax = 1'024;         // requests to the tree that one process waits for

class Remote final : public Caller, public std::enable_shared_from_this<Remote> {
  public:
    Remote(host::IsolatedPlugin plugin, std::filesystem::path program);

    gantry_plugin plugin();
    host::IsolatedState state() const;
    void revive();
    void exchange(std::shared_ptr<host::PluginFile> file, const gantry_config& config, host::Done<void> done);
    void finish(std::function<void()> done);
    void end();  // nothing comes any more

    gantry_status call(const Call& call, std::string message, const Writer& arguments) noexcept override;
    gantry_str address() const noexcept override { return host::str(address_); }

  private:
    enum class Phase : std::uint8_t { kIniting, kReady, kStarting, kRunning, kStopping, kStopped, kFailed };
    // One process and what is between it and us.
    struct Child {
        std::shared_ptr<Process> process;
        Phase phase = Phase::kIniting;
        std::string error;  // in kFailed: what it said
        std::int32_t error_status = GANTRY_FAILED;
        std::string facts;
        std::map<std::uint64_t, const Slot*> operations;
        std::map<std::uint64_t, std::pair<std::uint64_t, std::uint64_t>> followed;  // by its number: the tree's, ours
        Window window;
        Instant began{};
        Instant heard{};          // its last message, as of the last tick
        unsigned silent = 0;      // ticks since
        bool unattended = false;  // it goes from phase to phase by itself
        bool newcomer = false;    // of an exchange
    };
    // What is asked while an old process makes way: the new one is asked it as soon as it starts.
    struct Held {
        std::uint64_t id;
        const Slot* slot;
        std::string message;
    };
    // A request of a process to the tree, or a follower of its events: what the tree calls back with.
    struct Asked {
        Remote* remote;
        std::weak_ptr<Child> child;
        std::uint64_t id, number;
    };

    // --- as the caller of the plugin's own slots
    std::string init_message(const host::PluginFile& file, const gantry_config& config) const;
    gantry_status init(const gantry_config& config, gantry_error* error);
    gantry_status start(gantry_error* error);
    gantry_status stop(std::int64_t deadline_ns, gantry_error* error);
    const void* query(std::string_view id) const;
    static gantry_status transport_send(void* self, std::uint64_t peer, std::uint32_t channel,
                                        gantry_bytes bytes) noexcept;

    void cancel(std::uint64_t id);

    // --- processes
    Result<std::shared_ptr<Child>> make_child(const std::shared_ptr<host::PluginFile>& file);
    Child* taking_calls() const;
    void send_init(Child& child, const std::string& init) const;
    void send_start(Child& child);
    gantry_status wait_for(Phase phase, gantry_error* error);
    void ended(const std::shared_ptr<Child>& child, const std::string& why);
    void let_go(Child& child, const std::string& why);
    void restart_later(const std::string& why);
    void restart();
    void started(const std::shared_ptr<Child>& child);
    void tell_again(Child& child, Lasting when);
    void tick();
    void look_after(Child& child);
    // Of an exchange: the new one takes over; a process that owes nothing more is told to stop.
    void take_over();
    void retire(Child& child);
    void exchanged(Result<void> result);
    void let_held_go();

    // --- messages
    void message(const std::shared_ptr<Child>& child, const Head& head, Reader& rest);
    bool answered(const std::shared_ptr<Child>& child, const Head& head, Reader& rest);
    bool done(Child& child, const Head& head, Reader& rest);
    bool reported(Child& child, const Head& head, Reader& rest);
    bool requested(const std::shared_ptr<Child>& child, const Head& head, Reader& rest);
    bool followed(const std::shared_ptr<Child>& child, const Head& head, Reader& rest);
    bool take_facts(Child& child);
    static void on_response(void* arg, const gantry_control_response* response) noexcept;
    static void on_event(void* arg, std::uint64_t number, gantry_str event) noexcept;
    static void tell(Child& child, const Head& head, std::string message = open_message());
    void respond(Child& child, std::uint64_t id, int code, std::string_view why);
    void unfollow(Child& child, std::uint64_t id);

    const std::shared_ptr<host::Context> context_;
    std::shared_ptr<host::PluginFile> file_;
    const std::int64_t memory_max_;
    const std::function<bool(const std::string& how)> survives_;
    const std::filesystem::path program_;
    const Role& role_;
    const bool watch_memory_;  // here, because it may start programs, which would inherit the limit

    alignas(16) char table_[kTableRoom]{};
    std::shared_ptr<const std::string> facts_;  // what table_ refers to, with the reader's arena
    std::unique_ptr<Reader> facts_reader_;
    std::vector<Fd> no_fds_;
    gantry_status (*send_slot_)(void*, std::uint64_t, std::uint32_t, gantry_bytes) noexcept = nullptr;
    std::string address_;
    std::string init_;  // the message, for every process on file_
    std::string next_init_;
    std::shared_ptr<host::PluginFile> next_file_;
    const void* sink_ = nullptr;  // of the adapter
    std::map<std::uint16_t, std::string> lasting_;

    // next_: being made ready; leaving_: exchanged, and finishing what they owe.
    std::shared_ptr<Child> child_, next_;
    std::vector<std::shared_ptr<Child>> leaving_;
    host::Done<void> exchanged_;
    std::function<void()> finished_;
    std::vector<Held> held_;
    std::map<std::uint64_t, std::unique_ptr<Asked>> asked_;
    std::uint64_t last_asked_ = 0;
    std::string reason_;
    std::uint64_t restarts_ = 0;
    unsigned failures_ = 0;
    bool begun_ = false, stopping_ = false;
    bool given_up_ = false;    // survives_ said no
    const bool alone_;         // its role holds what two cannot: an address, a database
    bool making_way_ = false;  // so the old process stops before the new one starts
    std::optional<host::BootTimer> restart_timer_, tick_timer_;
};

}  // namespace gantry::isolation
