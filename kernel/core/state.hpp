// SPDX-License-Identifier: Apache-2.0
//
// The controller's state and rules. One file of methods per noun: nodes.cpp, reports.cpp, placement.cpp, ...
// Private to kernel/core.
#pragma once

#include <optional>
#include <tuple>

#include "kernel/core/controller.hpp"
#include "kernel/core/records.hpp"

namespace gantry::core {

inline constexpr Duration kRankLimit = seconds(1);      // a policy that has not answered by then failed
inline constexpr Duration kRankRetry = seconds(1);      // a service whose policy failed asks again
inline constexpr Duration kMoveLimit = seconds(30);     // a drain waits so long for the instance that it moved last
inline constexpr Duration kLeaveLimit = seconds(20);    // a node that goes down keeps its copies so long
inline constexpr Duration kTellAgain = seconds(60);     // a refused node is an event at most so often
inline constexpr int kStoredVersion = 3;                // 1: without next copies, 2: without moves; both are read
inline constexpr PeerId kFirstRoute = PeerId{1} << 48;  // transports have no such numbers
inline constexpr std::size_t kAsked = 3;                // nodes are asked about one that is suspect
inline constexpr std::size_t kReasonsShown = 100;       // nodes with a reason in one document
inline constexpr std::size_t kDryRunShown = 1'000;      // instances placed by a dry run

// Where another copy of an instance would find room.
enum class Fit : std::uint8_t {
    kNowhere,
    kInstead,  // only on its own node, once the copy there is gone
    kBeside,   // while the copy that it has goes on
};

// What a node would have more, or less, than it has: nothing of it is real.
struct Imagined {
    std::uint32_t copies = 0;
    std::int64_t cpu_milli = 0, memory_bytes = 0;  // below 0: more is given back than taken
    std::set<std::uint16_t> ports;
    std::set<CopyId> gone;
    std::multiset<std::uint16_t> freed;  // ports of what is gone
    const Node* leaves = nullptr;        // a copy of the service goes from there

    void take(const Need& need);
    void give_back(const CopyId& copy, const Need& need);
    void keep(const CopyId& copy, const Need& need);  // takes that back
};

struct DryRun {
    RequestId request = 0;
    json::object reply;
    json::array placement;
    Service service;                  // as it would be
    std::vector<std::uint32_t> left;  // instances to place, the next one last
    std::map<const Node*, Imagined> imagined;
};

// One service that is being placed, or a dry run: its candidates in order, and what the policy was asked last.
struct Question {
    struct Scored {
        std::uint32_t crowd = 0;
        bool lacks_image = false;
        Keys keys{};
        Node* node = nullptr;
        std::uint64_t load_version = 0;
        friend bool operator<(const Scored& a, const Scored& b) {
            return std::tie(a.crowd, a.lacks_image, a.keys, a.node->name) <
                   std::tie(b.crowd, b.lacks_image, b.keys, b.node->name);
        }
    };
    std::uint64_t id = 0;  // of the Rank that waits for its answer
    std::uint64_t service_no = 0;
    std::string policy;
    std::vector<Node*> asked;
    std::set<Scored> order;
    std::size_t candidates = 0;
    std::uint64_t nodes_version = 0;  // pools were like this
    bool failed_too = false;          // no node is left on which it has not failed
    Instant deadline{};
    std::optional<DryRun> dry;
};

class Controller::State {
  public:
    State(Timing timing, std::vector<std::string> policies) : timing_(timing), policies_(std::move(policies)) {}

    Result<Effects> load(std::span<const Entry> entries, const std::string& fresh_id, Instant now);
    Effects step(const Input& input, Instant now);
    Instant next_deadline() const;

    // documents.cpp, explain.cpp
    void each_load(const std::function<void(const std::string&, const Load&, const Usage&)>& node_used,
                   const std::function<void(const std::string&, const CopyUsage&)>& instance_used) const;
    json::array nodes(Instant now) const;
    json::array services() const;
    json::array instances() const;
    json::array images() const;
    std::vector<std::string> images_needed() const;
    std::vector<std::string> neighbours_with(const std::string& image, PeerId reader) const;
    json::array secrets() const;
    json::array names() const;
    Result<json::value> service(const std::string& name) const;
    Result<json::array> history(const std::string& name) const;
    Result<json::value> explain(const std::string& service, Instant now,
                                const std::function<Result<std::vector<Keys>>(const Rank&)>& rank,
                                const std::function<std::vector<std::string>(const std::string&)>& key_names) const;
    Result<Place> place(const std::string& instance) const;
    Result<PeerId> drilled(const std::string& node, const std::string& kind) const;
    std::vector<Entry> stored() const;

