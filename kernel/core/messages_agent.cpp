// SPDX-License-Identifier: Apache-2.0
//
// The messages of agents as JSON.
#include <algorithm>
#include <array>

#include "kernel/base/limits.hpp"
#include "kernel/core/message_fields.hpp"

namespace gantry::core {

namespace {

constexpr std::array<CopyState, 6> kStates = {CopyState::kWaiting, CopyState::kCreating, CopyState::kRunning,
                                              CopyState::kReady,   CopyState::kStopping, CopyState::kExited};

constexpr std::array<std::string_view, 6> kEnded = {"", "silent", "refused", "reset", "closed", "failed"};

void put(json::object& out, const Identity& id) {
    out["node_id"] = id.node_id;
    out["boot_id"] = id.boot_id;
    out["session"] = id.session;
    out["seq"] = id.seq;
}

Status take(Fields& f, Identity& out) {
    GANTRY_TRY(node_id, need_text(f, "node_id"));
    GANTRY_TRY(boot_id, need_text(f, "boot_id"));
    GANTRY_TRY(session, need_number<std::uint64_t>(f, "session"));
    GANTRY_TRY(seq, need_number<std::uint64_t>(f, "seq"));
    out = {std::move(node_id), std::move(boot_id), session, seq};
    return {};
}

// Of a message that is answered on its connection and changes nothing: whose it is, is known from the connection.
Status take_if_there(Fields& f, Identity& out) {
    GANTRY_TRY(node_id, f.text("node_id", ""));
    GANTRY_TRY(boot_id, f.text("boot_id", ""));
    GANTRY_TRY(session, read_number<std::uint64_t>(f, "session"));
    GANTRY_TRY(seq, read_number<std::uint64_t>(f, "seq"));
    out = {std::move(node_id), std::move(boot_id), session, seq};
    return {};
}

void put(json::object& out, const Load& load) {
    out["memory_free"] = load.memory_free_bytes;
    out["cpu_used"] = load.cpu_used_milli;
}

Status take(Fields& f, Load& out) {
    GANTRY_TRY(memory, read_number<std::int64_t>(f, "memory_free"));
    GANTRY_TRY(cpu, read_number<std::int64_t>(f, "cpu_used"));
    out = {memory, cpu};
    return {};
}

void put(json::object& out, const Hello& m) {
    put(out, m.id);
    out["node"] = m.node;
    out["cluster_id"] = m.cluster_id;
    out["advertise"] = m.advertise;
    out["labels"] = labels_json(m.labels);
    json::array runtimes;
    for (const auto& runtime : m.runtimes) runtimes.push_back(runtime_json(runtime));
    out["runtimes"] = std::move(runtimes);
    out["probes"] = texts_json(m.probes);
    out["cpu"] = m.cpu_milli;
    out["memory"] = m.memory_bytes;
    out["applied"] = list_no_json(m.applied);
    out["version"] = m.version;
    if (m.ask_port) out["ask_port"] = m.ask_port;
    if (!m.drills.empty()) out["drills"] = texts_json(m.drills);
    if (m.exec) out["exec"] = true;
    if (m.restart) out["restart"] = true;
    if (m.disk) out["disk"] = true;
}

Status take(Fields& f, Hello& out) {
    GANTRY_CHECK(take(f, out.id));
    GANTRY_TRY(node, need_text(f, "node"));
    GANTRY_TRY(cluster_id, f.text("cluster_id", ""));
    GANTRY_TRY(advertise, f.text("advertise", ""));
    GANTRY_TRY(labels, f.text_map("labels"));
    if (labels.size() > limits::kLabels)
        return fail(Code::kInvalid, "has more than " + std::to_string(limits::kLabels) + " labels", f.path("labels"));
    GANTRY_TRY(runtimes, f.list("runtimes"));
    for (std::size_t i = 0; i < runtimes.size(); ++i) {
        Fields entry(runtimes[i], f.path("runtimes[" + std::to_string(i) + "]"));
        GANTRY_TRY(runtime, take_runtime(entry));
        out.runtimes.push_back(std::move(runtime));
    }
    GANTRY_TRY(probes, f.texts("probes"));
    GANTRY_TRY(cpu, read_number<std::int64_t>(f, "cpu"));
    GANTRY_TRY(memory, read_number<std::int64_t>(f, "memory"));
    GANTRY_TRY(applied, read_list_no(f, "applied"));
    GANTRY_TRY(version, f.text("version", ""));
    GANTRY_TRY(ask_port, read_number<std::uint16_t>(f, "ask_port"));
    GANTRY_TRY(drills, f.texts("drills"));
    out.drills = std::move(drills);
    out.ask_port = ask_port;
    GANTRY_TRY(exec, f.boolean("exec", false));
    out.exec = exec;
    GANTRY_TRY(restart, f.boolean("restart", false));
    out.restart = restart;
    GANTRY_TRY(disk, f.boolean("disk", false));
    out.disk = disk;
    out.node = std::move(node);
    out.cluster_id = std::move(cluster_id);
    out.advertise = std::move(advertise);
    out.labels = std::move(labels);
    out.probes = std::move(probes);
    out.cpu_milli = cpu;
    out.memory_bytes = memory;
    out.applied = applied;
    out.version = std::move(version);
    return {};
}

void put(json::object& out, const Told& told) {
    if (told.no != 0) out["runs_no"] = told.no;
    if (told.since != 0) out["runs_since"] = told.since;
    if (told.said != Instant()) out["said"] = told.said.ns;
}

Status take(Fields& f, Told& out) {
    GANTRY_TRY(no, read_number<std::uint64_t>(f, "runs_no"));
    GANTRY_TRY(since, read_number<std::uint64_t>(f, "runs_since"));
    GANTRY_TRY(said, f.integer("said", 0, -kLatest, kLatest));
    out = {no, since, {said}};
    return {};
}

void put(json::object& out, const Heartbeat& m) {
    put(out, m.id);
    out["applied"] = list_no_json(m.applied);
    put(out, m.load);
    if (m.beat != 0) out["beat"] = m.beat;
    put(out, m.told);
}

Status take(Fields& f, Heartbeat& out) {
    GANTRY_CHECK(take(f, out.id));
    GANTRY_TRY(applied, read_list_no(f, "applied"));
    GANTRY_TRY(beat, read_number<std::uint64_t>(f, "beat"));
    out.applied = applied;
    out.beat = beat;
    GANTRY_CHECK(take(f, out.told));
    return take(f, out.load);
}

json::object copy_json(const CopyReport& c) {
    json::object out{{"copy", c.copy.text()}, {"state", copy_state_name(c.state)}};
    if (c.attempt) out["attempt"] = c.attempt;
    if (c.crashes) out["crashes"] = c.crashes;
    if (c.restarts) out["restarts"] = c.restarts;
    if (c.exit_code) out["exit"] = c.exit_code;
    if (!c.reason.empty()) out["reason"] = c.reason;
    if (c.cannot_stop) out["cannot_stop"] = true;
    if (!c.ports.empty()) out["ports"] = json::array(c.ports.begin(), c.ports.end());
    return out;
}

Result<CopyState> take_state(Fields& f) {
    GANTRY_TRY(text, f.text("state"));
    for (const auto state : kStates)
        if (copy_state_name(state) == text) return state;
    return fail(Code::kInvalid, "\"" + text.substr(0, 80) + "\" is no state of a copy", f.path("state"));
}

Result<CopyReport> take_copy(Fields f) {
    GANTRY_TRY(copy, need_copy(f, "copy"));
    GANTRY_TRY(state, take_state(f));
    GANTRY_TRY(attempt, read_number<std::uint64_t>(f, "attempt"));
    GANTRY_TRY(crashes, read_number<std::uint32_t>(f, "crashes"));
    GANTRY_TRY(restarts, read_number<std::uint32_t>(f, "restarts"));
    GANTRY_TRY(exit_code, f.integer("exit", 0, INT32_MIN, INT32_MAX));
    GANTRY_TRY(reason, f.text("reason", ""));
    GANTRY_TRY(cannot_stop, f.boolean("cannot_stop", false));
    GANTRY_TRY(ports, take_ports(f));
    return CopyReport{
        copy,        state,           attempt, crashes, restarts, static_cast<int>(exit_code), std::move(reason),
        cannot_stop, std::move(ports)};
}

json::array span_json(const Span& span) { return {span.from.ns, span.to.ns}; }

json::object run_json(const Run& run) {
    json::object out{{"copy", run.copy.text()}, {"attempt", run.attempt}, {"began", span_json(run.began)}};
    json::array turns;
    for (const auto& turn : run.turns) turns.push_back(span_json(turn));
    if (!turns.empty()) out["turns"] = std::move(turns);
    if (run.ended) out["ended"] = span_json(*run.ended);
    return out;
}

Result<Span> read_span(const json::value* value, const std::string& path) {
    const auto* ends = value ? value->if_array() : nullptr;
    const bool good = ends && ends->size() == 2 && (*ends)[0].is_int64() && (*ends)[1].is_int64() &&
                      (*ends)[0].get_int64() <= (*ends)[1].get_int64() && (*ends)[0].get_int64() >= -kLatest &&
                      (*ends)[1].get_int64() <= kLatest;
    if (!good) return fail(Code::kInvalid, "expected [from, to] in nanoseconds", path);
    return Span{{(*ends)[0].get_int64()}, {(*ends)[1].get_int64()}};
}

Result<Run> take_run(Fields f) {
    GANTRY_TRY(copy, need_copy(f, "copy"));
    GANTRY_TRY(attempt, read_number<std::uint64_t>(f, "attempt"));
    GANTRY_TRY(began, read_span(f.member("began"), f.path("began")));
    Run out{copy, attempt, began};
    if (const auto* turns = f.member("turns")) {
        if (!turns->is_array() || turns->get_array().size() > kTurnsKept)
            return fail(Code::kInvalid, "expected a list of at most " + std::to_string(kTurnsKept), f.path("turns"));
        for (const auto& element : turns->get_array()) {
            GANTRY_TRY(turn, read_span(&element, f.path("turns[" + std::to_string(out.turns.size()) + "]")));
            out.turns.push_back(turn);
        }
    }
    if (const auto* ended = f.member("ended")) {
        GANTRY_TRY(span, read_span(ended, f.path("ended")));
        out.ended = span;
    }
    return out;
}

void put(json::object& out, const Report& m) {
    put(out, m.id);
    out["applied"] = list_no_json(m.applied);
    put(out, m.load);
    json::array copies;
    for (const auto& c : m.copies) copies.push_back(copy_json(c));
    out["copies"] = std::move(copies);
    out["images"] = texts_json(m.images);
    out["fetching"] = texts_json(m.fetching);
    if (m.incomplete) out["incomplete"] = true;
    if (m.usage) out["usage"] = usage_json(*m.usage);
    put(out, m.told);
    if (m.runs.empty()) return;
    json::array runs;
    for (const auto& run : m.runs) runs.push_back(run_json(run));
    out["runs"] = std::move(runs);
}

Status take(Fields& f, Report& out) {
    GANTRY_CHECK(take(f, out.id));
    GANTRY_TRY(applied, read_list_no(f, "applied"));
    GANTRY_CHECK(take(f, out.load));
    GANTRY_TRY(copies, f.list("copies"));
    for (std::size_t i = 0; i < copies.size(); ++i) {
        GANTRY_TRY(copy, take_copy(Fields(copies[i], f.path("copies[" + std::to_string(i) + "]"))));
        out.copies.push_back(std::move(copy));
    }
    GANTRY_TRY(images, f.texts("images"));
    GANTRY_TRY(fetching, f.texts("fetching"));
    GANTRY_TRY(incomplete, f.boolean("incomplete", false));
    GANTRY_CHECK(take(f, out.told));
    GANTRY_TRY(runs, f.list("runs"));
    for (std::size_t i = 0; i < runs.size(); ++i) {
        GANTRY_TRY(run, take_run(Fields(runs[i], f.path("runs[" + std::to_string(i) + "]"))));
        out.runs.push_back(std::move(run));
    }
    out.applied = applied;
    out.images = std::move(images);
    out.fetching = std::move(fetching);
    out.incomplete = incomplete;
    const auto* used = f.member("usage");
    if (!used) return {};
    if (!used->is_object()) return fail(Code::kInvalid, "expected an object", f.path("usage"));
    GANTRY_TRY(usage, take_usage(Fields(used, f.path("usage"))));
    out.usage = std::move(usage);
    return {};
}

void put(json::object& out, const PullList& m) { put(out, m.id); }
Status take(Fields& f, PullList& out) { return take(f, out.id); }
void put(json::object& out, const Leaving& m) {
    put(out, m.id);
    if (m.waits) out["waits"] = true;
    if (m.reboots) out["reboots"] = true;
}
Status take(Fields& f, Leaving& out) {
    GANTRY_CHECK(take(f, out.id));
    GANTRY_TRY(waits, f.boolean("waits", false));
    GANTRY_TRY(reboots, f.boolean("reboots", false));
    out.waits = waits;
    out.reboots = reboots;
    return {};
}
void put(json::object& out, const Hold& m) { put(out, m.id); }
Status take(Fields& f, Hold& out) { return take(f, out.id); }

void put(json::object& out, const PullSpecs& m) {
    put(out, m.id);
    out["digests"] = texts_json(m.digests);
}

Status take(Fields& f, PullSpecs& out) {
    GANTRY_CHECK(take(f, out.id));
    GANTRY_TRY(digests, f.texts("digests"));
    out.digests = std::move(digests);
    return {};
}

void put(json::object& out, const NodeEvent& m) {
    put(out, m.id);
    out["kind"] = m.kind;
    out["text"] = m.text;
    out["fields"] = m.fields;
}

Status take(Fields& f, NodeEvent& out) {
    GANTRY_CHECK(take(f, out.id));
    GANTRY_TRY(kind, need_text(f, "kind"));
    GANTRY_TRY(text, f.text("text", ""));
    if (const auto* fields = f.member("fields")) {
        if (!fields->is_object()) return fail(Code::kInvalid, "expected an object", f.path("fields"));
        out.fields = fields->get_object();
    }
    out.kind = std::move(kind);
    out.text = std::move(text);
    return {};
}

void put(json::object& out, const BlobRead& m) {
    put(out, m.id);
    out["digest"] = m.digest;
    out["offset"] = m.offset;
    out["length"] = m.length;
    if (!m.image.empty()) out["image"] = m.image;
}

Status take(Fields& f, BlobRead& out) {
    GANTRY_CHECK(take_if_there(f, out.id));
    GANTRY_TRY(digest, need_text(f, "digest"));
    GANTRY_TRY(offset, need_number<std::uint64_t>(f, "offset"));
    GANTRY_TRY(length, f.integer("length", 0, 0, static_cast<std::int64_t>(limits::kBlobChunk)));
    GANTRY_TRY(image, f.text("image", ""));
    out.digest = std::move(digest);
    out.image = std::move(image);
    out.offset = offset;
    out.length = static_cast<std::uint32_t>(length);
    return {};
}

void put(json::object& out, const LogData& m) {
    put(out, m.id);
    out["stream"] = m.stream;
    out["end"] = m.end;
    out["error"] = m.error;
    if (m.exit_code) out["exit_code"] = *m.exit_code;
    if (m.taken) out["taken"] = m.taken;
}

Status take(Fields& f, LogData& out) {
    GANTRY_CHECK(take_if_there(f, out.id));
    GANTRY_TRY(stream, need_number<std::uint64_t>(f, "stream"));
    GANTRY_TRY(end, f.boolean("end", false));
    GANTRY_TRY(error, f.text("error", ""));
    const bool ended = f.has("exit_code");
    GANTRY_TRY(exit_code, f.integer("exit_code", 0, INT32_MIN, INT32_MAX));
    GANTRY_TRY(taken, read_number<std::uint64_t>(f, "taken"));
    out.stream = stream;
    out.end = end;
    out.error = std::move(error);
    if (ended) out.exit_code = static_cast<int>(exit_code);
    out.taken = taken;
    return {};
}

void put(json::object& out, const Relayed& m) {
    put(out, m.id);
    out["route"] = m.route;
    if (m.ended == Ended::kNot)
        out["message"] = m.message;
    else
        out["ended"] = ended_name(m.ended);
    if (!m.text.empty()) out["text"] = m.text;
}

Status take(Fields& f, Relayed& out) {
    GANTRY_CHECK(take(f, out.id));
    GANTRY_TRY(route, need_number<std::uint64_t>(f, "route"));
    GANTRY_TRY(text, f.text("text", ""));
    GANTRY_TRY(ended, f.text("ended", ""));
    out.route = route;
    out.text = std::move(text);
    if (!f.has("ended")) return take_message(f, out.message);
    const auto at = std::find(kEnded.begin() + 1, kEnded.end(), ended);
    if (at == kEnded.end())
        return fail(Code::kInvalid, "\"" + ended.substr(0, 80) + "\" is no way to end", f.path("ended"));
    out.ended = static_cast<Ended>(at - kEnded.begin());
    return {};
}

// In the order of the variant.
constexpr std::array<std::string_view, std::variant_size_v<AgentMessage>> kKinds = {
    "hello", "heartbeat", "report",    "pull_list", "pull_specs", "leaving",
    "hold",  "event",     "blob_read", "log_data",  "relayed"};

template <std::size_t I = 0>
Result<AgentMessage> read(std::size_t index, Fields& f) {
    if constexpr (I < kKinds.size()) {
        if (index != I) return read<I + 1>(index, f);
        std::variant_alternative_t<I, AgentMessage> message;
        GANTRY_CHECK(take(f, message));
        return message;
    } else {
        return fail(Code::kInvalid, "no such message");
    }
}

}  // namespace

std::string_view ended_name(Ended ended) { return kEnded[static_cast<std::size_t>(ended)]; }

std::string_view kind(const AgentMessage& message) { return kKinds[message.index()]; }

json::object members(const AgentMessage& message) {
    json::object out;
    std::visit([&](const auto& m) { put(out, m); }, message);
    return out;
}

Result<AgentMessage> agent_message(std::string_view kind, Fields& f) {
    for (std::size_t i = 0; i < kKinds.size(); ++i)
        if (kKinds[i] == kind) return read(i, f);
    return fail(Code::kInvalid, "\"" + std::string(kind.substr(0, 80)) + "\" is no message of an agent", f.path("m"));
}

}  // namespace gantry::core
