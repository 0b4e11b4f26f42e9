// SPDX-License-Identifier: Apache-2.0
//
// What is written to the engine and read from it, as JSON; no I/O.
#pragma once

#include <boost/json.hpp>
#include <gantry/runtime_types.hpp>
#include <optional>
#include <string>

namespace docker {

// Whose container it is: of this plugin's state folder, and with the kernel's labels in one of ours, since an engine
// adds those of the image to a container's.
inline constexpr const char* kInstanceLabel = "org.gantry.instance";
inline constexpr const char* kImageLabel = "org.gantry.image";
inline constexpr const char* kLabelsLabel = "org.gantry.labels";

// What is wrong with the spec whatever the engine says; throws Failure(kInvalid).
void check(const gantry::ContainerSpec& spec);

// Of POST /containers/create. `reference` is the image's name in the engine.
std::string create_body(const gantry::ContainerSpec& spec, const std::string& reference, const std::string& instance);

// Of GET /containers/NAME/json.
struct Inspected {
    bool ours = false;
    gantry::Container container;  // started stays zero
    std::string started_text;     // RFC 3339, wall clock
    std::string image;            // manifest digest
    int stop_signal = 0;
    bool terminal = false;
};
// Throws Failure(kFailed) if it is of another form.
Inspected inspected(const boost::json::value& document, const std::string& instance);

// "2026-11-30T05:40:00.123456789Z" -> since 1970; nothing: of another form, or the engine's zero (year 1).
std::optional<gantry::Duration> parse_time(const std::string& text);

// Of GET /containers/NAME/stats.
gantry::ContainerStats stats_of(const boost::json::value& document);

// Takes Docker's frames apart (8 bytes header: stream, 0, 0, 0, length; then that many bytes), pieces in any cut.
class Frames {
  public:
    // The payload in what came; throws Failure(kFailed) if that are no frames.
    std::string add(std::string_view piece);

  private:
    std::string header_;
    std::size_t left_ = 0;
};

}  // namespace docker
