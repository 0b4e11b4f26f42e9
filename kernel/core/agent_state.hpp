// SPDX-License-Identifier: Apache-2.0
//
// Inside of core::Agent. What the node should have (copies_) and what it has (containers_) are two tables; each turn
// takes one input into them and then walks both once, doing the next step of whatever is not yet as it should be.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "kernel/base/units.hpp"
#include "kernel/core/agent.hpp"

namespace gantry::core {

class Agent::State {
  public:
    State(AgentFacts facts, Timing timing);

    AgentEffects step(const AgentInput& input, Instant now);
    Instant next_deadline() const {
        return current_ == 0 || silent_ ? deadline_ : std::min(deadline_, next_heartbeat_);
    }
    std::optional<CopyPlace> container_of(const CopyId& copy) const;
    std::vector<Running> running() const;
    json::value document() const;
    bool connected() const { return current_ != 0; }

    // What the controller's clock shows more than ours is between low and high, as of our time `at`.
    struct Offset {
        Duration low{}, high{};
        Instant at{};
        std::uint64_t clock = 0;  // which clock: grows when it turns out to be another one; 0: none is known
    };
    // When something happened by our clock, and what was known of the controller's then.
    struct Stamp {
        Instant from{}, to{};
        Offset by{};
    };
    struct Record {  // of one run of a container
        Stamp began;
        std::vector<Stamp> turns{};  // became ready, was not any more, was again, ...
        std::optional<Stamp> ended{};
        Instant seen{};                  // running, for the last time
        std::optional<Instant> blind{};  // since then an earlier gantryd may have known more of its turns
        std::uint64_t told = 0;          // in the report of runs with this number first; 0: in none since it changed
        bool taken = false;              // the controller has it
    };
    struct ContainerKey {
        CopyId copy;
        std::uint64_t attempt = 0;
        std::string runtime;
        friend auto operator<=>(const ContainerKey&, const ContainerKey&) = default;
    };

    // The durable part: what Save holds.
    struct Saved {
        std::string cluster_id, boot_id;  // boot_id: of the boot in which the list was accepted
        std::string address;
        ListNo applied;
        std::vector<ListEntry> list;
        std::vector<std::string> images;
        std::map<std::string, CopySpec> specs;
        std::map<CopyId, std::uint64_t> attempts;
        std::map<CopyId, std::string> run_by;  // copies whose list names a spec that had not come yet
        std::map<CopyId, std::uint64_t> restarting;
        std::uint64_t attempt_floor = 0;
        Names names;
        Offset offset;
        std::string records_boot;
        std::uint64_t records_since = 0;
        std::map<ContainerKey, Record> records;
        std::map<ContainerKey, std::vector<std::uint16_t>> ports;
    };
    static Result<Saved> parse_saved(std::string_view document);

  private:
    enum class Is : std::uint8_t { kCreated, kRunning, kExited };
    enum class Doing : std::uint8_t { kNothing, kCreating, kStarting, kStopping, kRemoving };

    struct Container {
        Is is = Is::kCreated;
        Doing doing = Doing::kNothing;
        std::uint64_t touched = 0;     // turn of the last operation's begin or end: an older list is no evidence
        bool unsure = false;           // list before acting on it
        bool missed = false;           // one list did not show it though it should run
        Instant start_at{}, end_at{};  // it ran at the earliest, was to end since; 0: from the boot on, not at all
        bool may_start = false;        // a start has begun since, or may have
        bool never_ran = false;        // as its runtime says
        bool paused = false;           // likewise
        Instant hint_at{};             // its runtime said that it ended
        bool start_failed = false;
        bool asked_to_stop = false;  // its end is no crash
        bool cannot_stop = false;
        Instant retry_at{};
        Duration grace = seconds(10);
        int exit_code = 0;
        std::string detail, trouble;
        bool leased = false;    // runs by a lease
        bool fenced = false;    // which is over
        std::string condemned;  // why it is being restarted
        Instant armed{};        // the guard holds this deadline
        Instant asked{};        // and was asked to hold this one
        Instant arm_at{};       // after a failure
        std::string arm_trouble;
    };

    struct ProbeRun {
        Instant next{};
        Duration pause{};
        std::uint64_t asked = 0;  // id of the question under way
        Instant give_up = kNever;
        Instant counts{};  // a failure counts from here on; 0: not asked yet
        std::uint32_t good = 0, bad = 0;
        bool healthy = false;
        bool succeeded = false;  // once, since the start
        bool assumed = false;    // adopted as healthy: the first answer decides
        std::string detail;
    };

