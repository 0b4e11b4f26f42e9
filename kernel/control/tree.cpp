// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/tree.hpp"

#include <algorithm>
#include <charconv>

#include "kernel/base/limits.hpp"
#include "kernel/control/files.hpp"

namespace gantry::control {
namespace {

int http_code(Code code) {
    switch (code) {
        case Code::kInvalid:
            return 400;
        case Code::kNotFound:
            return 404;
        case Code::kExists:
            return 409;
        case Code::kConflict:
            return 409;
        case Code::kRefused:
            return 403;
        case Code::kUnsupported:
            return 501;
        case Code::kFull:
            return 507;
        case Code::kUnavailable:
            return 503;
        case Code::kDeadline:
            return 504;
        case Code::kUnknown:
            return 500;
        case Code::kFailed:
            return 500;
    }
    return 500;
}

Result<std::string> unescape(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        unsigned value = 0;
        const auto* end = text.data() + std::min(i + 3, text.size());
        const auto [last, error] = std::from_chars(text.data() + i + 1, end, value, 16);
        if (error != std::errc() || last != text.data() + i + 3) {
            return fail(Code::kInvalid, "path: % must be followed by two hexadecimal digits");
        }
        out += static_cast<char>(value);
        i += 2;
    }
    return out;
}

std::unexpected<Error> no_such_path(const Route& route) {
    std::string path = "/v1";
    for (const auto& part : route.parts) path += "/" + part;
    return fail(Code::kNotFound, "no resource " + path + " for this method; docs/api.md lists them");
}

std::unexpected<Error> no_controller() {
    return fail(Code::kUnavailable, "this gantryd is no controller: ask the gateway that has [controller] in its file");
}

Result<json::value> list_document(json::array items, std::uint64_t revision) {
    return json::object{{"items", std::move(items)}, {"revision", revision}};
}

Result<json::value> pick(json::array items, const std::string& name, const std::string& what) {
    for (auto& item : items) {
        if (item.as_object().at("name").as_string() == name) return std::move(item);
    }
    return fail(Code::kNotFound, "no " + what + " " + name);
}

}  // namespace

host::ControlResponse to_response(Result<json::value> result) {
    if (result) {
        std::uint64_t revision = 0;
        if (const auto* object = result->if_object()) {
            const auto* member = object->if_contains("revision");
            if (member && member->is_number()) revision = member->to_number<std::uint64_t>();
        }
        return {200, revision, to_text(*result)};
    }
    const auto& error = result.error();
    json::object body{{"code", code_name(error.code)}, {"message", error.message}};
    if (!error.where.empty()) body["field"] = error.where;
    if (error.cause) body["message"] = error.message + ": " + error.cause->text();
    return {http_code(error.code), 0, to_text(json::object{{"error", std::move(body)}})};
}

std::string Route::argument(std::string_view key, std::string fallback) const {
    for (const auto& [name, value] : query) {
        if (name == key) return value;
    }
    return fallback;
}

bool Route::flag(std::string_view key) const {
    const auto value = argument(key, "0");
    return value != "0" && value != "false";
}

Result<std::int64_t> Route::number(std::string_view key, std::int64_t fallback, std::int64_t min,
                                   std::int64_t max) const {
    const auto text = argument(key, std::to_string(fallback));
    std::int64_t out = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (error == std::errc() && end == text.data() + text.size() && out >= min && out <= max) return out;
    return fail(Code::kInvalid,
                "expected a whole number from " + std::to_string(min) + " to " + std::to_string(max) + ", got \"" +
                    text.substr(0, 40) + "\"",
                std::string(key));
}

