// SPDX-License-Identifier: Apache-2.0
//
// What the controller's core wants done (the agent's effects, KeepImages among them, are in agent.hpp). Nothing of a
// turn may be done before the turn's writes are committed, except Rank, which asks a question.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "kernel/base/result.hpp"
#include "kernel/core/messages.hpp"

namespace gantry::core {

using PeerId = std::uint64_t;
using RequestId = std::uint64_t;
using Keys = std::array<std::int64_t, 4>;

struct Write {
    std::string key;
    std::optional<std::string> value;  // none: remove the key
};

struct RankCandidate {
    std::string_view node;  // this and labels are valid until the next step
    std::int64_t cpu_total_milli = 0, cpu_free_milli = 0, memory_total_bytes = 0, memory_free_bytes = 0;
    std::uint32_t copies_running = 0, copies_pending = 0, copies_of_service = 0;
    bool has_image = false;
    const Labels* labels = nullptr;
};

// Ask `policy`; answer with Ranked (keys in the order of the candidates) or RankFailed of the same id, before or after
// the turn ends. After a second without an answer it counts as failed.
struct Rank {
    std::uint64_t id = 0;
    std::string policy;
    std::string service;
    std::uint32_t nodes_total = 0, nodes_ready = 0, copies_total = 0, instances_wanted = 1;
    std::int64_t cpu_milli = 0, memory_bytes = 0;
    std::vector<RankCandidate> candidates;
};

struct SendTo {  // to a connected agent
    PeerId peer = 0;
    ControllerMessage message;
};
struct ClosePeer {
    PeerId peer = 0;
    std::string reason;
};
struct Announce {  // to every agent that was welcomed, and to this machine's directories
    Names names;
};
struct Reply {
    RequestId request = 0;
    Result<json::value> result;
};
struct Event {
    std::string kind, text;
    json::object fields;  // "service", "instance", "node", ... as they apply
};

using Effect = std::variant<SendTo, ClosePeer, Announce, Reply, Event>;

struct Effects {
    std::vector<Write> writes;
    std::vector<Effect> acts;  // in order, after the commit of writes
    std::vector<Rank> ranks;   // at once
    bool api_change = false;   // a person asked for the turn, and it writes: refused when the disk is nearly full
};

}  // namespace gantry::core
