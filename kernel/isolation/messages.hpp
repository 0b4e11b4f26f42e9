// SPDX-License-Identifier: Apache-2.0
//
// What gantryd and a plugin's process say to each other. Every message begins with a Head; what follows is written and
// read by Writer and Reader. Both ends are of one build, which kInit and kReady prove.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>

#include "kernel/isolation/slots.hpp"

namespace gantry::isolation {

inline constexpr std::uint32_t kProtocol = 2;  // raised with every change of messages, members or slots

enum class Kind : std::uint16_t {
    // to the plugin's process
    kInit = 1,  // protocol, title, interface, memory limit, is there a tree, file, permissions, configuration -> kReady
    kStart,     // -> kStarted
    kStop,      // deadline -> kStopped, and the process ends
    kCall,      // a slot, with an op if it is an operation -> kDone
    kCancel,    // op
    kResponse,  // id of kRequest, gantry_control_response
    kTreeEvent,  // id of kFollow; number, text
    kPing,       // -> kPong, from the loop
    kSocket,     // one that is kept, as a descriptor; before kInit
    // from the plugin's process
    kReady = 100,  // status, text, facts of the role
    kStarted,      // status, text
    kStopped,      // status, text
    kDone,         // op, status, text, result
    kReport,       // a slot of a table to report to
    kRequest,      // id, principal, method, path, body, and a descriptor where there is a stream -> kResponse
    kFollow,       // id, principal, prefix, after -> kTreeEvent
    kUnfollow,     // id
    kTaken,        // of a transport: peer, bytes that it took over since the last kTaken
    kPong,
    kKeep,  // a socket that outlives the process, as a descriptor
};

struct Head {
    Kind kind{};
    std::uint16_t table = 0, slot = 0, reserved = 0;
    std::uint64_t id = 0;  // of an operation, a request, a follower
    std::int64_t deadline_ns = INT64_MAX;
    std::int32_t status = 0;
    std::uint32_t reserved2 = 0;
};
static_assert(sizeof(Head) == kHead);

// A message with room for its head, filled by seal().
inline std::string open_message() {
    std::string out;
    out.reserve(kUsual);
    out.resize(kHead);
    return out;
}
inline void seal(std::string& message, const Head& head) { std::memcpy(message.data(), &head, sizeof(head)); }
// The first argument of a slot that begins with a peer.
inline std::uint64_t peer_of(const std::string& message) {
    std::uint64_t peer = 0;
    if (message.size() >= kHead + sizeof(peer)) std::memcpy(&peer, message.data() + kHead, sizeof(peer));
    return peer;
}

}  // namespace gantry::isolation
