// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/sylixos-ecs/bundle.hpp"

#include <catch2/catch.hpp>
#include <gantry/status.hpp>

using namespace sylixos;
namespace json = boost::json;

namespace {

image_store::ImageConfig image() {
    image_store::ImageConfig out;
    out.entrypoint = {"/apps/axis_server"};
    out.env = {"PATH=/usr/bin:/bin", "MODE=image"};
    out.cwd = "/rootfs";
    out.user = "0:0";
    return out;
}

gantry::ContainerSpec spec() {
    gantry::ContainerSpec out;
    out.name = "c1";
    return out;
}

json::value made(const gantry::ContainerSpec& from, const ImageLabels& labels = {}) {
    return json::parse(config_json(from, image(), labels, "arm64"));
}

}  // namespace

TEST_CASE("without a word of image or manifest a bundle has ecsc's defaults") {
    const json::value config = made(spec());
    CHECK(config.at("ociVersion") == "1.0.0");
    CHECK(config.at("platform") == json::value{{"os", "sylixos"}, {"arch", "arm64"}});
    CHECK(config.at("root") == json::value{{"path", "rootfs"}, {"readonly", false}});
    CHECK(config.at("hostname") == "sylixos_ecs");
    CHECK(config.at("process").at("args") == json::array{"/apps/axis_server"});
    CHECK(config.at("process").at("cwd") == "/");
    CHECK(config.at("process").at("user") == json::value{{"uid", 0}, {"gid", 0}});
    const json::value& resources = config.at("sylixos").at("resources");
    CHECK(resources.at("cpu") == json::value{{"highestPrio", 150}, {"lowestPrio", 250}, {"defaultPrio", 200}});
    CHECK(resources.at("memory") == json::value{{"kheapLimit", 536870912}, {"memoryLimitMB", 2048}});
    CHECK(resources.at("disk") == json::value{{"limitMB", 2048}});
    CHECK(resources.at("affinity") == json::array{});
    CHECK(resources.at("kernelObject").as_object().size() == 16);
    CHECK(resources.at("kernelObject").at("threadLimit") == 4096);
    CHECK(resources.at("kernelObject").at("socketLimit") == 1024);
    CHECK(config.at("sylixos").at("devices").as_array().size() == 4);
    CHECK(config.at("sylixos").at("commands").as_array().size() == 36);
    CHECK(config.at("sylixos").at("network") ==
          json::value{{"telnetdEnable", true}, {"ftpdEnable", true}, {"sshdEnable", false}});
    CHECK(config.at("mounts").as_array().size() == 3);
}

TEST_CASE("labels of the image change the settings, and the manifest goes before them") {
    gantry::ContainerSpec wanted = spec();
    wanted.hostname = "press";
    wanted.memory_bytes = (64 << 20) + 1;
    wanted.mounts = {{"/data", "/bin/tar", true}, {"/qt", "/qt", false}};
    wanted.env = {{"MODE", "manifest"}, {"ADDED", "two words"}};
    wanted.args = {"/apps/other", "-v"};
    const json::value config = made(wanted, {{"hostname", "image"},
                                             {"sylixos.resources.memory.memoryLimitMB", "4096"},
                                             {"sylixos.resources.kernelObject.threadLimit", "300"},
                                             {"sylixos.resources.affinity.0", "1"},
                                             {"sylixos.resources.affinity.1", "3"},
                                             {"sylixos.commands.1", "ps"},
                                             {"sylixos.commands.0", "ls"},
                                             {"sylixos.commands.10", "ifconfig"},
                                             {"sylixos.devices.0.path", "/dev/fb1"},
                                             {"sylixos.network.sshdEnable", "true"},
                                             {"sylixos.network.telnetdEnable", "false"},
                                             {"mounts.0.destination", "/lib/x"},
                                             {"mounts.0.source", "/apps/x"},
                                             {"mounts.0.options", "r"}});
    CHECK(config.at("hostname") == "press");
    CHECK(config.at("process").at("args") == json::array{"/apps/other", "-v"});
    CHECK(config.at("process").at("env") == json::array{"PATH=/usr/bin:/bin", "MODE=manifest", "ADDED=two words"});
    const json::value& ours = config.at("sylixos");
    CHECK(ours.at("resources").at("memory").at("memoryLimitMB") == 65);
    CHECK(ours.at("resources").at("kernelObject").at("threadLimit") == 300);
    CHECK(ours.at("resources").at("affinity") == json::array{1, 3});
    CHECK(ours.at("commands") == json::array{"ls", "ps", "ifconfig"});
    CHECK(ours.at("devices") == json::array{json::object{{"path", "/dev/fb1"}, {"access", "rw"}}});
    CHECK(ours.at("network").at("sshdEnable") == true);
    CHECK(ours.at("network").at("telnetdEnable") == false);
    std::map<std::string, std::string> mounts;
    for (const json::value& mount : config.at("mounts").as_array())
        mounts[std::string(mount.at("destination").as_string())] =
            std::string(mount.at("source").as_string()) + " " + std::string(mount.at("options").at(0).as_string());
    CHECK(mounts == std::map<std::string, std::string>{{"/bin/tar", "/data ro"},
                                                       {"/bin/uname", "/bin/uname rx"},
                                                       {"/etc/lic", "/etc/lic ro"},
                                                       {"/lib/x", "/apps/x rx"},
                                                       {"/qt", "/qt rw"}});
}

TEST_CASE("labels that are no settings do not count") {
    const json::value config = made(spec(), {{"sylixos.resources.kernelObject.threadLimit", "many"},
                                             {"sylixos.resources.cpu.highestPrio", "-1"},
                                             {"sylixos.resources.disk.limitMB", "99999999999999999999"},
                                             {"sylixos.commands.x", "rm"},
                                             {"sylixos.devices.0.path", "../../etc"},
                                             {"mounts.7.destination", "/a/../../b"},
                                             {"mounts.7.source", "/a"},
                                             {"maintainer", "somebody"}});
    CHECK(config == made(spec()));
    CHECK(labels_of(json::parse(R"({"config":{"Labels":{"a":"1","b":2,"c":null}}})")) == ImageLabels{{"a", "1"}});
    CHECK(labels_of(json::parse(R"({"config":{"Labels":null}})")).empty());
    CHECK(labels_of(json::parse("[]")).empty());
}

TEST_CASE("what ECS has no word for is refused") {
    CHECK(ecs_architecture("amd64") == "x86-64");
    CHECK(ecs_architecture("loong64") == "loongarch");
    CHECK_THROWS_AS(ecs_architecture("s390x"), gantry::Failure);
    gantry::ContainerSpec named = spec();
    named.user = "worker";
    CHECK_THROWS_WITH(made(named), Catch::Contains("give numbers"));
    CHECK_THROWS_AS(config_json(spec(), {}, {}, "arm64"), gantry::Failure);  // nothing to run
}