Result<Route> parse_route(std::string_view path) {
    Route out;
    const auto question = path.find('?');
    auto rest = path.substr(0, question);
    if (rest != "/v1" && !rest.starts_with("/v1/")) {
        return fail(Code::kNotFound, "resources are below /v1, got " + std::string(rest.substr(0, 100)));
    }
    rest.remove_prefix(3);
    while (!rest.empty()) {
        rest.remove_prefix(1);
        const auto slash = rest.find('/');
        GANTRY_TRY(part, unescape(rest.substr(0, slash)));
        if (!part.empty()) out.parts.push_back(part);
        rest = slash == rest.npos ? std::string_view{} : rest.substr(slash);
    }
    auto query = question == path.npos ? std::string_view{} : path.substr(question + 1);
    while (!query.empty()) {
        const auto end = query.find('&');
        const auto item = query.substr(0, end);
        const auto equals = item.find('=');
        GANTRY_TRY(key, unescape(item.substr(0, equals)));
        GANTRY_TRY(value, unescape(equals == item.npos ? "1" : item.substr(equals + 1)));
        out.query.emplace_back(key, value);
        query = end == query.npos ? std::string_view{} : query.substr(end + 1);
    }
    return out;
}

void Tree::request(host::ControlRequest request, std::function<void(host::ControlResponse)> done) {
    const Answer answer = [done](Result<json::value> result) { done(to_response(std::move(result))); };
    auto route = parse_route(request.path);
    if (!route) return answer(std::unexpected(route.error()));
    route->who = request.principal.text();
    if (request.method == "GET" && route->parts == std::vector<std::string>{"events"}) return done(events(*route));
    if (request.method == "GET") return get(*route, answer);
    if (request.method == "PUT") return put(*route, request.body, answer);
    if (request.method == "POST") return post(*route, request.body, answer);
    if (request.method == "DELETE") return remove(*route, answer);
    answer(fail(Code::kInvalid, "method: expected GET, PUT, POST or DELETE, got " + request.method));
}

void Tree::get(const Route& route, Answer answer) {
    const auto& parts = route.parts;
    if (parts.size() == 1) return get_list(route, std::move(answer));
    if (parts.empty()) return answer(no_such_path(route));
    get_one(route, std::move(answer));
}

void Tree::get_list(const Route& route, Answer answer) {
    const auto& what = route.parts[0];
    if (what == "plugins") return answer(plugins());
    if (what == "node") {
        if (!parts_.agent) return answer(fail(Code::kNotFound, "this gantryd is no node"));
        return answer(parts_.agent->document());
    }
    if (what == "volumes") {
        if (!parts_.agent) return answer(fail(Code::kNotFound, "this gantryd is no node"));
        return parts_.agent->volumes().list(std::move(answer));
    }
    if (!parts_.controller) {
        if (what == "cluster") return answer(cluster(nullptr));
        return answer(no_controller());
    }
    parts_.controller->read(
        [this, &route, &what](const core::Controller& core) -> Result<json::value> {
            const auto revision = core.term();
            if (what == "cluster") return cluster(&core);
            if (what == "nodes") return list_document(nodes(core), revision);
            if (what == "services") return list_document(core.services(), revision);
            if (what == "instances") return list_document(core.instances(), revision);
            if (what == "images") return list_document(core.images(), revision);
            if (what == "names") return list_document(core.names(), revision);
            if (what == "secrets") return list_document(core.secrets(), revision);
            return no_such_path(route);
        },
        std::move(answer));
}

void Tree::get_one(const Route& route, Answer answer) {
    if (!parts_.controller) return answer(no_controller());
    if (route.parts.size() == 3 && route.parts[0] == "services" && route.parts[2] == "explain") {
        return parts_.controller->explain(route.parts[1], std::move(answer));
    }
    parts_.controller->read(
        [this, &route](const core::Controller& core) -> Result<json::value> {
            const auto& what = route.parts[0];
            const auto& name = route.parts[1];
            if (route.parts.size() == 3 && what == "services" && route.parts[2] == "history") {
                GANTRY_TRY(revisions, core.history(name));
                return list_document(std::move(revisions), core.term());
            }
            if (route.parts.size() == 3 && route.parts[2] == "load") return load_history(core, route);
            if (route.parts.size() != 2) return no_such_path(route);
            if (what == "services") return core.service(name);
            if (what == "nodes") return pick(nodes(core), name, "node");
            if (what == "images") return pick(core.images(), name, "image");
            if (what == "names") {
                json::array found;
                for (auto& item : core.names()) {
                    if (item.as_object().at("name").as_string() == name) found.push_back(std::move(item));
                }
                return list_document(std::move(found), core.term());
            }
            return no_such_path(route);
        },
        std::move(answer));
}

