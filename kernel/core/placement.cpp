// SPDX-License-Identifier: Apache-2.0
//
// Placement: which services are placed now, what the policy is asked, and where instances go.
//
// The keys of a candidate depend on that candidate alone. So a service with k pending instances asks once for all its
// candidates, keeps them in order, gives an instance to the best, and asks again for that one node only. One service
// per policy is placed at a time, so that each sees what the one before it took.
#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

const std::string& Controller::State::policy_of(const Service& service) const {
    const auto& policy = service.last().spec.policy;
    return policy.empty() && !policies_.empty() ? policies_.front() : policy;
}

RankCandidate Controller::State::candidate(const Revision& revision, std::uint64_t service_no, const Node& node,
                                           const Imagined* imagined) const {
    RankCandidate out;
    out.node = node.name;
    out.cpu_total_milli = node.cpu_milli;
    out.cpu_free_milli = node.cpu_milli - node.cpu_used;
    out.memory_total_bytes = node.memory_bytes;
    out.copies_running = node.running;
#ifdef GANTRY_BUG_PENDING_UNCOUNTED
    out.memory_free_bytes = node.load.memory_free_bytes;
#else
    out.memory_free_bytes = node.load.memory_free_bytes - node.memory_pending;
    out.copies_pending = node.pending;
#endif
    if (const auto of = node.of_service.find(service_no); of != node.of_service.end())
        out.copies_of_service = of->second;
    if (imagined) {
        out.cpu_free_milli -= imagined->cpu_milli;
        out.memory_free_bytes -= imagined->memory_bytes;
        out.copies_pending += imagined->copies;
        out.copies_of_service += imagined->copies;
    }
    out.has_image = std::binary_search(node.images.begin(), node.images.end(), revision.image_no);
    out.labels = &node.labels;
    return out;
}

Rank Controller::State::question_for(const Service& service, std::uint32_t wanted) const {
    const ServiceSpec& spec = service.last().spec;
    Rank rank;
    rank.policy = policy_of(service);
    rank.service = service.name;
    rank.nodes_total = static_cast<std::uint32_t>(nodes_.size());
    rank.nodes_ready = nodes_ready_;
    rank.copies_total = copies_total_;
    rank.instances_wanted = wanted;
    rank.cpu_milli = spec.cpu_milli;
    rank.memory_bytes = spec.memory_bytes;
    return rank;
}

namespace {

std::pair<std::int32_t, std::uint64_t> queue_key(const Service& service) {
    return {-service.last().spec.priority, service.no};
}

}  // namespace

void Controller::State::enqueue(Service& service) {
    hold_back(service);
    if (service.unplaced.empty()) return stop_waiting(service);
    if (service.removing || asked_for_.contains(service.no)) return;
    waiting_.erase(service.no);
    // Static instances have their place; no policy is asked for them.
    queue_[service.is_static() ? std::string() : policy_of(service)].insert(queue_key(service));
}

void Controller::State::wait_for_node(Service& service) {
    give_up_plans(service);
    if (service.unplaced.empty()) return stop_waiting(service);
    waiting_.insert(service.no);
    make_room(service);
    still_pending(service);
}

// Everything has its place.
void Controller::State::stop_waiting(Service& service) {
    waiting_.erase(service.no);
    service.ask_again = kNever;
    service.policy_error.clear();
    service.told.reset();
}

void Controller::State::retry_waiting() {
    const auto touched = std::exchange(touched_, {});
    if (touched.empty()) return;
    for (const auto no : std::set<std::uint64_t>(waiting_)) {
        Service& service = *service_by_no_.at(no);
        if (service.unplaced.empty()) stop_waiting(service);
        if (service.unplaced.empty() || service.ask_again != kNever) continue;
        bool concerned = false, helps = false;
        for (Node* node : touched) {
            const PoolNode* candidate = pool_entry(service, *node);
            if (!candidate) continue;
            concerned = true;
            helps = helps || passes(rules(service.last(), *candidate), true);
        }
        if (helps) {
            enqueue(service);
        } else if (concerned) {
            make_room(service);
            still_pending(service);
        }
    }
}

void Controller::State::pump() {
    for (auto& [policy, services] : queue_) {
        while (!services.empty() && !asking_.contains(policy)) {
            Service& service = *service_by_no_.at(services.begin()->second);
            services.erase(services.begin());
            if (service.is_static())
                place_static(service);
            else
                begin_question(service);
        }
    }
}

