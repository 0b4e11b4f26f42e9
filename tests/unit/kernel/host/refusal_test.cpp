// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>
#include <link.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "tests/unit/kernel/host/bench_of_host.hpp"

namespace gantry::host {
namespace {

const std::filesystem::path kActor = std::filesystem::path(GANTRY_TEST_PLUGINS) / "probe" / "actor.so";

void write(const std::filesystem::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
    REQUIRE(::chmod(path.c_str(), 0644) == 0);
}

std::string file_bytes(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}
std::string actor_bytes() { return file_bytes(kActor); }

// Configures one plugin and gives the reason for which it is refused.
std::string reason(Bench& bench, const std::string& name, const char* role = "probe") {
    std::vector<PluginTable> tables;
    tables.push_back(table(role, name));
    Host& host = bench.make();
    const Status status = host.configure(std::move(tables));
    if (!status) FAIL(status.error().text());
    (void)host.start();
    const PluginInfo info = host.plugins().at(0);
    CHECK(plugin_state_name(info.state) == "refused");
    CHECK(bench.logged(info.reason));
    return info.reason;
}

}  // namespace

TEST_CASE("a plugin that is missing is refused, with the folders and a guess") {
    Bench bench;
    const std::string text = reason(bench, "actr");
    CHECK(text.starts_with("no actr.so in " GANTRY_TEST_PLUGINS "/probe, "));
    CHECK(text.ends_with(", did you mean `actor`?"));
}

TEST_CASE("a file that is no plugin is refused with one sentence") {
    Bench bench;
    const std::filesystem::path folder = bench.folder / "plugins" / "probe";
    const auto why = [&](const std::string& name) {
        std::string text = reason(bench, name);
        const std::string path = (folder / (name + ".so")).string();
        REQUIRE(text.starts_with(path));
        return text.substr(path.size());
    };
    SECTION("a text") {
        write(folder / "text.so", "#!/bin/sh\n");
        CHECK(why("text") == ": not an ELF file");
    }
    SECTION("a library without a note") {
        link_map* libm = nullptr;
        REQUIRE(::dlinfo(::dlopen("libm.so.6", RTLD_NOW), RTLD_DI_LINKMAP, &libm) == 0);
        std::filesystem::copy_file(libm->l_name, folder / "libm.so");
        CHECK(why("libm").starts_with(": no note of Gantry in it"));
    }
    SECTION("half a plugin") {
        write(folder / "cut.so", actor_bytes().substr(0, 2'000));
        CHECK(why("cut").find("outside the file") != std::string::npos);
    }
    SECTION("a plugin of a newer border") {
        std::string bytes = actor_bytes();
        bytes.replace(bytes.find("\nabi: 1.1\n"), 10, "\nabi: 3.1\n");
        write(folder / "new.so", bytes);
        CHECK(why("new") == ": built for SDK 3.1, this kernel offers SDK 1.1");
    }
    SECTION("a plugin of a newer border whose note holds unknown things") {
        std::string bytes = actor_bytes();
        bytes.replace(bytes.find("\nabi: 1.1\n"), 10, "\nabi: 3.1\n");
        bytes.replace(bytes.find("config.type: duration"), 21, "config.type: galaxies");
        write(folder / "newer.so", bytes);
        CHECK(why("newer") == ": built for SDK 3.1, this kernel offers SDK 1.1");
    }
    SECTION("a plugin of another role") {
        std::filesystem::copy_file(std::filesystem::path(GANTRY_TEST_PLUGINS) / "runtime" / "half.so",
                                   folder / "half.so");
        CHECK(why("half") == ": offers the role runtime/1, expected probe/1");
    }
    SECTION("a symbolic link") {
        std::filesystem::create_symlink(kActor, folder / "link.so");
        CHECK(why("link") == " is a symbolic link, expected the file itself");
    }
    SECTION("a file that everybody can write") {
        write(folder / "open.so", actor_bytes());
        REQUIRE(::chmod((folder / "open.so").c_str(), 0666) == 0);
        CHECK(why("open") == " can be written by everybody; run chmod o-w on it");
    }
    SECTION("a folder") {
        std::filesystem::create_directory(folder / "dir.so");
        CHECK(why("dir") == " is no regular file");
    }
    SECTION("a pipe, which must not block") {
        REQUIRE(::mkfifo((folder / "pipe.so").c_str(), 0644) == 0);
        CHECK(why("pipe") == " is no regular file");
    }
}

TEST_CASE("a plugin of a draft role is refused by every kernel but the one it was built for") {
    Bench bench;
    const std::string whole = file_bytes(std::filesystem::path(GANTRY_TEST_PLUGINS) / "frontend" / "door.so");
    const std::filesystem::path folder = bench.folder / "plugins" / "frontend";
    std::filesystem::create_directories(folder);
    const std::size_t at = whole.find("\nkernel: ") + 9;
    REQUIRE(at > 9);
    const std::string own = whole.substr(at, whole.find('\n', at) - at);
    const auto why = [&](const std::string& bytes) {
        write(folder / "other.so", bytes);
        return reason(bench, "other", "frontend").substr((folder / "other.so").string().size());
    };
    std::string other = own;
    other.back() = other.back() == '9' ? '8' : '9';
    CHECK(why(std::string(whole).replace(at, own.size(), other)) ==
          ": built for kernel " + other + ", this is kernel " + own +
              ": the role draft.frontend is a draft, which needs exactly that");
    CHECK(why(std::string(whole).replace(at - 9, 9, "\ncolour: ")) ==
          ": built for kernel unknown, this is kernel " + own +
              ": the role draft.frontend is a draft, which needs exactly that");
    CHECK(why(std::string(whole).replace(whole.find("\nabi: 1.1\n"), 10, "\nabi: 0.9\n")) ==
          ": built for SDK 0.9, this kernel offers SDK 1.1 (a draft role needs exactly that)");
}

TEST_CASE("a plugin's name is a file name") {
    Bench bench;
    PluginTable escape = table("probe", "x");
    escape.plugin = "../../etc/passwd";
    std::vector<PluginTable> tables;
    tables.push_back(std::move(escape));
    CHECK(bench.make().configure(std::move(tables)));
    CHECK(bench.host->plugins().at(0).state == PluginState::kRefused);
    CHECK(bench.host->plugins().at(0).reason == "`../../etc/passwd` is no name of a plugin, expected a file name");
}

TEST_CASE("an entry that differs from its note is refused") {
    Bench bench;
    CHECK(reason(bench, "liar").ends_with("its entry says version \"2.0.0\", its note \"1.0.0\": they must agree"));
}

TEST_CASE("a plugin built without care is refused with what is wrong") {
    Bench bench;
    const auto why = [&](const std::string& name) {
        return reason(bench, name).substr(std::string_view(GANTRY_TEST_PLUGINS).size());
    };
    CHECK(why("run-path") == "/probe/run-path.so: has a run path (/opt/lib), which would load libraries from there");
    CHECK(why("executable-stack") ==
          "/probe/executable-stack.so: asks for an executable stack; link it with -z noexecstack");
    CHECK(why("text-relocation") == "/probe/text-relocation.so: has text relocations; build it with -fPIC");
    const std::string surplus = why("surplus");
    CHECK(surplus.starts_with("/probe/surplus.so: exports "));
    CHECK(surplus.find("gantry_test_surplus") != std::string::npos);
    CHECK(surplus.ends_with("), expected gantry_plugin_entry alone"));
}

TEST_CASE("a plugin that needs newer libraries is refused with their version") {
    Bench bench;
    const auto patched = [&](std::string_view from, std::string_view to) {
        REQUIRE(from.size() == to.size());
        std::string bytes = actor_bytes();
        const std::size_t at = bytes.find(std::string(from) + '\0');
        REQUIRE(at != std::string::npos);
        bytes.replace(at, from.size(), to);
        write(bench.folder / "plugins" / "probe" / "newer.so", bytes);
        return reason(bench, "newer");
    };
    const std::string bytes = actor_bytes(), needed = bytes.data() + bytes.find("GLIBC_2.");
    const std::string newer = "GLIBC_2." + std::string(needed.size() - std::string_view("GLIBC_2.").size(), '9');
    CHECK(patched(needed, newer).find("newer.so: needs " + newer + ", this machine has GLIBC_2.") != std::string::npos);
    CHECK(
        patched("GLIBCXX_3.4", "GLIBCXX_9.4")
            .ends_with("newer.so: needs GLIBCXX_9.4, which the libstdc++ of this machine does not offer; build it with "
                       "an older compiler"));
}

TEST_CASE("a required plugin's failure is told once, by the error") {
    Bench bench;
    std::vector<PluginTable> tables;
    tables.push_back(table("probe", "absent", {}, true));
    tables.push_back(table("probe", "missing", {}, true));
    const Status status = bench.make().configure(std::move(tables));
    REQUIRE_FALSE(status);
    CHECK(status.error().text().find("no absent.so") != std::string::npos);
    CHECK_FALSE(bench.logged("absent.so"));
    CHECK(bench.logged("no missing.so"));  // there is room for one in an error
}

TEST_CASE("a refused plugin is an error only if it is required") {
    Bench bench;
    std::vector<PluginTable> tables;
    tables.push_back(table("probe", "absent", {}, true));
    const Status status = bench.make().configure(std::move(tables));
    REQUIRE_FALSE(status);
    CHECK(status.error().code == Code::kFailed);
    CHECK(status.error().text().starts_with(
        "gantry.toml:10:1: the required plugin probe.absent is refused: no absent.so"));
    CHECK(bench.host->plugins().size() == 1);
}

TEST_CASE("what a plugin throws in init or start makes it failed, with its text and place") {
    Bench bench;
    for (const char* where : {"init", "start"}) {
        std::vector<PluginTable> tables;
        PluginTable failing = table("probe", "actor", {{"fail_in", where}});
        tables.push_back(std::move(failing));
        Host& host = bench.make();
        REQUIRE(host.configure(std::move(tables)));
        CHECK(host.start());  // it is optional
        const PluginInfo info = host.plugins().at(0);
        CHECK(plugin_state_name(info.state) == "failed");
        CHECK(info.reason.find(std::string("told to fail in ") + where) != std::string::npos);
        CHECK(host.probe("actor") == nullptr);
    }
    std::vector<PluginTable> tables;
    tables.push_back(table("probe", "actor", {{"fail_in", "init"}}, true));
    Host& host = bench.make();
    REQUIRE(host.configure(std::move(tables)));
    const Status status = host.start();
    REQUIRE_FALSE(status);
    CHECK(status.error().text() ==
          "gantry.toml:10:1: the required plugin probe.actor failed: does not accept its configuration: "
          "told to fail in init");
}

}  // namespace gantry::host
