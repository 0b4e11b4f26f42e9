// SPDX-License-Identifier: Apache-2.0
//
// Judge: sees everything that happens in a world and knows what must hold whatever happens (docs/simulation.md lists
// the invariants). It looks at what the cores publish, store and ask for, and at what truly runs; never inside of them.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "kernel/core/agent.hpp"
#include "kernel/core/controller.hpp"
#include "kernel/sim/random.hpp"

namespace gantry::sim {

class World;
class Machine;

class Judge {
  public:
    explicit Judge(World& world);

    // --- the controller
    void loaded(std::uint64_t start);
    void question(const core::Rank& rank);
    void placed();
    void committed();
    void published(const Machine& machine, const core::NodeList& list);
    void acked(core::PeerId peer, std::uint64_t seq);
    void announced(const core::Names& names);
    void told(const core::Event& event);
    void displaced(const core::Effects& effects);  // called when something was, before anything else happens
    void asked(core::RequestId request);           // for one reply
    void deployed(core::RequestId request, const std::string& service);
    void replied(const core::Reply& reply);
    void requests_lost();  // with the core that was to answer them

    // --- the nodes
    void said(const Machine& machine, const core::AgentMessage& message);
    void wants(const Machine& machine, const core::AgentEffect& effect);
    void created(const Machine& machine, const std::string& name, const core::CopyId& copy, bool fresh);
    void began_twice(const Machine& machine, const std::string& name);
    void started(const Machine& machine, const std::string& name, const core::CopyId& copy);
    void ended(const Machine& machine, const std::string& name, const core::CopyId& copy, bool asked);
    void booted(const Machine& machine);

    // --- what moves cost (judge_moves.cpp)
    void turned(const Machine& machine, const core::AgentInput& input);
    void ran(const Machine& machine, const core::CopyId& copy, bool runs, bool told);
    void doubt(const Machine& machine, const core::CopyId& copy);  // its runtime lies of it
    void decided(const core::Effects& effects);

    void look();  // every now and then
    // When faults have stopped: "" if desired equals actual, else what does not.
    std::string unlike_desired();
    std::string draining;                      // the node that is being emptied then
    std::optional<core::InstanceId> crashing;  // the instance that crashes whatever is done
    std::set<std::string> stopped;             // services that people have stopped then; all others are started
    std::set<core::CopyId> restarted;          // by hand
    void broken(const std::string& invariant, const std::string& how);

  private:
    // What a copy of a service takes, from the document that was deployed.
    struct Takes {
        std::int64_t memory = 0, cpu = 0;
        std::uint16_t port = 0;
        std::vector<std::string> nodes;
        core::Labels labels, constraints;
        std::string runtime;
        bool forbid = false, preempt = false, apart = false;
        std::string spread;  // hard
        int priority = 0;
        std::size_t run = 0;  // of the controller that last had it as a current copy
        Instant placed{};
        bool twice = false;  // two copies had this name and number
    };
    struct Lived {  // a copy on a node, when it truly was what, as the controller's clock showed it
        core::CopyId copy;
        std::vector<std::pair<Instant, Instant>> runs, ready;
        std::pair<std::uint64_t, bool> shown;  // attempt, and whether it was ready
        bool unsure = false;
    };
    struct Running {
        const Machine* machine = nullptr;
        std::string container;
    };

    static Takes takes(const json::value& document);
    static bool in_pool(const Takes& need, const Machine& machine);
    static std::string unfit(const Takes& need, const Machine& machine);
    // Of one service, by node: why another copy there is too many, or one of those that are there.
    std::string crowded(const Takes& need, const std::map<std::string, int>& copies, const Machine& machine,
                        bool placed) const;
    void check_stored();
    void check_reload();
    void check_bookkeeping();
    void check_stopped(const Machine& machine, const core::NodeList& list);
    void check_names();
    void check_served(const Machine& machine);
    void check_ports(const Machine& machine);
    static bool listens(const Machine& machine, const core::CopyId& copy, std::uint16_t port);
    std::string misnamed(const json::object& instance, const core::CopyId& copy) const;
    void false_alarm(const core::Event& event);
    std::string fits_somewhere(const json::object& instance, bool failed_too);
    json::value as_stored(const std::string& key) const;
    std::string unlike_desired(const json::object& instance, std::map<core::InstanceId, int>& running,
                               const std::set<std::pair<core::CopyId, std::string>>& there, std::size_t& expected);

    std::string place_of(const core::CopyId& copy, const std::string& node) const;
    Lived& lived(const core::CopyId& copy, const std::string& node);
    void moved(const core::Event& event);

    World& world_;
    Random random_;
    std::map<std::string, Lived> lived_;                                    // by "s1.0#3 on n2"
    std::map<std::string, std::vector<std::pair<Instant, Instant>>> away_;  // nodes that the controller does not hear
    std::map<core::CopyId, std::string> published_on_;                      // every copy ever listed, and where
    std::map<core::CopyId, bool> static_;
    std::set<std::uint64_t> forbid_;  // numbers of services
    std::set<std::pair<core::CopyId, std::string>> was_ready_;
    std::set<std::string> ready_copies_;                              // the same, as documents name them
    std::map<std::string, std::set<core::CopyId>> listed_;            // by node, in its last list
    std::map<core::CopyId, std::string> instance_of_;                 // "s1.0"
    std::map<core::InstanceId, std::set<core::CopyId>> of_instance_;  // every copy ever listed
    std::set<std::pair<std::string, std::uint64_t>> planned_;  // instance, epoch of a next copy beside a current one
    std::set<std::pair<std::string, std::uint64_t>> lost_;     // instance, epoch: told as lost
    std::set<std::string> displaced_;                          // instances, until they are placed again
    std::vector<core::NameEntry> named_;                       // what the last table said
    std::map<std::string, core::ListNo> last_list_;
    std::map<std::string, core::ListNo> applied_;     // by node, told in this boot
    std::map<std::uint64_t, std::uint64_t> term_of_;  // published by which start
    std::map<core::PeerId, std::uint64_t> acked_;
    std::map<std::string, Takes> taken_;                    // by copy ("s1.0#3")
    std::map<core::CopyId, std::vector<Running>> running_;  // in truth
    std::map<core::CopyId, Instant> stopped_;               // by its agent, at the last
    std::set<core::RequestId> asked_;
    std::map<core::RequestId, std::string> deploys_;
};

}  // namespace gantry::sim
