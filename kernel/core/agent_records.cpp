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

}  // namespace

// --- the controller's clock -----------------------------------------------------------------------------------------

// Two clocks that are each within the bound drift apart by (1 + rho)/(1 - rho) at most.
Duration Agent::State::wander(Duration passed) const {
    constexpr std::int64_t kMillion = 1'000'000;
    const std::int64_t ppm = timing_.drift_ppm;
    return Duration((std::abs(passed.count()) / (kMillion - ppm) + 1) * 2 * ppm);
}

// The answer was written after the heartbeat was sent, and before it came here.
void Agent::State::compare_clocks(const HeartbeatAck& message) {
    const auto beat = beats_sent_.find(message.beat);
    if (beat == beats_sent_.end() || message.at == Instant()) return;
    const Duration moved = wander(now_ - beat->second);
    Duration low = message.at - now_ - moved, high = message.at - beat->second + moved;
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
}

// By what is known now, and by what was known then: both are true.
Span Agent::State::by_controller(const Stamp& stamp) const {
    const auto by = [&](const Offset& offset) {
        return Span{stamp.from + offset.low - wander(stamp.from - offset.at),
                    stamp.to + offset.high + wander(stamp.to - offset.at)};
    };
    Span now = by(offset_);
    if (stamp.by.clock != offset_.clock) return now;
    const Span then = by(stamp.by);
    const Span both{std::max(now.from, then.from), std::min(now.to, then.to)};
    return both.from <= both.to ? both : now;
}

// --- what is recorded -----------------------------------------------------------------------------------------------

// To be told. What the controller hears of at once need not be saved as well.
void Agent::State::changed(Record& record) {
    record.told = 0;
    record.taken = false;
    untold_ = true;
    dirty_ = dirty_ || current_ == 0;
}

// Every turn, before the copies are driven.
void Agent::State::keep_records() {
    for (const auto& [key, container] : containers_) keep_record(key, container);
    std::size_t ended = 0;
    for (auto& [key, record] : records_) {
        if (!record.ended && !containers_.contains(key) && runtimes_[key.runtime].listed) record_end(record, {});
        ended += record.ended.has_value();
    }
    // What no controller takes for so long is not worth more.
    for (auto at = records_.begin(); ended > limits::kRunsKept; ended -= !at->second.ended ? 0 : 1)
        at = at->second.ended ? records_.erase(at) : std::next(at);
}

// One whose start nobody began is from before this run of gantryd, and may have begun at any time of this boot.
void Agent::State::keep_record(const ContainerKey& key, const Container& container) {
    auto at = records_.find(key);
    if (at == records_.end()) {
        if (container.is == Is::kCreated) return;
        at = records_.emplace(key, Record{stamp(container.start_at, now_)}).first;
        changed(at->second);
    }
    Record& record = at->second;
    if (container.is == Is::kRunning && record.ended) {
        // Its start had failed and it was started again; or it was said to have ended, and runs.
        if (container.start_at > record.began.from)
            record = Record{stamp(container.start_at, now_)};
        else
            record.ended.reset();
        changed(record);
    }
    if (container.is == Is::kExited && !record.ended) record_end(record, container);
}

void Agent::State::record_seen(const ContainerKey& key, Instant at) {
    const auto record = records_.find(key);
    if (record != records_.end()) record->second.seen = std::max(record->second.seen, at);
}

// Not before somebody ended it, or else it was last seen to run; not after its end was first heard of.
void Agent::State::record_end(Record& record, const Container& container) {
    const Instant from = std::max({record.began.from, record.seen, container.end_at});
    record.ended = stamp(std::min(from, now_), container.hint_at > from ? container.hint_at : now_);
    changed(record);
}

void Agent::State::record_ready(const ContainerKey& key, bool ready) {
    const auto at = records_.find(key);
    if (at == records_.end() || at->second.ended) return;
    Record& record = at->second;
    record.unready.reset();
    if (!ready)
        record.unready = stamp(now_, now_);
    else if (!record.ready)
        record.ready = stamp(now_, now_);
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
    if (offset_.clock == 0) return;
    untold_ = false;
    for (auto& [key, record] : records_) {
        if (record.taken) continue;
        if (report.runs.size() == kRunsPerReport) {
            untold_ = true;
            break;
        }
        if (record.told == 0) record.told = runs_no_ + 1;
        Run run{key.copy, key.attempt, by_controller(record.began)};
        if (record.ready) run.ready = by_controller(*record.ready);
        if (record.unready) run.unready = by_controller(*record.unready);
        if (record.ended) run.ended = by_controller(*record.ended);
        report.runs.push_back(run);
    }
    if (!report.runs.empty()) report.runs_no = ++runs_no_;
}