    std::string cluster_id_;
    std::uint64_t term_ = 0;

  private:
    struct Image {
        std::string digest, os, architecture;
        std::int64_t size_bytes = 0;
        friend bool operator==(const Image&, const Image&) = default;
    };
    struct Named {  // a NameEntry in the table
        NameEntry entry;
        Instant since{};
    };

    // --- inputs (controller.cpp, nodes.cpp, placement.cpp, liveness.cpp, api.cpp, deploy.cpp)
    void on(const PeerMessage& input);
    void on(const PeerDown& input);
    void on(const Ranked& input);
    void on(const RankFailed& input);
    void on(const Tick&);
    void on(const LoopLate& input);
    void on(const ApiDeploy& input);
    void on(const ApiRemoveService& input);
    void on(const ApiRollout& input);
    void on(const ApiRebalance& input);
    void on(const ApiSetIntent& input);
    void on(const ApiRemoveNode& input);
    void on(const ApiConfirmLost& input);
    void on(const ApiSetImage& input);
    void on(const ApiRemoveImage& input);
    void on(const ApiSetSecret& input);
    void settle();  // what follows from the input, once per step
    Instant earliest() const;
    Instant node_due(const Node& node) const;
    const Node* beat_of(const Input& input);

    // --- nodes (nodes.cpp, hello.cpp, liveness.cpp)
    void hello(const PeerMessage& input, const Hello& message);
    bool refuse_hello(const PeerMessage& input, const Hello& message);
    void refuse(PeerId peer, const std::string& node, std::string kind, std::string reason);
    void welcome(Node& node, PeerId peer);
    void pass_applied(Node& node);
    bool take_facts(Node& node, const PeerMessage& input, const Hello& message);
    void heard_from(Node& node, const Load& load, const ListNo& applied, bool heartbeat = false);
    void hold(Node& node);
    void leave(Node& node, const Leaving& message);
    void check_leaving();
    bool may_still_move(const Node& node) const;
    void send_specs(const Node& node, const PullSpecs& message);
    void send(const Node& node, ControllerMessage message);
    void send_names(const Node& node);
    void close(PeerId peer, std::string reason);
    void forget(Node& node);
    Node* node_of(PeerId peer);
    void now_ready(Node& node);
    // --- how long a node may be silent (silence.cpp)
    void sign_of_life(Node& node, bool heartbeat);
    Duration window(const Node& node) const;  // of silence, after which it is lost
    Instant suspect_at(const Node& node) const;
    Instant lost_at(const Node& node) const;
    bool silent(const Node& node) const;
    bool silent_together() const;
    bool anybody_silent() const;
    bool waits(const Node& node) const;
    void check_silence();
    void node_lost(Node& node, Liveness becomes, const std::string& cause);
    void now_suspect(Node& node, std::string reason);
    void copies_lost(Node& node, const std::string& cause, bool rebooted);
    void forget_stale(Node& node);

    // --- announced reboots (reboot.cpp)
    static std::optional<Duration> usual_reboot(const Node& node);
    bool stays_for_reboot(const Node& node, const Instance& instance) const;
    void may_go(Node& node);
    void rebooted(Node& node);
    void load_reboot(Node& node);

    // --- nodes that are asked about, and heard, through others (indirect.cpp)
    struct Route {
        std::string via, node;
    };
    static bool is_route(PeerId peer) { return peer >= kFirstRoute; }
    void ask_about(Node& node);
    bool may_be_asked(const Node& node) const;
    void relayed(const Node& via, const Relayed& message);
    void route_ended(PeerId number, const Route& route, const Relayed& message);
    void send_to(PeerId peer, ControllerMessage message);
    void end_route(PeerId number);
    void end_routes(const Node& node, PeerId but = 0);
    void routes_down(const Node& via);
    void cut_off(Node& node);
    std::string told_by_others(const Node& node) const;

