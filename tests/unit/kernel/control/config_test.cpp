// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/config.hpp"

#include <catch2/catch.hpp>

#include "tests/unit/kernel/control/folder.hpp"

using namespace gantry;
using control::read_config;

namespace {

const char* const kGood = R"(
[node]
name = "SNode1"
labels = { site = "press-3", floor = "2" }
[controller]
listen = "0.0.0.0:3900"
default_policy = "least-loaded"
[controller.timing]
heartbeat = "100ms"
[placement.least-loaded]
[runtime.oci]
engine = "runc"
[transport.vsoa]
secret_file = "/etc/gantry/cluster.secret"
[store.sqlite]
path = "/var/lib/gantry/state.db"
)";

struct File : test::Folder {
    Result<control::Config> read(const std::string& text) {
        write("gantry.toml", text);
        return read_config(path / "gantry.toml", "/usr/lib/gantry/plugins");
    }
    // The error's text without the folder.
    std::string refusal(const std::string& text) {
        const auto config = read(text);
        REQUIRE_FALSE(config);
        auto out = config.error().text();
        const auto at = out.find("gantry.toml");
        return at == out.npos ? out : out.substr(at);
    }
};

std::string replaced(std::string text, const std::string& what, const std::string& by) {
    return text.replace(text.find(what), what.size(), by);
}

}  // namespace

TEST_CASE_METHOD(File, "a good file gives its values, and defaults for the rest") {
    const auto config = read(kGood);
    REQUIRE(config);
    CHECK(config->node->name == "SNode1");
    CHECK(config->node->labels == core::Labels{{"floor", "2"}, {"site", "press-3"}});
    CHECK(config->controller->timing.heartbeat == milliseconds(100));
    CHECK(config->controller->timing.lost_after == seconds(1));
    CHECK(config->state_dir == "/var/lib/gantry");
    CHECK(config->plugin_path == std::vector<std::filesystem::path>{"/usr/lib/gantry/plugins"});
}

TEST_CASE_METHOD(File, "when a disk counts as full is a percentage") {
    CHECK(read(kGood)->node->disk_warn_percent == 90);
    const auto with = [](const std::string& value) {
        return replaced(kGood, "[controller]\n", "disk_warn = " + value + "\n[controller]\n");
    };
    CHECK(read(with("0"))->node->disk_warn_percent == 0);
    CHECK(read(with("97"))->node->disk_warn_percent == 97);
    CHECK(refusal(with("101")).find("[node] disk_warn: expected a whole number from 0 to 100") != std::string::npos);
    CHECK(refusal(with("\"90%\"")).find("disk_warn") != std::string::npos);
}

TEST_CASE_METHOD(File, "how often a node measures is between a second and an hour") {
    CHECK(read(kGood)->node->measure_every == seconds(5));
    const auto with = [](const std::string& value) {
        return replaced(kGood, "[controller]\n", "measure_every = \"" + value + "\"\n[controller]\n");
    };
    CHECK(read(with("1m"))->node->measure_every == seconds(60));
    for (const char* bad : {"999ms", "61m", "0s", "often"}) {
        INFO(bad);
        CHECK(refusal(with(bad)).find("[node] measure_every: expected a duration") != std::string::npos);
    }
}

TEST_CASE_METHOD(File, "who may vouch for plugins is told, and wrong words for it are refused") {
    CHECK(read(kGood)->trust.keys == "/etc/gantry/trusted-keys.d");
    CHECK_FALSE(read(kGood)->trust.require_signature);
    CHECK(read(kGood)->trust.package == "/usr/lib/gantry/plugins");
    const auto with = [](const std::string& line) { return std::string(kGood) + "\n[plugins]\n" + line + "\n"; };
    const auto config = read(with("path = [\"/opt/x\"]\ntrusted_keys = \"/opt/keys\"\nrequire_signature = true"));
    REQUIRE(config);
    CHECK(config->trust.keys == "/opt/keys");
    CHECK(config->trust.require_signature);
    CHECK(config->trust.package == "/usr/lib/gantry/plugins");  // wherever plugins are looked for
    CHECK(refusal(with("trusted_keys = \"keys\""))
              .ends_with("[plugins] trusted_keys: expected an absolute path, got 'keys'"));
    CHECK(refusal(with("require_signature = \"yes\""))
              .ends_with("[plugins] require_signature: expected true or false, got 'yes'"));
    CHECK(refusal(with("trusted_key = \"/k\""))
              .ends_with("[plugins] has no key `trusted_key`, did you mean `trusted_keys`?"));
}