// Of what is there and was never measured: no points.
Result<json::value> Tree::load_history(const core::Controller& core, const Route& route) const {
    const auto& what = route.parts[0];
    const auto& name = route.parts[1];
    const auto& history = parts_.controller->load_history();
    json::array points;
    if (what == "nodes") {
        GANTRY_TRY(node, pick(nodes(core), name, "node"));
        points = history.of_node(name);
    } else if (what == "instances") {
        points = history.of_instance(name);
        if (const auto place = core.place(name); !place && place.error().code != Code::kUnavailable)
            return std::unexpected(place.error());
    } else {
        return no_such_path(route);
    }
    return json::object{
        {"every_ms", load::History::kStep / milliseconds(1)}, {"items", std::move(points)}, {"revision", core.term()}};
}

// Those that discovery expects and that have not joined stand among the others.
json::array Tree::nodes(const core::Controller& core) const {
    auto out = core.nodes(host::boottime_now());
    auto expected = parts_.controller->expected();
    for (const auto& node : out) expected.erase(std::string(node.as_object().at("name").as_string()));
    for (const auto& [name, address] : expected) {
        out.push_back(json::object{{"name", name},
                                   {"liveness", "expected"},
                                   {"intent", "active"},
                                   {"address", address},
                                   {"copies", 0},
                                   {"heard_ms", -1},
                                   {"reason", "discovery names it; it has not joined yet"}});
    }
    return out;
}

void Tree::put(const Route& route, const std::string& body, Answer answer) {
    if (!parts_.controller) return answer(no_controller());
    auto document = parse_json(body, limits::kDocument);
    if (!document) return answer(std::unexpected(document.error()));
    const auto& parts = route.parts;
    const auto is = [&](std::size_t size, std::string_view what) { return parts.size() == size && parts[0] == what; };
    if (is(2, "services")) {
        const auto* service = document->is_object() ? document->as_object().if_contains("service") : nullptr;
        Fields fields(service, "service");
        if (auto name = fields.text("name"); name && *name != parts[1]) {
            return answer(
                fail(Code::kInvalid, "the path says " + parts[1] + ", the document " + *name, "service.name"));
        }
        const bool dry_run = route.flag("dry_run");
        return parts_.controller->change(
            [&](core::RequestId id) {
                return core::ApiDeploy{id, std::move(*document), dry_run};
            },
            route.who, std::move(answer));
    }
    if (is(3, "nodes") && parts[2] == "intent") {
        Fields fields(&*document, "");
        const auto intent = fields.text("intent");
        if (!intent) return answer(std::unexpected(intent.error()));
        return parts_.controller->change(
            [&](core::RequestId id) {
                return core::ApiSetIntent{id, parts[1], *intent};
            },
            route.who, std::move(answer));
    }
    if (is(2, "images")) return put_image(route, *document, std::move(answer));
    if (is(2, "secrets")) {
        Fields fields(&*document, "");
        const auto value = fields.text("value");
        if (!value) return answer(std::unexpected(value.error()));
        return parts_.controller->change(
            [&](core::RequestId id) {
                return core::ApiSetSecret{id, parts[1], *value, false};
            },
            route.who, std::move(answer));
    }
    answer(no_such_path(route));
}

