// SPDX-License-Identifier: Apache-2.0
//
// discovery: reports of a world in which nothing changes.
#include <algorithm>
#include <gantry/testing/drivers.hpp>

#include "sdk/tools/check/exercise.hpp"

namespace gantry::check {
namespace {

using namespace std::chrono_literals;

std::string shown(const Discovered& endpoint) {
    return std::string(endpoint.controller ? "controller " : "node ") + endpoint.name + " " + endpoint.address;
}

bool same(const Discovered& a, const Discovered& b) {
    return a.controller == b.controller && a.name == b.name && a.address == b.address;
}

struct Searching {
    explicit Searching(Trial& trial) : rig(trial), instance(rig.make()), driver(instance) { instance.start(); }
    void turn() {
        rig.host.run_until([] { return false; }, 50ms);
    }

    Rig rig;
    testing::Instance& instance;
    testing::DiscoveryDriver driver;
};

void report(Trial& trial) {
    Searching searching(trial);
    searching.driver.begin_search();
    searching.turn();
    trial.remark(std::to_string(searching.driver.found.size()) + " found");
    for (const Discovered& endpoint : searching.driver.found) {
        expect(endpoint.ttl >= Duration::zero(), "a ttl that is not negative", shown(endpoint));
        if (!endpoint.controller) {
            expect(!endpoint.name.empty(), "a name for every node", shown(endpoint));
            continue;
        }
        const std::size_t colon = endpoint.address.rfind(':');
        expect(colon != std::string::npos && colon > 0 && std::atoi(endpoint.address.c_str() + colon + 1) > 0,
               "IP:PORT as the address of every controller", shown(endpoint));
    }
}

void report_once(Trial& trial) {
    Searching searching(trial);
    auto& found = searching.driver.found;
    searching.driver.begin_search();
    searching.turn();
    for (std::size_t i = 0; i < found.size(); ++i) {
        const auto twin = std::find_if(found.begin() + static_cast<std::ptrdiff_t>(i) + 1, found.end(),
                                       [&](const Discovered& other) { return same(found[i], other); });
        expect(twin == found.end(), "each endpoint once in the first reports", shown(found[i]) + " twice");
    }
}

// Nothing changes here: what was found stays, and is renewed before its time is over.
void stay(Trial& trial) {
    Searching searching(trial);
    searching.driver.begin_search();
    searching.turn();
    const std::vector<Discovered> first = searching.driver.found;
    for (int i = 0; i < 20; ++i) {
        searching.driver.refresh();
        searching.rig.host.turn();
    }
    searching.turn();
    Duration longest{};
    for (const Discovered& endpoint : first) longest = std::max(longest, endpoint.ttl);
    for (const Discovered& endpoint : searching.driver.gone) {
        const bool was = std::ranges::any_of(first, [&](const Discovered& f) { return same(f, endpoint); });
        expect(!was, "an endpoint that nobody took away stays", shown(endpoint) + " is reported as gone");
    }
    if (longest == Duration::zero()) return;
    for (const Discovered& endpoint : first) {
        if (endpoint.ttl == Duration::zero() || (trial.isolated() && endpoint.ttl > 5s)) continue;
        searching.driver.found.clear();
        searching.rig.host.advance(endpoint.ttl);
        searching.turn();
        const auto& now = searching.driver.found;
        expect(std::ranges::any_of(now, [&](const Discovered& f) { return same(f, endpoint); }),
               "an endpoint with a ttl is repeated before that is over", shown(endpoint) + " is not");
    }
}

void end(Trial& trial) {
    Searching searching(trial);
    searching.driver.begin_search();
    searching.turn();
    searching.driver.end_search();
    searching.rig.host.turn();  // what was reported before stop returned may still be on its way
    searching.driver.found.clear();
    searching.driver.gone.clear();
    searching.rig.pass(1h);
    searching.turn();
    expect(searching.driver.found.empty() && searching.driver.gone.empty(), "no report after the search was stopped",
           searching.driver.found.empty() ? "one that something is gone" : shown(searching.driver.found.front()));
}

}  // namespace

void add_discovery(std::vector<Check>& out) {
    out.push_back({"discovery.reports",
                   "What is found is whole: controllers have an address, nodes a name.",
                   "Check what comes from the network or the configuration before you report it.",
                   {"lifecycle.use"},
                   &report,
                   20,
                   "discovery"});
    out.push_back({"discovery.duplicates",
                   "An endpoint is reported once for each time that it is seen.",
                   "Report an endpoint when it is learnt and when it is renewed, not once for each way to it.",
                   {"discovery.reports"},
                   &report_once,
                   20,
                   "discovery"});
    out.push_back({"discovery.flapping",
                   "What nobody took away is not reported as gone, and is renewed within its ttl.",
                   "Report gone only for what is gone; repeat found at a third of the ttl, or give no ttl.",
                   {"discovery.duplicates"},
                   &stay,
                   20,
                   "discovery"});
    out.push_back({"discovery.end",
                   "No report comes after the search was stopped.",
                   "Cancel timers and watches of the search in end_search().",
                   {"discovery.reports"},
                   &end,
                   20,
                   "discovery"});
}

}  // namespace gantry::check