    // --- leases (leases.cpp)
    struct Lease {  // of a copy under forbid that was granted, or may have been before this start
        std::string node;
        Instant until{};  // U: whatever happens, it has ended by then
    };
    void grant(const Node& node, const Heartbeat& heartbeat, HeartbeatAck& answer);
    Instant barred_until(const Instance& instance) const;
    bool barred(const Instance& instance) const;
    bool comes_back(const Instance& instance) const;
    bool may_run(const Service& service) const;
    void lease_left(Instance& instance, const CopyId& copy, const Node& node);
    void lease_over(const CopyId& copy);
    void leases_over(const Node& node);
    void hold_for_lease(Service& service);
    void check_leases();
    void release(Instance& instance);
    void load_leases(const Service& service, Instance& instance);
    Instant next_lease_end() const;
    Status check_forbid(const ServiceSpec& spec) const;
    Status check_overlap(const ServiceSpec& spec) const;
    std::string lease_reason(const Instance& instance) const;
    json::value lease_document(const Instance& instance) const;

    // --- reports (reports.cpp)
    void report(Node& node, const Report& message);
    void report_copy(Node& node, const CopyReport& copy);
    void report_known(Instance& instance, Copy& copy, const CopyReport& report);
    void tell_change(const Instance& instance, const Copy& copy, const CopyReport& report);
    Need need_of_stale(const Service& service, const CopyId& copy) const;
    void report_stale(Node& node, const CopyReport& copy);
    void drop_gone(Node& node, const Report& message);
    bool take_back(Node& node, Instance& instance, const CopyReport& copy);
    void kept_crashing(Instance& instance, Copy& copy);
    bool gives_up(const Service& service, const Node& node, std::string& why) const;
    void try_elsewhere(Instance& instance, Copy& copy);
    void recovered(Instance& instance, const Copy& copy);

    // --- what moves cost (measures.cpp)
    struct OpenMove {  // not all of it is known
        CopyId from, to;
        std::optional<Instant> back;  // it is the same copy, ready and in reach again since then
        Away unheard;                 // of the node that it moved from
    };
    bool take_told(Node& node, const Told& told, bool with_runs);
    void take_runs(Node& node, const Report& message);
    void records_lost(const Node& node);
    Life& life_of(const CopyId& copy, const std::string& node);
    Instant known_of(const Life& life) const;
    void out_of_reach(Node& node, const std::string& why);
    void in_reach(Node& node);
    void boot_over(Node& node);
    void machine_over(Node& node);
    void life_over(const CopyId& copy, bool settled);
    void served(Instance& instance);
    void measure_moves(const std::string& node, bool all_told);
    bool measure(std::uint64_t no, OpenMove& open);
    bool overlap_known(const Life& old, const Life& fresh) const;
    void tell_move(const Instance& instance, const Move& move, bool first, bool complete);
    void check_budget(const Instance& instance, const Move& move, const std::optional<Figure>& figure, const char* key,
                      Duration budget);
    void forget_lives();
    static json::value figure_json(const std::optional<Figure>& figure);
    static json::object move_document(const Move& move, bool complete);
    json::object moves_document(const Service& service) const;
    static void put_moves(json::object& out, const Instance& instance);
    static Status load_moves(Fields& fields, Instance& instance);

    // --- instances (instances.cpp)
    void assign(Instance& instance, Node& node);
    void attach(Instance& instance, Copy& copy, Node& node);
    void detach(Instance& instance, Copy& copy, bool planned, bool gone);
    void set_state(Instance& instance, Copy& copy, CopyState state);
    void set_ready(Instance& instance, bool ready);
    void promote(Instance& instance);
    void drop_next(Instance& instance);
    const Need& need_of(const Instance& instance, const Copy& copy) const;
    static Copy* copy_on(Instance& instance, const Node& node, std::uint64_t epoch);
    void use(Node& node, const Need& need, int sign);
    void add_stale(Node& node, const CopyId& copy, Stale stale);
    void stale_gone(Node& node, const CopyId& copy, bool told);
    void stop_confirmed(Instance& instance);
    void wants_place(Instance& instance);
    void remove_instance(Service& service, std::uint32_t index);
    void check_removed();
    std::uint64_t next_epoch(const Instance& instance) const;
    Instance* find(const InstanceId& id) const;
    Service* find_service(std::uint64_t no) const;

