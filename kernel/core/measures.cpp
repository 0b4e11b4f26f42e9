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

constexpr std::size_t kRunsOfCopy = 16, kMovesKept = 4, kOpenMoves = 1'000, kLivesAside = 1'000;
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

void add(Duration& sum, Duration more) { sum = std::min(sum + std::max(more, Duration(0)), kLongest); }

void keep_worst(std::optional<Figure>& worst, const std::optional<Figure>& figure) {
    if (figure && (!worst || figure->least + figure->most > worst->least + worst->most)) worst = figure;
}

bool breaks(const std::optional<Figure>& figure, Duration budget) {
    return figure && budget != Duration(0) && figure->least > budget;
}

Span earlier(const Span& a, const Span& b) { return {std::min(a.from, b.from), std::min(a.to, b.to)}; }

std::optional<Span> ready_first(const Life& life) {
    std::optional<Span> first;
    for (const auto& [attempt, run] : life.runs)
        if (run.ready) first = first ? earlier(*first, *run.ready) : run.ready;
    return first;
}

// When the copy was ready and in reach for the last time; none: it still is.
std::optional<Span> served_until(const Life& life) {
    std::optional<Span> until = life.lost;
    for (auto at = life.runs.rbegin(); at != life.runs.rend(); ++at) {
        const Run& run = at->second;
        if (!run.ready || (life.lost && run.ready->from > life.lost->to)) continue;
        for (const auto& end : {run.unready, run.ended})
            if (end) until = until ? earlier(*until, *end) : *end;
        break;
    }
    return until ? until : life.over;
}

Span end_of(const Run& run, const Life& life) {
    if (run.ended) return *run.ended;
    if (life.over) return *life.over;
    return {life.lost ? life.lost->from : kNever, kNever};
}

Figure both_ran(const Life& old, const Life& fresh) {
    Figure out;
    for (const auto& [o, a] : old.runs)
        for (const auto& [f, b] : fresh.runs) {
            const Span a_end = end_of(a, old), b_end = end_of(b, fresh);
            add(out.least, std::min(a_end.from, b_end.from) - std::max(a.began.to, b.began.to));
            add(out.most, std::min(a_end.to, b_end.to) - std::max(a.began.from, b.began.from));
        }
    // Of runs that are forgotten only the whole time is known.
    const auto maybe = [&](const Life& life, const Life& other) {
        if (!life.forgotten) return;
        for (const auto& [attempt, run] : other.runs)
            add(out.most,
                std::min(life.forgotten->to, end_of(run, other).to) - std::max(life.forgotten->from, run.began.from));
    };
    maybe(old, fresh);
    maybe(fresh, old);
    return out;
}

}  // namespace

// --- what is known --------------------------------------------------------------------------------------------------

Life& Controller::State::life_of(const CopyId& copy, const std::string& node) {
    Life& life = lives_[copy];
    if (life.node.empty()) life.node = node;
    return life;
}

void Controller::State::take_runs(Node& node, const Report& message) {
    if (message.runs.empty()) return;
    node.runs_no = std::max(node.runs_no, message.runs_no);
    for (const auto& run : message.runs) {
        if (!find(run.copy.instance)) continue;
        Life& life = life_of(run.copy, node.name);
        if (life.node != node.name) continue;
        if (!run.ended) life.over.reset();  // it was started again, in another boot
        const auto [at, fresh] = life.runs.try_emplace(run.attempt, run);
        if (!fresh) {
            Run& known = at->second;
            const bool again = known.ended && run.began.to > known.ended->to;  // a start that had failed
            // A gantryd that lost its records knows less of the beginning than it said before.
            if (!again) known.ready = known.ready ? known.ready : run.ready;
            if (again) known = run;
            known.unready = run.unready;
            known.ended = run.ended;
        }
        if (life.runs.size() <= kRunsOfCopy) continue;
        const Run& oldest = life.runs.begin()->second;
        const Span whole{oldest.began.from, end_of(oldest, life).to};
        life.forgotten = life.forgotten ? Span{life.forgotten->from, std::max(life.forgotten->to, whole.to)} : whole;
        life.runs.erase(life.runs.begin());
    }
    if (lives_.size() > 2 * copies_total_ + kLivesAside) forget_lives();
}

