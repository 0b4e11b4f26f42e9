// SPDX-License-Identifier: Apache-2.0
//
// Traces: the recorded inputs of the cores of a world, and the digest of what each wanted done then. A trace is
// replayed without any simulator, plugin or luck: the same inputs must give the same effects.
//
// The file is text, a record in each line: a checksum chained over all lines so far, a blank, a JSON document. The last
// record says how many there are.
#pragma once

#include <cstdio>
#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "kernel/core/agent.hpp"
#include "kernel/core/controller.hpp"

namespace gantry::sim {

class Recorder {
  public:
    ~Recorder();
    // Errors: kFailed (the file cannot be written).
    static Result<std::unique_ptr<Recorder>> open(const std::filesystem::path& file);

    void controller(const core::Timing& timing, const std::vector<std::string>& policies,
                    std::span<const core::Entry> entries, const std::string& fresh_id, Instant now,
                    const core::Effects& effects);
    void controller(const core::Input& input, Instant now, const core::Effects& effects);
    void agent(std::size_t machine, const core::AgentFacts& facts, const core::Timing& timing);
    void agent(std::size_t machine, const core::AgentInput& input, Instant now, const core::AgentEffects& effects);
    // The last record; without it the trace counts as cut. Errors: kFailed (the disk).
    Status close();

  private:
    explicit Recorder(std::FILE* file) : file_(file) {}
    void write(const json::value& record);

    std::FILE* file_;
    std::uint64_t chain_ = 0, records_ = 0;
};

// Feeds a trace to new cores. Returns how many records there were. Errors: kNotFound (no such file), kInvalid with the
// number of the line: cut, corrupt, of another version; kConflict: the effects differ.
Result<std::uint64_t> replay(const std::filesystem::path& file);

// The durations of Timing, by name.
struct TimingMember {
    const char* name;
    Duration core::Timing::*member;
};
std::span<const TimingMember> timing_members();

// Inputs as JSON and back (trace_inputs.cpp). Messages are as on the wire.
json::value to_json(const core::Input& input);
json::value to_json(const core::AgentInput& input);
json::value to_json(const core::AgentFacts& facts);
json::value to_json(const core::Timing& timing);
Result<core::Input> parse_input(const json::value& value);
Result<core::AgentInput> parse_agent_input(const json::value& value);
Result<core::AgentFacts> parse_facts(const json::value& value);
Result<core::Timing> parse_timing(const json::value& value);

}  // namespace gantry::sim
