// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/recorder.hpp"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <optional>

#include "kernel/base/limits.hpp"
#include "kernel/sim/digest.hpp"

namespace gantry::sim {

namespace {

constexpr int kTraceVersion = 1;
constexpr std::size_t kChecksum = 16;  // hexadecimal digits in front of each line

std::uint64_t chained(std::uint64_t chain, std::string_view line) {
    Digest digest;
    digest.add(chain);
    digest.add(line);
    return digest.value();
}

std::string hexadecimal(std::uint64_t number) {
    std::string out(kChecksum, '0');
    for (std::size_t i = kChecksum; i-- > 0; number >>= 4) out[i] = "0123456789abcdef"[number & 15];
    return out;
}

template <class Effects>
std::string digest_of(const Effects& effects) {
    Digest digest;
    digest.add(effects);
    return hexadecimal(digest.value());
}

}  // namespace

// --- writing --------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<Recorder>> Recorder::open(const std::filesystem::path& file) {
    std::FILE* opened = std::fopen(file.c_str(), "w");
    if (!opened) return fail(Code::kFailed, std::string("cannot be written: ") + std::strerror(errno), file.string());
    std::unique_ptr<Recorder> out(new Recorder(opened));
    out->write(json::object{{"trace", kTraceVersion}});
    return out;
}

Recorder::~Recorder() {
    if (file_) std::fclose(file_);
}

void Recorder::write(const json::value& record) {
    const std::string text = to_text(record);
    chain_ = chained(chain_, text);
    ++records_;
    std::fprintf(file_, "%s %s\n", hexadecimal(chain_).c_str(), text.c_str());
}

void Recorder::controller(const core::Timing& timing, const std::vector<std::string>& policies,
                          std::span<const core::Entry> entries, const std::string& fresh_id, Instant now,
                          const core::Effects& effects) {
    json::object stored;
    for (const auto& entry : entries) stored[entry.key] = entry.value;
    write(json::object{{"load", std::move(stored)},
                       {"timing", to_json(timing)},
                       {"policies", json::array(policies.begin(), policies.end())},
                       {"fresh_id", fresh_id},
                       {"at", now.ns},
                       {"out", digest_of(effects)}});
}

void Recorder::controller(const core::Input& input, Instant now, const core::Effects& effects) {
    write(json::object{{"at", now.ns}, {"in", to_json(input)}, {"out", digest_of(effects)}});
}

void Recorder::agent(std::size_t machine, const core::AgentFacts& facts, const core::Timing& timing) {
    write(json::object{{"agent", machine}, {"facts", to_json(facts)}, {"timing", to_json(timing)}});
}

void Recorder::agent(std::size_t machine, const core::AgentInput& input, Instant now,
                     const core::AgentEffects& effects) {
    write(json::object{{"agent", machine}, {"at", now.ns}, {"in", to_json(input)}, {"out", digest_of(effects)}});
}

Status Recorder::close() {
    write(json::object{{"end", records_}});
    const bool bad = std::ferror(file_) != 0;
    if (std::fclose(std::exchange(file_, nullptr)) != 0 || bad)
        return fail(Code::kFailed, std::string("the trace was not written whole: ") + std::strerror(errno));
    return {};
}

// --- reading --------------------------------------------------------------------------------------------------------

namespace {

class Replay {
  public:
    // One record, done by the cores. Returns true behind the last one.
    Result<bool> record(const json::value& value, std::uint64_t before) {
        Fields f(&value, "record");
        if (f.has("end")) {
            GANTRY_TRY(count, f.integer("end"));
            if (static_cast<std::uint64_t>(count) != before)
                return fail(Code::kInvalid, "the trace says that it has " + std::to_string(count) + " records, got " +
                                                std::to_string(before));
            return true;
        }
        if (f.has("load")) return load(f);
        GANTRY_TRY(machine, f.integer("agent", 0, 0, limits::kNodes));
        if (f.has("facts")) {
            GANTRY_TRY(facts, parse_facts(*f.member("facts")));
            GANTRY_TRY(timing, timing_of(f));
            agents_.erase(machine);
            agents_.emplace(machine, core::Agent(std::move(facts), timing));
            return false;
        }
        GANTRY_TRY(at, f.integer("at"));
        const auto* in = f.member("in");
        if (!in) return fail(Code::kInvalid, "expected an input", "in");
        if (machine == 0) return controller(f, *in, {at});
        GANTRY_TRY(input, parse_agent_input(*in));
        const auto found = agents_.find(machine);
        if (found == agents_.end()) return fail(Code::kInvalid, "an input of an agent that was not started", "agent");
        return compare(f, digest_of(found->second.step(input, {at})));
    }