// It is lost, or waited for until it is back from its reboot: nobody reaches its copies.
void Controller::State::out_of_reach(const Node& node, const std::string& why) {
    if (node.last_word == Instant()) return;  // not heard since this start: nobody knows
    const auto lost = [&](const CopyId& copy) {
        Life& life = life_of(copy, node.name);
        if (life.lost) return;
        life.lost = Span{node.last_word, node.last_word};
        life.why = why;
    };
    for (const auto& [copy, instance] : node.copies) lost(copy);
    for (const auto& [copy, stale] : node.stale)
        if (lives_.contains(copy)) lost(copy);
}

// A new boot id: what ran before ended after the old boot was last heard.
void Controller::State::boot_over(const Node& node) {
    for (auto& [copy, life] : lives_) {
        if (life.node != node.name) continue;
        for (auto& [attempt, run] : life.runs)
            if (!run.ended) run.ended = Span{std::max(run.began.from, life.lost ? life.lost->from : Instant()), now_};
        if (!node.copies.contains(copy)) life_over(copy);
    }
}

// Nothing of it runs, nor will: its node said so, was started anew, or its lease is over.
void Controller::State::life_over(const CopyId& copy) {
    const auto at = lives_.find(copy);
    if (at == lives_.end() || at->second.over) return;
    Instant from = at->second.lost ? at->second.lost->from : Instant();
    for (const auto& [attempt, run] : at->second.runs) from = std::max(from, run.began.from);
    at->second.over = Span{std::min(from, now_), now_};
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
    // Its node may have been lost and back before the copy was ready at all.
    if (const auto fresh = lives_.find(to); from != to && fresh != lives_.end()) fresh->second.lost.reset();
    const auto old = lives_.find(from);
    if (from.epoch == 0 || old == lives_.end()) return;  // the first one, or nobody knows when it ran
    OpenMove open{from, to, {}, {}};
    if (from == to) {
        if (!old->second.lost) return;  // it was not ready for a while, and nothing moved
        open.since = served_until(old->second);
        open.back = now_;
        old->second.lost.reset();
    }
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
    open_moves_.emplace(last_move_, open);
    dirty(instance);
}

void Controller::State::measure_moves(const std::string& node) {
    std::erase_if(open_moves_, [&](const auto& entry) {
        const auto from = lives_.find(entry.second.from), to = lives_.find(entry.second.to);
        if (from == lives_.end()) return true;
        const bool concerned = from->second.node == node || (to != lives_.end() && to->second.node == node);
        return concerned && measure(entry.first, entry.second);
    });
}

// True if nothing is left to be known of it.
bool Controller::State::measure(std::uint64_t no, const OpenMove& open) {
    Instance* instance = find(open.to.instance);
    if (!instance) return true;
    const auto move = std::ranges::find(instance->moved, no, &Move::no);
    if (move == instance->moved.end()) return true;
    const Life& old = lives_.at(open.from);
    const auto fresh = lives_.find(open.to);
    const auto since = open.back ? open.since : served_until(old);
    const auto ready = open.back               ? Span{*open.back, *open.back}
                       : fresh != lives_.end() ? ready_first(fresh->second)
                                               : std::optional<Span>();
    if (!since || !ready) return false;
    const Figure gap{std::max(ready->from - since->to, Duration(0)), std::max(ready->to - since->from, Duration(0))};
    const bool complete = open.back || old.over;
    const bool first = !move->gap;
    // Of a node that is out of reach the rest comes when it is back, if ever.
    if (!complete && (!first || !old.lost)) return false;
    if (complete && !open.back) move->overlap = both_ran(old, fresh->second);
    const bool broke = breaks(std::exchange(move->gap, gap), instance->service->last().spec.max_gap);
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