void Controller::State::place_static(Service& service) {
    const auto& pool = pool_of(service);
    for (const auto index : std::set<std::uint32_t>(service.unplaced)) {
        Instance& instance = service.instances.at(index);
        for (const auto& candidate : pool) {
            if (candidate.node->name != instance.bound || rules(service.last(), candidate) != Exclusion::kNone)
                continue;
            assign(instance, *candidate.node);
            tell_placed(instance, "static", nullptr);
        }
    }
    wait_for_node(service);
}

void Controller::State::begin_question(Service& service) {
    const std::string& policy = policy_of(service);
    std::vector<Node*> nodes, failed;
    for (const auto& candidate : pool_of(service)) {
        const Exclusion exclusion = rules(service.last(), candidate);
        if (exclusion == Exclusion::kNone) nodes.push_back(candidate.node);
        if (exclusion == Exclusion::kFailedHere) failed.push_back(candidate.node);
    }
    // Where all that is left has failed, one of those is better than nothing.
    const bool failed_too = nodes.empty();
    if (failed_too) nodes = std::move(failed);
    const bool known = std::find(policies_.begin(), policies_.end(), policy) != policies_.end();
    service.policy_error = known ? "" : "there is no policy " + policy + " here";
    service.ask_again = kNever;
    if (service.unplaced.empty() || nodes.empty() || !known) return wait_for_node(service);
    Question question;
    question.service_no = service.no;
    question.policy = policy;
    question.candidates = nodes.size();
    question.nodes_version = nodes_version_;
    question.failed_too = failed_too;
    const std::uint64_t id = next_question_;
    ask(questions_.emplace(id, std::move(question)).first->second, service, service.unplaced.size(), nodes);
}

// Every question has a new id, so an answer that comes late finds nothing.
void Controller::State::ask(Question& question, const Service& service, std::size_t wanted,
                            const std::vector<Node*>& nodes) {
    const std::uint64_t id = next_question_++;
    if (question.id != 0) {
        auto handle = questions_.extract(question.id);
        handle.key() = id;
        questions_.insert(std::move(handle));
    }
    question.id = id;
    question.deadline = now_ + kRankLimit;
    question.asked = nodes;
    if (!question.dry) {
        asking_[question.policy] = id;
        asked_for_[service.no] = id;
    }
    Rank rank = question_for(service, static_cast<std::uint32_t>(wanted));
    rank.id = id;
    rank.candidates.reserve(nodes.size());
    for (const Node* node : nodes) {
        const Imagined* imagined = nullptr;
        if (question.dry)
            if (const auto at = question.dry->imagined.find(node); at != question.dry->imagined.end())
                imagined = &at->second;
        rank.candidates.push_back(candidate(service.last(), service.no, *node, imagined));
    }
    out_->ranks.push_back(std::move(rank));
}

void Controller::State::on(const Ranked& input) { answered(input.id, input.keys); }

void Controller::State::on(const RankFailed& input) {
    const auto at = questions_.find(input.id);
    if (at != questions_.end()) question_failed(at->second, input.reason);
}

void Controller::State::answered(std::uint64_t id, const std::vector<Keys>& keys) {
    const auto at = questions_.find(id);
    if (at == questions_.end()) return;
    Question& question = at->second;
    if (keys.size() != question.asked.size())
        return question_failed(question, "it answered for " + std::to_string(keys.size()) + " of " +
                                             std::to_string(question.asked.size()) + " candidates");
    if (!question.dry && question.nodes_version != nodes_version_) {
        // Pools changed while the policy was thinking.
        Service& service = *service_by_no_.at(question.service_no);
        end_question(id);
        return enqueue(service);
    }
    const Revision& revision =
        question.dry ? question.dry->service.last() : service_by_no_.at(question.service_no)->last();
    for (std::size_t i = 0; i < keys.size(); ++i) {
        Node* node = question.asked[i];
        if (!node) continue;
        const bool late = revision.spec.image_first &&
                          !std::binary_search(node->images.begin(), node->images.end(), revision.image_no);
        question.order.insert({crowd(revision, *node), late, keys[i], node, node->load_version});
    }
    question.asked.clear();
    if (question.dry)
        imagine(question);
    else
        advance(question);
}

// Where instances keep away from each other, each one that was placed changes what the others of its group are worth.
void Controller::State::crowd_anew(Question& question, const Revision& revision) const {
    if (revision.spec.apart != Force::kSoft && revision.spec.spread != Force::kSoft) return;
    std::set<Question::Scored> order;
    for (auto scored : question.order) {
        scored.crowd = crowd(revision, *scored.node);
        if (question.dry)
            if (const auto at = question.dry->imagined.find(scored.node); at != question.dry->imagined.end())
                scored.crowd += at->second.copies;
        order.insert(scored);
    }
    question.order = std::move(order);
}