TEST_CASE_METHOD(File, "plugins keep the order of the file, and those that are needed are required") {
    const auto config = read(kGood);
    REQUIRE(config);
    std::vector<std::string> names;
    for (const auto& table : config->plugins) {
        names.push_back(table.role + "." + table.name);
        CHECK(table.required);
    }
    CHECK(names == std::vector<std::string>{"placement.least-loaded", "runtime.oci", "transport.vsoa", "store.sqlite"});
    CHECK(config->plugins[1].values.at("engine").as_string() == "runc");
    CHECK(config->plugins[1].places[0].second.line == 12);
}

TEST_CASE_METHOD(File, "an unknown key is refused with its place and a guess") {
    CHECK(refusal(replaced(kGood, "listen", "lisen")) ==
          "gantry.toml:6:1: [controller] has no key `lisen`, did you mean `listen`?");
    CHECK(refusal(replaced(kGood, "[runtime.oci]", "[runtimes.oci]")).find("did you mean `runtime`?") !=
          std::string::npos);
}

TEST_CASE_METHOD(File, "a wrong type is refused with its place and what was expected") {
    CHECK(refusal(replaced(kGood, "\"SNode1\"", "5")) ==
          "gantry.toml:3:8: [node] name: expected text in quotes, got 5");
    CHECK(refusal(replaced(kGood, "\"100ms\"", "\"quick\"")).starts_with("gantry.toml:9:13: "));
    CHECK(refusal("workers = 0\n" + std::string(kGood)).find("from 1 to 64") != std::string::npos);
}

TEST_CASE_METHOD(File, "a broken TOML text is refused with the place of the break") {
    CHECK(refusal("[node\nname = 1").starts_with("gantry.toml:1:"));
}

TEST_CASE_METHOD(File, "a timing that contradicts a rule is refused with the rule") {
    CHECK(refusal(replaced(kGood, "heartbeat = \"100ms\"", "lost_after = \"100ms\"")).find("lost_after") !=
          std::string::npos);
}

TEST_CASE_METHOD(File, "a profile sets times that fit together, single keys change them") {
    const auto with = [](const std::string& controller, const std::string& timing) {
        return replaced(replaced(kGood, "default_policy = \"least-loaded\"", controller), "heartbeat = \"100ms\"",
                        timing);
    };
    const auto wan = read(with("profile = \"wan\"\nindirect = false", "reset_grace = \"3s\""));
    REQUIRE(wan);
    CHECK(wan->controller->timing.heartbeat == milliseconds(500));
    CHECK(wan->controller->timing.lost_after == seconds(4));
    CHECK(wan->controller->timing.lost_after_max == seconds(12));
    CHECK(wan->controller->timing.reset_grace == seconds(3));
    CHECK_FALSE(wan->controller->timing.indirect);
    const auto lan = read(with("", "lost_after = \"5s\""));
    REQUIRE(lan);
    CHECK(lan->controller->timing.lost_after_max == seconds(15));
    CHECK(lan->controller->timing.indirect);
    CHECK(read(with("", "lost_after_max = \"1s\""))->controller->timing.lost_after_max == seconds(1));
    CHECK(refusal(with("profile = \"moon\"", "")).find("\"lan\", \"wan\" or \"lossy\", got 'moon'") !=
          std::string::npos);
    CHECK(refusal(with("profile = \"lossy\"", "lost_after = \"1s\"")).find("more than suspect_after") !=
          std::string::npos);
    CHECK(refusal(with("", "lost_after_max = \"900ms\"")).find("no less than lost_after") != std::string::npos);
}

TEST_CASE_METHOD(File, "a node says where others reach it, or that they do not") {
    const auto with = [](const std::string& line) { return replaced(kGood, "[controller]", line + "\n[controller]"); };
    CHECK(read(kGood)->node->ask_port() == 3901);
    CHECK(read(with("listen = \"[::]:4000\""))->node->ask_port() == 4000);
    CHECK(read(with("listen = \"\""))->node->ask_port() == 0);
    CHECK(refusal(with("listen = \"4000\"")).find("IP:PORT") != std::string::npos);
}