    struct Copy {
        ListEntry entry;
        bool held = false;  // after a reboot: not to be started before a controller says so
        bool first_start = true;
        std::uint64_t attempt = 0;  // last one used
        std::optional<ContainerKey> current;
        std::uint32_t crashes = 0, restarts = 0;
        int exit_code = 0;
        std::string last_end, waiting;
        Instant restart_at{};
        Instant running_since = kNever;
        bool adopted = false;
        std::string probed_spec;  // digest of the spec that `probes` are of
        std::string runs_by;      // digest of the spec it was last probed by; stands in until a newer one is here
        std::uint64_t restarting =
            0;  // the attempt that is ended by hand: no crash; durable until the next one is made
        std::vector<ProbeRun> probes;
        bool ready = false;
        std::vector<std::uint16_t> ports;  // found for the next attempt
        std::uint64_t trying = 0;          // id of the question about the last of them, while it is under way
        std::uint32_t passed = 0;          // numbers that were looked at
    };

    struct Runtime {
        bool answered = false, listed = false, images_listed = false;
        Instant asked_at{};
        bool asking = false, ask_again = false;
        std::uint64_t began = 0;  // turn in which the list was asked for
        Instant list_at = kNever;
        std::string trouble;
        std::set<std::string> images;
        std::vector<Seen> unclaimed;  // before the cluster is known
        std::set<ContainerKey> gone;  // since the list was asked for: one of them in it says nothing
    };

    struct Fetch {
        std::string runtime;
        bool active = false, urgent = false;
        std::uint32_t percent = 0, failures = 0;
        Instant retry_at{};
        std::string reason;
    };

    struct Peer {
        bool welcomed = false;
        std::uint64_t order = 0;   // the newest welcome wins
        Instant give_up = kNever;  // no welcome by then: the connection is dropped
        bool through_node = false;
        Instant hello_at{};  // when the first hello was sent
    };

    // agent.cpp
    void work();
    bool changes_nothing(const AgentInput& input) const;
    void event(std::string kind, std::string text, json::object fields = {});
    // Of something that reports show as well: told to the controller only if it happened while there was none.
    void event_of_report(std::string kind, std::string text, json::object fields = {});
    void wait_until(Instant at) { deadline_ = std::min(deadline_, at); }
    void on(const LoadMeasured& input);
    void watch_disk();
    void on(const AgentTick&) {}
    void on(const ShutDown& input);
    void say_leaving();
    void wait_to_leave();

    // agent_saved.cpp
    void on(const AgentStart& input);
    void load(Saved saved);
    std::string saved_document() const;
    static json::object key_json(const ContainerKey& key);
    static Result<ContainerKey> read_key(Fields& f);
    void raise_floor();
    void spend(const CopyId& id, std::uint64_t attempt);

    // agent_containers.cpp: what the node has
    void on(const ContainersListed& input);
    void on(const ContainerExited& input);
    void on(const OperationDone& input);
    void look(const std::string& name, Runtime& runtime);  // lists when due
    void ask(const std::string& name, Runtime& runtime);
    void want_list(const std::string& name);
    void need_list(const std::string& name);
    void take_list(const std::string& name, Runtime& runtime, const std::vector<Seen>& seen);
    void see(const ContainerKey& key, const Seen& seen, Runtime& runtime);
    void miss(std::map<ContainerKey, Container>::iterator at, Runtime& runtime);
    void erase(std::map<ContainerKey, Container>::iterator at, const std::string& why);
    void done(const ContainerKey& key, Container& container, Doing what, const Status& result);
    std::uint64_t begin(const ContainerKey& key, Container& container, Doing what);
    void drive_out(const ContainerKey& key, Container& container);
    Copy* owner(const ContainerKey& key);
    std::string name_of(const ContainerKey& key) const;

