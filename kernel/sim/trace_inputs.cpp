// SPDX-License-Identifier: Apache-2.0
//
// Inputs of the cores as JSON, for traces.
#include <array>
#include <optional>

#include "kernel/sim/recorder.hpp"

namespace gantry::sim {

namespace {

using namespace gantry::core;

// --- fields of several ----------------------------------------------------------------------------------------------

constexpr std::size_t kLengthBytes = 4;  // before the text of a message on the wire

template <class Message>
std::string message_text(const Message& message) {
    return core::encode(message).substr(kLengthBytes);
}
std::string framed(const std::string& text) {
    std::string out;
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(text.size() >> shift & 0xff);
    return out + text;
}

template <class T>
Result<T> whole(Fields& f, std::string_view key) {
    GANTRY_TRY(value, f.integer(key));
    return static_cast<T>(value);
}

json::value error_json(const Status& status) {
    if (status) return nullptr;
    return json::object{{"code", static_cast<int>(status.error().code)},
                        {"message", status.error().message},
                        {"where", status.error().where}};
}
Result<std::optional<Error>> read_error(Fields& f) {
    const auto* value = f.member("error");
    if (!value || value->is_null()) return std::optional<Error>();
    Fields e(value, f.path("error"));
    GANTRY_TRY(code, e.integer("code", 0, 0, static_cast<int>(Code::kFailed)));
    GANTRY_TRY(message, e.text("message"));
    GANTRY_TRY(where, e.text("where", ""));
    return std::optional(Error{static_cast<Code>(code), message, where, false, {}});
}
Status status_of(const std::optional<Error>& error) {
    if (error) return std::unexpected(*error);
    return {};
}

json::value texts(const std::vector<std::string>& all) { return json::array(all.begin(), all.end()); }

json::value keys_json(const std::vector<Keys>& keys) {
    json::array out;
    for (const auto& each : keys) out.emplace_back(json::array(each.begin(), each.end()));
    return out;
}

// --- one input, as an object with its kind in "i" -------------------------------------------------------------------

struct Write {
    json::value operator()(const PeerMessage& i) const {
        return json::object{
            {"i", "message"}, {"peer", i.peer}, {"address", i.address}, {"text", message_text(i.message)}};
    }
    json::value operator()(const PeerDown& i) const {
        return json::object{{"i", "down"}, {"peer", i.peer}, {"cause", static_cast<int>(i.cause)}};
    }
    json::value operator()(const Ranked& i) const {
        return json::object{{"i", "ranked"}, {"id", i.id}, {"keys", keys_json(i.keys)}};
    }
    json::value operator()(const RankFailed& i) const {
        return json::object{{"i", "rank-failed"}, {"id", i.id}, {"reason", i.reason}};
    }
    json::value operator()(const Tick&) const { return json::object{{"i", "tick"}}; }
    json::value operator()(const LoopLate& i) const { return json::object{{"i", "late"}, {"lag", i.lag.count()}}; }
    json::value operator()(const ApiDeploy& i) const {
        return json::object{{"i", "deploy"}, {"request", i.request}, {"document", i.document}, {"dry_run", i.dry_run}};
    }
    json::value operator()(const ApiRemoveService& i) const {
        return json::object{{"i", "remove-service"}, {"request", i.request}, {"name", i.name}};
    }
    json::value operator()(const ApiRollout& i) const {
        return json::object{{"i", "rollout"},
                            {"request", i.request},
                            {"service", i.service},
                            {"action", static_cast<int>(i.action)},
                            {"revision", i.revision}};
    }
    json::value operator()(const ApiRebalance& i) const {
        return json::object{{"i", "rebalance"}, {"request", i.request}, {"at_once", i.at_once}, {"dry_run", i.dry_run}};
    }
    json::value operator()(const ApiSetIntent& i) const {
        return json::object{{"i", "intent"}, {"request", i.request}, {"node", i.node}, {"intent", i.intent}};
    }
    json::value operator()(const ApiRemoveNode& i) const {
        return json::object{{"i", "remove-node"}, {"request", i.request}, {"node", i.node}, {"dead", i.dead}};
    }
    json::value operator()(const ApiConfirmLost& i) const {
        return json::object{{"i", "confirm-lost"}, {"request", i.request}, {"nodes", texts(i.nodes)}};
    }
    json::value operator()(const ApiSetImage& i) const {
        return json::object{{"i", "image"},        {"request", i.request}, {"name", i.name},
                            {"digest", i.digest},  {"os", i.os},           {"architecture", i.architecture},
                            {"size", i.size_bytes}};
    }
    json::value operator()(const ApiRemoveImage& i) const {
        return json::object{{"i", "remove-image"}, {"request", i.request}, {"name", i.name}};
    }
    json::value operator()(const ApiSetSecret& i) const {
        return json::object{
            {"i", "secret"}, {"request", i.request}, {"name", i.name}, {"value", i.value}, {"remove", i.remove}};
    }