TEST_CASE_METHOD(File, "a node chooses ports from a range that is one") {
    const auto with = [](const std::string& line) { return replaced(kGood, "[controller]", line + "\n[controller]"); };
    const auto ports = [&](const std::string& line) { return read(with(line))->node->ports; };
    CHECK(read(kGood)->node->ports == std::pair<std::uint16_t, std::uint16_t>(20'000, 29'999));
    CHECK(ports("ports = \"1024-65535\"") == std::pair<std::uint16_t, std::uint16_t>(1'024, 65'535));
    CHECK(ports("ports = \"4000-4000\"") == std::pair<std::uint16_t, std::uint16_t>(4'000, 4'000));
    for (const std::string bad : {"", "4000", "4000-", "-4000", "5000-4000", "1023-4000", "4000-65536", "4000 - 5000",
                                  "4000-5000-6000", "0x4000-5000"}) {
        INFO(bad);
        CHECK(refusal(with("ports = \"" + bad + "\"")) ==
              "gantry.toml:5:9: [node] ports: expected the first and the last port of a range within 1024 to 65535, "
              "such as \"20000-29999\", got '" +
                  bad + "'");
    }
    CHECK(refusal(with("ports = [4000, 5000]")).find("got a list") != std::string::npos);
    CHECK(refusal(with("ports = 4000")).find("got 4000") != std::string::npos);
}