// The blobs must be here already; the manifest tells the rest.
void Tree::put_image(const Route& route, const json::value& document, Answer answer) {
    const auto& name = route.parts[1];
    Fields fields(&document, "");
    auto digest = fields.text("digest");
    if (!digest) return answer(std::unexpected(digest.error()));
    struct Look {
        Result<core::ApiSetImage> image = core::ApiSetImage{};
    };
    auto look = std::make_shared<Look>();
    parts_.host.work(
        [this, look, name, digest = *digest] {
            look->image = [&]() -> Result<core::ApiSetImage> {
                GANTRY_TRY(missing, parts_.blobs.missing(digest));
                if (!missing.empty()) {
                    return fail(Code::kConflict, "image " + name + ": blob " + missing.front() + " was not uploaded");
                }
                core::ApiSetImage image{0, name, digest, "linux", std::string(own_architecture()), 0};
                GANTRY_TRY(text, parts_.blobs.read_all(digest));
                GANTRY_TRY(refs, parse_manifest(text, own_architecture()));
                while (refs.is_index) {
                    GANTRY_TRY(inner, parts_.blobs.read_all(refs.refs.front().digest));
                    GANTRY_TRY(inner_refs, parse_manifest(inner, own_architecture()));
                    refs = std::move(inner_refs);
                }
                for (const auto& ref : refs.refs) image.size_bytes += static_cast<std::int64_t>(ref.size);
                GANTRY_TRY(config_text, parts_.blobs.read_all(refs.refs.front().digest));
                GANTRY_TRY(config, parse_json(config_text, 4 << 20));
                Fields members(&config, "config");
                GANTRY_TRY(os, members.text("os", image.os));
                GANTRY_TRY(architecture, members.text("architecture", image.architecture));
                image.os = os;
                image.architecture = architecture;
                return image;
            }();
        },
        [this, look, who = route.who, answer = std::move(answer)](const Status& ran) {
            if (!ran) look->image = std::unexpected(ran.error());
            if (!look->image) return answer(std::unexpected(look->image.error()));
            parts_.controller->change(
                [&](core::RequestId id) {
                    look->image->request = id;
                    return *look->image;
                },
                who, answer);
        });
}

Tree::Answer Tree::drop_blobs_after(const std::string& name, Answer answer) {
    auto digest = std::make_shared<std::string>();
    parts_.controller->read([name](const core::Controller& core) { return pick(core.images(), name, "image"); },
                            [digest](Result<json::value> image) {
                                if (image) *digest = image->as_object().at("digest").as_string();
                            });
    return [this, digest, answer = std::move(answer)](Result<json::value> result) {
        if (result && !digest->empty()) parts_.controller->drop_blobs(*digest);
        answer(std::move(result));
    };
}

void Tree::remove(const Route& route, Answer answer) {
    if (route.parts.size() == 2 && route.parts[0] == "volumes") {
        if (!parts_.agent) return answer(fail(Code::kNotFound, "this gantryd is no node"));
        return parts_.agent->volumes().remove(route.parts[1], std::move(answer));
    }
    if (!parts_.controller) return answer(no_controller());
    if (route.parts.size() != 2) return answer(no_such_path(route));
    const auto& what = route.parts[0];
    const auto& name = route.parts[1];
    std::function<core::Input(core::RequestId)> make;
    if (what == "services") make = [&](core::RequestId id) { return core::ApiRemoveService{id, name}; };
    if (what == "nodes") {
        make = [&](core::RequestId id) { return core::ApiRemoveNode{id, name, route.flag("dead")}; };
    }
    if (what == "images") {
        make = [&](core::RequestId id) { return core::ApiRemoveImage{id, name}; };
        answer = drop_blobs_after(name, std::move(answer));
    }
    if (what == "secrets") make = [&](core::RequestId id) { return core::ApiSetSecret{id, name, "", true}; };
    if (!make) return answer(no_such_path(route));
    parts_.controller->change(make, route.who, std::move(answer));
}