    // --- of an agent
    json::value operator()(const AgentStart& i) const {
        json::object out{{"i", "start"}, {"lost", i.lost}};
        if (i.saved) out["saved"] = *i.saved;
        return out;
    }
    json::value operator()(const ContainersListed& i) const {
        json::array seen;
        if (i.result)
            for (const auto& s : *i.result)
                seen.push_back(json::object{{"name", s.name},
                                            {"running", s.running},
                                            {"created", s.created},
                                            {"exit_code", s.exit_code},
                                            {"detail", s.detail}});
        const Status status = i.result ? Status() : Status(std::unexpected(i.result.error()));
        return json::object{
            {"i", "containers"}, {"runtime", i.runtime}, {"seen", std::move(seen)}, {"error", error_json(status)}};
    }
    json::value operator()(const ImagesListed& i) const {
        return json::object{{"i", "images"}, {"runtime", i.runtime}, {"images", texts(i.images)}};
    }
    json::value operator()(const Connected& i) const {
        return json::object{{"i", "connected"}, {"peer", i.peer}, {"through_node", i.through_node}};
    }
    json::value operator()(const Disconnected& i) const {
        return json::object{{"i", "disconnected"}, {"peer", i.peer}};
    }
    json::value operator()(const FromController& i) const {
        return json::object{{"i", "message"}, {"peer", i.peer}, {"text", message_text(i.message)}};
    }
    json::value operator()(const OperationDone& i) const {
        return json::object{{"i", "done"}, {"id", i.id}, {"error", error_json(i.result)}};
    }
    json::value operator()(const ContainerExited& i) const {
        return json::object{{"i", "exited"}, {"runtime", i.runtime}, {"name", i.name}, {"exit_code", i.exit_code}};
    }
    json::value operator()(const ImageProgress& i) const {
        return json::object{{"i", "progress"}, {"digest", i.digest}, {"percent", i.percent}};
    }
    json::value operator()(const ImageReady& i) const {
        return json::object{{"i", "image-ready"}, {"digest", i.digest}, {"error", error_json(i.result)}};
    }
    json::value operator()(const Probed& i) const {
        return json::object{
            {"i", "probed"}, {"id", i.id}, {"healthy", i.healthy}, {"unknown", i.unknown}, {"detail", i.detail}};
    }
    json::value operator()(const LoadMeasured& i) const {
        return json::object{{"i", "load"}, {"memory", i.load.memory_free_bytes}, {"cpu", i.load.cpu_used_milli}};
    }
    json::value operator()(const PortTried& i) const {
        return json::object{{"i", "port-tried"}, {"id", i.id}, {"free", i.free}};
    }
    json::value operator()(const AgentTick&) const { return json::object{{"i", "tick"}}; }
    json::value operator()(const ShutDown& i) const {
        return json::object{{"i", "shut-down"}, {"machine", i.machine_goes_down}, {"reboots", i.reboots}};
    }
    json::value operator()(const Reached& i) const {
        const Status status = i.peer ? Status() : Status(std::unexpected(i.peer.error()));
        return json::object{
            {"i", "reached"}, {"route", i.route}, {"peer", i.peer ? *i.peer : 0}, {"error", error_json(status)}};
    }
    json::value operator()(const FromNode& i) const {
        return json::object{{"i", "from-node"}, {"peer", i.peer}, {"message", i.message}};
    }
    json::value operator()(const NodeGone& i) const {
        return json::object{{"i", "node-gone"}, {"peer", i.peer}, {"how", static_cast<int>(i.how)}};
    }
    json::value operator()(const Armed& i) const {
        return json::object{{"i", "armed"}, {"id", i.id}, {"error", error_json(i.result)}};
    }
    json::value operator()(const GuardState& i) const {
        json::array held;
        for (const auto& each : i.held) held.push_back(json::object{{"name", each.name}, {"until", each.until.ns}});
        return json::object{{"i", "guard"}, {"up", i.up}, {"held", std::move(held)}};
    }
};

std::unexpected<Error> unknown_kind(Fields& f, const std::string& kind) {
    return fail(Code::kInvalid, "\"" + kind.substr(0, 40) + "\" is no kind of input", f.path("i"));
}

Result<std::vector<Keys>> read_keys(Fields& f) {
    std::vector<Keys> out;
    const auto* all = f.member("keys");
    if (!all || !all->is_array()) return fail(Code::kInvalid, "expected a list of keys", f.path("keys"));
    for (const auto& one : all->get_array()) {
        const auto* four = one.if_array();
        Keys keys{};
        if (!four || four->size() != keys.size()) return fail(Code::kInvalid, "expected four keys", f.path("keys"));
        for (std::size_t i = 0; i < keys.size(); ++i) {
            boost::system::error_code wrong;
            keys[i] = (*four)[i].to_number<std::int64_t>(wrong);
            if (wrong) return fail(Code::kInvalid, "expected whole numbers", f.path("keys"));
        }
        out.push_back(keys);
    }
    return out;
}

Result<Input> read_change(Fields& f, const std::string& kind) {
    GANTRY_TRY(request, whole<RequestId>(f, "request"));
    GANTRY_TRY(name, f.text("name", ""));
    GANTRY_TRY(node, f.text("node", ""));
    GANTRY_TRY(dry_run, f.boolean("dry_run", false));
    if (kind == "deploy") {
        const auto* document = f.member("document");
        return ApiDeploy{request, document ? *document : json::value(), dry_run};
    }
    if (kind == "remove-service") return ApiRemoveService{request, name};
    if (kind == "rollout") {
        GANTRY_TRY(service, f.text("service"));
        GANTRY_TRY(action, f.integer("action", 0, 0, static_cast<int>(ApiRollout::Action::kStart)));
        GANTRY_TRY(revision, whole<std::uint64_t>(f, "revision"));
        return ApiRollout{request, service, static_cast<ApiRollout::Action>(action), revision};
    }
    if (kind == "rebalance") {
        GANTRY_TRY(at_once, whole<std::uint32_t>(f, "at_once"));
        return ApiRebalance{request, at_once, dry_run};
    }
    if (kind == "intent") {
        GANTRY_TRY(intent, f.text("intent"));
        return ApiSetIntent{request, node, intent};
    }
    if (kind == "remove-node") {
        GANTRY_TRY(dead, f.boolean("dead", false));
        return ApiRemoveNode{request, node, dead};
    }
    if (kind == "confirm-lost") {
        GANTRY_TRY(nodes, f.texts("nodes"));
        return ApiConfirmLost{request, nodes};
    }
    if (kind == "image") {
        GANTRY_TRY(digest, f.text("digest"));
        GANTRY_TRY(os, f.text("os"));
        GANTRY_TRY(architecture, f.text("architecture"));
        GANTRY_TRY(size, f.integer("size"));
        return ApiSetImage{request, name, digest, os, architecture, size};
    }
    if (kind == "remove-image") return ApiRemoveImage{request, name};
    if (kind == "secret") {
        GANTRY_TRY(value, f.text("value"));
        GANTRY_TRY(remove, f.boolean("remove", false));
        return ApiSetSecret{request, name, value, remove};
    }
    return unknown_kind(f, kind);
}

Result<AgentInput> read_listed(Fields& f) {
    GANTRY_TRY(runtime, f.text("runtime"));
    GANTRY_TRY(error, read_error(f));
    if (error) return ContainersListed{runtime, std::unexpected(*error)};
    GANTRY_TRY(all, f.list("seen"));
    std::vector<Seen> seen;
    for (const auto* value : all) {
        Fields s(value, f.path("seen"));
        GANTRY_TRY(name, s.text("name"));
        GANTRY_TRY(running, s.boolean("running", false));
        GANTRY_TRY(created, s.boolean("created", false));
        GANTRY_TRY(exit_code, whole<int>(s, "exit_code"));
        GANTRY_TRY(detail, s.text("detail", ""));
        seen.push_back({runtime, name, running, created, exit_code, detail});
    }
    return ContainersListed{runtime, std::move(seen)};
}

Result<AgentInput> read_ended(Fields& f, const std::string& kind) {
    if (kind == "done") {
        GANTRY_TRY(id, whole<std::uint64_t>(f, "id"));
        GANTRY_TRY(error, read_error(f));
        return OperationDone{id, status_of(error)};
    }
    if (kind == "armed") {
        GANTRY_TRY(id, whole<std::uint64_t>(f, "id"));
        GANTRY_TRY(error, read_error(f));
        return Armed{id, status_of(error)};
    }
    if (kind == "exited") {
        GANTRY_TRY(runtime, f.text("runtime"));
        GANTRY_TRY(name, f.text("name"));
        GANTRY_TRY(exit_code, whole<int>(f, "exit_code"));
        return ContainerExited{runtime, name, exit_code};
    }
    if (kind == "image-ready") {
        GANTRY_TRY(digest, f.text("digest"));
        GANTRY_TRY(error, read_error(f));
        return ImageReady{digest, status_of(error)};
    }
    if (kind == "progress") {
        GANTRY_TRY(digest, f.text("digest"));
        GANTRY_TRY(percent, whole<std::uint32_t>(f, "percent"));
        return ImageProgress{digest, percent};
    }
    if (kind == "probed") {
        GANTRY_TRY(id, whole<std::uint64_t>(f, "id"));
        GANTRY_TRY(healthy, f.boolean("healthy", false));
        GANTRY_TRY(unknown, f.boolean("unknown", false));
        GANTRY_TRY(detail, f.text("detail", ""));
        return Probed{id, healthy, unknown, detail};
    }
    if (kind == "port-tried") {
        GANTRY_TRY(id, whole<std::uint64_t>(f, "id"));
        GANTRY_TRY(free, f.boolean("free", false));
        return PortTried{id, free};
    }
    return unknown_kind(f, kind);
}

// Of the guard, and of a node that was reached for the controller.
Result<AgentInput> read_aside(Fields& f, const std::string& kind) {
    if (kind == "guard") {
        GANTRY_TRY(up, f.boolean("up", false));
        GANTRY_TRY(all, f.list("held"));
        GuardState out{up, {}};
        for (const auto* value : all) {
            Fields h(value, f.path("held"));
            GANTRY_TRY(name, h.text("name"));
            GANTRY_TRY(until, h.integer("until"));
            out.held.push_back({name, {until}});
        }
        return out;
    }
    if (kind == "reached") {
        GANTRY_TRY(route, whole<std::uint64_t>(f, "route"));
        GANTRY_TRY(peer, whole<PeerId>(f, "peer"));
        GANTRY_TRY(error, read_error(f));
        if (error) return Reached{route, std::unexpected(*error)};
        return Reached{route, peer};
    }
    if (kind == "from-node") {
        GANTRY_TRY(peer, whole<PeerId>(f, "peer"));
        const auto* message = f.member("message");
        if (!message || !message->is_object()) return fail(Code::kInvalid, "expected a message", f.path("message"));
        return FromNode{peer, message->get_object()};
    }
    if (kind == "node-gone") {
        GANTRY_TRY(peer, whole<PeerId>(f, "peer"));
        GANTRY_TRY(how, f.integer("how", 0, 0, static_cast<int>(Ended::kFailed)));
        return NodeGone{peer, static_cast<Ended>(how)};
    }
    return read_ended(f, kind);
}

constexpr std::array kTimes = {
    TimingMember{"heartbeat", &Timing::heartbeat},
    TimingMember{"suspect_after", &Timing::suspect_after},
    TimingMember{"lost_after", &Timing::lost_after},
    TimingMember{"reset_grace", &Timing::reset_grace},
    TimingMember{"hold", &Timing::hold},
    TimingMember{"start_grace", &Timing::start_grace},
    TimingMember{"return_hold", &Timing::return_hold},
    TimingMember{"mass_pause", &Timing::mass_pause},
    TimingMember{"restart_delay", &Timing::restart_delay},
    TimingMember{"restart_delay_max", &Timing::restart_delay_max},
    TimingMember{"stable_after", &Timing::stable_after},
    TimingMember{"lost_after_max", &Timing::lost_after_max},
    TimingMember{"lease", &Timing::lease},
    TimingMember{"kill_bound", &Timing::kill_bound},
};

}  // namespace

std::span<const TimingMember> timing_members() { return kTimes; }

json::value to_json(const Input& input) { return std::visit(Write{}, input); }
json::value to_json(const AgentInput& input) { return std::visit(Write{}, input); }

json::value to_json(const Timing& timing) {
    json::object out;
    for (const auto& each : kTimes) out[each.name] = (timing.*each.member).count();
    out["crashes_to_move"] = timing.crashes_to_move;
    out["nodes_to_give_up"] = timing.nodes_to_give_up;
    out["drift_ppm"] = timing.drift_ppm;
    out["indirect"] = timing.indirect;
    return out;
}

Result<Timing> parse_timing(const json::value& value) {
    Fields f(&value, "timing");
    Timing out;
    for (const auto& each : kTimes) {
        GANTRY_TRY(ns, f.integer(each.name));
        out.*each.member = Duration(ns);
    }
    GANTRY_TRY(crashes, whole<std::uint32_t>(f, "crashes_to_move"));
    GANTRY_TRY(nodes, whole<std::uint32_t>(f, "nodes_to_give_up"));
    GANTRY_TRY(drift, whole<std::uint32_t>(f, "drift_ppm"));
    GANTRY_TRY(indirect, f.boolean("indirect", true));
    out.drift_ppm = drift;
    out.indirect = indirect;
    out.crashes_to_move = crashes;
    out.nodes_to_give_up = nodes;
    return out;
}

json::value to_json(const AgentFacts& facts) {
    Hello hello;
    hello.id = {facts.node_id, facts.boot_id, facts.session, 0};
    hello.node = facts.node;
    hello.advertise = facts.advertise;
    hello.labels = facts.labels;
    hello.runtimes = facts.runtimes;
    hello.probes = facts.probes;
    hello.cpu_milli = facts.cpu_milli;
    hello.memory_bytes = facts.memory_bytes;
    hello.version = facts.version;
    hello.ask_port = facts.ask_port;
    hello.drills = facts.drills;
    return json::object{{"hello", message_text(AgentMessage(hello))},
                        {"position_servers", facts.position_servers},
                        {"directory_port", facts.directory_port},
                        {"first_port", facts.ports.first},
                        {"last_port", facts.ports.second},
                        {"directory_environment", facts.directory_environment}};
}

Result<AgentFacts> parse_facts(const json::value& value) {
    Fields f(&value, "facts");
    GANTRY_TRY(text, f.text("hello"));
    GANTRY_TRY(message, core::decode_agent(framed(text)));
    GANTRY_TRY(servers, f.text("position_servers", ""));
    GANTRY_TRY(port, whole<std::uint16_t>(f, "directory_port"));
    GANTRY_TRY(environment, f.text("directory_environment", ""));
    GANTRY_TRY(first, whole<std::uint16_t>(f, "first_port"));
    GANTRY_TRY(last, whole<std::uint16_t>(f, "last_port"));
    auto* hello = std::get_if<Hello>(&message.message);
    if (!hello) return fail(Code::kInvalid, "expected a hello", "facts.hello");
    AgentFacts out;
    out.node = hello->node;
    out.node_id = hello->id.node_id;
    out.boot_id = hello->id.boot_id;
    out.session = hello->id.session;
    out.version = hello->version;
    out.advertise = hello->advertise;
    out.labels = hello->labels;
    out.runtimes = hello->runtimes;
    out.probes = hello->probes;
    out.cpu_milli = hello->cpu_milli;
    out.memory_bytes = hello->memory_bytes;
    out.ask_port = hello->ask_port;
    out.drills = hello->drills;
    out.position_servers = servers;
    out.directory_port = port;
    out.ports = {first, last};
    out.directory_environment = environment;
    return out;
}

Result<Input> parse_input(const json::value& value) {
    Fields f(&value, "in");
    GANTRY_TRY(kind, f.text("i"));
    if (kind == "tick") return Tick{};
    if (kind == "message") {
        GANTRY_TRY(peer, whole<PeerId>(f, "peer"));
        GANTRY_TRY(address, f.text("address"));
        GANTRY_TRY(text, f.text("text"));
        GANTRY_TRY(message, core::decode_agent(framed(text)));
        return PeerMessage{peer, address, std::move(message.message)};
    }
    if (kind == "down") {
        GANTRY_TRY(peer, whole<PeerId>(f, "peer"));
        GANTRY_TRY(cause, f.integer("cause", 0, 0, 2));
        return PeerDown{peer, static_cast<Down>(cause)};
    }
    if (kind == "ranked") {
        GANTRY_TRY(id, whole<std::uint64_t>(f, "id"));
        GANTRY_TRY(keys, read_keys(f));
        return Ranked{id, std::move(keys)};
    }
    if (kind == "rank-failed") {
        GANTRY_TRY(id, whole<std::uint64_t>(f, "id"));
        GANTRY_TRY(reason, f.text("reason"));
        return RankFailed{id, reason};
    }
    if (kind == "late") {
        GANTRY_TRY(lag, f.integer("lag"));
        return LoopLate{Duration(lag)};
    }
    return read_change(f, kind);
}

Result<AgentInput> parse_agent_input(const json::value& value) {
    Fields f(&value, "in");
    GANTRY_TRY(kind, f.text("i"));
    if (kind == "tick") return AgentTick{};
    if (kind == "start") {
        GANTRY_TRY(lost, f.boolean("lost", false));
        GANTRY_TRY(saved, f.text("saved", ""));
        return AgentStart{f.has("saved") ? std::optional(saved) : std::nullopt, lost};
    }
    if (kind == "containers") return read_listed(f);
    if (kind == "images") {
        GANTRY_TRY(runtime, f.text("runtime"));
        GANTRY_TRY(images, f.texts("images"));
        return ImagesListed{runtime, images};
    }
    if (kind == "connected" || kind == "disconnected") {
        GANTRY_TRY(peer, whole<PeerId>(f, "peer"));
        GANTRY_TRY(through_node, f.boolean("through_node", false));
        if (kind == "connected") return Connected{peer, through_node};
        return Disconnected{peer};
    }
    if (kind == "message") {
        GANTRY_TRY(peer, whole<PeerId>(f, "peer"));
        GANTRY_TRY(text, f.text("text"));
        GANTRY_TRY(message, core::decode_controller(framed(text)));
        return FromController{peer, std::move(message.message)};
    }
    if (kind == "load") {
        GANTRY_TRY(memory, f.integer("memory"));
        GANTRY_TRY(cpu, f.integer("cpu"));
        return LoadMeasured{{memory, cpu}};
    }
    if (kind == "shut-down") {
        GANTRY_TRY(machine, f.boolean("machine", false));
        GANTRY_TRY(reboots, f.boolean("reboots", false));
        return ShutDown{machine, reboots};
    }
    return read_aside(f, kind);
}

}  // namespace gantry::sim
