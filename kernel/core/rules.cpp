// SPDX-License-Identifier: Apache-2.0
//
// The hard rules of placement, each with a reason that a person can read.
#include <algorithm>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

const std::string* label(const Labels& labels, const std::string& key) {
    const auto at = std::lower_bound(labels.begin(), labels.end(), key,
                                     [](const auto& entry, const std::string& wanted) { return entry.first < wanted; });
    return at != labels.end() && at->first == key ? &at->second : nullptr;
}

// The first of `wanted` that the node does not have.
const std::pair<std::string, std::string>* unmet(const Labels& wanted, const Node& node) {
    for (const auto& want : wanted) {
        const std::string* has = label(node.labels, want.first);
        if (!has || *has != want.second) return &want;
    }
    return nullptr;
}

const RuntimeHello* runtime_for(const ServiceSpec& spec, const Node& node) {
    if (spec.runtime.empty()) return node.runtimes.empty() ? nullptr : &node.runtimes.front();
    for (const auto& runtime : node.runtimes)
        if (runtime.name == spec.runtime) return &runtime;
    return nullptr;
}

bool runs_image(const RuntimeHello& runtime, const Revision& revision) {
    if (!revision.system.empty() && runtime.system != revision.system) return false;
    return revision.architecture.empty() || std::find(runtime.architectures.begin(), runtime.architectures.end(),
                                                      revision.architecture) != runtime.architectures.end();
}

std::string platforms(const Node& node) {
    std::string out;
    for (const auto& runtime : node.runtimes)
        for (const auto& architecture : runtime.architectures) {
            const std::string platform = runtime.system + "/" + architecture;
            if (out.find(platform) == std::string::npos) out += (out.empty() ? "" : ", ") + platform;
        }
    return out.empty() ? "nothing" : out;
}

std::string cores(std::int64_t milli) {
    std::string fraction = std::to_string(1'000 + milli % 1'000).substr(1);
    while (!fraction.empty() && fraction.back() == '0') fraction.pop_back();
    return std::to_string(milli / 1'000) + (fraction.empty() ? "" : "." + fraction);
}

}  // namespace

std::string Controller::State::unenforced(const ServiceSpec& spec, const Node& node) {
    const RuntimeHello* runtime = runtime_for(spec, node);
    if (!runtime || runtime->limits.value_or(true)) return "";
    std::string wanted;
    for (const auto& [name, limit] :
         {std::pair("cpu", spec.cpu_milli), {"memory", spec.memory_bytes}, {"pids", spec.pids}})
        if (limit > 0) wanted += (wanted.empty() ? "" : ", ") + std::string(name);
    return wanted.empty() ? "" : "runtime " + runtime->name + " does not enforce the limits: " + wanted;
}

bool Controller::State::in_pool(const ServiceSpec& spec, const Node& node) const {
    if (!spec.nodes.empty()) return std::find(spec.nodes.begin(), spec.nodes.end(), node.name) != spec.nodes.end();
    return unmet(spec.pool_labels, node) == nullptr;
}

Exclusion Controller::State::fixed_rules(const Revision& revision, const Node& node) const {
    const auto fits = [&](const RuntimeHello& runtime) { return runs_image(runtime, revision); };
    if (std::none_of(node.runtimes.begin(), node.runtimes.end(), fits)) return Exclusion::kPlatform;
    const RuntimeHello* runtime = runtime_for(revision.spec, node);
    if (!runtime) return Exclusion::kRuntime;
    if (!fits(*runtime)) return Exclusion::kPlatform;
    if (revision.spec.forbid && !runtime->guarded) return Exclusion::kFence;
    if (!runtime->settings && !revision.spec.setting_names().empty()) return Exclusion::kSettings;
    if (!runtime->ports && revision.spec.ports_to_choose() != 0) return Exclusion::kChooses;
    return unmet(revision.spec.constraints, node) ? Exclusion::kLabels : Exclusion::kNone;
}

std::vector<PoolNode> Controller::State::build_pool(const Revision& revision) const {
    std::vector<PoolNode> pool;
    const auto add = [&](const Node& node) { pool.push_back({const_cast<Node*>(&node), fixed_rules(revision, node)}); };
    if (revision.spec.nodes.empty()) {
        for (const auto& [name, node] : nodes_)
            if (in_pool(revision.spec, node)) add(node);
        return pool;
    }
    for (const auto& name : std::set<std::string>(revision.spec.nodes.begin(), revision.spec.nodes.end()))
        if (const auto at = nodes_.find(name); at != nodes_.end()) add(at->second);
    return pool;
}

