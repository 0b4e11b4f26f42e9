// SPDX-License-Identifier: Apache-2.0
//
// When what ran. Each run of a container is recorded by this node's clock and told to the controller by the
// controller's: heartbeats and their answers give the difference of the two, with an error of half a round trip, which
// grows with time as clocks drift. What the controller has not taken is told again.
#include <algorithm>

#include "kernel/base/limits.hpp"
#include "kernel/core/agent_state.hpp"
#include "kernel/core/message_fields.hpp"

namespace gantry::core {

namespace {

constexpr std::size_t kRunsPerReport = 500;
constexpr std::uint64_t kRunsToldAgain = 8;  // of a copy, to a controller that starts anew

}  // namespace

// --- the controller's clock -----------------------------------------------------------------------------------------

// Two clocks that are each within the bound drift apart by (1 + rho)/(1 - rho) at most.
Duration Agent::State::wander(Duration passed) const {
    constexpr std::int64_t kMillion = 1'000'000;
    const std::int64_t ppm = timing_.drift_ppm;
    return Duration((std::abs(passed.count()) / (kMillion - ppm) + 1) * 2 * ppm);
}

// The answer was written, at `at` by the controller's clock, after the question was sent and before it came here.
void Agent::State::compare_clocks(Instant sent, Instant at) {
    if (at == Instant()) return;
    const Duration moved = wander(now_ - sent);
    Duration low = at - now_ - moved, high = at - sent + moved;
    if (offset_.clock != 0) {
        const Duration since = wander(now_ - offset_.at);
        const Duration known_low = offset_.low - since, known_high = offset_.high + since;
        if (known_high < low || high < known_low) {
            ++offset_.clock;  // its machine was started anew, or it is another one
        } else {
            low = std::max(low, known_low);
            high = std::min(high, known_high);
        }
    }
    offset_ = {low, high, now_, std::max<std::uint64_t>(offset_.clock, 1)};
    clock_known_ = true;
}

// By what is known now, and by what was known then: both are true.
Span Agent::State::by_controller(const Stamp& stamp) const {
    const auto by = [&](const Offset& offset) {
        const Instant from = stamp.from + offset.low - wander(stamp.from - offset.at);
        const Instant to = stamp.to + offset.high + wander(stamp.to - offset.at);
        return Span{std::max(from, kAnyTime), std::min(to, Instant{kLatest})};
    };
    Span now = by(offset_);
    if (stamp.by.clock != offset_.clock) return now;
    const Span then = by(stamp.by);
    const Span both{std::max(now.from, then.from), std::min(now.to, then.to)};
    return both.from <= both.to ? both : now;
}

// --- what is recorded -----------------------------------------------------------------------------------------------

// To be told.
void Agent::State::changed(Record& record) {
    record.told = 0;
    record.taken = false;
    untold_ = dirty_ = true;
}

// Every turn, before the copies are driven.
void Agent::State::keep_records() {
    for (const auto& [key, container] : containers_) keep_record(key, container);
    std::size_t ended = 0;
    for (auto& [key, record] : records_) {
        if (!record.ended && !containers_.contains(key) && runtimes_[key.runtime].listed) record_end(record, {});
        ended += record.ended.has_value();
    }
    // What was taken goes first. What no controller takes for so long is not worth more; that it is missing it hears.
    for (const bool taken : {true, false})
        for (auto at = records_.begin(); ended > limits::kRunsKept && at != records_.end();) {
            const bool goes = at->second.ended && at->second.taken == taken;
            ended -= goes;
            records_since_ += goes && !taken;
            at = goes ? records_.erase(at) : std::next(at);
        }
}

// One whose start nobody began is from before this run of gantryd. It began at any time of this boot, or, if it does
// not run any more, of an earlier one.
void Agent::State::keep_record(const ContainerKey& key, const Container& container) {
    auto at = records_.find(key);
    if (at == records_.end()) {
        if (container.is == Is::kCreated || (container.is == Is::kExited && container.never_ran)) return;
        const bool found = container.start_at == Instant();
        const Instant began = found && container.is == Is::kExited ? kAnyTime : container.start_at;
        at = records_.emplace(key, Record{stamp(began, now_)}).first;
        if (found) at->second.blind = began;
        changed(at->second);
    }
    Record& record = at->second;
    if (container.is == Is::kRunning && record.ended) {
        // Its start had failed and it was started again, or came late; or it was said to have ended, and runs.
        record.began = stamp(std::max(container.start_at, record.began.from), now_);
        record.ended.reset();
        changed(record);
    }
    if (container.is == Is::kExited && !record.ended) record_end(record, container);
}

void Agent::State::record_seen(const ContainerKey& key, Instant at) {
    const auto record = records_.find(key);
    if (record != records_.end()) record->second.seen = std::max(record->second.seen, at);
}

// Not long before somebody ended it or its runtime said so, or else not before it was last seen to run; and not after
// its end was first heard of.
void Agent::State::record_end(Record& record, const Container& container) {
    Instant from = record.began.from, to = now_;
    if (record.seen != Instant()) from = std::max(from, record.seen);
    if (container.hint_at != Instant() && container.hint_at > from) {
        to = container.hint_at;
        from = std::max(from, to - kExitTold);
    }
    if (container.end_at != Instant()) from = std::max(from, container.end_at - kExitTold);
#ifdef GANTRY_BUG_END_WHEN_HEARD
    from = to;
#endif
    record.ended = stamp(std::min(from, to), to);
    changed(record);
}

void Agent::State::record_ready(const ContainerKey& key, bool ready) {
    const auto at = records_.find(key);
    if (at == records_.end() || at->second.ended) return;
    Record& record = at->second;
    const Instant from = std::exchange(record.blind, std::nullopt).value_or(now_);
    if (ready == (record.turns.size() % 2 == 1)) return;
    // Of one that turns and turns, it is the first and the last ones that count.
    if (record.turns.size() == kTurnsKept) record.turns.erase(record.turns.begin() + 1, record.turns.begin() + 3);
    record.turns.push_back(stamp(from, now_));
    changed(record);
}

// --- what is told ---------------------------------------------------------------------------------------------------

// Another controller, or the same one started anew.
void Agent::State::tell_again() {
    for (auto& [key, record] : records_) {
        record.told = 0;
        record.taken = false;
    }
    untold_ = !records_.empty();
}

// What the controller has not taken, which its answers to heartbeats say by the number of the report.
void Agent::State::put_runs(Report& report) {
    if (!clock_known_) return;
    untold_ = false;
    for (auto& [key, record] : records_) {
        if (record.taken) continue;
        if (report.runs.size() == kRunsPerReport) {
            untold_ = true;
            break;
        }
        if (record.told == 0) record.told = runs_no_ + 1;
        Run run{key.copy, key.attempt, by_controller(record.began)};
        for (const auto& turn : record.turns) run.turns.push_back(by_controller(turn));
        if (record.ended) run.ended = by_controller(*record.ended);
        report.runs.push_back(std::move(run));
    }
    if (!report.runs.empty()) ++runs_no_;
}

// Until then everything that began or ended here is recorded: what is under way may have happened already. kNever:
// nothing is. Looked for once a walk, which is all that changes it: signs of life say it again.
Instant Agent::State::sure_until() {
    if (sure_until_) return *sure_until_;
    Instant sure = kNever;
    for (const auto& [key, container] : containers_) {
        const auto record = records_.find(key);
        const bool runs = record != records_.end() && !record->second.ended;
        if (!runs && container.is == Is::kCreated && container.may_start) sure = std::min(sure, container.start_at);
        if (!runs) continue;
        if (container.end_at != Instant()) sure = std::min(sure, container.end_at);
        if (container.unsure)
            sure = std::min(sure, std::max({record->second.began.from, record->second.seen, container.hint_at}));
    }
    sure_until_ = sure;
    return sure;
}

Told Agent::State::told() {
    Told out{runs_no_, records_since_, {}};
    if (clock_known_ && !untold_) out.said = by_controller(stamp(std::min(sure_until(), now_), now_)).from;
    return out;
}

void Agent::State::take_runs_no(const HeartbeatAck& message) {
    if (message.runs_no == 0 || message.runs_no == taken_no_) return;
    taken_no_ = message.runs_no;
    for (auto at = records_.begin(); at != records_.end();) {
        Record& record = at->second;
        if (record.told != 0 && record.told <= message.runs_no) record.taken = true;
        // A controller that starts anew hears again what was run last of a copy that it may be moving.
        const auto copy = copies_.find(at->first.copy);
        const bool again = copy != copies_.end() && at->first.attempt + kRunsToldAgain > copy->second.attempt;
        const bool over = record.taken && record.ended && !containers_.contains(at->first);
        at = over && !again ? records_.erase(at) : std::next(at);
    }
}

// --- what outlives gantryd ------------------------------------------------------------------------------------------

json::object Agent::State::records_document() const {
    json::object out{{"boot_id", facts_.boot_id},
                     {"since", records_since_},
                     {"at", now_.ns},
                     {"offset", json::array{offset_.low.count(), offset_.high.count(), offset_.at.ns, offset_.clock}}};
    const auto stamp_json = [](const Stamp& at) {
        return json::array{at.from.ns, at.to.ns, at.by.low.count(), at.by.high.count(), at.by.at.ns, at.by.clock};
    };
    json::array runs;
    for (const auto& [key, record] : records_) {
        json::object run = key_json(key);
        if (record.seen != Instant()) run["seen"] = record.seen.ns;
        run["began"] = stamp_json(record.began);
        json::array turns;
        for (const auto& turn : record.turns) turns.push_back(stamp_json(turn));
        if (!turns.empty()) run["turns"] = std::move(turns);
        if (record.ended) run["ended"] = stamp_json(*record.ended);
        runs.push_back(std::move(run));
    }
    out["runs"] = std::move(runs);
    return out;
}

namespace {

// Whole numbers, so many of them.
Result<std::vector<std::int64_t>> read_numbers(const json::value* value, std::size_t count, const std::string& path) {
    const auto* list = value ? value->if_array() : nullptr;
    std::vector<std::int64_t> out;
    if (list)
        for (const auto& number : *list)
            if (number.is_int64() && std::abs(number.get_int64() / 2) < kLatest) out.push_back(number.get_int64());
    if (!list || list->size() != count || out.size() != count)
        return fail(Code::kInvalid, "expected " + std::to_string(count) + " whole numbers", path);
    return out;
}

}  // namespace

Status Agent::State::read_records(const json::value& value, Saved& out) {
    Fields f(&value, "records");
    GANTRY_TRY(boot_id, f.text("boot_id", ""));
    GANTRY_TRY(since, read_number<std::uint64_t>(f, "since"));
    GANTRY_TRY(saved_at, f.integer("at", 0, 0, kLatest));
    const auto offset = [](const std::vector<std::int64_t>& n, std::size_t i) {
        return Offset{Duration(n[i]), Duration(n[i + 1]), {n[i + 2]}, static_cast<std::uint64_t>(n[i + 3])};
    };
    const auto read = [&](const json::value* from, const std::string& path) -> Result<Stamp> {
        GANTRY_TRY(numbers, read_numbers(from, 6, path));
        return Stamp{{numbers[0]}, {numbers[1]}, offset(numbers, 2)};
    };
    GANTRY_TRY(known, read_numbers(f.member("offset"), 4, f.path("offset")));
    GANTRY_TRY(runs, f.list("runs"));
    for (std::size_t i = 0; i < runs.size(); ++i) {
        Fields entry(runs[i], f.path("runs[" + std::to_string(i) + "]"));
        GANTRY_TRY(key, read_key(entry));
        GANTRY_TRY(seen, entry.integer("seen", 0, 0, kLatest));
        GANTRY_TRY(began, read(entry.member("began"), entry.path("began")));
        Record record{began};
        const auto* turns = entry.member("turns");
        if (turns && (!turns->is_array() || turns->get_array().size() > kTurnsKept))
            return fail(Code::kInvalid, "expected a list of at most " + std::to_string(kTurnsKept),
                        entry.path("turns"));
        for (std::size_t t = 0; turns && t < turns->get_array().size(); ++t) {
            GANTRY_TRY(turn, read(&turns->get_array()[t], entry.path("turns[" + std::to_string(t) + "]")));
            record.turns.push_back(turn);
        }
        if (const auto* end = entry.member("ended")) {
            GANTRY_TRY(ended, read(end, entry.path("ended")));
            record.ended = ended;
        }
        record.seen = {seen};
        record.blind = Instant{saved_at};
        out.records[key] = std::move(record);
    }
    out.records_boot = std::move(boot_id);
    out.records_since = since;
    out.offset = offset(known, 0);
    return {};
}

}  // namespace gantry::core