void Tree::post(const Route& route, const std::string& body, Answer answer) {
    const auto& parts = route.parts;
    if (parts.size() == 2 && parts[0] == "node" && parts[1] == "leave") {
        if (!parts_.agent) return answer(fail(Code::kNotFound, "this gantryd is no node"));
        auto document = parse_json(body.empty() ? "{}" : body, limits::kDocument);
        if (!document) return answer(std::unexpected(document.error()));
        Fields fields(&*document, "");
        const auto reboot = fields.boolean("reboot", false);
        if (!reboot) return answer(std::unexpected(reboot.error()));
        answer(json::object{{"leaving", true}});
        return parts_.leave(*reboot);
    }
    if (parts.size() == 4 && parts[0] == "node" && parts[1] == "containers" && parts[3] == "exec") {
        if (!parts_.agent) return answer(fail(Code::kNotFound, "this gantryd is no node"));
        auto document = parse_json(body, limits::kDocument);
        if (!document) return answer(std::unexpected(document.error()));
        return parts_.agent->exec(parts[2], *document, std::move(answer));
    }
    if (parts.size() == 2 && parts[0] == "execs") {
        if (!parts_.controller) return answer(no_controller());
        std::uint64_t stream = 0;
        (void)std::from_chars(parts[1].data(), parts[1].data() + parts[1].size(), stream);
        const auto rows = route.number("rows", 0, 0, UINT16_MAX), columns = route.number("columns", 0, 0, UINT16_MAX);
        if (!rows || !columns) return answer(std::unexpected((rows ? columns : rows).error()));
        return parts_.controller->exec_input(
            {stream, route.flag("end"), 0, static_cast<std::uint16_t>(*rows), static_cast<std::uint16_t>(*columns)},
            body, std::move(answer));
    }
    if (parts.size() == 3 && parts[0] == "plugins" && parts[2] == "reload") {
        return reload_plugin(route, body, std::move(answer));
    }
    if (parts.size() == 1 && parts[0] == "reload" && parts_.reload) return parts_.reload(route.who, std::move(answer));
    if (parts.size() == 3 && parts[0] == "plugins") return change_plugin(route, std::move(answer));
    if (parts.size() == 1 && parts[0] == "rebalance") return post_rebalance(route, body, std::move(answer));
    if (parts.size() == 3 && parts[0] == "instances" &&
        (parts[2] == "pause" || parts[2] == "unpause" || parts[2] == "restart" || parts[2] == "checkpoint" ||
         parts[2] == "restore")) {
        if (!parts_.controller) return answer(no_controller());
        return parts_.controller->order(parts[1], parts[2], route.who, std::move(answer));
    }
    if (parts.size() == 3 && parts[0] == "services") return post_rollout(route, body, std::move(answer));
    if (parts.size() == 2 && parts[0] == "nodes" && parts[1] == "confirm-lost") {
        if (!parts_.controller) return answer(no_controller());
        auto document = parse_json(body.empty() ? "{}" : body, limits::kDocument);
        if (!document) return answer(std::unexpected(document.error()));
        Fields fields(&*document, "");
        auto nodes = fields.texts("nodes");
        if (!nodes) return answer(std::unexpected(nodes.error()));
        return parts_.controller->change(
            [&](core::RequestId id) {
                return core::ApiConfirmLost{id, std::move(*nodes)};
            },
            route.who, std::move(answer));
    }
    if (parts.size() == 3 && parts[0] == "nodes" && parts[2] == "drill")
        return post_drill(route, body, std::move(answer));
    answer(no_such_path(route));
}

