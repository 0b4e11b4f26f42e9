// SPDX-License-Identifier: Apache-2.0
#include "kernel/sim/scenario.hpp"

#include <algorithm>

namespace gantry::sim {

Setup Scenario::setup() const {
    Setup out;
    out.seed = seed;
    out.nodes = nodes;
    out.hostile = lasts;
    out.faults = faults;
    out.timing = timing;
    out.alike = true;
    return out;
}

void Scenario::tell(World& world) const {
    for (const auto& deploy : deploys)
        world.time.at(deploy.at, [&world, &deploy] {
            world.seat.request([&](core::RequestId id) { return core::ApiDeploy{id, deploy.document, false}; });
        });
    for (const auto& fault : happens) world.time.at(fault.at, [&world, &fault] { befall(world, fault); });
    for (const auto& expect : expects)
        if (expect.at) world.time.at(*expect.at, [&world, &expect] { check(world, expect); });
}

void Scenario::judge(World& world) const {
    for (const auto& expect : expects)
        if (!expect.at) check(world, expect);
}

void Scenario::befall(World& world, const Fault& fault) {
    const Instant until = world.now() + fault.lasts;
    if (fault.what == "kill-controller") return world.seat.kill(fault.lasts);
    if (fault.what == "pause-controller") return world.seat.pause(fault.lasts);
    if (fault.what == "clock-jump" && fault.nodes.empty()) {
        world.seat.clock.jump(fault.by);
        world.seat.quiet_since = world.now() + seconds(5);
        return;
    }
    for (auto& each : world.machines) {
        Machine& machine = *each;
        if (!fault.nodes.empty() && std::ranges::count(fault.nodes, machine.name) == 0) continue;
        if (fault.what == "power-off") machine.power_off(fault.lasts);
        if (fault.what == "cut" || fault.what == "cut-in") machine.cut_in = until;
        if (fault.what == "cut" || fault.what == "cut-out") machine.cut_out = until;
        if (fault.what == "clog") machine.clogged = until;
        if (fault.what == "reset" && machine.peer != 0) machine.lost_link(machine.peer);
        if (fault.what == "restart-agent") machine.restart_agent(fault.lasts);
        if (fault.what == "kill-agent") machine.kill_agent(fault.lasts);
        if (fault.what == "go-down") machine.go_down(seconds(30), fault.lasts);
        if (fault.what == "clock-jump") machine.clock.jump(fault.by), machine.disturbed();
        if (fault.what == "plant" && machine.up)
            machine.runtimes[0]->plant(core::container_name(kClusterId, *core::parse_copy_id(fault.copy), 1));
        if (fault.what == "drain")
            world.seat.request([&](core::RequestId id) { return core::ApiSetIntent{id, machine.name, "draining"}; });
    }
}

void Scenario::check(World& world, const Expect& expect) {
    const auto wrong = [&](const std::string& what, const std::string& wanted, const std::string& got) {
        world.broken("the scenario is as expected",
                     expect.where + ": " + what + ": expected " + wanted + ", got " + got);
    };
    const auto number = [&](const char* what, const std::optional<std::uint64_t>& wanted, std::uint64_t got) {
        if (wanted && *wanted != got) wrong(what, std::to_string(*wanted), std::to_string(got));
    };
    if (!expect.event.empty()) {
        const auto at = world.counts.events.find(expect.event);
        const auto got = at == world.counts.events.end() ? 0 : at->second;
        if (expect.at_least && got < *expect.at_least)
            wrong("event " + expect.event, "at least " + std::to_string(*expect.at_least), std::to_string(got));
        if (expect.at_most && got > *expect.at_most)
            wrong("event " + expect.event, "at most " + std::to_string(*expect.at_most), std::to_string(got));
        return;
    }
    if (!world.seat.core) return wrong("controller", "one that runs", "none");
    if (!expect.service.empty()) {
        const auto service = world.seat.core->service(expect.service);
        if (!service) return wrong("service " + expect.service, "one", service.error().text());
        number("ready instances", expect.ready, service->at("ready").to_number<std::uint64_t>());
        return;
    }
    for (const auto& node : world.seat.core->nodes(world.seat.local())) {
        if (node.at("name").as_string() != expect.node) continue;
        const std::string liveness(node.at("liveness").as_string());
        if (!expect.liveness.empty() && liveness != expect.liveness) wrong(expect.node, expect.liveness, liveness);
        number("copies", expect.copies, node.at("copies").to_number<std::uint64_t>());
        return;
    }
    wrong("node " + expect.node, "one", "none");
}

}  // namespace gantry::sim
