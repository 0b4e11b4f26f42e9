// SPDX-License-Identifier: Apache-2.0
//
// What a request gets when the resource tree does not answer it, and what a target asks for.
#pragma once

#include <cstdint>
#include <gantry/host.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace gantry::http {

// {"error":{"code":CODE,"message":MESSAGE}} with the HTTP code that docs/api.md gives to CODE.
ControlResponse error_answer(int code, std::string_view name, std::string_view message);
// The same for a status of the border.
ControlResponse error_answer(const Status& status);

enum class Kind { kDocument, kEvents, kUpload, kDownload, kLogs, kExec };

// How a request is served.
Kind kind_of(std::string_view method, std::string_view target, bool accepts_events);
// A parameter of the target's query, not decoded; nullopt if it is not there.
std::optional<std::string_view> parameter(std::string_view target, std::string_view name);
std::optional<std::uint64_t> number(std::string_view text);
// The whole number behind "name": in a flat document that the tree wrote; nullopt if there is none.
std::optional<std::uint64_t> member_number(std::string_view document, std::string_view name);
// One server-sent event.
std::string event_text(std::uint64_t number, std::string_view document);

}  // namespace gantry::http