    // agent_copies.cpp: what it should have
    void take_entries(const std::vector<ListEntry>& entries);
    void adopt(const CopyId& id, Copy& copy);
    void drive(const CopyId& id, Copy& copy);
    void drive_current(const CopyId& id, Copy& copy, const CopySpec* spec);
    void create(const CopyId& id, Copy& copy, const CopySpec& spec, const std::string& runtime);
    void runs(Copy& copy, bool adopted);
    void ended(Copy& copy, Container& container);
    void crash(Copy& copy, const std::string& what);
    void restart(PeerId peer, const RestartCopy& message);
    Duration pause_after(const Copy& copy) const;
    const std::string& digest_of(const Copy& copy) const;  // of the spec by which it is run now
    const CopySpec* spec_of(const Copy& copy) const;
    void forget_specs();
    std::string runtime_of(const CopySpec& spec) const;  // empty: this node has none
    ContainerWanted wanted(const CopyId& id, const Copy& copy, const CopySpec& spec) const;
    std::string own_address() const;

    // agent_leases.cpp
    void on(const Armed& input);
    void on(const GuardState& input);
    void take_held(const ContainerKey& key, Container& container);
    void forget_held();
    Heartbeat heartbeat();
    void take_grants(const HeartbeatAck& message);
    void keep_leases();
    void renew(const ContainerKey& key, Container& container);
    void fence(const ContainerKey& key, Container& container);
    bool may_start(Copy& copy, const Container& container) const;
    bool lease_ended(const ContainerKey& key, Container& container, bool forbid);

    // agent_records.cpp: when what ran, by this node's clock and the controller's
    void compare_clocks(Instant sent, Instant at);
    Duration wander(Duration passed) const;
    Stamp stamp(Instant from, Instant to) const { return {from, to, offset_}; }
    Span by_controller(const Stamp& stamp) const;
    void keep_records();
    void keep_record(const ContainerKey& key, const Container& container);
    void record_seen(const ContainerKey& key, Instant at);
    void record_ready(const ContainerKey& key, bool ready);
    void record_end(Record& record, const Container& container);
    void changed(Record& record);
    bool has_news() const { return untold_ && clock_known_; }
    Told told();
    Instant sure_until();
    void tell_again();
    void put_runs(Report& report);
    void take_runs_no(const HeartbeatAck& message);
    json::object records_document() const;
    static Status read_records(const json::value& value, Saved& out);

    // agent_ports.cpp
    void on(const PortTried& input);
    const std::vector<std::uint16_t>& ports_of(const Copy& copy) const;
    std::set<std::uint16_t> taken_ports();
    bool has_ports(const CopyId& id, Copy& copy, const ServiceSpec& spec);
    void give_ports(const ContainerKey& key, Copy& copy, const ServiceSpec& spec);
    json::array ports_document() const;
    static Status read_ports(Fields& f, Saved& out);

    // agent_probes.cpp
    void probe(const CopyId& id, Copy& copy, const CopySpec& spec);
    void ask_probe(const CopyId& id, const CopySpec& spec, std::size_t index, ProbeRun& run);
    void answer(Copy& copy, const ProbeSpec& spec, ProbeRun& run, const Probed& input);
    void failed(Copy& copy, const ProbeSpec& spec, ProbeRun& run);
    void condemn(const ContainerKey& key, Container& container);
    void on(const Probed& input);
    std::string why_not_ready(const Copy& copy, const CopySpec* spec) const;

    // agent_images.cpp
    void on(const ImagesListed& input);
    void on(const ImageProgress& input);
    void on(const ImageReady& input);
    void fetch_images();
    void keep_images();
    bool fetch_image(const std::string& digest, const std::string& runtime, bool urgent);
    std::string image_reason(const std::string& digest) const;

    // agent_names.cpp
    void take_names(const Names& names);
    bool replaced_elsewhere(const CopyId& id) const;
    void serve_names();

    // agent_relay.cpp: what the controller and a node that it does not hear say through this one
    void on(const Reached& input);
    void on(const FromNode& input);
    void on(const NodeGone& input);
    void reach(PeerId from, const Ask& message);
    void forward(const Forward& message);
    void end_relays();

    // agent_link.cpp
    void on(const Connected& input);
    void on(const Disconnected& input);
    void on(const FromController& input);
    void hello(PeerId peer);
    void welcome(PeerId peer, const Welcome& message);
    void choose_controller();
    void tell_refusal(std::string kind, const std::string& reason);
    void leave(PeerId peer, const std::string& reason);
    void give_up_waiting();
    void take_ack(const HeartbeatAck& message);
    void take_list(PeerId peer, const NodeList& list);
    void take_specs(const Specs& specs);
    void pull_specs();
    void tell();
    void beat();
    void send_report();
    void send_events();
    Report report() const;
    CopyReport copy_report(const CopyId& id, const Copy& copy) const;
    void add_unwanted(std::map<CopyId, CopyReport>& out) const;
    ListNo shown_applied() const { return accepted_ ? applied_ : ListNo{}; }
    Identity identity();
    void send(AgentMessage message) { out_.emplace_back(Send{current_, std::move(message)}); }