TEST_CASE_METHOD(File, "a lease has its rules, and follows a slow heartbeat where it is not given") {
    const auto with = [](const std::string& keys) { return replaced(kGood, "heartbeat = \"100ms\"", keys); };
    const auto timing = [&](const std::string& keys) { return read(with(keys))->controller->timing; };
    CHECK(timing("heartbeat = \"100ms\"").lease == seconds(3));
    CHECK(timing("heartbeat = \"100ms\"").kill_bound == milliseconds(500));
    CHECK(timing("heartbeat = \"100ms\"").drift_ppm == 1'000);
    CHECK(timing("heartbeat = \"2s\"\nsuspect_after = \"4s\"\nlost_after = \"5s\"\nreset_grace = \"2s\"").lease ==
          seconds(6));
    CHECK(timing("lease = \"10s\"\nkill_bound = \"1s\"\ndrift_bound = 0.0001").drift_ppm == 100);
    CHECK(refusal(with("lease = \"500ms\"")).find("three heartbeats or more") != std::string::npos);
    CHECK(refusal(with("lease = \"100ms\"")).find("at least 600 ms") != std::string::npos);
    CHECK(refusal(with("drift_bound = 0.2")).find("drift_bound") != std::string::npos);
    CHECK(refusal(with("drift_bound = \"much\"")).find("a number from 0 to 0.1") != std::string::npos);
}

TEST_CASE_METHOD(File, "a node without a runtime and a controller without a store are refused") {
    CHECK(refusal(replaced(kGood, "[runtime.oci]", "[probe.oci]")).find("role runtime") != std::string::npos);
    CHECK(refusal(replaced(kGood, "[store.sqlite]", "[frontend.sqlite]")).find("role store") != std::string::npos);
    CHECK(refusal("[plugins]\n").find("neither [node] nor [controller]") != std::string::npos);
}

TEST_CASE_METHOD(File, "an address that is none is refused with its place and what it says") {
    for (const std::string bad : {"3900", "0.0.0.0", "0.0.0.0:0", "0.0.0.0:65536", "localhost:3900", "::1:3900",
                                  "[::1]", "[10.0.0.1]:3900", "0.0.0.0:39x", ":3900", ""}) {
        INFO(bad);
        CHECK(refusal(replaced(kGood, "0.0.0.0:3900", bad)) ==
              "gantry.toml:6:10: [controller] listen: expected IP:PORT such as \"0.0.0.0:3900\" or \"[::]:3900\", "
              "got '" +
                  bad + "'");
    }
    CHECK(read(replaced(kGood, "0.0.0.0:3900", "[::]:3900")));
    const auto with = [](const std::string& line) {
        return replaced(kGood, "[controller]\n", line + "\n[controller]\n");
    };
    CHECK(refusal(with("advertise = \"gateway\"")).starts_with("gantry.toml:5:13: [node] advertise: expected an IP"));
    CHECK(refusal(with("position_servers = [\"10.0.0.1:54\", \"x\"]")).starts_with("gantry.toml:5:36: "));
    CHECK(read(with("advertise = \"fd00::1\"\nposition_servers = [\"10.0.0.1:54\", \"10.0.0.2\"]")));
}

TEST_CASE_METHOD(File, "a default policy that no table names is refused with a guess") {
    CHECK(refusal(replaced(kGood, "\"least-loaded\"", "\"least-loded\"")) ==
          "gantry.toml:7:18: [controller] default_policy: there is no table [placement.least-loded], did you mean "
          "`least-loaded`?");
}

TEST_CASE_METHOD(File, "a label that no controller would take is refused where it stands") {
    CHECK(refusal(replaced(kGood, "press-3", std::string(256, 'x'))).starts_with("gantry.toml:4:19: [node] labels: "));
    CHECK(read(replaced(kGood, "press-3", std::string(255, 'x'))));
}

TEST_CASE_METHOD(File, "a node that could never find its controller is refused") {
    const auto alone = replaced(replaced(kGood, "[controller]\nlisten = \"0.0.0.0:3900\"\n", ""),
                                "default_policy = \"least-loaded\"\n[controller.timing]\nheartbeat = \"100ms\"\n", "");
    CHECK(refusal(alone).find("[node] without [controller] needs a plugin of role discovery") != std::string::npos);
    CHECK(read(alone + "[discovery.static]\n"));
}

TEST_CASE_METHOD(File, "a plugin may have a process of its own, with a memory limit") {
    const auto with = [&](const std::string& keys) { return replaced(kGood, "engine = \"runc\"", keys); };
    const auto usual = read(with("isolation = \"process\""));
    REQUIRE(usual);
    const auto runtime = [](const control::Config& config) {
        return *std::ranges::find(config.plugins, "runtime", &host::PluginTable::role);
    };
    CHECK(runtime(*usual).placing == host::Placing::kOwnProcess);
    CHECK(runtime(*usual).memory_max_bytes == host::kMemoryMax);
    CHECK(runtime(*read(with("memory_max = \"64MiB\""))).memory_max_bytes == 64 << 20);
    CHECK(runtime(*read(with("isolation = \"none\""))).placing == host::Placing::kHost);
    CHECK(refusal(with("isolation = \"vm\"")).find("isolation: expected \"none\" or \"process\", got ") !=
          std::string::npos);
    CHECK(refusal(with("memory_max = \"1KiB\"")).find("memory_max: expected a size from 16 MiB to 1 TiB, got ") !=
          std::string::npos);
}

TEST_CASE_METHOD(File, "what differs between two texts is told by its keys") {
    const auto changes = [&](const std::string& what, const std::string& by) {
        const std::string text = replaced(kGood, what, by);
        REQUIRE(read(text));
        return control::changed_keys(kGood, text, "gantry.toml");
    };
    using Keys = std::vector<std::string>;
    CHECK(changes("heartbeat", "heartbeat").value() == Keys{});
    CHECK(changes("\"100ms\"", "\"150ms\"").value() == Keys{"controller.timing.heartbeat"});
    CHECK(changes("[node]", "# a comment\n[node]").value() == Keys{});
    CHECK(changes("[runtime.oci]\n", "[log]\nlevel = \"debug\"\n[runtime.oci]\n").value() == Keys{"log", "log.level"});
    CHECK(changes("[placement.least-loaded]\n", "[placement.least-loaded]\n[placement.other]\n").value() ==
          Keys{"placement.other"});
    CHECK(changes("floor = \"2\"", "floor = \"3\"").value() == Keys{"node.labels.floor"});
}

TEST_CASE_METHOD(File, "a key that cannot change while gantryd runs is refused with both values and what to do") {
    const auto refused = [&](const std::string& what, const std::string& by) {
        const std::string text = replaced(kGood, what, by);
        const auto changed = control::changed_keys(kGood, text, "gantry.toml");
        REQUIRE_FALSE(changed);
        CHECK(changed.error().code == Code::kRefused);
        return changed.error().text();
    };
    CHECK(refused("\"SNode1\"", "\"SNode2\"") ==
          "gantry.toml:3:1: node.name cannot change while gantryd runs (the cluster knows the node by it): it is "
          "'SNode1', "
          "the file says 'SNode2'; put it back, or stop gantryd and start it");
    CHECK(
        refused("\n[node]", "\nstate_dir = \"/elsewhere\"\n[node]").find("it is nothing, the file says '/elsewhere'") !=
        std::string::npos);
    CHECK(refused("state.db", "other.db").find("store.sqlite.path cannot change") != std::string::npos);
    CHECK(refused("[runtime.oci]\nengine = \"runc\"", "[runtime.process]").find("runtime.oci cannot change") !=
          std::string::npos);
    CHECK(refused("[controller]\nlisten = \"0.0.0.0:3900\"\ndefault_policy = \"least-loaded\"\n[controller.timing]\n"
                  "heartbeat = \"100ms\"\n",
                  "")
              .starts_with("gantry.toml:1:1: controller cannot change"));
}