void Agent::State::take_runs_no(const HeartbeatAck& message) {
    if (message.runs_no == 0) return;
    for (auto at = records_.begin(); at != records_.end();) {
        Record& record = at->second;
        if (record.told != 0 && record.told <= message.runs_no) record.taken = true;
        at = record.taken && record.ended && !containers_.contains(at->first) ? records_.erase(at) : std::next(at);
    }
}

// --- what outlives gantryd ------------------------------------------------------------------------------------------

json::object Agent::State::records_document() const {
    json::object out{{"offset", json::array{offset_.low.count(), offset_.high.count(), offset_.at.ns, offset_.clock}}};
    json::array runs;
    for (const auto& [key, record] : records_) {
        json::object run{{"copy", key.copy.text()}, {"attempt", key.attempt}, {"runtime", key.runtime}};
        if (record.seen != Instant()) run["seen"] = record.seen.ns;
        const auto add = [&](const char* name, const std::optional<Stamp>& at) {
            if (at)
                run[name] = json::array{at->from.ns,         at->to.ns,    at->by.low.count(),
                                        at->by.high.count(), at->by.at.ns, at->by.clock};
        };
        add("began", record.began);
        add("ready", record.ready);
        add("unready", record.unready);
        add("ended", record.ended);
        runs.push_back(std::move(run));
    }
    out["runs"] = std::move(runs);
    return out;
}

namespace {

// Whole numbers, so many of them.
Result<std::optional<std::vector<std::int64_t>>> read_numbers(Fields& f, std::string_view key, std::size_t count) {
    const auto* value = f.member(key);
    if (!value) return std::nullopt;
    const auto* list = value->if_array();
    std::vector<std::int64_t> out;
    if (list)
        for (const auto& number : *list)
            if (number.is_int64() && std::abs(number.get_int64() / 2) < kLatest) out.push_back(number.get_int64());
    if (!list || list->size() != count || out.size() != count)
        return fail(Code::kInvalid, "expected " + std::to_string(count) + " whole numbers", f.path(key));
    return out;
}

}  // namespace

Status Agent::State::read_records(const json::value& value, Saved& out) {
    Fields f(&value, "records");
    GANTRY_TRY(known, read_numbers(f, "offset", 4));
    const auto offset = [](const std::vector<std::int64_t>& n, std::size_t i) {
        return Offset{Duration(n[i]), Duration(n[i + 1]), {n[i + 2]}, static_cast<std::uint64_t>(n[i + 3])};
    };
    if (known) out.offset = offset(*known, 0);
    GANTRY_TRY(runs, f.list("runs"));
    for (std::size_t i = 0; i < runs.size(); ++i) {
        Fields entry(runs[i], f.path("runs[" + std::to_string(i) + "]"));
        GANTRY_TRY(copy, need_copy(entry, "copy"));
        GANTRY_TRY(attempt, read_number<std::uint64_t>(entry, "attempt"));
        GANTRY_TRY(runtime, need_text(entry, "runtime"));
        GANTRY_TRY(seen, entry.integer("seen", 0, 0, kLatest));
        Record record;
        record.seen = {seen};
        const auto read = [&](const char* name, std::optional<Stamp>& to) -> Status {
            GANTRY_TRY(numbers, read_numbers(entry, name, 6));
            if (numbers) to = Stamp{{(*numbers)[0]}, {(*numbers)[1]}, offset(*numbers, 2)};
            return {};
        };
        std::optional<Stamp> began;
        GANTRY_CHECK(read("began", began));
        GANTRY_CHECK(read("ready", record.ready));
        GANTRY_CHECK(read("unready", record.unready));
        GANTRY_CHECK(read("ended", record.ended));
        if (!began) return fail(Code::kInvalid, "expected 6 whole numbers", entry.path("began"));
        record.began = *began;
        out.records[{copy, attempt, std::move(runtime)}] = record;
    }
    return {};
}

}  // namespace gantry::core
