// SPDX-License-Identifier: Apache-2.0
//
// What a move costs: how long no copy was ready and in reach, and how long two copies ran (docs/faults.md). From the
// records of the nodes, as far as they have come: those of a node that is cut off come when it is back.
#include <algorithm>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/core/state.hpp"

namespace gantry::core {

namespace {

constexpr std::size_t kRunsOfCopy = 16, kMovesKept = 4, kOpenMoves = 1'000, kLivesAside = 1'000, kAwayKept = 8;
constexpr Duration kLongest{kLatest};

struct Rounded {  // to milliseconds, outwards
    std::int64_t value = 0, error = 0;
};

Rounded rounded(const Figure& figure) {
    const std::int64_t least = figure.least / milliseconds(1);
    const std::int64_t most = (figure.most + milliseconds(1) - Duration(1)) / milliseconds(1);
    const std::int64_t value = (least + most) / 2;
    return {value, most - value};
}

std::string seconds_text(std::int64_t ms) {
    const std::string part = std::to_string(ms % 1'000);
    return std::to_string(ms / 1'000) + "." + std::string(3 - part.size(), '0') + part + " s";
}

std::string text(const Figure& figure) {
    const auto [value, error] = rounded(figure);
    if (error == 0) return value == 0 ? "0 s" : seconds_text(value);
    if (figure.least == Duration(0)) return "at most " + seconds_text(value + error);
    return seconds_text(value) + " ± " + seconds_text(error);
}

// Whether all that it ran since then is known, though an earlier run of the controller was told some of it: of what is
// in its list a node tells everything again, and attempts are numbered from 1.
bool told_since(const Life& life, Instant from) {
    if (life.forgotten || life.runs.empty()) return false;
    const auto& [attempt, first] = *life.runs.begin();
    if (attempt != 1 && first.began.to > from) return false;
    return life.runs.rbegin()->first - attempt + 1 == life.runs.size();  // none is missing between them
}

void add(Duration& sum, Duration more) { sum = std::min(sum + std::max(more, Duration(0)), kLongest); }

void keep_worst(std::optional<Figure>& worst, const std::optional<Figure>& figure) {
    if (figure && (!worst || figure->least + figure->most > worst->least + worst->most)) worst = figure;
}

bool breaks(const std::optional<Figure>& figure, Duration budget) {
    return figure && budget != Duration(0) && figure->least > budget;
}

Span earlier(const Span& a, const Span& b) { return {std::min(a.from, b.from), std::min(a.to, b.to)}; }

void widen(std::optional<Span>& span, const Span& by) {
    span = span ? Span{std::min(span->from, by.from), std::max(span->to, by.to)} : by;
}

using Runs = std::map<std::uint64_t, Run>;

// known: until then the node's records are.
Span end_of(const Life& life, Runs::const_iterator at, Instant known) {
    const Run& run = at->second;
    if (run.ended) return *run.ended;
    // The next container of a copy is made when the one before it is gone.
    if (const auto next = std::next(at); next != life.runs.end())
        return {run.began.from, std::max(run.began.from, next->second.began.to)};
    if (life.over) return {run.began.from, std::max(run.began.from, *life.over)};
    return {std::max(run.began.from, known - kExitTold), kNever};
}

std::optional<Span> ready_first(const Life& life) {
    std::optional<Span> first;
    for (const auto& [attempt, run] : life.runs)
        if (!run.turns.empty()) first = first ? earlier(*first, run.turns.front()) : run.turns.front();
    if (first && life.forgotten) first->from = std::min(first->from, life.forgotten->from);
    return first;
}

// The node remembers only the last times.
void remember(Away& unheard, const Away& more) {
    for (const auto& away : more) {
        if (unheard.empty() || unheard.back().from < away.from) unheard.push_back(away);
        if (unheard.back().from == away.from) unheard.back().to = away.to;
    }
}

// The last instant up to `at` in which the node was in reach.
Instant reached(const Away& unheard, Instant at) {
    for (auto away = unheard.rbegin(); away != unheard.rend(); ++away)
        if (away->from < at && at < away->to) at = away->from;
    return at;
}

// Nothing of it runs any more, and what it did since its node's records were known will not be: it may have run again.
void run_out(Life& life, Instant known, Instant now) {
    const Instant from = std::max(known - kExitTold, kAnyTime);
    for (auto& [attempt, run] : life.runs)
        if (!run.ended) run.ended = Span{std::min(std::max(run.began.from, from), now), now};
    widen(life.forgotten, {std::min(std::max(life.assigned, from), now), now});
}

// When the copy was ready and in reach for the last time up to `at`, which is at the earliest, or at the latest. What
// it did since `untold` its node had no time to tell; kNever: there is nothing.
std::optional<Instant> served_until(const Life& life, const Away& unheard, Instant at, Instant known, Instant untold,
                                    bool earliest) {
    std::optional<Instant> last, first;
    const auto ready = [&](Instant since, Instant until) {
        const Instant then = reached(unheard, std::min(until, at));
        if (then >= since) last = std::max(last.value_or(then), then);
    };
    for (auto run = life.runs.begin(); run != life.runs.end(); ++run) {
        const auto& turns = run->second.turns;
        const Span end = end_of(life, run, known);
        for (std::size_t i = 0; i < turns.size(); i += 2) {
            first = std::min(first.value_or(turns[i].from), turns[i].from);
            const Span until = i + 1 < turns.size() ? earlier(turns[i + 1], end) : end;
            // It turned so often that what was between the first times is not known.
            const bool often = i == 0 && turns.size() + 1 >= kTurnsKept;
            if (!earliest)
                ready(turns[i].from, until.to);
            else if (!often || reached(unheard, std::min(until.from, at)) == until.from)
                ready(turns[i].to, until.from);
        }
    }
    if (life.forgotten) first = std::min(first.value_or(life.forgotten->from), life.forgotten->from);
    if (life.forgotten && !earliest) ready(life.forgotten->from, life.forgotten->to);
    if (!earliest) ready(untold, kNever);
    return last ? last : first;
}

// Until another copy was ready. Where it may shrink while that moves from the earliest to the latest time it is looked
// at on both sides.
std::optional<Figure> gap_until(const Life& life, const Away& unheard, const Span& ready, Instant known,
                                Instant untold) {
    std::vector<Instant> times{ready.from, ready.to};
    const auto add_time = [&](Instant at) {
        for (const Instant each : {at - Duration(1), at})
            if (ready.from < each && each < ready.to) times.push_back(each);
    };
    for (const auto& away : unheard) add_time(away.to);
    for (const auto& [attempt, run] : life.runs)
        for (const auto& turn : run.turns) {
            add_time(turn.from);
            add_time(turn.to);
        }
    Figure out{kLongest, Duration(0)};
    for (const Instant at : times) {
        const auto least = served_until(life, unheard, at, known, untold, false);
        const auto most = served_until(life, unheard, at, known, untold, true);
        if (!least || !most) return std::nullopt;
        out.least = std::min(out.least, std::max(at - *least, Duration(0)));
        out.most = std::max(out.most, at - *most);
    }
    out.most = std::max(out.most, out.least);
    return out;
}

Figure both_ran(const Life& old, Instant old_known, const Life& fresh, Instant fresh_known) {
    Figure out;
    std::optional<Span> whole_old, whole_fresh;
    const auto may = [&](const Span& a, const Span& b) {
        add(out.most, std::min(a.to, b.to) - std::max(a.from, b.from));
        widen(whole_old, a);
        widen(whole_fresh, b);
    };
    for (auto a = old.runs.begin(); a != old.runs.end(); ++a)
        for (auto b = fresh.runs.begin(); b != fresh.runs.end(); ++b) {
            const Span began = a->second.began, end = end_of(old, a, old_known);
            const Span next = b->second.began, next_end = end_of(fresh, b, fresh_known);
            add(out.least, std::min(end.from, next_end.from) - std::max(began.to, next.to));
            may({began.from, end.to}, {next.from, next_end.to});
        }
    // Of others only the whole time is known.
    if (old.forgotten)
        for (auto b = fresh.runs.begin(); b != fresh.runs.end(); ++b)
            may(*old.forgotten, {b->second.began.from, end_of(fresh, b, fresh_known).to});
    if (fresh.forgotten)
        for (auto a = old.runs.begin(); a != old.runs.end(); ++a)
            may({a->second.began.from, end_of(old, a, old_known).to}, *fresh.forgotten);
    if (old.forgotten && fresh.forgotten) may(*old.forgotten, *fresh.forgotten);
    if (!whole_old) return out;
    // All together no longer than from the first beginning to the last end.
    const Duration whole = std::min(whole_old->to, whole_fresh->to) - std::max(whole_old->from, whole_fresh->from);
    out.most = std::min(out.most, std::max(whole, Duration(0)));
    return out;
}

}  // namespace

// --- what is known --------------------------------------------------------------------------------------------------

Life& Controller::State::life_of(const CopyId& copy, const std::string& node) {
    Life& life = lives_[copy];
    if (life.node.empty()) life.node = node;
    return life;
}

Instant Controller::State::known_of(const Life& life) const {
    const auto at = nodes_.find(life.node);
    return at == nodes_.end() ? kAnyTime : at->second.known;
}

// How far a message shows that the node's records are known; true: up to when it was sent.
bool Controller::State::take_told(Node& node, const Told& told, bool with_runs) {
    if (told.since != 0 && told.since != node.runs_since) {
        if (node.runs_since != 0) records_lost(node);
        node.runs_since = told.since;
    }
    if (with_runs) node.runs_no = std::max(node.runs_no, told.no);
    if (told.said == Instant() || told.no > node.runs_no) return false;
    node.known = std::max(node.known, told.said);
    return true;
}

void Controller::State::take_runs(Node& node, const Report& message) {
    for (Run run : message.runs) {
        if (!find(run.copy.instance)) continue;
        Life& life = life_of(run.copy, node.name);
        if (life.node != node.name) continue;
        if (!run.ended) {  // it was started again, in another boot
            life.over.reset();
            life.settled = false;
        }
        run.began.from = std::clamp(life.assigned, run.began.from, run.began.to);
        const auto [at, fresh] = life.runs.try_emplace(run.attempt, run);
        Run& known = at->second;
        if (!fresh && known.ended && run.began.from > known.ended->to) {  // a start that had failed
            widen(life.forgotten, {known.began.from, known.ended->to});
            known = run;
        } else if (!fresh) {
            // A gantryd that lost its records knows less than it said before.
            if (run.turns.size() >= known.turns.size())
                known.turns = run.turns;
            else if (!run.turns.empty() && run.turns.size() % 2 != known.turns.size() % 2)
                known.turns.push_back(run.turns.back());
            if (known.turns.size() > kTurnsKept) known.turns.erase(known.turns.begin() + 1, known.turns.begin() + 3);
            const auto width = [](const Span& span) { return span.to - span.from; };
            const bool wider = run.ended && known.ended && width(*run.ended) > width(*known.ended);
            if (!wider) known.ended = run.ended;
        }
        if (life.runs.size() <= kRunsOfCopy) continue;
        const auto oldest = life.runs.begin();
        widen(life.forgotten, {oldest->second.began.from, end_of(life, oldest, node.known).to});
        life.runs.erase(oldest);
    }
    if (lives_.size() > 2 * copies_total_ + kLivesAside) forget_lives();
}

// What it recorded since it was known is lost: what ran may have ended, and others have run.
void Controller::State::records_lost(const Node& node) {
    for (auto& [copy, life] : lives_)
        if (life.node == node.name && !life.settled) run_out(life, node.known, now_);
}

// It is lost, or waited for until it is back from its reboot: nobody reaches its copies.
void Controller::State::out_of_reach(Node& node, const std::string& why) {
    const auto missed = [&](const CopyId& copy, Instance* instance) {
        // One that was not heard since this start: nobody knows since when it has been away.
        if (node.last_word == Instant() && instance && instance->served == copy.epoch) instance->served = 0;
        const auto life = lives_.find(copy);
        if (life == lives_.end()) return;
        if (!life->second.missed) life->second.why = why;
        life->second.missed = true;
    };
    for (const auto& [copy, instance] : node.copies) missed(copy, instance);
    for (const auto& [copy, stale] : node.stale) missed(copy, find(copy.instance));
    if (!node.unheard.empty() && node.unheard.back().to == kNever) return;
    node.unheard.push_back({node.last_word, kNever});
    if (node.unheard.size() > kAwayKept) node.unheard.erase(node.unheard.begin());
}

void Controller::State::in_reach(Node& node) {
    node.reached = std::min(node.reached, now_);
    if (!node.unheard.empty()) node.unheard.back().to = std::min(node.unheard.back().to, now_);
}

// A new boot id: what ran before has ended, and what was not told will not be.
void Controller::State::boot_over(Node& node) {
    records_lost(node);
    for (auto& [copy, life] : lives_)
        if (life.node == node.name && !node.copies.contains(copy)) life_over(copy, true);
    node.known = kAnyTime;
    node.runs_since = 0;
}

// Another machine has its name, or nobody: what it ran, and until when, will not be known.
void Controller::State::machine_over(Node& node) {
    std::erase_if(open_moves_, [&](const auto& open) {
        const auto from = lives_.find(open.second.from), to = lives_.find(open.second.to);
        const auto its = [&](const auto life) { return life != lives_.end() && life->second.node == node.name; };
        return its(from) || its(to);
    });
    std::erase_if(lives_, [&](const auto& entry) {
        if (entry.second.node != node.name) return false;
        if (Instance* instance = find(entry.first.instance); instance && instance->served == entry.first.epoch)
            instance->served = 0;  // what that name tells of it later is of another history
        return true;
    });
    node.known = kAnyTime;
    node.runs_since = 0;
}

// Nothing of it runs, nor will: its node said so, was started anew, or its lease is over.
void Controller::State::life_over(const CopyId& copy, bool settled) {
    const auto at = lives_.find(copy);
    if (at == lives_.end()) return;
    if (!at->second.over) at->second.over = now_;
    if (settled && !at->second.settled) run_out(at->second, known_of(at->second), now_);
    at->second.settled = at->second.settled || settled;
}

void Controller::State::forget_lives() {
    std::set<CopyId> used;
    for (const auto& [no, open] : open_moves_) used.insert({open.from, open.to});
    std::erase_if(lives_, [&](const auto& entry) {
        const CopyId& copy = entry.first;
        const auto node = nodes_.find(entry.second.node);
        if (used.contains(copy) || (node != nodes_.end() && node->second.stale.contains(copy))) return false;
        const Instance* instance = find(copy.instance);
        return !instance || (copy.epoch != instance->current.epoch && copy.epoch != instance->next.epoch &&
                             copy.epoch != instance->served);
    });
}

// --- moves ----------------------------------------------------------------------------------------------------------

// The current copy is ready: in place of another one, or again on a node that was out of reach.
void Controller::State::served(Instance& instance) {
    const CopyId to = instance.current_id();
    const CopyId from{to.instance, std::exchange(instance.served, to.epoch)};
    const auto fresh = lives_.find(to);
    const bool missed = fresh != lives_.end() && std::exchange(fresh->second.missed, false);
    const auto old = lives_.find(from);
    if (from.epoch == 0 || old == lives_.end()) return;  // the first one, or nobody knows when it ran
    // It was not ready for a while, and nothing moved.
    if (from == to ? !missed : fresh == lives_.end()) return;
    OpenMove open{from, to, {}, {}};
    if (from == to) open.back = now_;
    Move move;
    move.no = ++last_move_;
    move.revision = instance.current.revision;
    move.epoch = to.epoch;
    move.from_epoch = from.epoch;
    move.from = old->second.node;
    move.to = instance.current.node->name;
    move.why = old->second.why;
    instance.moved.push_back(std::move(move));
    if (instance.moved.size() > kMovesKept) instance.moved.erase(instance.moved.begin());
    if (open_moves_.size() >= kOpenMoves) open_moves_.erase(open_moves_.begin());
    open_moves_.emplace(last_move_, std::move(open));
    dirty(instance);
}

// The node has reported; all_told: its records are known up to when it did.
void Controller::State::measure_moves(const std::string& node, bool all_told) {
    const auto done = [&](std::uint64_t no, OpenMove& open) {
        bool concerned = false;
        for (const auto& copy : {open.from, open.to}) {
            const auto life = lives_.find(copy);
            if (life == lives_.end()) return true;
            if (life->second.node != node) continue;
            concerned = true;
            life->second.settled = life->second.settled || (all_told && life->second.over);
        }
        return concerned && measure(no, open);
    };
    for (auto at = open_moves_.begin(); at != open_moves_.end();)
        at = done(at->first, at->second) ? open_moves_.erase(at) : std::next(at);
}

// What the new copy ran until the old one had ended.
bool Controller::State::overlap_known(const Life& old, const Life& fresh) const {
    if (!old.settled) return false;
    if (fresh.settled) return true;
    Instant over = old.forgotten ? old.forgotten->to : kAnyTime;
    for (auto at = old.runs.begin(); at != old.runs.end(); ++at)
        over = std::max(over, end_of(old, at, known_of(old)).to);
    return known_of(fresh) - kExitTold >= over;
}

// True if nothing is left to be known of it.
bool Controller::State::measure(std::uint64_t no, OpenMove& open) {
    Instance* instance = find(open.to.instance);
    if (!instance) return true;
    const auto move = std::ranges::find(instance->moved, no, &Move::no);
    if (move == instance->moved.end()) return true;
    const Life &old = lives_.at(open.from), &fresh = lives_.at(open.to);
    Instant known = kAnyTime, reached = kNever, untold = kNever;
    if (const auto node = nodes_.find(old.node); node != nodes_.end()) {
        remember(open.unheard, node->second.unheard);
        known = node->second.known;
        reached = node->second.reached;
        if (!old.settled) untold = known;
    }
    const bool complete = open.back ? old.settled || known >= *open.back : overlap_known(old, fresh);
    const auto ready = open.back ? std::optional(Span{*open.back, *open.back}) : ready_first(fresh);
    const auto gap = ready ? gap_until(old, open.unheard, *ready, known, untold) : std::nullopt;
    if (!gap) return complete;
    // What gantryd did not live to tell is not measured, nor what an earlier run of the controller heard the last of;
    // one that was ready until the other one was had been in reach all the time.
    if (old.assigned == kAnyTime && gap->most != Duration(0) && ready->to - gap->most < reached) return complete;
    if (!open.back && fresh.assigned == kAnyTime &&
        (!told_since(fresh, kAnyTime) || !told_since(old, fresh.runs.begin()->second.began.from)))
        return complete;
    // Of a node that is out of reach the rest comes when it is back, if ever.
    const bool away = !open.unheard.empty() && open.unheard.back().to == kNever;
    const bool first = !move->gap;
    if (!complete && (open.back || !first || !away)) return false;
    if (complete && !open.back) move->overlap = both_ran(old, known, fresh, known_of(fresh));
    if (move->gap == instance->worst_gap) instance->worst_gap.reset();  // it is known better now
    const bool broke = breaks(std::exchange(move->gap, *gap), instance->service->last().spec.max_gap);
    keep_worst(instance->worst_gap, move->gap);
    keep_worst(instance->worst_overlap, move->overlap);
    dirty(*instance);
    tell_move(*instance, *move, first, complete);
    const ServiceSpec& spec = instance->service->last().spec;
    if (!broke) check_budget(*instance, *move, move->gap, "max_gap", spec.max_gap);
    check_budget(*instance, *move, move->overlap, "max_overlap", spec.max_overlap);
    return complete;
}

void Controller::State::tell_move(const Instance& instance, const Move& move, bool first, bool complete) {
    const bool again = move.epoch == move.from_epoch;
    std::string what =
        instance.text() + (again ? " is back on " + move.to : " moved from " + move.from + " to " + move.to);
    what += ": " + text(*move.gap) + " without a copy that was ready and in reach";
    if (move.overlap) what += ", two copies ran for " + text(*move.overlap);
    if (!complete) what += "; how long two copies ran is known when " + move.from + " is back";
    json::object fields = move_document(move, complete);
    fields["service"] = instance.service->name;
    fields["instance"] = instance.text();
    fields["node"] = move.to;
    event(first ? "moved" : "move-measured", std::move(what), std::move(fields));
}

void Controller::State::check_budget(const Instance& instance, const Move& move, const std::optional<Figure>& figure,
                                     const char* key, Duration budget) {
    if (!breaks(figure, budget)) return;
    event("budget-exceeded",
          instance.text() + " moved from " + move.from + " to " + move.to + ": " + text(*figure) + " is above its " +
              key + " of " + format_duration(budget),
          {{"service", instance.service->name},
           {"instance", instance.text()},
           {"node", move.to},
           {"move", move.no},
           {"budget", key},
           {"limit_ms", budget / milliseconds(1)},
           {"value_ms", rounded(*figure).value}});
}

// --- documents ------------------------------------------------------------------------------------------------------

json::value Controller::State::figure_json(const std::optional<Figure>& figure) {
    if (!figure) return nullptr;
    const auto [value, error] = rounded(*figure);
    return json::object{{"ms", value}, {"error_ms", error}};
}

json::object Controller::State::move_document(const Move& move, bool complete) {
    return {{"move", move.no},
            {"from", move.from},
            {"to", move.to},
            {"epoch", move.epoch},
            {"from_epoch", move.from_epoch},
            {"revision", move.revision},
            {"why", move.why},
            {"gap", figure_json(move.gap)},
            {"overlap", figure_json(move.overlap)},
            {"complete", complete}};
}

json::object Controller::State::moves_document(const Service& service) const {
    const Move* last = nullptr;
    std::optional<Figure> gap, overlap;
    for (const auto& [index, instance] : service.instances) {
        keep_worst(gap, instance.worst_gap);
        keep_worst(overlap, instance.worst_overlap);
        if (!instance.moved.empty() && (!last || instance.moved.back().no > last->no)) last = &instance.moved.back();
    }
    const ServiceSpec& spec = service.last().spec;
    json::object out{{"last", nullptr},
                     {"worst_gap", figure_json(gap)},
                     {"worst_overlap", figure_json(overlap)},
                     {"max_gap_ms", spec.max_gap / milliseconds(1)},
                     {"max_overlap_ms", spec.max_overlap / milliseconds(1)}};
    if (last) out["last"] = move_document(*last, !open_moves_.contains(last->no));
    return out;
}

// --- stored form ----------------------------------------------------------------------------------------------------

namespace {

json::value stored_figure(const std::optional<Figure>& figure) {
    if (!figure) return nullptr;
    return json::array{figure->least.count(), figure->most.count()};
}

Status load_figure(Fields& fields, std::string_view key, std::optional<Figure>& out) {
    const auto* value = fields.member(key);
    if (!value || value->is_null()) return {};
    const auto* ends = value->if_array();
    if (!ends || ends->size() != 2 || !(*ends)[0].is_int64() || !(*ends)[1].is_int64())
        return fail(Code::kInvalid, "expected [least, most] in nanoseconds", fields.path(key));
    out = Figure{Duration((*ends)[0].get_int64()), Duration((*ends)[1].get_int64())};
    return {};
}

}  // namespace

void Controller::State::put_moves(json::object& out, const Instance& instance) {
    if (instance.moved.empty()) return;
    json::array moves;
    for (const auto& move : instance.moved)
        moves.push_back(json::object{{"no", move.no},
                                     {"revision", move.revision},
                                     {"epoch", move.epoch},
                                     {"from_epoch", move.from_epoch},
                                     {"from", move.from},
                                     {"to", move.to},
                                     {"why", move.why},
                                     {"gap", stored_figure(move.gap)},
                                     {"overlap", stored_figure(move.overlap)}});
    out["moves"] = std::move(moves);
    out["worst_gap"] = stored_figure(instance.worst_gap);
    out["worst_overlap"] = stored_figure(instance.worst_overlap);
}

Status Controller::State::load_moves(Fields& fields, Instance& instance) {
    GANTRY_TRY(moves, fields.list("moves"));
    GANTRY_CHECK(load_figure(fields, "worst_gap", instance.worst_gap));
    GANTRY_CHECK(load_figure(fields, "worst_overlap", instance.worst_overlap));
    for (std::size_t i = 0; i < moves.size(); ++i) {
        Fields entry(moves[i], fields.path("moves") + "[" + std::to_string(i) + "]");
        Move move;
        GANTRY_TRY(no, entry.integer("no", 0, 1, limits::kCounter));
        GANTRY_TRY(revision, entry.integer("revision", 0, 0, limits::kCounter));
        GANTRY_TRY(epoch, entry.integer("epoch", 0, 0, limits::kCounter));
        GANTRY_TRY(from_epoch, entry.integer("from_epoch", 0, 0, limits::kCounter));
        GANTRY_TRY(from, entry.text("from"));
        GANTRY_TRY(to, entry.text("to"));
        GANTRY_TRY(why, entry.text("why"));
        GANTRY_CHECK(load_figure(entry, "gap", move.gap));
        GANTRY_CHECK(load_figure(entry, "overlap", move.overlap));
        GANTRY_CHECK(entry.finish());
        move.no = static_cast<std::uint64_t>(no);
        move.revision = static_cast<std::uint64_t>(revision);
        move.epoch = static_cast<std::uint64_t>(epoch);
        move.from_epoch = static_cast<std::uint64_t>(from_epoch);
        move.from = std::move(from);
        move.to = std::move(to);
        move.why = std::move(why);
        instance.moved.push_back(std::move(move));
    }
    return {};
}

}  // namespace gantry::core
