// SPDX-License-Identifier: Apache-2.0
//
// The document that outlives gantryd: what the node should have and which numbers are used up.
#include "kernel/base/limits.hpp"
#include "kernel/core/agent_state.hpp"
#include "kernel/core/message_fields.hpp"

namespace gantry::core {

namespace {

constexpr int kSavedVersion = 1;
constexpr std::uint64_t kAttemptsPerSession = 1000;

Result<std::map<CopyId, std::uint64_t>> read_attempts(Fields& f, std::string_view key) {
    std::map<CopyId, std::uint64_t> out;
    const auto* value = f.member(key);
    if (!value) return out;
    Fields attempts(value, f.path(key));
    if (!value->is_object()) return fail(Code::kInvalid, "expected an object", f.path(key));
    for (const auto& member : value->get_object()) {
        const auto copy = parse_copy_id(member.key());
        if (!copy) return fail(Code::kInvalid, "expected copies as keys", attempts.path(member.key()));
        GANTRY_TRY(attempt, need_number<std::uint64_t>(attempts, member.key()));
        out[*copy] = attempt;
    }
    return out;
}

Result<std::map<CopyId, std::string>> read_run_by(Fields& f) {
    std::map<CopyId, std::string> out;
    const auto* value = f.member("run_by");
    if (!value) return out;
    if (!value->is_object()) return fail(Code::kInvalid, "expected an object", f.path("run_by"));
    for (const auto& member : value->get_object()) {
        const auto copy = parse_copy_id(member.key());
        if (!copy || !member.value().is_string())
            return fail(Code::kInvalid, "expected copies as keys and digests as values", f.path("run_by"));
        out.emplace(*copy, std::string(member.value().get_string()));
    }
    return out;
}

Result<std::map<std::string, CopySpec>> read_specs(Fields& f) {
    std::map<std::string, CopySpec> out;
    const auto* value = f.member("specs");
    if (!value) return out;
    if (!value->is_object()) return fail(Code::kInvalid, "expected an object", f.path("specs"));
    for (const auto& member : value->get_object()) {
        // One that an older or newer gantryd wrote differently is asked for again.
        auto spec = parse_copy_spec(member.value());
        if (spec) out.emplace(std::string(member.key()), std::move(*spec));
    }
    return out;
}

}  // namespace

json::object Agent::State::key_json(const ContainerKey& key) {
    return {{"copy", key.copy.text()}, {"attempt", key.attempt}, {"runtime", key.runtime}};
}

Result<Agent::State::ContainerKey> Agent::State::read_key(Fields& f) {
    GANTRY_TRY(copy, need_copy(f, "copy"));
    GANTRY_TRY(attempt, read_number<std::uint64_t>(f, "attempt"));
    GANTRY_TRY(runtime, need_text(f, "runtime"));
    return ContainerKey{copy, attempt, std::move(runtime)};
}

Result<Agent::State::Saved> Agent::State::parse_saved(std::string_view text) {
    GANTRY_TRY(document, parse_json(text, limits::kStored));
    Fields f(&document, "");
    GANTRY_TRY(version, f.integer("v"));
    if (version != kSavedVersion)
        return fail(Code::kUnsupported, "the agent's state has version " + std::to_string(version) +
                                            ", this gantryd reads " + std::to_string(kSavedVersion));
    Saved out;
    GANTRY_TRY(boot_id, f.text("boot_id", ""));
    GANTRY_TRY(address, f.text("address", ""));
    GANTRY_TRY(floor, read_number<std::uint64_t>(f, "attempt_floor"));
    GANTRY_TRY(attempts, read_attempts(f, "attempts"));
    GANTRY_TRY(restarting, read_attempts(f, "restarting"));
    GANTRY_TRY(run_by, read_run_by(f));
    GANTRY_TRY(specs, read_specs(f));
    if (const auto* value = f.member("list")) {
        NodeList list;
        Fields inner(value, "list");
        GANTRY_CHECK(take(inner, list));
        out.cluster_id = std::move(list.cluster_id);
        out.applied = list.no;
        out.list = std::move(list.copies);
        out.images = std::move(list.images);
    }
    if (const auto* value = f.member("names")) {
        Fields inner(value, "names");
        GANTRY_CHECK(take(inner, out.names));
    }
    if (const auto* value = f.member("records")) GANTRY_CHECK(read_records(*value, out));
    GANTRY_CHECK(read_ports(f, out));
    out.boot_id = std::move(boot_id);
    out.address = std::move(address);
    out.attempt_floor = floor;
    out.attempts = std::move(attempts);
    out.restarting = std::move(restarting);
    out.run_by = std::move(run_by);
    out.specs = std::move(specs);
    return out;
}

Status Agent::check_saved(std::string_view document) {
    GANTRY_TRY(saved, State::parse_saved(document));
    return {};
}

std::string Agent::State::saved_document() const {
    json::object out{{"v", kSavedVersion}, {"boot_id", list_boot_}, {"session", facts_.session}};
    if (!address_.empty()) out["address"] = address_;
    if (attempt_floor_) out["attempt_floor"] = attempt_floor_;
    if (!cluster_id_.empty()) {
        NodeList list{cluster_id_, applied_, {}, prepull_};
        for (const auto& [id, copy] : copies_) list.copies.push_back(copy.entry);
        json::object members;
        put(members, list);
        out["list"] = std::move(members);
    }
    json::object attempts;
    for (const auto& [id, attempt] : spent_) attempts[id.text()] = attempt;
    for (const auto& [id, copy] : copies_)
        if (copy.attempt) attempts[id.text()] = copy.attempt;
    if (!attempts.empty()) out["attempts"] = std::move(attempts);
    json::object restarting;
    for (const auto& [id, copy] : copies_)
        if (copy.restarting) restarting[id.text()] = copy.restarting;
    if (!restarting.empty()) out["restarting"] = std::move(restarting);
    json::object run_by;
    for (const auto& [id, copy] : copies_)
        if (!specs_.contains(copy.entry.spec_digest) && specs_.contains(copy.runs_by)) run_by[id.text()] = copy.runs_by;
    if (!run_by.empty()) out["run_by"] = std::move(run_by);
    json::object specs;
    for (const auto& [digest, spec] : specs_) specs[digest] = to_json(spec);
    if (!specs.empty()) out["specs"] = std::move(specs);
    if (names_.names_no || !names_.entries.empty()) {
        json::object members;
        put(members, names_);
        out["names"] = std::move(members);
    }
    if (records_since_ != 0) out["records"] = records_document();
    if (!ports_.empty()) out["ports"] = ports_document();
    return to_text(out);
}

void Agent::State::on(const AgentStart& input) {
    if (started_) return;
    started_ = true;
    without_state_ = !input.saved;
    if (input.lost) raise_floor();
    if (input.saved) {
        auto saved = parse_saved(*input.saved);
        if (saved) {
            load(std::move(*saved));
        } else {
            raise_floor();
            event("agent-state-lost", facts_.node + ": the saved state cannot be used: " + saved.error().text() +
                                          "; containers are found by their names, the list comes from the controller");
        }
    }
    // No other run of gantryd, and no later loss, gives them this number.
    if (records_since_ == 0) records_since_ = (facts_.session % (1ULL << 40)) << 10 | 1;
    for (auto& [name, runtime] : runtimes_) {
        ask(name, runtime);
        out_.emplace_back(ListImages{name});
    }
}

void Agent::State::load(Saved saved) {
    cluster_id_ = std::move(saved.cluster_id);
    list_boot_ = std::move(saved.boot_id);
    address_ = std::move(saved.address);
    applied_ = saved.applied;
    prepull_ = std::move(saved.images);
    specs_ = std::move(saved.specs);
    spent_ = std::move(saved.attempts);
    attempt_floor_ = saved.attempt_floor;
    names_ = std::move(saved.names);
    ports_ = std::move(saved.ports);
    same_boot_ = accepted_ = list_boot_ == facts_.boot_id;
    if (saved.records_boot == facts_.boot_id) {
        offset_ = saved.offset;
        records_since_ = saved.records_since;
        records_ = std::move(saved.records);
        untold_ = !records_.empty();
    }
    for (auto& entry : saved.list) {
        Copy& copy = copies_[entry.copy];
        copy.entry = std::move(entry);
        copy.attempt = attempt_floor_;
        if (const auto spent = spent_.extract(copy.entry.copy)) copy.attempt = std::max(copy.attempt, spent.mapped());
        if (const auto by = saved.run_by.extract(copy.entry.copy)) copy.runs_by = by.mapped();
        if (const auto by_hand = saved.restarting.find(copy.entry.copy); by_hand != saved.restarting.end())
            copy.restarting = by_hand->second;
        const auto* spec = spec_of(copy);
#ifdef GANTRY_BUG_STARTS_ALONE
        copy.held = spec == nullptr;
#else
        const bool starts_alone = copy.entry.is_static || (spec && spec->spec.cut_off_start);
        copy.held = !same_boot_ && (copy.entry.forbid || !starts_alone);
#endif
    }
}

// Which numbers were used is not known: the next ones begin above all that earlier sessions can have reached.
void Agent::State::raise_floor() {
    const auto session = std::min(facts_.session, static_cast<std::uint64_t>(INT64_MAX) / kAttemptsPerSession / 2);
    if (attempt_floor_ >= session * kAttemptsPerSession) return;
    attempt_floor_ = session * kAttemptsPerSession;
    dirty_ = true;
}

void Agent::State::spend(const CopyId& id, std::uint64_t attempt) {
    if (attempt > attempt_floor_) spent_[id] = attempt;
    if (spent_.size() <= limits::kAttemptsKept) return;
    attempt_floor_ = std::max(attempt_floor_, spent_.begin()->second);
    spent_.erase(spent_.begin());
}

}  // namespace gantry::core
