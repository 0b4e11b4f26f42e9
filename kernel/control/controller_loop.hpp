// SPDX-License-Identifier: Apache-2.0
//
// ControllerLoop: drives core::Controller. Feeds it what peers, people and policies say, commits its writes, then does
// what it wants done. Whenever the core is lost to a failed commit every peer is closed: what they said in between is
// gone, so they must say hello again.
//
// Threads: the loop.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "kernel/base/limits.hpp"
#include "kernel/control/blobs.hpp"
#include "kernel/control/config.hpp"
#include "kernel/control/events.hpp"
#include "kernel/control/lane.hpp"
#include "kernel/control/log_streams.hpp"
#include "kernel/control/loop_timer.hpp"
#include "kernel/control/outbox.hpp"
#include "kernel/core/commit_gate.hpp"
#include "kernel/core/controller.hpp"
#include "kernel/load/history.hpp"

namespace gantry::control {

using Log = std::function<void(host::LogLevel, std::string_view)>;

class ControllerLoop {
  public:
    using Answer = std::function<void(Result<json::value>)>;

    struct Parts {
        boost::asio::io_context& io;
        host::Host& host;
        host::Transport& transport;
        host::Store& store;
        EventLog& events;
        BlobStore& blobs;
        Log log;
        ControllerConfig config;
        std::function<void(const core::Names&)> names;  // for directories of a machine that is no node
    };

    explicit ControllerLoop(Parts parts);

    // Loads the store, makes the new term durable, then listens. Errors: the store's, the transport's.
    void start(host::Done<void> ready);
    void stop();

    // --- peers that dialled us ---
    void peer_up(host::PeerId peer) { peers_.insert(peer); }
    void peer_message(host::PeerId peer, const std::string& address, std::string_view bytes);
    void peer_down(host::PeerId peer, host::Down reason);
    void peer_writable(host::PeerId peer);
    void peer_refused(const std::string& address, const std::string& text);

    // --- people ---
    // A change that `who` wants; answered when it is committed. `make` gets the number of the request.
    void change(const std::function<core::Input(core::RequestId)>& make, const std::string& who, Answer answer);
    // A document as the core has it now; answered when everything it may show is committed.
    void read(const std::function<Result<json::value>(const core::Controller&)>& make, Answer answer);
    // Answered when the policy has said what it thinks of the candidates. Errors: kNotFound.
    void explain(const std::string& service, Answer answer);
    const load::History& load_history() const { return load_history_; }
    // Streams a log to fd, which it takes over.
    void logs(const std::string& instance, bool follow, std::int64_t tail_lines, std::int64_t since_ms, int fd,
              Answer started);
    // what: "pause", "unpause": its processes stand still, or go on; "checkpoint", "restore": likewise, with its memory
    // on its node's disk meanwhile; "restart": it is ended and started anew where it is, and this is answered when its
    // node is bound to do it.
    void order(const std::string& instance, const std::string& what, const std::string& who, Answer answer);
    // Tells a node to begin a drill, one at a time. Errors: those of core::Controller::drilled, kConflict.
    void drill(const std::string& node, const std::string& kind, Duration duration, const std::string& who,
               Answer answer);
    // Runs a command in an instance ("axis_server.0") or container: {"args", "terminal", "input", "rows", "columns"}.
    // Its output is written to fd, which is taken over, in frames; its input comes by exec_input.
    void exec(const std::string& instance, const json::value& document, int fd, const std::string& who, Answer started);
    void exec_input(core::ExecInput input, const std::string& bytes, Answer answer);
    // An image was removed: its blobs go, but for those that another image or a service needs.
    void drop_blobs(const std::string& manifest);
    std::string listening() const { return listening_; }

    // Nodes that discovery tells of, by name with their addresses; shown until they join.
    void node_expected(const host::Discovered& node) {
        if (!node.name.empty() && expected_.size() < limits::kNodes) expected_[node.name] = node.address;
    }
    void node_gone(const host::Discovered& node) { expected_.erase(node.name); }
    const std::map<std::string, std::string>& expected() const { return expected_; }

  private:
    void obeyed(host::PeerId peer, const core::LogData& data);
    void load(std::function<void(Status)> done);
    void reload();
    void turn(const core::Input& input, const std::string& who = {});
    void gather(core::Effects& effects);
    using Ranking = Result<std::vector<core::Keys>>;
    std::optional<core::Input> answer_rank(const core::Rank& rank);
    void ask(const core::Rank& rank, std::function<void(Ranking)> done);
    Result<json::value> explained(const core::Controller& core, const std::string& service,
                                  const std::function<Ranking(const core::Rank&)>& rank) const;
    void pump();
    void committed(Result<std::uint64_t> result);
    void act(core::Effect effect);
    void send(host::PeerId peer, const core::ControllerMessage& message, std::string_view tail = {});
    void serve_blob(host::PeerId peer, const core::BlobRead& read);
    void reply(core::RequestId request, Result<json::value> result);
    void fail_requests(const std::vector<core::RequestId>& requests, const Error& why);
    void listen(host::Done<void> ready);
    void remember_load();

    Parts parts_;
    std::unique_ptr<core::Controller> core_;
    core::CommitGate gate_;
    LoopTimer timer_;
    Outbox outbox_;
    LogWriters log_writers_;
    struct Order {  // that a node has not answered yet
        host::PeerId peer = 0;
        std::string what, instance, node, who;
        Answer answer;
    };
    static constexpr std::uint64_t kOrders = 1ULL << 52;  // streams above it are of these
    std::map<std::uint64_t, Order> orders_;
    std::uint64_t last_order_ = 0;
    Lane files_;
    load::History load_history_;
    boost::asio::steady_timer reload_timer_, load_timer_;
    std::set<host::PeerId> peers_, joined_;  // all; those that were welcomed
    std::map<std::string, std::string> expected_;
    std::optional<core::Names> names_;
    std::map<core::RequestId, Answer> requests_;
    core::RequestId next_request_ = 1;
    std::map<std::string, Instant> refused_logged_;
    std::function<void(Status)> loaded_;
    Instant full_until_{}, drill_until_{};
    std::string listening_;
    std::uint64_t cores_ = 0;  // loaded so far: what a policy answers to one that is gone is dropped
    bool stopping_ = false;
};

}  // namespace gantry::control