const std::vector<PoolNode>& Controller::State::pool_of(const Service& service) const {
    if (service.pool_version != nodes_version_) {
        service.pool = build_pool(service.last());
        service.pool_version = nodes_version_;
    }
    return service.pool;
}

const PoolNode* Controller::State::pool_entry(const Service& service, const Node& node) const {
    const auto& pool = pool_of(service);
    const auto at = std::lower_bound(pool.begin(), pool.end(), node.name,
                                     [](const PoolNode& a, const std::string& name) { return a.node->name < name; });
    return at == pool.end() || at->node != &node ? nullptr : &*at;
}

namespace {

Exclusion state_rules(const Node& node) {
    switch (node.liveness) {
        case Liveness::kNew:
            return Exclusion::kNew;
        case Liveness::kSuspect:
            return Exclusion::kSuspect;
        case Liveness::kLost:
            return Exclusion::kLost;
        case Liveness::kLeft:
            return Exclusion::kLeft;
        case Liveness::kReady:
            break;
    }
    if (node.leaves_by) return Exclusion::kLeaving;
    switch (node.intent) {
        case Intent::kCordoned:
            return Exclusion::kCordoned;
        case Intent::kDraining:
            return Exclusion::kDraining;
        case Intent::kActive:
            break;
    }
    return Exclusion::kNone;
}

}  // namespace

// given_back: what a copy that is about to go takes now. imagined: what a dry run has put there already.
Exclusion Controller::State::resource_rules(const Revision& revision, const Node& node, const Need* given_back,
                                            const Imagined* imagined) const {
    const Need& need = revision.need;
    std::int64_t cpu = node.cpu_milli - node.cpu_used, memory = node.memory_bytes - node.memory_used;
    if (given_back) {
        cpu += given_back->cpu_milli;
        memory += given_back->memory_bytes;
    }
    if (imagined) {
        cpu -= imagined->cpu_milli;
        memory -= imagined->memory_bytes;
    }
    const auto promised = promised_before(revision, node);
    for (const Instance* other : promised) {
        cpu -= other->service->last().need.cpu_milli;
        memory -= other->service->last().need.memory_bytes;
    }
    if (need.cpu_milli > 0 && need.cpu_milli > cpu) return Exclusion::kCpu;
    if (need.memory_bytes > 0 && need.memory_bytes > memory) return Exclusion::kMemory;
    const std::size_t others =
        node.copies.size() + node.stale.size() + promised.size() + (imagined ? imagined->copies : 0);
    if (others >= limits::kNodeCopies + (given_back ? 1 : 0) + (imagined ? imagined->gone.size() : 0))
        return Exclusion::kCopies;
    for (const auto port : need.ports) {
        const auto used = node.ports.find(port);
        std::uint32_t users = used == node.ports.end() ? 0 : used->second;
        if (imagined) users -= static_cast<std::uint32_t>(imagined->freed.count(port));
        for (const Instance* other : promised)
            users += std::ranges::count(other->service->last().need.ports, port) != 0;
        if (users != 0 && given_back)
            users -= static_cast<std::uint32_t>(std::count(given_back->ports.begin(), given_back->ports.end(), port));
        if (users != 0 || (imagined && imagined->ports.contains(port))) return Exclusion::kPorts;
    }
    return Exclusion::kNone;
}

std::uint32_t Controller::State::own_copies(const Revision& revision, const Node& node) {
    const auto at = node.of_service.find(revision.service_no);
    return at == node.of_service.end() ? 0 : at->second;
}

// Copies of the service in the node's group, and in the least filled group of its pool. leaves: one goes from there.
std::pair<std::uint32_t, std::uint32_t> Controller::State::groups(const Revision& revision, const Node& node,
                                                                  const Node* leaves) const {
    const std::string& key = revision.spec.spread_label;
    std::map<std::string_view, std::uint32_t> counts;
    for (const auto& [name, other] : nodes_) {
        const std::string* value = label(other.labels, key);
        if (!value || !in_pool(revision.spec, other)) continue;
        const bool open = state_rules(other) == Exclusion::kNone && fixed_rules(revision, other) == Exclusion::kNone;
        const std::uint32_t own = own_copies(revision, other) - (leaves == &other ? 1 : 0);
        if (open || own != 0) counts[*value] += own;
    }
    const std::string* mine = label(node.labels, key);
    std::uint32_t least = UINT32_MAX;
    for (const auto& [value, count] : counts) least = std::min(least, count);
    return {mine ? counts[*mine] : UINT32_MAX, least};
}

