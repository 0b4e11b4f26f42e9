// SPDX-License-Identifier: Apache-2.0
//
// Health: when probes are asked and what their answers mean.
#include <algorithm>

#include "kernel/core/agent_state.hpp"

namespace gantry::core {

namespace {

constexpr Duration kFirstPause = milliseconds(20);
constexpr Duration kBeyondLimit = seconds(1);  // a probe that does not even answer that it got no answer

// The number of its endpoint; that of all of them: it has none.
std::size_t endpoint_of(const ServiceSpec& spec, const ProbeSpec& probe) {
    const auto asked = [&](const auto& endpoint) { return probe.endpoint.empty() || endpoint.name == probe.endpoint; };
    return static_cast<std::size_t>(std::ranges::find_if(spec.endpoints, asked) - spec.endpoints.begin());
}

}  // namespace

void Agent::State::probe(const CopyId& id, Copy& copy, const CopySpec& spec) {
    const auto& probes = spec.spec.probes;
    if (const auto& digest = digest_of(copy); copy.probed_spec != digest) {
        const bool runs_on =
            !std::exchange(copy.probed_spec, copy.runs_by = digest).empty() && copy.probes.size() == probes.size();
        ProbeRun run;
        run.next = now_;
        run.pause = kFirstPause;
        run.healthy = run.assumed = copy.adopted;
        if (!runs_on) copy.probes.assign(probes.size(), run);
        // The same container described anew: what is known of its health stays, and it is asked at once.
        for (auto& known : copy.probes) {
            questions_.erase(std::exchange(known.asked, 0));
            known.give_up = kNever;
            known.next = now_;
        }
    }
    if (containers_.at(*copy.current).paused) {  // what it cannot answer is not asked, and not held against it
        for (auto& run : copy.probes) {
            questions_.erase(std::exchange(run.asked, 0));
            run.give_up = kNever;
            run.next = now_;
        }
        copy.ready = false;
        return;
    }
    bool starts = false;  // and until it has, nothing else is asked
    for (std::size_t i = 0; i < probes.size(); ++i)
        starts = starts || (probes[i].purpose == Purpose::kStartup && !copy.probes[i].healthy);
    copy.ready = !starts;
    for (std::size_t i = 0; i < probes.size(); ++i) {
        ProbeRun& run = copy.probes[i];
        const bool startup = probes[i].purpose == Purpose::kStartup;
        if (startup ? run.succeeded : starts) continue;
        if (run.counts == Instant{})
            run.counts = std::max(copy.running_since + probes[i].start_period, now_ + probes[i].interval);
        if (run.asked != 0 && now_ >= run.give_up) {
            questions_.erase(run.asked);
            answer(copy, probes[i], run, {run.asked, false, true, "did not answer"});
        }
        if (run.asked == 0 && now_ >= run.next) ask_probe(id, spec, i, run);
        wait_until(run.asked ? run.give_up : run.next);
        copy.ready = copy.ready && (run.healthy || probes[i].purpose == Purpose::kLiveness);
    }
}

void Agent::State::ask_probe(const CopyId& id, const CopySpec& spec, std::size_t index, ProbeRun& run) {
    const ProbeSpec& probe = spec.spec.probes[index];
    Check check;
    check.id = run.asked = ++last_id_;
    check.kind = probe.kind;
    check.container = name_of(*copies_.at(id).current);
    check.address = "127.0.0.1";  // containers share the host's network
    check.port = probe.port;
    check.params = probe.params;
    check.limit = probe.timeout;
    if (const auto at = endpoint_of(spec.spec, probe); at < spec.spec.endpoints.size()) {
        if (check.port == 0) check.port = spec.spec.port(at, ports_of(copies_.at(id)));
        const auto given = [](const auto& param) { return param.first == "password"; };
        for (const auto& [name, secret] : spec.secrets)
            if (name == spec.spec.endpoints[at].name && std::none_of(check.params.begin(), check.params.end(), given))
                check.params.emplace_back("password", secret);
        std::sort(check.params.begin(), check.params.end());
    }
    run.give_up = now_ + probe.timeout + kBeyondLimit;
    questions_[check.id] = {id, index};
    out_.emplace_back(std::move(check));
}

void Agent::State::on(const Probed& input) {
    const auto question = questions_.extract(input.id);
    if (!question) return;
    const auto [id, index] = question.mapped();
    const auto at = copies_.find(id);
    if (at == copies_.end()) return;
    Copy& copy = at->second;
    const auto* spec = spec_of(copy);
    // The container may have ended meanwhile, or another one been asked about.
    if (!spec || index >= copy.probes.size() || copy.probes[index].asked != input.id) return;
    if (copy.probed_spec != digest_of(copy) || index >= spec->spec.probes.size()) return;
    const ProbeSpec& asked = spec->spec.probes[index];
    ProbeRun& run = copy.probes[index];
    if (input.healthy && !input.unknown && copy.current)
        record_seen(*copy.current, run.give_up - asked.timeout - kBeyondLimit);
    answer(copy, asked, run, input);
}

void Agent::State::answer(Copy& copy, const ProbeSpec& spec, ProbeRun& run, const Probed& input) {
    run.asked = 0;
    run.give_up = kNever;
    run.detail = one_line(input.detail, kReasonMost);
    if (!input.unknown && input.healthy) {
        run.succeeded = true;
        run.assumed = false;
        run.bad = 0;
        run.healthy = run.healthy || ++run.good >= spec.success_threshold;
    } else if (!input.unknown) {
        failed(copy, spec, run);
    }
    if (run.succeeded) {
        run.next = now_ + spec.interval;
        return;
    }
    run.pause = std::min(run.pause, spec.interval);
    run.next = now_ + run.pause;
    run.pause = run.pause * 3 / 2;
}

void Agent::State::failed(Copy& copy, const ProbeSpec& spec, ProbeRun& run) {
    const std::string what = instance_name(copy.entry) + ": " + std::string(purpose_name(spec.purpose)) + " probe " +
                             spec.kind + ": " + run.detail;
    const json::object fields{
        {"service", copy.entry.service}, {"instance", instance_name(copy.entry)}, {"probe", spec.kind}};
    run.good = 0;
    const bool was = run.healthy, assumed = std::exchange(run.assumed, false);
    if (spec.purpose == Purpose::kReadiness) {
        run.healthy = was && !assumed && ++run.bad < spec.failure_threshold;
        if (was && !run.healthy) event_of_report("unhealthy", what, fields);
        return;
    }
    run.healthy = run.healthy && !(assumed && spec.purpose == Purpose::kStartup);
    // Until the first success it is asked faster than failures count.
    if (now_ < run.counts) return;
    run.counts = now_ + spec.interval / 2;
    if (++run.bad < spec.failure_threshold || !copy.current) return;
    event_of_report("restarting", what + " (" + std::to_string(run.bad) + " in a row): it is restarted", fields);
    containers_.at(*copy.current).condemned =
        std::string(purpose_name(spec.purpose)) + " probe " + spec.kind + " failed: " + run.detail;
}

// What it was restarted for counts as a crash, with its pauses and, elsewhere, its moves; by hand it does not.
void Agent::State::condemn(const ContainerKey& key, Container& container) {
    if (now_ < container.retry_at) return wait_until(container.retry_at);
    if (container.end_at == Instant()) container.end_at = now_;
    const auto id = begin(key, container, Doing::kStopping);
    out_.emplace_back(Stop{id, key.runtime, name_of(key), container.grace});
}

std::string Agent::State::why_not_ready(const Copy& copy, const CopySpec* spec) const {
    if (!spec) return "waits for its description";
    if (copy.current)
        if (const auto& why = containers_.at(*copy.current).condemned; !why.empty())
            return "is being restarted: " + why;
    if (copy.restarting != 0) return "is being restarted by hand";
    if (const auto* paused = copy.current ? &containers_.at(*copy.current) : nullptr; paused && paused->paused)
        return std::string(kPausedReason) + (paused->detail.empty() ? "" : ": " + paused->detail);
    for (const bool startup : {true, false})  // until that has succeeded, nobody has asked the others
        for (std::size_t i = 0; i < copy.probes.size() && i < spec->spec.probes.size(); ++i) {
            const auto& run = copy.probes[i];
            const ProbeSpec& probe = spec->spec.probes[i];
            if (run.healthy || probe.purpose == Purpose::kLiveness || startup != (probe.purpose == Purpose::kStartup))
                continue;
            return "probe " + probe.kind + ": " + (run.detail.empty() ? "no answer yet" : run.detail);
        }
    return {};
}

}  // namespace gantry::core
