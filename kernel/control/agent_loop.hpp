// SPDX-License-Identifier: Apache-2.0
//
// AgentLoop: drives core::Agent. Dials controllers, runs what the agent wants on runtimes and probes, keeps its state
// file, measures the node's load. The state file has a thread of its own, and heartbeats do not wait for it: a slow
// disk does not make a node look lost.
//
// Threads: the loop.
#pragma once

#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "kernel/control/blobs.hpp"
#include "kernel/control/config.hpp"
#include "kernel/control/drill.hpp"
#include "kernel/control/exec.hpp"
#include "kernel/control/image_fetch.hpp"
#include "kernel/control/image_source.hpp"
#include "kernel/control/lane.hpp"
#include "kernel/control/lease_guard.hpp"
#include "kernel/control/log_streams.hpp"
#include "kernel/control/loop_timer.hpp"
#include "kernel/control/outbox.hpp"
#include "kernel/control/spare_images.hpp"
#include "kernel/control/volumes.hpp"
#include "kernel/core/agent.hpp"
#include "kernel/load/sampler.hpp"

namespace gantry::control {

using Log = std::function<void(host::LogLevel, std::string_view)>;

inline constexpr Duration kListLimit = seconds(10);  // a runtime tells what it has

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
        std::string version;
        bool shares_blobs = false;         // with this machine's controller, which decides what of them goes
        std::filesystem::path guard = {};  // the program gantry-guard; none: no leases are kept here
    };

    explicit AgentLoop(Parts parts);

    // Reads identity and state, asks the runtimes what runs, begins to dial.
    Status start();
    // Where a controller may be dialled.
    void controller_found(const std::string& address);
    void controller_gone(const std::string& address) { std::erase(controllers_, address); }
    // Says what the shutdown means, gives the message 200 ms, then done.
    // done: as soon as the farewell is said; if the machine goes down, when the node's copies have moved, or at a
    // limit.
    void stop(const core::ShutDown& how, std::function<void()> done);
    void stop_now();  // after stop(): without waiting for moves

    // --- peers that we dialled, and other nodes that dialled us for the controller ---
    bool owns(host::PeerId peer) const {
        return peers_.contains(peer) || asking_.contains(peer) || reached_.contains(peer) || source_.owns(peer);
    }
    void asked_by(host::PeerId peer);  // a connection came in
    void peer_message(host::PeerId peer, std::string_view bytes);
    void peer_down(host::PeerId peer, host::Down reason);
    void peer_writable(host::PeerId peer) { outbox_.writable(peer); }

    // One more process in a container of this node, to its end; see Execs::run.
    void exec(const std::string& container, const json::value& document, Execs::Answer answer);
    json::value document() const;
    Volumes& volumes() { return volumes_; }

  private:
    Result<core::AgentFacts> facts();
    void turn(const core::AgentInput& input);
    void drain();
    void pass_ahead();
    void act(core::AgentEffect effect);
    void save(std::string document);
    void say(core::Send effect);
    void act_container(core::Create effect);
    void arm(const core::Arm& effect);
    void start_guard();
    void list_containers(const std::string& runtime);
    void fetch(const core::FetchImage& effect);
    void unpack(const core::FetchImage& effect);
    void image_ready(const core::FetchImage& effect, Result<void> ready);
    void tell_progress(const std::string& image, std::uint32_t percent, std::uint64_t bytes);
    void blob_came(host::PeerId peer, std::string_view bytes);
    bool serve_blob(host::PeerId peer, std::string_view bytes);
    void keep_images(const core::KeepImages& effect);
    void drop_blobs();
    void make_room();
    void remove_image(const SpareImages::Image& image);
    void check(const core::Check& effect);
    void serve(const core::ServeNames& effect);
    void listen();
    void reach(const core::Reach& effect);
    void node_message(host::PeerId peer, std::string_view bytes);
    host::Done<void> done_with(std::uint64_t id);
    void send(host::PeerId peer, const core::AgentMessage& message, std::string_view tail = {});
    void dial();
    void dial_later();
    void dial_after(Duration pause);
    void peer_up(host::PeerId peer);
    void measure();
    void pause(host::PeerId peer, const core::PauseCopy& what);
    void drill(const core::Drill& what);
    void tell(std::string kind, std::string text, json::object fields);

    Parts parts_;
    core::AgentFacts facts_;
    std::unique_ptr<core::Agent> core_;
    LoopTimer timer_;
    Outbox outbox_;
    Lane state_file_, image_files_;
    Volumes volumes_;
    ImageFetch images_;
    ImageSource source_;
    LogReaders logs_;
    Execs execs_;
    Lane machine_, heat_;  // a sensor that hangs holds up no other
    load::Sampler usage_;
    std::optional<LeaseGuard> guard_;  // where a runtime is guarded
    boost::asio::steady_timer dial_timer_, load_timer_;
    Drill drill_;
    std::deque<core::AgentEffect> effects_;
    bool saving_ = false, save_failed_ = false, stopping_ = false, dialling_ = false, draining_ = false,
         welcomed_ = false;
    std::uint64_t seq_ = 0;  // of the last message: given here, because a heartbeat may go before what was said earlier
    core::ListNo applied_told_;             // by the last message that waited for its save
    std::map<std::string, bool> fetching_;  // images, true: urgent
    std::set<std::string> kept_;
    SpareImages spare_;
    unsigned measured_ = 0;                               // times, of the load
    std::set<std::string> removing_;                      // images
    std::map<std::string, core::FetchImage> parked_;      // asked for while it is being removed
    std::map<std::string, std::uint32_t> quarters_told_;  // of images on their way
    std::set<std::string> sound_;                         // images whose blobs were looked through
    std::set<host::PeerId> peers_;                        // controllers that we dialled
    std::set<host::PeerId> asking_;                       // nodes that dialled us for one, or for an image
    std::set<host::PeerId> readers_;                      // those that are known to be there for an image
    std::set<host::PeerId> reached_;                      // nodes that we dialled for it
    host::PeerId controller_ = 0;
    Instant started_{};
    bool warned_alone_ = false, no_carrier_ = false;  // said once until there is a controller again
    std::vector<std::string> controllers_;
    std::size_t next_controller_ = 0;
    unsigned dial_failures_ = 0;
    std::function<void()> stopped_;  // what stop() was given
    std::string last_dial_error_;
    std::uint64_t cpu_busy_ = 0, cpu_total_ = 0;
    std::int64_t cpu_milli_ = 0;
};

}  // namespace gantry::control