// Where other instances of the same service forbid one.
Exclusion Controller::State::neighbour_rules(const Revision& revision, const Node& node, const Need* given_back,
                                             const Imagined* imagined) const {
#ifdef GANTRY_BUG_CROWDED
    return Exclusion::kNone;
#endif
    const ServiceSpec& spec = revision.spec;
    const std::uint32_t more = (imagined ? imagined->copies : 0), less = given_back ? 1 : 0;
    if (spec.apart == Force::kHard && own_copies(revision, node) + more > less) return Exclusion::kApart;
    if (spec.spread != Force::kHard) return Exclusion::kNone;
    const auto [here, least] = groups(revision, node, imagined ? imagined->leaves : nullptr);
    if (here == UINT32_MAX) return Exclusion::kSpread;
    return here + more > least + less ? Exclusion::kSpread : Exclusion::kNone;
}

// How many own instances a choice among the candidates should keep away from: fewer is better, before all else.
std::uint32_t Controller::State::crowd(const Revision& revision, const Node& node) const {
    std::uint32_t out = 0;
    if (revision.spec.apart == Force::kSoft) out += own_copies(revision, node);
    if (revision.spec.spread == Force::kSoft) {
        const auto [here, least] = groups(revision, node);
        out += here == UINT32_MAX ? least : here;
    }
    return out;
}

Exclusion Controller::State::rules(const Revision& revision, const PoolNode& candidate, const Need* given_back,
                                   const Imagined* imagined) const {
    const Node& node = *candidate.node;
    if (const auto state = state_rules(node); state != Exclusion::kNone) return state;
    if (candidate.fixed != Exclusion::kNone) return candidate.fixed;
    if (const auto full = resource_rules(revision, node, given_back, imagined); full != Exclusion::kNone) return full;
    if (const auto near = neighbour_rules(revision, node, given_back, imagined); near != Exclusion::kNone) return near;
    return failed_here(revision, node) ? Exclusion::kFailedHere : Exclusion::kNone;
}

// Static instances have no other place.
bool Controller::State::failed_here(const Revision& revision, const Node& node) {
    return !revision.failing && revision.spec.mode == Mode::kDynamic && revision.failed.contains(node.name);
}

bool Controller::State::held(const Instance& instance, const Node& node, Instant now) {
    return std::any_of(instance.lost_on.begin(), instance.lost_on.end(),
                       [&](const auto& lost) { return lost.first == node.name && lost.second > now; });
}

// A node on which the revision kept crashing gets no next copy: the current one is better than that.
Fit Controller::State::fit(const Service& service, const Instance& instance) const {
    const Revision& last = service.last();
    Fit best = Fit::kNowhere;
    for (const auto& candidate : pool_of(service)) {
        if (service.is_static() && candidate.node->name != instance.bound) continue;
        if (!takes_next(last, *candidate.node)) continue;
        if (rules(last, candidate) == Exclusion::kNone) {
            if (!service.forbid) return Fit::kBeside;
            best = Fit::kInstead;  // never a second one
        }
        if (candidate.node != instance.current.node) continue;
        const Need& own = need_of(instance, instance.current);
        if (rules(last, candidate, &own) == Exclusion::kNone) best = Fit::kInstead;
    }
    return best;
}

// Whether an instance could be placed on another node than its own.
bool Controller::State::fits_elsewhere(const Service& service, const Node& own) const {
    if (service.is_static()) return false;
    const auto& pool = pool_of(service);
    return std::any_of(pool.begin(), pool.end(), [&](const PoolNode& candidate) {
        return candidate.node != &own && rules(service.last(), candidate) == Exclusion::kNone;
    });
}

// Whether an instance of a node that is to be empty finds another place, as it may move.
bool Controller::State::may_leave(const Service& service, const Instance& instance) const {
    if (service.forbid) return instance.current.node && fits_elsewhere(service, *instance.current.node);
    return fit(service, instance) == Fit::kBeside;
}

