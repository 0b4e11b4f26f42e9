// SPDX-License-Identifier: Apache-2.0
//
// What the operator chose, and the limits that are fixed.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace gantry::http {

struct Settings {
    std::string socket;
    unsigned mode = 0660;
    std::string group;
    std::size_t body_max = 1 << 20;                    // bytes of a document
    std::chrono::milliseconds request_time{10'000};    // to send a request whose body is a document; not configurable
    std::chrono::milliseconds keepalive_time{15'000};  // between comments on a quiet event stream; not configurable
};

inline constexpr std::size_t kConnections = 128;
inline constexpr std::size_t kHeaderBytes = 16 << 10;
inline constexpr std::size_t kChunkBytes = 64 << 10;         // of a stream, at once in memory
inline constexpr std::size_t kEventBacklog = 16 << 20;       // bytes of events that wait for a slow reader
inline constexpr std::chrono::seconds kStallTime{30};        // without any progress of a stream or an answer's reader
inline constexpr std::chrono::seconds kIdleTime{120};        // between two requests
inline constexpr std::chrono::milliseconds kFirstTime{250};  // for the first request of a connection, when all ends
inline constexpr std::chrono::seconds kAnswerTime{300};      // for the resource tree to answer
inline constexpr std::chrono::seconds kLingerTime{5};        // for a refused upload to notice the answer

}  // namespace gantry::http