  private:
    static Result<core::Timing> timing_of(Fields& f) {
        const auto* timing = f.member("timing");
        if (!timing) return fail(Code::kInvalid, "expected the times", "timing");
        return parse_timing(*timing);
    }

    static Result<bool> compare(Fields& f, const std::string& got) {
        GANTRY_TRY(expected, f.text("out"));
        if (got == expected) return false;
        return fail(Code::kConflict, "the effects differ: expected digest " + expected + ", got " + got +
                                         "; this build decides otherwise than the one that recorded the trace");
    }

    Result<bool> load(Fields& f) {
        GANTRY_TRY(stored, f.text_map("load"));
        GANTRY_TRY(timing, timing_of(f));
        GANTRY_TRY(policies, f.texts("policies"));
        GANTRY_TRY(fresh_id, f.text("fresh_id"));
        GANTRY_TRY(at, f.integer("at"));
        std::vector<core::Entry> entries;
        for (auto& [key, value] : stored) entries.push_back({key, value});
        controller_.emplace(timing, policies);
        GANTRY_TRY(effects, controller_->load(entries, fresh_id, {at}));
        return compare(f, digest_of(effects));
    }

    Result<bool> controller(Fields& f, const json::value& in, Instant at) {
        GANTRY_TRY(input, parse_input(in));
        if (!controller_) return fail(Code::kInvalid, "an input of a controller that was not started", "in");
        return compare(f, digest_of(controller_->step(input, at)));
    }

    std::optional<core::Controller> controller_;
    std::map<std::int64_t, core::Agent> agents_;
};

}  // namespace

Result<std::uint64_t> replay(const std::filesystem::path& file) {
    std::ifstream in(file);
    if (!in) return fail(Code::kNotFound, std::string("cannot be read: ") + std::strerror(errno), file.string());
    Replay cores;
    std::string line;
    std::uint64_t number = 0, chain = 0;
    const auto at = [&] { return file.string() + ":" + std::to_string(number); };
    const auto cut = [&] { return fail(Code::kInvalid, "the trace was cut: its last record is not there", at()); };
    while (std::getline(in, line)) {
        ++number;
        if (in.eof()) return cut();  // a line without its end
        const std::string_view text = line.size() > kChecksum ? std::string_view(line).substr(kChecksum + 1) : "";
        chain = chained(chain, text);
        if (text.empty() || line.substr(0, kChecksum + 1) != hexadecimal(chain) + " ")
            return fail(Code::kInvalid, "the trace is corrupt: the checksum of this line is wrong", at());
        auto value = parse_json(text, limits::kStored);
        if (!value)
            return fail_because("the trace is corrupt", Error{Code::kInvalid, value.error().text(), at(), false, {}});
        if (number == 1) {
            Fields head(&*value, "record");
            const auto version = head.integer("trace");
            if (!version) return fail(Code::kInvalid, "this is no trace: expected {\"trace\": 1} first", at());
            if (*version != kTraceVersion)
                return fail(
                    Code::kUnsupported,
                    "the trace has version " + std::to_string(*version) + ", expected " + std::to_string(kTraceVersion),
                    at());
            continue;
        }
        const auto last = cores.record(*value, number - 1);
        if (!last) {
            Error error = last.error();
            error.where = at() + (error.where.empty() ? "" : ": " + error.where);
            return std::unexpected(std::move(error));
        }
        if (!*last) continue;
        if (in.peek() != EOF) return fail(Code::kInvalid, "the trace goes on behind its last record", at());
        return number;
    }
    return number == 0 ? Result<std::uint64_t>(fail(Code::kInvalid, "the trace is empty", file.string())) : cut();
}

}  // namespace gantry::sim