// The best candidate that still passes the hard rules. A node whose copies changed since it was asked for comes back
// as `outdated`. A node on which this instance was lost a moment ago is taken only if there is no other.
Node* Controller::State::choose(Question& question, const Revision& revision, const Instance* instance,
                                Node** outdated) {
    crowd_anew(question, revision);
    Node* last_resort = nullptr;
    for (auto at = question.order.begin(); at != question.order.end();) {
        Node* node = at->node;
        const Imagined* imagined = nullptr;
        if (question.dry)
            if (const auto there = question.dry->imagined.find(node); there != question.dry->imagined.end())
                imagined = &there->second;
        if (!passes(rules(revision, {node, Exclusion::kNone}, nullptr, imagined), question.failed_too)) {
            at = question.order.erase(at);
            continue;
        }
        if (at->load_version != node->load_version) {
            *outdated = node;
            question.order.erase(at);
            return nullptr;
        }
        if (instance && instance->current.node && !takes_next(revision, *node)) {
            ++at;
            continue;
        }
        if (!instance || !held(*instance, *node, now_)) return node;
        if (!last_resort) last_resort = node;
        ++at;
    }
    return last_resort;
}

void Controller::State::advance(Question& question) {
    Service& service = *service_by_no_.at(question.service_no);
    while (!service.unplaced.empty()) {
        Instance& instance = service.instances.at(*service.unplaced.begin());
        Node* outdated = nullptr;
        Node* node = choose(question, service.last(), &instance, &outdated);
        if (outdated) return ask(question, service, service.unplaced.size(), {outdated});
        if (!node) {
            end_question(question.id);
            // While the policy was thinking a node may have come to fit that it was not asked about.
            const auto& pool = pool_of(service);
            give_up_plans(service);
            const bool fits = std::any_of(pool.begin(), pool.end(), [&](const PoolNode& candidate) {
                return passes(rules(service.last(), candidate), true);
            });
            return fits ? enqueue(service) : wait_for_node(service);
        }
        const auto at = std::find_if(question.order.begin(), question.order.end(),
                                     [&](const auto& scored) { return scored.node == node; });
        const Keys keys = at->keys;
        question.order.erase(at);
        const std::uint32_t copies = node->running + node->pending;
        assign(instance, *node);
        tell_placed(instance,
                    "best of " + std::to_string(question.candidates) + " by " + question.policy + " (" +
                        std::to_string(copies) + " copies, " + format_size(node->load.memory_free_bytes) + " free)",
                    &keys);
        const bool again = passes(rules(service.last(), {node, Exclusion::kNone}), question.failed_too);
        if (!service.unplaced.empty() && again) return ask(question, service, service.unplaced.size(), {node});
    }
    end_question(question.id);
    stop_waiting(service);
}

void Controller::State::tell_placed(const Instance& instance, const std::string& why, const Keys* keys) {
    const Copy& copy = instance.next.node ? instance.next : instance.current;
    json::object fields{{"service", instance.service->name},
                        {"instance", instance.text()},
                        {"node", copy.node->name},
                        {"epoch", copy.epoch}};
    if (instance.next.node && instance.current.node)
        event("moving",
              instance.text() + " moves from " + instance.moving_from + " to " + copy.node->name + ": " + instance.why,
              fields);
    if (keys) fields["keys"] = json::array(keys->begin(), keys->end());
    event("placed", instance.text() + " on " + copy.node->name + ": " + why, std::move(fields));
}

void Controller::State::question_failed(Question& question, const std::string& why) {
    if (question.dry) return finish_dry_run(question, "policy " + question.policy + " failed: " + why);
    Service& service = *service_by_no_.at(question.service_no);
    service.policy_error = "policy " + question.policy + " failed: " + why;
    service.ask_again = now_ + kRankRetry;
    end_question(question.id);
    wait_for_node(service);
}

void Controller::State::end_question(std::uint64_t id) {
    const auto at = questions_.find(id);
    if (!at->second.dry) {
        asking_.erase(at->second.policy);
        asked_for_.erase(at->second.service_no);
    }
    questions_.erase(at);
}

void Controller::State::cancel_placing(Service& service) {
    if (const auto at = asked_for_.find(service.no); at != asked_for_.end()) end_question(at->second);
    for (auto& [policy, services] : queue_) services.erase(queue_key(service));
    stop_waiting(service);
}

}  // namespace gantry::core
