// SPDX-License-Identifier: Apache-2.0
//
// AgentLoop: drives core::Agent. Dials controllers, runs what the agent wants on runtimes and probes, keeps its state
// file, measures the node's load.
//
// Threads: the loop.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "kernel/control/blobs.hpp"
#include "kernel/control/config.hpp"
#include "kernel/control/image_fetch.hpp"
#include "kernel/control/log_streams.hpp"
#include "kernel/control/loop_timer.hpp"
#include "kernel/control/outbox.hpp"
#include "kernel/core/agent.hpp"

namespace gantry::control {

using Log = std::function<void(host::LogLevel, std::string_view)>;

class AgentLoop {
  public:
    struct Parts {
        boost::asio::io_context& io;
        host::Host& host;
        host::Transport& transport;
        BlobStore& blobs;
        Log log;
        NodeConfig config;
        core::Timing timing;
        std::filesystem::path state_dir;
        std::vector<std::string> controllers;  // known without discovery: this machine's own
        std::string version;
    };

    explicit AgentLoop(Parts parts);

    // Reads identity and state, asks the runtimes what runs, begins to dial.
    Status start();
    // Says what the shutdown means, gives the message 200 ms, then done.
    void stop(bool machine_goes_down, std::function<void()> done);

    // --- the peer that we dialled ---
    bool owns(host::PeerId peer) const { return peers_.contains(peer); }
    void peer_up(host::PeerId peer);
    void peer_message(host::PeerId peer, std::string_view bytes);
    void peer_down(host::PeerId peer);
    void peer_writable(host::PeerId peer) { outbox_.writable(peer); }

    json::value document() const;

  private:
    Result<core::AgentFacts> facts();
    void turn(const core::AgentInput& input);
    void drain();
    void act(core::AgentEffect effect);
    void save(std::string document);
    void act_container(core::Create effect);
    void list_containers(const std::string& runtime);
    void fetch(const core::FetchImage& effect);
    void check(const core::Check& effect);
    void serve(const core::ServeNames& effect);
    host::Done<void> done_with(std::uint64_t id);
    void send(host::PeerId peer, const core::AgentMessage& message, std::string_view tail = {});
    void dial();
    void dial_later();
    void measure();

    Parts parts_;
    std::unique_ptr<core::Agent> core_;
    LoopTimer timer_;
    Outbox outbox_;
    ImageFetch images_;
    LogReaders logs_;
    boost::asio::steady_timer dial_timer_, load_timer_;
    std::deque<core::AgentEffect> effects_;
    bool saving_ = false, save_failed_ = false, stopping_ = false, dialling_ = false, draining_ = false,
         welcomed_ = false;
    std::set<host::PeerId> peers_;
    host::PeerId controller_ = 0;
    std::vector<std::string> controllers_;
    std::size_t next_controller_ = 0;
    unsigned dial_failures_ = 0;
    std::string last_dial_error_;
    std::uint64_t cpu_busy_ = 0, cpu_total_ = 0;
    std::int64_t cpu_milli_ = 0;
};

}  // namespace gantry::control
