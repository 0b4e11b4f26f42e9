// SPDX-License-Identifier: Apache-2.0
//
// Every limit of the kernel has its name here; docs/limits.md says what happens above each.
#pragma once

#include <cstddef>
#include <cstdint>

namespace gantry::limits {

inline constexpr std::size_t kName = 63;             // bytes of a node's or service's name
inline constexpr std::size_t kNodes = 10'000;        // nodes of a cluster
inline constexpr std::size_t kServices = 10'000;     // services of a cluster
inline constexpr std::size_t kInstances = 100'000;   // instances of one service
inline constexpr std::size_t kPool = 10'000;         // nodes named by one manifest
inline constexpr std::size_t kLabels = 64;           // labels of a node or constraints of a service
inline constexpr std::size_t kEndpoints = 32;        // endpoints of a service
inline constexpr std::size_t kProbes = 16;           // probes of a service
inline constexpr std::size_t kEnvironment = 256;     // variables of a service
inline constexpr std::size_t kMounts = 64;           // mounts of a service
inline constexpr std::size_t kArguments = 256;       // arguments of a container
inline constexpr std::size_t kLabelValue = 255;      // bytes of a label's value
inline constexpr std::size_t kImageName = 255;       // bytes of an image's name
inline constexpr std::size_t kPath = 4'095;          // bytes of a path in a manifest
inline constexpr std::int64_t kPids = 4'194'304;     // processes of a container
inline constexpr std::size_t kNodeCopies = 1'000;    // copies a node has, those on their way out included
inline constexpr std::size_t kNodeImages = 2'000;    // images a node is told to have ready, or tells that it has
inline constexpr std::size_t kNodeFetching = 64;     // images under way that a node tells of
inline constexpr std::size_t kAfter = 64;            // services that one starts after
inline constexpr std::size_t kHistory = 10;          // revisions of a service kept for a rollback
inline constexpr std::size_t kAttemptsKept = 256;    // copies that are gone whose last attempt an agent remembers
inline constexpr std::size_t kRunsKept = 256;        // runs that ended and that an agent keeps for its controller
inline constexpr std::size_t kStored = 64 << 20;     // bytes of one stored document and of an agent's state
inline constexpr std::int64_t kCounter = 1LL << 53;  // greatest epoch, term and list number, as JSON has numbers
inline constexpr std::size_t kSpec = 64 << 10;       // bytes of what a node is told about one service
inline constexpr std::size_t kDocument = 1 << 20;    // bytes of one API document
inline constexpr std::size_t kMessage = 1 << 20;     // bytes of one control-plane message
inline constexpr std::size_t kBlobChunk = 64 << 10;  // bytes of an image sent in one message
inline constexpr std::size_t kEvents = 10'000;       // entries of the event log
inline constexpr std::size_t kEventBytes = 8 << 20;  // bytes of the event log
inline constexpr std::size_t kAgentEvents = 256;     // events a node keeps for its controller
inline constexpr std::size_t kRelays = 64;           // nodes for which one passes on what they and the controller say
inline constexpr std::size_t kLoadPoints = 360;      // of the load of one node or instance, one in ten seconds
inline constexpr std::size_t kLoadPointsOfAll = 50'000;  // of the load of all of them
inline constexpr std::size_t kPluginEvents = 256;        // events of one plugin on their way to the loop
inline constexpr std::size_t kEventFields = 32;          // fields of one event of a plugin
inline constexpr std::size_t kWaitingRequests = 1'024;   // API requests under way at once
inline constexpr std::size_t kWatchers = 64;             // followers of the event log at once
inline constexpr std::size_t kLogStreams = 64;           // logs read at once, of a controller and of a node
inline constexpr std::size_t kBlobStreams = 8;           // blobs uploaded or read by people at once
inline constexpr std::size_t kEventsAnswered = 100;      // events of one answer that names no limit
inline constexpr std::size_t kWorkQueue = 1'024;         // jobs waiting for the worker pool
inline constexpr std::size_t kSecret = 4'096;            // bytes of one secret
inline constexpr std::size_t kJsonDepth = 32;            // nesting of a document

// Milliseconds since 1970, or before now: from when on a log is read. As nanoseconds it fits 64 bits.
inline constexpr std::int64_t kLogSince = 9'000'000'000'000;

}  // namespace gantry::limits