    AgentFacts facts_;
    Timing timing_;
    Instant now_{};
    Instant deadline_ = kNever;  // of the next walk; heartbeats have their own
    bool at_rest_ = false;       // the last walk had nothing to do
    std::uint64_t turn_ = 0;
    AgentEffects out_;
    bool dirty_ = false;         // the durable part changed in this turn
    bool started_ = false;       // AgentStart came
    bool looked_ = false;        // every runtime answered its first list
    bool silent_ = false;        // gantryd ends
    Instant leave_at_ = kNever;  // the machine goes down: by then gantryd ends, moved or not
    bool reboots_ = false;

    // Durable.
    std::string cluster_id_, list_boot_, address_;
    ListNo applied_;
    std::map<CopyId, Copy> copies_;
    std::vector<std::string> prepull_;
    std::map<std::string, CopySpec> specs_;
    std::map<CopyId, std::uint64_t> spent_;  // attempts of copies that are gone: one may come back
    std::uint64_t attempt_floor_ = 0;
    Names names_;
    std::map<ContainerKey, std::vector<std::uint16_t>> ports_;  // of attempts with one that was chosen, by endpoint

    Names coming_;                // parts of the next table
    bool without_state_ = false;  // AgentStart brought none
    bool same_boot_ = false;      // as the one in which the saved list was accepted
    bool accepted_ = false;       // the list is of this boot
    bool confirmed_ = false;      // a controller of this session stands behind the list
    std::map<std::string, Runtime> runtimes_;
    std::map<ContainerKey, Container> containers_;
    std::map<std::uint64_t, ContainerKey> operations_;
    std::map<std::uint64_t, std::pair<CopyId, std::size_t>> questions_;
    std::uint64_t last_id_ = 0;
    std::map<std::string, Fetch> fetches_;
    bool guard_known_ = true, guard_up_ = false;
    std::map<std::string, Instant> held_;                             // what the guard said last, by container
    std::map<std::uint64_t, std::pair<ContainerKey, Instant>> arms_;  // under way
    std::map<CopyId, Instant> granted_;                               // D
    std::map<std::uint64_t, Instant> beats_sent_;                     // when they were sent
    Offset offset_;
    std::map<ContainerKey, Record> records_;  // of what runs, and of what ended and the controller does not know yet
    bool untold_ = false;                     // of some record
    bool clock_known_ = false;                // that of the controller, by an answer of this connection
    std::uint64_t runs_no_ = 0, records_since_ = 0;
    std::uint64_t taken_no_ = 0;         // of the last answer, if nothing changed since; 0: something did
    std::optional<Instant> sure_until_;  // the same
    std::uint64_t last_beat_ = 0;
    std::optional<std::set<std::string>> kept_;  // what the last KeepImages said
    Load load_;
    std::optional<Usage> usage_;
    Instant usage_due_{};  // when it is told (again)
    bool disk_full_ = false;

    std::map<PeerId, Peer> peers_;
    PeerId current_ = 0;
    std::map<std::uint64_t, PeerId> relays_;  // by route; 0: it is being dialled
    std::uint64_t seq_ = 0, welcomes_ = 0;
    Duration heartbeat_;
    Instant next_heartbeat_ = kNever;
    std::uint32_t beats_ = 0;
    std::optional<Report> last_report_;
    Instant reported_at_{};
    Instant pulled_list_at_{INT64_MIN / 2}, pull_specs_at_{};
    std::string last_pulled_;
    std::string last_refusal_;
    Instant refused_at_{INT64_MIN / 2};

    std::uint64_t table_no_ = 0;
    bool names_changed_ = true;
    std::vector<NameEntry> served_;

    std::deque<NodeEvent> events_;
    std::uint64_t events_dropped_ = 0;
};

inline constexpr std::size_t kReasonMost = 300;  // bytes of a text from outside in a message, by one_line()
// "axis_server.0"
std::string instance_name(const ListEntry& entry);

}  // namespace gantry::core
