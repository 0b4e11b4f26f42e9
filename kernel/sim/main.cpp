// SPDX-License-Identifier: Apache-2.0
//
// gantry-sim: plays worlds. Exit status 0: all is well; 1: an invariant broke, with the command that repeats it; 2:
// wrong use, a file that cannot be read.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <sstream>

#include "kernel/sim/recorder.hpp"
#include "kernel/sim/scenario.hpp"

namespace {

using namespace gantry;
using namespace gantry::sim;

constexpr int kBroke = 1, kWrong = 2;
constexpr const char* kUsualPolicy = "least-loaded";

struct Options {
    std::uint64_t seed = 0, seeds = 1;
    int nodes = 0;
    double hours = 0;
    std::string scenario, trace, replay, regressions, plugins, policy = kUsualPolicy;
    bool tell = false, quiet = false;
};

int refuse(const Error& error) {
    std::fprintf(stderr, "gantry-sim: %s\n", error.text().c_str());
    return kWrong;
}

std::string shell_quoted(const std::string& text) {
    if (text.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:") == text.npos)
        return text;
    std::string out = "'";
    for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
    return out + "'";
}

std::string command(const Options& options, const World& world) {
    std::string out =
        "gantry-sim --seed " + std::to_string(world.setup.seed) + " --nodes " + std::to_string(world.setup.nodes);
    if (options.hours > 0) {
        std::ostringstream hours;
        hours << options.hours;
        out += " --hours " + hours.str();
    }
    if (!options.scenario.empty()) out += " --scenario " + shell_quoted(options.scenario);
    if (options.policy != kUsualPolicy) out += " --policy " + shell_quoted(options.policy);
    return out;
}

void show(const World& world, double took) {
    const auto& c = world.counts;
    std::printf(
        "seed %llu: well, %d nodes, %lld s, %llu steps of the cores (%.0f/s), %llu messages, %llu commits, %llu "
        "placed, %llu moved, %llu lost, %llu crashed, trace %016llx\n",
        static_cast<unsigned long long>(world.setup.seed), world.setup.nodes,
        static_cast<long long>(world.now().ns / seconds(1).count()),
        static_cast<unsigned long long>(c.controller_steps + c.agent_steps),
        static_cast<double>(c.controller_steps + c.agent_steps) / took, static_cast<unsigned long long>(c.messages),
        static_cast<unsigned long long>(c.commits), static_cast<unsigned long long>(c.placements),
        static_cast<unsigned long long>(c.moves), static_cast<unsigned long long>(c.losses),
        static_cast<unsigned long long>(c.crashes), static_cast<unsigned long long>(world.digest.value()));
    std::fflush(stdout);
}

int play(const Options& options, const Scenario* scenario, std::uint64_t seed, Policies& policies) {
    Setup setup = scenario ? scenario->setup() : Setup::swarm(seed);
    setup.seed = seed;
    if (options.nodes > 0) setup.nodes = options.nodes;
    if (options.hours > 0)
        setup.hostile = Duration(static_cast<std::int64_t>(options.hours * 3'600e3) * milliseconds(1).count());
    setup.tell = options.tell;
    std::unique_ptr<Recorder> recorder;
    if (!options.trace.empty()) {
        auto opened = Recorder::open(options.trace);
        if (!opened) return refuse(opened.error());
        recorder = std::move(*opened);
    }
    const std::clock_t began = std::clock();
    World world(setup, policies, recorder.get());
    if (scenario) scenario->tell(world);
    world.play();
    if (scenario && world.breach.empty()) scenario->judge(world);
    if (recorder)
        if (auto closed = recorder->close(); !closed) return refuse(closed.error());
    if (!world.breach.empty()) {
        std::printf("seed %llu: %s\nrepeat with: %s\n", static_cast<unsigned long long>(seed), world.breach.c_str(),
                    command(options, world).c_str());
        return kBroke;
    }
    if (!options.quiet) show(world, static_cast<double>(std::clock() - began) / CLOCKS_PER_SEC);
    return 0;
}

// Each line: SEED SCENARIO SENTENCE, with - for a swarm's world; scenarios are found beside the list.
int play_regressions(Options options, Policies& policies) {
    std::ifstream in(options.regressions);
    if (!in) return refuse({Code::kNotFound, "cannot be read", options.regressions, false, {}});
    std::string line;
    for (int number = 1; std::getline(in, line); ++number) {
        if (line.empty() || line.front() == '#') continue;
        std::istringstream words(line);
        std::uint64_t seed = 0;
        std::string scenario, sentence;
        if (!(words >> seed >> scenario) || !std::getline(words >> std::ws, sentence))
            return refuse({Code::kInvalid,
                           "expected a seed, a scenario or -, and a sentence",
                           options.regressions + ":" + std::to_string(number),
                           false,
                           {}});
        std::optional<Scenario> story;
        options.scenario.clear();
        if (scenario != "-") {
            options.scenario = (std::filesystem::path(options.regressions).parent_path() / scenario).string();
            auto read = Scenario::read(options.scenario);
            if (!read) return refuse(read.error());
            story = std::move(*read);
        }
        std::printf("%s\n  ", sentence.c_str());
        if (const int status = play(options, story ? &*story : nullptr, seed, policies); status != 0) return status;
    }
    return 0;
}

int run(const Options& options) {
    if (!options.replay.empty()) {
        const auto records = replay(options.replay);
        if (!records) return refuse(records.error());
        std::printf("%s: %llu records, the same effects\n", options.replay.c_str(),
                    static_cast<unsigned long long>(*records));
        return 0;
    }
    auto policies = Policies::load(options.plugins, options.policy);
    if (!policies) return refuse(policies.error());
    if (!options.regressions.empty()) return play_regressions(options, **policies);
    std::optional<Scenario> scenario;
    if (!options.scenario.empty()) {
        auto read = Scenario::read(options.scenario);
        if (!read) return refuse(read.error());
        scenario = std::move(*read);
    }
    const std::uint64_t first = options.seed != 0 ? options.seed : scenario ? scenario->seed : 1;
    for (std::uint64_t i = 0; i < options.seeds; ++i)
        if (const int status = play(options, scenario ? &*scenario : nullptr, first + i, **policies); status != 0)
            return status;
    if (options.quiet) std::printf("%llu seeds: all is well\n", static_cast<unsigned long long>(options.seeds));
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    Options options;
    std::error_code ignored;
    options.plugins = (std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path().parent_path() / "lib" /
                       "gantry" / "plugins")
                          .string();
    CLI::App app("Plays a Gantry cluster in virtual time, with faults, and says which invariant broke.", "gantry-sim");
    app.add_option("--seed", options.seed, "the luck of the world (default 1, or the scenario's)");
    app.add_option("--seeds", options.seeds, "so many worlds, each with the next seed");
    app.add_option("--nodes", options.nodes, "nodes, where the seed or the scenario says another number");
    app.add_option("--hours", options.hours, "how long faults go on, in hours of virtual time");
    app.add_option("--scenario", options.scenario, "a story in TOML instead of a swarm of faults");
    app.add_option("--trace", options.trace, "writes every input of the cores to this file");
    app.add_option("--replay", options.replay, "feeds a trace to new cores; their effects must be the same");
    app.add_option("--regressions", options.regressions, "plays each line of a list: SEED SCENARIO SENTENCE");
    app.add_option("--plugins", options.plugins, "folder of plugins")->capture_default_str();
    app.add_option("--policy", options.policy, "placement plugin that decides, with its defaults")
        ->capture_default_str();
    app.add_flag("--tell", options.tell, "prints the events of the cluster as they happen");
    app.add_flag("--quiet", options.quiet, "no line for a world in which all is well");
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? 0 : kWrong;
    }
    return run(options);
}