// Whose containers are in no cgroup of ours cannot be killed by a guard that knows nothing else.
Status Controller::State::check_forbid(const ServiceSpec& spec) const {
    if (!spec.forbid) return {};
    for (const auto& [name, node] : nodes_) {
        if (!in_pool(spec, node)) continue;
        const RuntimeHello* runtime = runtime_for(spec, node);
        if (!runtime || runtime->fenceable) continue;
        return fail(Code::kInvalid,
                    "\"forbid\" expects a runtime that is fenceable (containers in a cgroup of ours), got " +
                        runtime->name + " on " + name + "; choose another service.runtime or overlap \"allow\"",
                    "placement.overlap");
    }
    return {};
}

std::string Controller::State::reason(Exclusion exclusion, const Revision& revision, const Node& node) const {
    const ServiceSpec& spec = revision.spec;
    if (exclusion >= Exclusion::kCpu && exclusion <= Exclusion::kCopies)
        if (const auto before = promised_before(revision, node); !before.empty())
            return "its room is promised to " + before.front()->text();
    switch (exclusion) {
        case Exclusion::kNone:
            return "";
        case Exclusion::kPool:
            return "not in the pool";
        case Exclusion::kNew:
            return node.quiet == Quiet::kConnected ? "joins: its first report is awaited" : "not back yet";
        case Exclusion::kSuspect:
            return "suspect: " + node.reason;
        case Exclusion::kLost:
            return "lost: " + node.reason;
        case Exclusion::kLeft:
            return "left";
        case Exclusion::kCordoned:
            return "cordoned";
        case Exclusion::kDraining:
            return "draining";
        case Exclusion::kLeaving:
            return "goes down";
        case Exclusion::kPlatform:
            return "the image is " + revision.system + "/" + revision.architecture + ", the node runs " +
                   platforms(node);
        case Exclusion::kRuntime:
            return spec.runtime.empty() ? "it has no runtime" : "it has no runtime " + spec.runtime;
        case Exclusion::kFence: {
            const RuntimeHello* runtime = runtime_for(spec, node);
            return runtime && runtime->fenceable
                       ? "keeps no leases, which overlap \"forbid\" needs: it has no gantry-guard"
                       : "its runtime is not fenceable, which overlap \"forbid\" needs";
        }
        case Exclusion::kSettings:
            return "its runtime cannot apply " + spec.setting_names().front();
        case Exclusion::kChooses:
            return "its gantryd is older and chooses no port where a manifest says 0";
        case Exclusion::kLabels: {
            const auto* want = unmet(spec.constraints, node);
            if (!want) return "labels do not match";
            const std::string* has = label(node.labels, want->first);
            return "label " + want->first + ": expected " + want->second + (has ? ", got " + *has : ", has none");
        }
        case Exclusion::kCpu:
            return "needs " + cores(spec.cpu_milli) + " cores, " +
                   cores(std::max<std::int64_t>(0, node.cpu_milli - node.cpu_used)) + " of " + cores(node.cpu_milli) +
                   " are free";
        case Exclusion::kMemory:
            return "needs " + format_size(spec.memory_bytes) + " of memory, " +
                   format_size(std::max<std::int64_t>(0, node.memory_bytes - node.memory_used)) + " of " +
                   format_size(node.memory_bytes) + " are free";
        case Exclusion::kPorts:
            for (const auto port : revision.need.ports)
                if (node.ports.contains(port)) return "port " + std::to_string(port) + " is taken";
            return "a port is taken";
        case Exclusion::kCopies:
            return "has " + std::to_string(node.copies.size() + node.stale.size()) + " copies, no more fit";
        case Exclusion::kApart:
            return "has an instance of the service already, and anti_affinity is hard";
        case Exclusion::kSpread: {
            const std::string* has = label(node.labels, spec.spread_label);
            return has ? spec.spread_label + " " + *has + " has more instances than another, and spread is hard"
                       : "has no label " + spec.spread_label + ", and spread is hard";
        }
        case Exclusion::kFailedHere:
            return "kept crashing there";
        case Exclusion::kHeld:
            return "was lost there less than " + format_duration(timing_.return_hold) + " ago";
    }
    return "";
}

}  // namespace gantry::core
