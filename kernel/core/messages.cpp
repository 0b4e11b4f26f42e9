// SPDX-License-Identifier: Apache-2.0
#include "kernel/core/messages.hpp"

#include <algorithm>
#include <charconv>

#include "kernel/base/limits.hpp"
#include "kernel/core/message_fields.hpp"

namespace gantry::core {

namespace {

constexpr std::size_t kLengthBytes = 4;

template <class T>
bool read_digits(std::string_view& text, T& out) {
    if (text.empty() || (text[0] == '0' && text.size() > 1 && text[1] >= '0' && text[1] <= '9')) return false;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
    if (ec != std::errc() || text[0] == '-') return false;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    return true;
}

bool read_char(std::string_view& text, char c) {
    if (!text.starts_with(c)) return false;
    text.remove_prefix(1);
    return true;
}

bool too_great(std::uint64_t number) { return number > static_cast<std::uint64_t>(limits::kCounter); }

bool read_instance(std::string_view& text, InstanceId& out) {
    return read_digits(text, out.service_no) && read_char(text, '.') && read_digits(text, out.index);
}

template <class Message>
json::object whole(const Message& message) {
    json::object document{{"v", kWireVersion}, {"m", kind(message)}};
    for (auto& member : members(message)) document.emplace(member.key(), std::move(member.value()));
    return document;
}

std::string framed(const json::object& document, std::string_view tail) {
    const std::string text = to_text(document);
    std::string out;
    out.reserve(kLengthBytes + text.size() + tail.size());
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(text.size() >> shift & 0xff);
    return out.append(text).append(tail);
}

struct Parts {
    json::value document;
    std::string_view tail;
};

Result<Parts> take_apart(std::string_view bytes) {
    if (bytes.size() > limits::kMessage)
        return fail(Code::kInvalid, "the message has " + std::to_string(bytes.size()) + " bytes, expected at most " +
                                        std::to_string(limits::kMessage));
    if (bytes.size() < kLengthBytes)
        return fail(Code::kInvalid,
                    "the message has " + std::to_string(bytes.size()) + " bytes, expected 4 with a length first");
    std::size_t length = 0;
    for (std::size_t i = 0; i < kLengthBytes; ++i) length = length << 8 | static_cast<unsigned char>(bytes[i]);
    bytes.remove_prefix(kLengthBytes);
    if (length > bytes.size())
        return fail(Code::kInvalid, "the message says its text has " + std::to_string(length) + " bytes, got " +
                                        std::to_string(bytes.size()));
    GANTRY_TRY(document, parse_json(bytes.substr(0, length), limits::kMessage));
    return Parts{std::move(document), bytes.substr(length)};
}

// Version and kind come before everything else: a message of another version may look different in every way.
Result<std::string> check_head(Fields& f) {
    GANTRY_TRY(version, f.integer("v"));
    if (version != kWireVersion)
        return fail(Code::kUnsupported, "the message has version " + std::to_string(version) +
                                            ", this gantryd speaks " + std::to_string(kWireVersion) +
                                            "; run the same gantryd on both sides");
    return f.text("m");
}

Status check_tail(std::string_view kind, std::string_view tail) {
    const bool carries = kind == "blob_data" || kind == "log_data" || kind == "exec_input";
    if (!carries && !tail.empty())
        return fail(Code::kInvalid, "the message \"" + std::string(kind) + "\" has " + std::to_string(tail.size()) +
                                        " bytes behind its text, expected none");
    if (tail.size() > limits::kBlobChunk)
        return fail(Code::kInvalid, "the message \"" + std::string(kind) + "\" has " + std::to_string(tail.size()) +
                                        " bytes behind its text, expected at most " +
                                        std::to_string(limits::kBlobChunk));
    return {};
}

template <class Message>
Result<Decoded<Message>> decode_any(std::string_view bytes, Result<Message> (*read)(std::string_view, Fields&)) {
    GANTRY_TRY(parts, take_apart(bytes));
    Fields f(&parts.document, "message");
    GANTRY_TRY(kind, check_head(f));
    GANTRY_TRY(message, read(kind, f));
    GANTRY_CHECK(check_tail(kind, parts.tail));
    return Decoded<Message>{std::move(message), std::string(parts.tail)};
}

}  // namespace

std::string InstanceId::text() const { return std::to_string(service_no) + "." + std::to_string(index); }
std::string CopyId::text() const { return instance.text() + "#" + std::to_string(epoch); }

std::optional<InstanceId> parse_instance_id(std::string_view text) {
    InstanceId out;
    if (!read_instance(text, out) || !text.empty() || too_great(out.service_no)) return std::nullopt;
    return out;
}

std::optional<CopyId> parse_copy_id(std::string_view text) {
    CopyId out;
    if (!read_instance(text, out.instance) || !read_char(text, '#') || !read_digits(text, out.epoch) || !text.empty())
        return std::nullopt;
    if (too_great(out.instance.service_no) || too_great(out.epoch)) return std::nullopt;
    return out;
}

std::string_view copy_state_name(CopyState state) {
    switch (state) {
        case CopyState::kWaiting:
            return "waiting";
        case CopyState::kCreating:
            return "creating";
        case CopyState::kRunning:
            return "running";
        case CopyState::kReady:
            return "ready";
        case CopyState::kStopping:
            return "stopping";
        case CopyState::kExited:
            return "exited";
    }
    return "waiting";
}

Result<std::string> need_text(Fields& f, std::string_view key) {
    auto text = f.text(key);
    if (text && text->empty()) return fail(Code::kInvalid, "expected a text that is not empty", f.path(key));
    return text;
}

Result<CopyId> need_copy(Fields& f, std::string_view key) {
    GANTRY_TRY(text, f.text(key));
    const auto copy = parse_copy_id(text);
    if (!copy)
        return fail(Code::kInvalid, "expected a copy (\"12.0#3\"), got \"" + text.substr(0, 80) + "\"", f.path(key));
    return *copy;
}

Status take_message(Fields& f, json::object& out) {
    const auto* value = f.member("message");
    if (!value || !value->is_object()) return fail(Code::kInvalid, "expected a message", f.path("message"));
    out = value->get_object();
    return {};
}

Result<ListNo> read_list_no(Fields& f, std::string_view key) {
    const auto* value = f.member(key);
    if (!value) return ListNo{};
    const auto* pair = value->if_array();
    boost::system::error_code term_ec, no_ec;
    if (!pair || pair->size() != 2) return fail(Code::kInvalid, "expected [term, number]", f.path(key));
    const ListNo out{(*pair)[0].to_number<std::uint64_t>(term_ec), (*pair)[1].to_number<std::uint64_t>(no_ec)};
    if (term_ec || no_ec || too_great(out.term) || too_great(out.no))
        return fail(Code::kInvalid, "expected [term, number]", f.path(key));
    return out;
}

json::value list_no_json(ListNo no) { return json::array{no.term, no.no}; }
json::array texts_json(const std::vector<std::string>& texts) { return json::array(texts.begin(), texts.end()); }

json::object runtime_json(const RuntimeHello& runtime) {
    json::object out{{"name", runtime.name},
                     {"system", runtime.system},
                     {"architectures", texts_json(runtime.architectures)},
                     {"fenceable", runtime.fenceable}};
    if (runtime.limits) out["limits"] = *runtime.limits;
    if (runtime.guarded) out["guarded"] = true;
    if (runtime.settings) out["settings"] = true;
    if (runtime.ports) out["ports"] = true;
    return out;
}

Result<RuntimeHello> take_runtime(Fields& f) {
    GANTRY_TRY(name, need_text(f, "name"));
    GANTRY_TRY(system, f.text("system", ""));
    GANTRY_TRY(architectures, f.texts("architectures"));
    GANTRY_TRY(fenceable, f.boolean("fenceable", false));
    const bool says = f.has("limits");
    GANTRY_TRY(limits, f.boolean("limits", false));
    GANTRY_TRY(guarded, f.boolean("guarded", false));
    GANTRY_TRY(settings, f.boolean("settings", false));
    GANTRY_TRY(ports, f.boolean("ports", false));
    return RuntimeHello{std::move(name),
                        std::move(system),
                        std::move(architectures),
                        fenceable,
                        says ? std::optional(limits) : std::nullopt,
                        guarded,
                        settings,
                        ports};
}

Result<std::vector<std::uint16_t>> take_ports(Fields& f) {
    std::vector<std::uint16_t> out;
    const auto* value = f.member("ports");
    const auto* list = value ? value->if_array() : nullptr;
    boost::system::error_code wrong;
    for (std::size_t i = 0; list && i < list->size() && !wrong; ++i)
        out.push_back((*list)[i].to_number<std::uint16_t>(wrong));
    if (!wrong && (!value || list) && out.size() <= limits::kEndpoints && !std::ranges::count(out, 0)) return out;
    return fail(Code::kInvalid,
                "expected a list of at most " + std::to_string(limits::kEndpoints) + " ports from 1 to 65535",
                f.path("ports"));
}

json::object labels_json(const Labels& labels) {
    json::object out;
    for (const auto& [name, value] : labels) out[name] = value;
    return out;
}

std::string encode(const AgentMessage& message, std::string_view tail) { return framed(whole(message), tail); }
std::string encode(const ControllerMessage& message, std::string_view tail) { return framed(whole(message), tail); }
Result<Decoded<AgentMessage>> decode_agent(std::string_view bytes) { return decode_any(bytes, agent_message); }
Result<Decoded<ControllerMessage>> decode_controller(std::string_view bytes) {
    return decode_any(bytes, controller_message);
}

json::object to_document(const ControllerMessage& message) { return whole(message); }
std::string frame(const json::object& document) { return framed(document, {}); }

Result<AgentMessage> read_agent(const json::object& document) {
    const json::value value(document);
    Fields f(&value, "message");
    GANTRY_TRY(kind, check_head(f));
    return agent_message(kind, f);
}

Result<json::object> unframe(std::string_view bytes) {
    GANTRY_TRY(parts, take_apart(bytes));
    if (!parts.document.is_object() || !parts.tail.empty())
        return fail(Code::kInvalid, "expected one object and nothing behind it");
    return std::move(parts.document.get_object());
}

}  // namespace gantry::core