void Tree::post_drill(const Route& route, const std::string& body, Answer answer) {
    if (!parts_.controller) return answer(no_controller());
    auto document = parse_json(body.empty() ? "{}" : body, limits::kDocument);
    if (!document) return answer(std::unexpected(document.error()));
    Fields fields(&*document, "");
    const auto kind = fields.text("kind");
    if (!kind) return answer(std::unexpected(kind.error()));
    const bool said = fields.has("for_ms");
    const auto for_ms = said ? fields.integer("for_ms", 0, 1'000, 3'600'000) : fields.integer("for_ms");
    if (!for_ms) return answer(std::unexpected(for_ms.error()));
    if (const auto known = fields.finish(); !known) return answer(std::unexpected(known.error()));
    static constexpr std::string_view kKinds[] = {"kill", "cut", "freeze", "reboot"};
    if (std::ranges::find(kKinds, *kind) == std::end(kKinds))
        return answer(fail(Code::kInvalid, "expected kill, cut, freeze or reboot, got \"" + *kind + "\"", "kind"));
    parts_.controller->drill(route.parts[1], *kind, milliseconds(*for_ms), route.who, std::move(answer));
}

void Tree::post_rebalance(const Route& route, const std::string& body, Answer answer) {
    if (!parts_.controller) return answer(no_controller());
    auto document = parse_json(body.empty() ? "{}" : body, limits::kDocument);
    if (!document) return answer(std::unexpected(document.error()));
    Fields fields(&*document, "");
    const auto at_once = fields.integer("at_once", 1, 1, 1'000);
    if (!at_once) return answer(std::unexpected(at_once.error()));
    if (const auto known = fields.finish(); !known) return answer(std::unexpected(known.error()));
    parts_.controller->change(
        [&](core::RequestId id) {
            return core::ApiRebalance{id, static_cast<std::uint32_t>(*at_once), route.flag("dry_run")};
        },
        route.who, std::move(answer));
}

void Tree::post_rollout(const Route& route, const std::string& body, Answer answer) {
    using Action = core::ApiRollout::Action;
    static constexpr std::pair<std::string_view, Action> kActions[] = {
        {"pause", Action::kPause},     {"resume", Action::kResume}, {"rollback", Action::kRollBack},
        {"restart", Action::kRestart}, {"stop", Action::kStop},     {"start", Action::kStart}};
    const auto action =
        std::ranges::find_if(kActions, [&](const auto& known) { return known.first == route.parts[2]; });
    if (action == std::end(kActions)) return answer(no_such_path(route));
    if (!parts_.controller) return answer(no_controller());
    auto document = parse_json(body.empty() ? "{}" : body, limits::kDocument);
    if (!document) return answer(std::unexpected(document.error()));
    Fields fields(&*document, "");
    const auto revision = fields.integer("revision", 0, 0, limits::kCounter);
    if (!revision) return answer(std::unexpected(revision.error()));
    if (const auto known = fields.finish(); !known) return answer(std::unexpected(known.error()));
    parts_.controller->change(
        [&](core::RequestId id) {
            return core::ApiRollout{id, route.parts[1], action->second, static_cast<std::uint64_t>(*revision)};
        },
        route.who, std::move(answer));
}

void Tree::open(host::ControlRequest request, int fd, std::function<void(host::ControlResponse)> done) {
    auto owned = std::make_shared<FileDescriptor>(fd);
    const Answer answer = [done = std::move(done)](Result<json::value> result) {
        done(to_response(std::move(result)));
    };
    const auto route = parse_route(request.path);
    if (!route) return answer(std::unexpected(route.error()));
    if (!parts_.controller) return answer(no_controller());
    const auto& parts = route->parts;
    if (parts.size() == 3 && parts[0] == "instances" && parts[2] == "logs" && request.method == "GET") {
        const auto tail = route->number("tail", -1, -1, INT32_MAX);
        if (!tail) return answer(std::unexpected(tail.error()));
        const auto since = route->number("since_ms", 0, -limits::kLogSince, limits::kLogSince);
        if (!since) return answer(std::unexpected(since.error()));
        return parts_.controller->logs(parts[1], route->flag("follow"), *tail, *since, owned->release(), answer);
    }
    if (parts.size() == 3 && parts[0] == "instances" && parts[2] == "exec" && request.method == "POST") {
        const auto document = parse_json(request.body, limits::kDocument);
        if (!document) return answer(std::unexpected(document.error()));
        return parts_.controller->exec(parts[1], *document, owned->release(), request.principal.text(), answer);
    }
    if (parts.size() != 2 || parts[0] != "blobs" || (request.method != "GET" && request.method != "PUT")) {
        return answer(no_such_path(*route));
    }
    stream_blob(request.method, parts[1], std::move(owned), answer);
}

void Tree::stream_blob(const std::string& method, const std::string& digest, std::shared_ptr<FileDescriptor> stream,
                       Answer answer) {
    if (auto ok = check_digest(digest); !ok) return answer(std::unexpected(ok.error()));
    const bool upload = method == "PUT";
    const auto bytes = parts_.blobs.size(digest);
    if (upload && bytes) return answer(fail(Code::kExists, "blob " + digest + " is here already"));
    if (!upload && !bytes) return answer(std::unexpected(bytes.error()));
    if (blobs_streamed_ >= limits::kBlobStreams) {
        return answer(fail(Code::kFull, "too many blobs are uploaded or read already (" +
                                            std::to_string(limits::kBlobStreams) + "); try again"));
    }
    ++blobs_streamed_;
    if (!upload) answer(json::object{{"digest", digest}, {"size", *bytes}});
    auto result = std::make_shared<Status>();
    if (!blob_streams_) blob_streams_ = std::make_unique<Lane>(parts_.io, limits::kBlobStreams);
    blob_streams_->run(
        [this, stream, result, digest, upload] {
            *result = upload ? parts_.blobs.take(digest, stream->get()) : parts_.blobs.give(digest, stream->get());
            *stream = FileDescriptor();
        },
        [this, result, digest, upload, answer](const Status& ran) {
            if (!ran) *result = ran;
            if (--blobs_streamed_ == 0) blob_streams_.reset();
            if (!upload) return;
            if (!*result) return answer(std::unexpected(result->error()));
            answer(json::object{{"digest", digest}});
        });
}

std::uint64_t Tree::watch(host::Principal, std::string, std::uint64_t after,
                          std::function<void(std::uint64_t, const std::string&)> fn) {
    return parts_.events.watch(after, std::move(fn)).value_or(0);
}

// The stored texts are the items: nothing is parsed again, however many are asked for.
host::ControlResponse Tree::events(const Route& route) const {
    const auto after = route.number("after", 0, 0, INT64_MAX);
    if (!after) return to_response(std::unexpected(after.error()));
    // Who says from where on wants all of it.
    const auto usual = route.argument("after").empty() ? limits::kEventsAnswered : limits::kEvents;
    const auto limit = route.number("limit", static_cast<std::int64_t>(usual), 0, limits::kEvents);
    if (!limit) return to_response(std::unexpected(limit.error()));
    const auto last = parts_.events.last_number();
    std::string body = "{\"items\":[";
    for (const auto* entry : parts_.events.read(static_cast<std::uint64_t>(*after), static_cast<std::size_t>(*limit))) {
        if (body.back() != '[') body += ',';
        body += entry->text;
    }
    return {200, last, body + "],\"revision\":" + std::to_string(last) + "}"};
}

// What is remembered of a plugin's crashes, and what follows: its process is started again, or, for one that shall run
// elsewhere than it does, gantryd starts anew on itself. Where it cannot, `waits` says why. Into gantryd itself comes
// only what runs well apart from it.
void Tree::change_plugin(const Route& route, Answer answer) {
    auto changed = forget_crashes(route);
    if (!changed) return answer(std::move(changed));
    json::object told = changed->as_object();
    const std::string title(told.at("plugin").as_string());
    const auto where = parts_.host.misplaced(title);
    if (told.at("started").as_bool() || !where || !parts_.exchange) return answer(std::move(told));
    const auto plugins = parts_.host.plugins();
    const bool runs = std::ranges::any_of(plugins, [&](const host::PluginInfo& plugin) {
        return plugin.role + "." + plugin.name == title && plugin.state == host::PluginState::kRunning;
    });
    if (*where == host::Where::kInProcess && !runs) {
        told["waits"] = "it does not run now, and in its process gantryd would fall with it";
        return answer(std::move(told));
    }
    const auto files = parts_.host.files();
    const auto file = files.find(title);
    const bool chosen = file != files.end() && file->second.chosen;
    parts_.exchange(title, chosen ? file->second.path : "", route.who,
                    [answer = std::move(answer), told](Result<json::value> exchanged) mutable {
                        if (!exchanged) told["waits"] = exchanged.error().text();
                        if (exchanged)
                            for (auto& [key, value] : exchanged->as_object()) told[key] = value;
                        answer(std::move(told));
                    });
}

// A plugin is named by its table, with the role if there are several.
Result<json::value> Tree::forget_crashes(const Route& route) {
    const auto &name = route.parts[1], &what = route.parts[2];
    if ((what != "allow" && what != "clear") || !parts_.crashes) {
        return fail(Code::kNotFound, "a plugin can be asked to allow or clear, got " + what);
    }
    std::vector<host::PluginInfo> found;
    for (auto& plugin : parts_.host.plugins()) {
        if (plugin.name == name || plugin.role + "." + plugin.name == name) found.push_back(std::move(plugin));
    }
    if (found.empty()) return fail(Code::kNotFound, "no plugin " + name);
    if (found.size() > 1) {
        return fail(Code::kInvalid, "several plugins are named " + name + ": write " + found[0].role + "." + name +
                                        " or " + found[1].role + "." + name);
    }
    const auto title = found[0].role + "." + found[0].name;
    if (what == "allow" && found[0].digest.empty()) {
        return fail(Code::kConflict, title + " has no file that could be allowed: " + found[0].reason);
    }
    GANTRY_CHECK(what == "allow" ? parts_.crashes->allow(title, found[0].digest) : parts_.crashes->clear(title));
    parts_.events.add(what == "allow" ? "plugin-allowed" : "plugin-cleared",
                      title + ": crashes " + (what == "allow" ? "do not count" : "forgotten"),
                      {{"plugin", title}, {"by", route.who}});
    const auto standing = parts_.crashes->standing(title, found[0].digest);
    return json::object{{"plugin", title},
                        {"crashes", standing.crashes},
                        {"allowed", standing.allowed},
                        {"started", parts_.host.reconsider(title)}};
}

// One of this process is exchanged by gantryd's starting anew on itself, one in a process of its own at once.
void Tree::reload_plugin(const Route& route, const std::string& body, Answer answer) {
    const std::string& title = route.parts[1];
    auto document = parse_json(body.empty() ? "{}" : body, limits::kDocument);
    if (!document) return answer(std::unexpected(document.error()));
    Fields fields(&*document, "");
    auto file = fields.text("file", "");
    if (!file) return answer(std::unexpected(file.error()));
    if (auto ok = fields.finish(); !ok) return answer(std::unexpected(ok.error()));
    const auto found = [this, title]() -> std::optional<host::PluginInfo> {
        for (auto& plugin : parts_.host.plugins()) {
            if (plugin.role + "." + plugin.name == title) return std::move(plugin);
        }
        return std::nullopt;
    };
    const auto now = found();
    const bool alone = now && now->placing == host::Placing::kOwnProcess &&
                       (now->state == host::PluginState::kRunning || now->state == host::PluginState::kDegraded);
    if (now && !alone && parts_.exchange) return parts_.exchange(title, *file, route.who, std::move(answer));
    const auto after = parts_.events.last_number();
    auto once = std::make_shared<Answer>(std::move(answer));
    const auto tell = [once](Result<json::value> result) {
        if (auto waits = std::exchange(*once, nullptr)) waits(std::move(result));
    };
    parts_.host.reload(title, *file, [this, title, found, tell, who = route.who](Result<void> done) {
        const auto plugin = found();
        if (done && !plugin) done = fail(Code::kNotFound, "no plugin " + title);
        if (!done) {
            parts_.events.add("plugin-exchange-failed", title + " was not exchanged: " + done.error().text(),
                              {{"plugin", title}, {"by", who}});
            return tell(std::unexpected(done.error()));
        }
        parts_.events.add("plugin-exchanged", title + " is version " + plugin->version + " now, from " + plugin->file,
                          {{"plugin", title}, {"version", plugin->version}, {"file", plugin->file}, {"by", who}});
        tell(json::object{
            {"plugin", title}, {"version", plugin->version}, {"file", plugin->file}, {"pid", plugin->pid}});
    });
    // The door through which it was asked for does not close before it has answered.
    if (now && now->role == "frontend") tell(json::object{{"plugin", title}, {"restarts", true}, {"after", after}});
}

json::value Tree::plugins() const {
    json::array items;
    for (const auto& p : parts_.host.plugins()) {
        items.push_back(json::object{{"role", p.role},
                                     {"name", p.name},
                                     {"plugin", p.plugin},
                                     {"id", p.id},
                                     {"version", p.version},
                                     {"state", host::plugin_state_name(p.state)},
                                     {"reason", p.reason},
                                     {"required", p.required},
                                     {"file", p.file},
                                     {"trust", p.trust},
                                     {"digest", p.digest},
                                     {"crashes", p.crashes},
                                     {"calls", p.calls},
                                     {"slow_calls", p.slow_calls},
                                     {"operations_pending", p.operations_pending},
                                     {"isolation", p.placing == host::Placing::kHost ? "none" : "process"},
                                     {"pid", p.pid},
                                     {"restarts", p.restarts},
                                     {"memory_max_bytes", p.memory_max_bytes},
                                     {"address", p.address}});
    }
    return json::object{{"items", std::move(items)}, {"revision", 0}};
}

json::value Tree::cluster(const core::Controller* core) const {
    json::object out{{"version", parts_.version},
                     {"role", !parts_.agent       ? "controller"
                              : parts_.controller ? "both"
                                                  : "agent"}};
    if (core) {
        out["cluster_id"] = core->cluster_id();
        out["term"] = core->term();
        out["controller"] = parts_.controller->listening();
    }
    return out;
}

}  // namespace gantry::control