    // --- placement (placement.cpp, rules.cpp)
    const std::vector<PoolNode>& pool_of(const Service& service) const;
    const PoolNode* pool_entry(const Service& service, const Node& node) const;
    std::vector<PoolNode> build_pool(const Revision& revision) const;
    bool in_pool(const ServiceSpec& spec, const Node& node) const;
    // Which limits of the service would not hold there, as a sentence for people; "" if they do or nobody knows.
    static std::string unenforced(const ServiceSpec& spec, const Node& node);
    Exclusion fixed_rules(const Revision& revision, const Node& node) const;
    Exclusion resource_rules(const Revision& revision, const Node& node, const Need* given_back,
                             const Imagined* imagined) const;
    Exclusion rules(const Revision& revision, const PoolNode& candidate, const Need* given_back = nullptr,
                    const Imagined* imagined = nullptr) const;
    static std::uint32_t own_copies(const Revision& revision, const Node& node);
    std::pair<std::uint32_t, std::uint32_t> groups(const Revision& revision, const Node& node,
                                                   const Node* leaves = nullptr) const;
    Exclusion neighbour_rules(const Revision& revision, const Node& node, const Need* given_back,
                              const Imagined* imagined) const;
    std::uint32_t crowd(const Revision& revision, const Node& node) const;
    void crowd_anew(Question& question, const Revision& revision) const;
    static bool failed_here(const Revision& revision, const Node& node);
    std::string reason(Exclusion exclusion, const Revision& revision, const Node& node) const;
    static bool held(const Instance& instance, const Node& node, Instant now);
    static bool passes(Exclusion exclusion, bool failed_too) {
        return exclusion == Exclusion::kNone || (failed_too && exclusion == Exclusion::kFailedHere);
    }
    Fit fit(const Service& service, const Instance& instance) const;
    bool fits_elsewhere(const Service& service, const Node& own) const;
    bool may_leave(const Service& service, const Instance& instance) const;
    static bool takes_next(const Revision& revision, const Node& node) { return !revision.failed.contains(node.name); }
    RankCandidate candidate(const Revision& revision, std::uint64_t service_no, const Node& node,
                            const Imagined* imagined) const;
    Rank question_for(const Service& service, std::uint32_t wanted) const;
    const std::string& policy_of(const Service& service) const;
    void retry_waiting();
    void wait_for_node(Service& service);
    void stop_waiting(Service& service);
    void enqueue(Service& service);
    void pump();
    void begin_question(Service& service);
    void place_static(Service& service);
    void tell_placed(const Instance& instance, const std::string& why, const Keys* keys);
    void ask(Question& question, const Service& service, std::size_t wanted, const std::vector<Node*>& nodes);
    void answered(std::uint64_t id, const std::vector<Keys>& keys);
    void advance(Question& question);
    void imagine(Question& question);
    Node* choose(Question& question, const Revision& revision, const Instance* instance, Node** outdated);
    void question_failed(Question& question, const std::string& why);
    void end_question(std::uint64_t id);
    void cancel_placing(Service& service);
    void finish_dry_run(Question& question, const std::string& why);
    void still_pending(Service& service);
    json::array pending_reasons(const Service& service) const;

    // --- who leaves for whom (preemption.cpp)
    struct Room {
        Node* node = nullptr;
        std::vector<Instance*> leave;
        Imagined after;                                                // with the instance there
        std::tuple<bool, bool, bool, std::int32_t, std::size_t> cost;  // any, elsewhere than promised, held, ...
    };
    static void promise(Instance& instance, Node* node);
    std::vector<const Instance*> promised_before(const Revision& revision, const Node& node) const;
    std::optional<std::vector<Instance*>> in_the_way(const Service& service, const PoolNode& candidate,
                                                     Imagined& room) const;
    std::optional<Room> room_for(const Service& service, const std::string& bound, const Instance* instance,
                                 const std::map<const Node*, Imagined>& imagined) const;
    std::optional<Room> imagine_room(DryRun& dry, const std::string& bound) const;
    void make_room(Service& service);
    void displace(Instance& instance, const Instance& by);
    static std::string displaces(const std::vector<Instance*>& leave);

