// SPDX-License-Identifier: Apache-2.0
//
// The messages of controllers as JSON.
#include <array>

#include "kernel/base/limits.hpp"
#include "kernel/core/message_fields.hpp"

namespace gantry::core {

namespace {

void put(json::object& out, const Welcome& m) {
    out["cluster_id"] = m.cluster_id;
    out["term"] = m.term;
    out["heartbeat_ms"] = m.heartbeat_ms;
    out["address"] = m.address;
    out["restart_delay_ms"] = m.restart_delay_ms;
    out["stable_after_ms"] = m.stable_after_ms;
    out["crashes_to_move"] = m.crashes_to_move;
    out["restart_delay_max_ms"] = m.restart_delay_max_ms;
    out["lease_ms"] = m.lease_ms;
    if (m.at.ns != 0) out["at"] = m.at.ns;
}

Status take(Fields& f, Welcome& out) {
    constexpr std::int64_t kHour = 3'600'000;
    GANTRY_TRY(cluster_id, need_text(f, "cluster_id"));
    GANTRY_TRY(term, need_number<std::uint64_t>(f, "term"));
    GANTRY_TRY(heartbeat_ms, f.integer("heartbeat_ms", 200, 1, kHour));
    GANTRY_TRY(address, f.text("address", ""));
    constexpr std::int64_t kLongest = INT64_MAX / 1'000'000;  // that a Duration holds
    GANTRY_TRY(restart_delay, f.integer("restart_delay_ms", out.restart_delay_ms, 1, kLongest));
    GANTRY_TRY(stable_after, f.integer("stable_after_ms", out.stable_after_ms, 1, kLongest));
    GANTRY_TRY(crashes, f.integer("crashes_to_move", out.crashes_to_move, 1, UINT32_MAX));
    GANTRY_TRY(restart_delay_max, f.integer("restart_delay_max_ms", out.restart_delay_max_ms, 1, kLongest));
    GANTRY_TRY(lease, f.integer("lease_ms", out.lease_ms, 1, kHour));
    GANTRY_TRY(at, f.integer("at", 0, 0, kLatest));
    out = {std::move(cluster_id),
           term,
           heartbeat_ms,
           std::move(address),
           restart_delay,
           stable_after,
           static_cast<std::uint32_t>(crashes),
           restart_delay_max,
           lease,
           {at}};
    return {};
}

void put(json::object& out, const Refused& m) { out["reason"] = m.reason; }

Status take(Fields& f, Refused& out) {
    GANTRY_TRY(reason, f.text("reason", ""));
    out.reason = std::move(reason);
    return {};
}

void put(json::object& out, const HeartbeatAck& m) {
    out["seq"] = m.seq;
    out["current"] = list_no_json(m.current);
    out["names_no"] = m.names_no;
    if (m.left) out["left"] = true;
    if (m.beat != 0) out["beat"] = m.beat;
    if (m.at.ns != 0) out["at"] = m.at.ns;
    if (m.runs_no != 0) out["runs_no"] = m.runs_no;
    if (m.grants.empty()) return;
    json::array grants;
    for (const auto& copy : m.grants) grants.emplace_back(copy.text());
    out["grants"] = std::move(grants);
}

Status take(Fields& f, HeartbeatAck& out) {
    GANTRY_TRY(seq, need_number<std::uint64_t>(f, "seq"));
    GANTRY_TRY(current, read_list_no(f, "current"));
    GANTRY_TRY(names_no, read_number<std::uint64_t>(f, "names_no"));
    GANTRY_TRY(left, f.boolean("left", false));
    GANTRY_TRY(beat, read_number<std::uint64_t>(f, "beat"));
    GANTRY_TRY(grants, f.texts("grants"));
    GANTRY_TRY(at, f.integer("at", 0, 0, kLatest));
    GANTRY_TRY(runs_no, read_number<std::uint64_t>(f, "runs_no"));
    out = {seq, current, names_no, left, beat, {}, {at}, runs_no};
    for (std::size_t i = 0; i < grants.size(); ++i) {
        const auto copy = parse_copy_id(grants[i]);
        if (!copy)
            return fail(Code::kInvalid, "expected a copy such as \"12.0#3\", got \"" + grants[i].substr(0, 80) + "\"",
                        f.path("grants[" + std::to_string(i) + "]"));
        out.grants.push_back(*copy);
    }
    return {};
}

void put(json::object& out, const Specs& m) {
    json::object specs;
    for (const auto& [digest, spec] : m.specs) specs[digest] = to_json(spec);
    out["specs"] = std::move(specs);
}

Status take(Fields& f, Specs& out) {
    const auto* value = f.member("specs");
    if (!value || !value->is_object())
        return fail(Code::kInvalid, "expected an object of specs by digest", f.path("specs"));
    for (const auto& member : value->get_object()) {
        auto spec = parse_copy_spec(member.value());
        if (!spec) {
            spec.error().where = f.path("specs") + "." + std::string(member.key()) + ": " + spec.error().where;
            return std::unexpected(std::move(spec).error());
        }
        out.specs.emplace(std::string(member.key()), std::move(*spec));
    }
    return {};
}

void put(json::object& out, const BlobData& m) {
    out["digest"] = m.digest;
    out["offset"] = m.offset;
    out["total"] = m.total;
    out["error"] = m.error;
    if (!m.near.empty()) out["near"] = texts_json(m.near);
}

Status take(Fields& f, BlobData& out) {
    GANTRY_TRY(digest, need_text(f, "digest"));
    GANTRY_TRY(offset, read_number<std::uint64_t>(f, "offset"));
    GANTRY_TRY(total, read_number<std::uint64_t>(f, "total"));
    GANTRY_TRY(error, f.text("error", ""));
    GANTRY_TRY(near, f.texts("near"));
    out = {std::move(digest), offset, total, std::move(error), std::move(near)};
    return {};
}

void put(json::object& out, const LogOpen& m) {
    out["stream"] = m.stream;
    out["copy"] = m.copy.text();
    out["follow"] = m.follow;
    out["tail_lines"] = m.tail_lines;
    if (m.since_ms != 0) out["since_ms"] = m.since_ms;
}

Status take(Fields& f, LogOpen& out) {
    GANTRY_TRY(stream, need_number<std::uint64_t>(f, "stream"));
    GANTRY_TRY(copy, need_copy(f, "copy"));
    GANTRY_TRY(follow, f.boolean("follow", false));
    GANTRY_TRY(tail_lines, f.integer("tail_lines", -1, -1, INT64_MAX));
    GANTRY_TRY(since_ms, f.integer("since_ms", 0, -limits::kLogSince, limits::kLogSince));
    out = {stream, copy, follow, tail_lines, since_ms};
    return {};
}

void put(json::object& out, const LogClose& m) { out["stream"] = m.stream; }

Status take(Fields& f, LogClose& out) {
    GANTRY_TRY(stream, need_number<std::uint64_t>(f, "stream"));
    out.stream = stream;
    return {};
}

void put(json::object& out, const Ask& m) {
    out["route"] = m.route;
    out["address"] = m.address;
    out["within_ms"] = m.within_ms;
}

Status take(Fields& f, Ask& out) {
    GANTRY_TRY(route, need_number<std::uint64_t>(f, "route"));
    GANTRY_TRY(address, need_text(f, "address"));
    GANTRY_TRY(within, f.integer("within_ms", out.within_ms, 1, 3'600'000));
    out = {route, std::move(address), within};
    return {};
}

void put(json::object& out, const Forward& m) {
    out["route"] = m.route;
    if (m.end)
        out["end"] = true;
    else
        out["message"] = m.message;
}

Status take(Fields& f, Forward& out) {
    GANTRY_TRY(route, need_number<std::uint64_t>(f, "route"));
    GANTRY_TRY(end, f.boolean("end", false));
    out.route = route;
    out.end = end;
    return end ? Status() : take_message(f, out.message);
}

void put(json::object& out, const Drill& m) {
    out["kind"] = m.kind;
    out["for_ms"] = m.for_ms;
}

Status take(Fields& f, Drill& out) {
    GANTRY_TRY(kind, need_text(f, "kind"));
    if (!f.has("for_ms")) GANTRY_CHECK(f.integer("for_ms"));
    GANTRY_TRY(for_ms, f.integer("for_ms", 0, 1, 3'600'000));
    out = {std::move(kind), for_ms};
    return {};
}

void put(json::object& out, const ExecOpen& m) {
    out["stream"] = m.stream;
    out["copy"] = m.copy.text();
    out["args"] = texts_json(m.args);
    out["terminal"] = m.terminal;
    out["input"] = m.input;
    out["rows"] = m.rows;
    out["columns"] = m.columns;
}

Status take(Fields& f, ExecOpen& out) {
    GANTRY_TRY(stream, need_number<std::uint64_t>(f, "stream"));
    GANTRY_TRY(copy, need_copy(f, "copy"));
    GANTRY_TRY(args, f.texts("args"));
    GANTRY_TRY(terminal, f.boolean("terminal", false));
    GANTRY_TRY(input, f.boolean("input", false));
    GANTRY_TRY(rows, read_number<std::uint16_t>(f, "rows"));
    GANTRY_TRY(columns, read_number<std::uint16_t>(f, "columns"));
    out = {stream, copy, std::move(args), terminal, input, rows, columns};
    return {};
}

void put(json::object& out, const ExecInput& m) {
    out["stream"] = m.stream;
    out["end"] = m.end;
    out["taken"] = m.taken;
    out["rows"] = m.rows;
    out["columns"] = m.columns;
}

Status take(Fields& f, ExecInput& out) {
    GANTRY_TRY(stream, need_number<std::uint64_t>(f, "stream"));
    GANTRY_TRY(end, f.boolean("end", false));
    GANTRY_TRY(taken, read_number<std::uint64_t>(f, "taken"));
    GANTRY_TRY(rows, read_number<std::uint16_t>(f, "rows"));
    GANTRY_TRY(columns, read_number<std::uint16_t>(f, "columns"));
    out = {stream, end, taken, rows, columns};
    return {};
}

void put(json::object& out, const PauseCopy& m) {
    out["stream"] = m.stream;
    out["copy"] = m.copy.text();
    out["on"] = m.on;
    if (m.disk) out["disk"] = true;
}

Status take(Fields& f, PauseCopy& out) {
    GANTRY_TRY(stream, need_number<std::uint64_t>(f, "stream"));
    GANTRY_TRY(copy, need_copy(f, "copy"));
    GANTRY_TRY(on, f.boolean("on", true));
    GANTRY_TRY(disk, f.boolean("disk", false));
    out = {stream, copy, on, disk};
    return {};
}

void put(json::object& out, const RestartCopy& m) {
    out["stream"] = m.stream;
    out["copy"] = m.copy.text();
}

Status take(Fields& f, RestartCopy& out) {
    GANTRY_TRY(stream, need_number<std::uint64_t>(f, "stream"));
    GANTRY_TRY(copy, need_copy(f, "copy"));
    out = {stream, copy};
    return {};
}

Result<ListEntry> take_entry(Fields f) {
    GANTRY_TRY(copy, need_copy(f, "copy"));
    GANTRY_TRY(service, need_text(f, "service"));
    GANTRY_TRY(spec, need_text(f, "spec"));
    GANTRY_TRY(is_static, f.boolean("static", false));
    GANTRY_TRY(is_next, f.boolean("next", false));
    GANTRY_TRY(forbid, f.boolean("forbid", false));
    return ListEntry{copy, std::move(service), std::move(spec), is_static, is_next, forbid};
}

// [name, address, node, port, copy]: a cluster has thousands of names and this table holds all of them.
Result<NameEntry> take_name(const json::value& value, const std::string& path) {
    const auto* fields = value.if_array();
    if (!fields || fields->size() != 5) return fail(Code::kInvalid, "expected [name, address, node, port, copy]", path);
    const auto text = [&](std::size_t i) {
        const auto* found = (*fields)[i].if_string();
        return found ? std::optional<std::string>(*found) : std::nullopt;
    };
    const auto name = text(0), address = text(1), node = text(2), copy_text = text(4);
    boost::system::error_code ec;
    const auto port = (*fields)[3].to_number<std::uint16_t>(ec);
    const auto copy = copy_text ? parse_copy_id(*copy_text) : std::nullopt;
    if (!name || name->empty() || !address || !node || ec || !copy)
        return fail(Code::kInvalid, "expected [name, address, node, port, copy]", path);
    return NameEntry{*name, *address, *node, port, *copy};
}

// In the order of the variant.
constexpr std::array<std::string_view, std::variant_size_v<ControllerMessage>> kKinds = {
    "welcome",   "refused", "heartbeat_ack", "list",  "specs",     "names",      "blob_data",  "log_open",
    "log_close", "ask",     "forward",       "drill", "exec_open", "exec_input", "pause_copy", "restart_copy"};

template <std::size_t I = 0>
Result<ControllerMessage> read(std::size_t index, Fields& f) {
    if constexpr (I < kKinds.size()) {
        if (index != I) return read<I + 1>(index, f);
        std::variant_alternative_t<I, ControllerMessage> message;
        GANTRY_CHECK(take(f, message));
        return message;
    } else {
        return fail(Code::kInvalid, "no such message");
    }
}

}  // namespace

void put(json::object& out, const NodeList& m) {
    out["cluster_id"] = m.cluster_id;
    out["no"] = list_no_json(m.no);
    json::array copies;
    for (const auto& c : m.copies) {
        json::object entry{{"copy", c.copy.text()}, {"service", c.service}, {"spec", c.spec_digest}};
        if (c.is_static) entry["static"] = true;
        if (c.is_next) entry["next"] = true;
        if (c.forbid) entry["forbid"] = true;
        copies.push_back(std::move(entry));
    }
    out["copies"] = std::move(copies);
    out["images"] = texts_json(m.images);
}

Status take(Fields& f, NodeList& out) {
    GANTRY_TRY(cluster_id, need_text(f, "cluster_id"));
    GANTRY_TRY(no, read_list_no(f, "no"));
    GANTRY_TRY(copies, f.list("copies"));
    for (std::size_t i = 0; i < copies.size(); ++i) {
        const auto path = f.path("copies[" + std::to_string(i) + "]");
        GANTRY_TRY(entry, take_entry(Fields(copies[i], path)));
        if (!out.copies.empty() && !(out.copies.back().copy < entry.copy))
            return fail(Code::kInvalid, "expected copies in order, each once, got " + entry.copy.text(), path);
        out.copies.push_back(std::move(entry));
    }
    GANTRY_TRY(images, f.texts("images"));
    out.cluster_id = std::move(cluster_id);
    out.no = no;
    out.images = std::move(images);
    return {};
}

void put(json::object& out, const Names& m) {
    out["term"] = m.term;
    out["names_no"] = m.names_no;
    json::array entries;
    for (const auto& e : m.entries) entries.push_back(json::array{e.name, e.address, e.node, e.port, e.copy.text()});
    out["entries"] = std::move(entries);
    if (m.parts == 1) return;
    out["part"] = m.part;
    out["parts"] = m.parts;
}

Status take(Fields& f, Names& out) {
    GANTRY_TRY(term, read_number<std::uint64_t>(f, "term"));
    GANTRY_TRY(names_no, read_number<std::uint64_t>(f, "names_no"));
    const auto* entries = f.member("entries");
    if (!entries || !entries->is_array()) return fail(Code::kInvalid, "expected a list", f.path("entries"));
    for (const auto& element : entries->get_array()) {
        const auto index = std::to_string(out.entries.size());
        GANTRY_TRY(entry, take_name(element, f.path("entries[" + index + "]")));
        out.entries.push_back(std::move(entry));
    }
    GANTRY_TRY(part, read_number<std::uint32_t>(f, "part"));
    GANTRY_TRY(parts, f.integer("parts", 1, 1, UINT32_MAX));
    out.term = term;
    out.names_no = names_no;
    out.part = part;
    out.parts = static_cast<std::uint32_t>(parts);
    return {};
}

std::string_view kind(const ControllerMessage& message) { return kKinds[message.index()]; }

json::object members(const ControllerMessage& message) {
    json::object out;
    std::visit([&](const auto& m) { put(out, m); }, message);
    return out;
}

Result<ControllerMessage> controller_message(std::string_view kind, Fields& f) {
    for (std::size_t i = 0; i < kKinds.size(); ++i)
        if (kKinds[i] == kind) return read(i, f);
    return fail(Code::kInvalid, "\"" + std::string(kind.substr(0, 80)) + "\" is no message of a controller",
                f.path("m"));
}

}  // namespace gantry::core
