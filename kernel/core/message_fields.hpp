// SPDX-License-Identifier: Apache-2.0
//
// Inside of the message codecs: how the values that several messages share are written and read.
#pragma once

#include <limits>
#include <string>
#include <vector>

#include "kernel/core/messages.hpp"

namespace gantry::core {

// Reads a whole number from 0 to the largest that T and JSON hold.
template <class T>
Result<T> read_number(Fields& f, std::string_view key) {
    constexpr auto kMost = sizeof(T) >= 8 ? INT64_MAX : static_cast<std::int64_t>(std::numeric_limits<T>::max());
    GANTRY_TRY(value, f.integer(key, 0, 0, kMost));
    return static_cast<T>(value);
}
// The same of one that must be there.
template <class T>
Result<T> need_number(Fields& f, std::string_view key) {
    if (!f.has(key)) GANTRY_CHECK(f.integer(key));
    return read_number<T>(f, key);
}

// A text that must be there and must not be empty.
Result<std::string> need_text(Fields& f, std::string_view key);
Result<CopyId> need_copy(Fields& f, std::string_view key);
// A message inside of a message.
Status take_message(Fields& f, json::object& out);
Result<ListNo> read_list_no(Fields& f, std::string_view key);  // {0, 0} if absent

// Of the member "ports", which may be absent. Also the stored form.
Result<std::vector<std::uint16_t>> take_ports(Fields& f);

json::value list_no_json(ListNo no);
json::array texts_json(const std::vector<std::string>& texts);
json::object labels_json(const Labels& labels);
json::object runtime_json(const RuntimeHello& runtime);  // also the stored form
Result<RuntimeHello> take_runtime(Fields& f);

// The members of one message, without "v" and "m". Also the stored form of lists and names.
void put(json::object& out, const NodeList& list);
void put(json::object& out, const Names& names);
Status take(Fields& f, NodeList& list);
Status take(Fields& f, Names& names);

// usage.cpp. As a report has it.
json::object usage_json(const Usage& usage);
Result<Usage> take_usage(Fields f);
// As documents show it: without what is not known.
void show(json::object& to, const Usage& usage);
void show(json::object& to, const CopyUsage& usage);

json::object members(const AgentMessage& message);
json::object members(const ControllerMessage& message);
std::string_view kind(const AgentMessage& message);
std::string_view kind(const ControllerMessage& message);
Result<AgentMessage> agent_message(std::string_view kind, Fields& f);
Result<ControllerMessage> controller_message(std::string_view kind, Fields& f);

}  // namespace gantry::core