    // --- planned moves (moves.cpp, rollout.cpp)
    void plan_moves();
    void plan_drain(Node& node);
    bool begin_drain(Instance& instance, const std::string& why);
    void plan_next(Instance& instance, const std::string& why);
    void begin_gap(Instance& instance, const std::string& why);
    void give_up_plans(Service& service);
    void forget_plan(Instance& instance);
    bool turn_away(Instance& instance);
    void end_move(Instance& instance);
    static bool replaces_now(const Instance& instance);
    bool moving_out(const Node& node) const;
    void check_moves();
    std::string slow_move(const Instance& instance) const;
    std::string why_it_stays(const Service& service, const Instance& instance) const;
    void plan_rollout(Service& service);
    struct Rollout {
        std::vector<Instance*> broken, good;  // to replace
        std::size_t surging = 0;              // have a next copy, or are to have one
        std::size_t moving = 0;               // those, and those whose old copy is being stopped
        std::size_t away = 0;                 // are not ready
        std::size_t gaps = 0;                 // were stopped to be replaced and have no node yet
        std::size_t updated = 0;              // are as the last revision says
        std::size_t settled = 0;              // and have been ready through the gate
    };
    Rollout look_at(Service& service);
    bool goes_on(const Service& service, const Rollout& rollout) const;
    bool begin_update(Service& service, Instance& instance, Rollout& rollout);
    void check_deadline(Service& service);
    void rolled_out(Service& service);

    // --- rebalance (rebalance.cpp)
    struct Shift {
        InstanceId instance;
        std::string from, to;
    };
    struct Balance {
        std::vector<Node*> nodes;  // that take instances
        std::map<const Node*, std::size_t> copies;
        std::map<const Node*, Imagined> imagined;
        std::set<InstanceId> moved;
        std::vector<Shift> shifts;
    };
    bool may_shift(const Instance& instance, const Node& to, const Imagined* imagined) const;
    bool shift_one(Balance& balance) const;
    bool shift_from(Balance& balance, Node& from) const;
    void go_on_rebalancing();
    json::object rebalance_document() const;
    Status load_rebalance(const json::value& value);

    // --- services that are stopped, started, restarted by hand (stopped.cpp)
    void stop(Service& service);
    void start(Service& service);
    Status restart(Service& service);
    std::pair<std::string, std::string> stopped_state(const Service& service) const;

    // --- history (history.cpp)
    static std::set<std::uint64_t> live_revisions(const Service& service);
    static const Revision* good_before(const Service& service);
    void revision_failed(Service& service);
    Status roll_back(Service& service, const Revision& to, const std::string& why);
    json::object rollout_document(const Service& service) const;
    bool outdated(const Service& service, const Instance& instance, const Copy& copy) const;

    // --- API (api.cpp, deploy.cpp)
    void reply(RequestId request, Result<json::value> result);
    Status check_deploy(const ServiceSpec& spec, bool new_image) const;
    Status check_order(const ServiceSpec& spec) const;
    const std::string* waits_for(const Service& service) const;
    std::string starts_after(const std::string& other) const;
    void hold_back(Service& service);
    void release_after(const Service& service);
    json::array deploy_warnings(const ServiceSpec& spec) const;
    Revision make_revision(const ServiceSpec& spec, const Service* service);
    Service& new_service(const std::string& name);
    void change(Service& service, Revision revision);
    void start_dry_run(const ApiDeploy& input, const ServiceSpec& spec, const Service* service, json::object reply);
    void imagine_instance(DryRun& dry, const Service* service, std::uint32_t index, const std::string& bound,
                          bool changed);
    void match_instances(Service& service);
    void match_static(Service& service);
    Instance& add_instance(Service& service, std::uint32_t index);
    bool wants_image(const Revision& revision, const Node& node) const;
    void set_prepull(const Service& service, int sign);
    void drop_service(Service& service);
    void forget_revisions(Service& service);
    bool uses_secret(const Service& service, const std::string& secret) const;
    void derive(Revision& revision);

    // --- lists and names (lists.cpp)
    void dirty_list(Node& node) { dirty_lists_.insert(&node); }
    void dirty(Instance& instance) { dirty_instances_.insert(instance.id()); }
    void dirty(Service& service) { dirty_services_.insert(service.name); }
    void dirty(Node& node) { dirty_nodes_.insert(node.name); }
    void flush_lists();
    void flush_names();
    NodeList list_of(const Node& node) const;
    void announce_copy(Instance& instance, bool present);
    Names names_table() const;
    void prepull(Node& node, std::uint32_t image, int sign);

    // --- stored form (stored.cpp, load.cpp)
    void flush_documents();
    void write(std::string key, const std::optional<json::object>& value);
    json::object meta_document() const;
    json::object document(const Service& service) const;
    json::object document(const Instance& instance) const;
    json::object document(const Node& node) const;
    json::object document(const Image& image) const;
    static bool worth_storing(const Instance& instance);
    Status load_meta(const json::value& value);
    Status load_secret(const std::string& name, const json::value& value);
    Status load_node(const std::string& name, const json::value& value, Instant now);
    Status load_service(const std::string& name, const json::value& value);
    Status load_instance(const std::string& id, const json::value& value);
    Status load_copies(Fields& fields, Instance& instance);
    Status load_current(const json::value& value, const std::string& path, Instance& instance);
    Status load_next(const json::value& value, const std::string& path, Instance& instance);
    Result<Node*> node_of_copy(const std::string& name, const std::string& path);
    Status load_image(const std::string& name, const json::value& value);
    Status load_entry(const std::string& key, const json::value& value, Instant now);
    void loaded(Instant now);

    // --- documents
    json::object node_document(const Node& node, Instant now) const;
    json::array instances_of(const Service& service) const;
    json::array endpoints_document(const Service& service, const Copy& copy) const;
    json::object service_document(const Service& service) const;
    json::object next_document(const Instance& instance) const;
    json::object instance_document(const Service& service, const Instance& instance, const json::array& pending) const;

    void event(std::string kind, std::string text, json::object fields = {});
    std::uint32_t image_no(const std::string& digest);

    Timing timing_;
    std::vector<std::string> policies_;
    Instant now_{};
    mutable Instant due_{};  // not after the next deadline; at or before now_: not known
    Effects* out_ = nullptr;

    std::uint64_t next_service_no_ = 1;
    std::uint64_t list_floor_ = 0;  // list numbers up to here were used by nodes that are forgotten, in this term
    std::map<std::string, Service, std::less<>> services_;
    std::map<std::uint64_t, Service*> service_by_no_;
    std::map<std::string, Node, std::less<>> nodes_;
    std::map<PeerId, Node*> peers_;  // routes are peers, too
    std::map<PeerId, Route> routes_;
    PeerId last_route_ = kFirstRoute;
    std::map<std::string, Image, std::less<>> images_;
    std::map<std::string, std::string, std::less<>> secrets_;
    std::map<std::string, std::uint32_t, std::less<>> image_numbers_;
    std::vector<std::string> image_digests_;
    std::map<std::string, Instant> told_;  // "KIND NODE" of a refusal -> when people heard of it

    std::uint64_t nodes_version_ = 1;  // of what pools depend on
    std::uint32_t copies_total_ = 0, nodes_ready_ = 0;

    std::map<std::pair<std::string, CopyId>, Named> names_;
    std::uint64_t names_no_ = 1;  // 0 would say that there is no table yet
    bool names_dirty_ = false;

    std::set<Node*, NodeByName> dirty_lists_, touched_;
    std::set<InstanceId> dirty_instances_;
    std::set<std::string> dirty_services_, dirty_nodes_;

    // By policy: services to place, those of greater priority first (by its negative).
    std::map<std::string, std::set<std::pair<std::int32_t, std::uint64_t>>> queue_;
    std::set<std::uint64_t> waiting_;                   // services with instances that found no node
    std::map<std::uint64_t, Question> questions_;       // by id of the Rank asked last
    std::map<std::string, std::uint64_t> asking_;       // policy -> id
    std::map<std::uint64_t, std::uint64_t> asked_for_;  // service -> id
    std::uint64_t next_question_ = 1;

    std::set<std::string> leaving_;    // nodes that go down, and perhaps some that did
    std::set<std::string> draining_;   // nodes that drain, and perhaps some that did
    std::set<std::uint64_t> rolling_;  // services that may have copies to replace
    std::set<std::uint64_t> removing_;
    std::map<InstanceId, Instant> moves_;  // under way, and until when the next ones of their nodes wait for them
    bool moves_dirty_ = false;
    std::vector<Shift> shifts_;  // stored: of a rebalance, the next one last
    bool shifts_dirty_ = false;
    std::set<InstanceId> shifting_;
    std::uint32_t shifts_at_once_ = 1;
    std::map<CopyId, Life> lives_;
    std::map<std::uint64_t, OpenMove> open_moves_;  // by number
    std::uint64_t last_move_ = 0;
    std::map<CopyId, Lease> leases_;
    std::set<InstanceId> leased_out_;  // pending until a lease is over
    Duration lease_span_{};            // stored: the longest that was used since the leases of it may have ended
    Instant unknown_until_{};          // what an earlier start granted may last until then
    Instant purge_leases_{};
    Instant plan_again_ = kNever;  // a policy failed while moves were planned
    std::optional<Instant> paused_until_;
};

}  // namespace gantry::core
