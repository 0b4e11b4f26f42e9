// SPDX-License-Identifier: Apache-2.0
//
// gantry-plugin keygen and sign.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <gantry/elf/reader.hpp>
#include <gantry/trust/key.hpp>
#include <iterator>

#include "sdk/tools/sign/sign.hpp"
#include "sdk/tools/trouble.hpp"

namespace gantry::tools {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

trust::Contents contents_of(const fs::path& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    trust::Contents out;
    std::string error;
    REQUIRE(trust::read_contents(fd, out, error));
    ::close(fd);
    return out;
}

mode_t mode_of(const fs::path& path) {
    struct stat info {};
    REQUIRE(::stat(path.c_str(), &info) == 0);
    return info.st_mode & 07777;
}

struct Author {
    Author() {
        std::string name = (fs::temp_directory_path() / "gantry-sign-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        folder = name;
        plugin = folder / "plugin.so";
        fs::copy_file(GANTRY_PLUGIN_FILE, plugin);
        REQUIRE(::chmod(plugin.c_str(), 0755) == 0);
        told = make_key(folder / "acme");
    }
    ~Author() { fs::remove_all(folder); }

    trust::Key acme() const {
        std::string error;
        return *trust::Key::read_public(read(folder / "acme.pub"), error);
    }
    std::string sign(const std::string& key = "acme.key") const { return sign_plugin(plugin, folder / key); }
    // Exit status and sentence of a sign that fails; the file is as it was, and nothing else is there.
    std::pair<int, std::string> refused(const std::string& key = "acme.key") const {
        const std::string before = read(plugin);
        const auto files = [&] { return std::distance(fs::directory_iterator(folder), fs::directory_iterator()); };
        const auto count = files();
        try {
            sign(key);
        } catch (const Failure& failure) {
            CHECK(read(plugin) == before);
            CHECK(files() == count);
            return {failure.status, failure.what()};
        }
        FAIL("it was signed");
        return {};
    }

    fs::path folder, plugin;
    std::string told;
};

}  // namespace

TEST_CASE("keygen makes a private key for its owner alone, and a public one for everybody") {
    const Author author;
    CHECK(mode_of(author.folder / "acme.key") == 0600);
    CHECK(mode_of(author.folder / "acme.pub") == 0644);
    CHECK(author.told.find(trust::hex(author.acme().id())) != std::string::npos);
    CHECK(author.told.find("/etc/gantry/trusted-keys.d") != std::string::npos);
}

TEST_CASE("keygen overwrites nothing and leaves no half of a key") {
    const Author author;
    const auto refused = [&](const char* name) {
        try {
            make_key(author.folder / name);
        } catch (const Failure& failure) {
            return std::pair<int, std::string>{failure.status, failure.what()};
        }
        return std::pair<int, std::string>{};
    };
    const std::string before = read(author.folder / "acme.key");
    CHECK(refused("acme").first == exit_status::kCannotCreate);
    CHECK(refused("acme").second == (author.folder / "acme.key").string() + " cannot be written: File exists");
    CHECK(read(author.folder / "acme.key") == before);
    std::ofstream(author.folder / "other.pub") << "mine";
    CHECK(refused("other").second == (author.folder / "other.pub").string() + " cannot be written: File exists");
    CHECK_FALSE(fs::exists(author.folder / "other.key"));
    CHECK(read(author.folder / "other.pub") == "mine");
    CHECK(refused("nowhere/acme").first == exit_status::kCannotCreate);
}

TEST_CASE("a signed plugin is the same plugin, and its seal is good") {
    const Author author;
    const std::string before = read(author.plugin);
    CHECK(author.sign() == author.plugin.string() + ": signed with the key " + trust::hex(author.acme().id()) + "\n");
    const std::string after = read(author.plugin);
    CHECK(after.size() == before.size() + trust::kSealBytes);
    CHECK(after.substr(0, before.size()) == before);
    CHECK(mode_of(author.plugin) == 0755);
    const trust::Contents contents = contents_of(author.plugin);
    REQUIRE(contents.sealed == trust::Sealed::kWhole);
    CHECK(contents.signed_size == before.size());
    CHECK(author.acme().signed_by(contents.seal, contents.before_seal));
    const int fd = ::open(author.plugin.c_str(), O_RDONLY | O_CLOEXEC);
    CHECK(elf::read_plugin(fd).fault == elf::Fault::kNone);
    ::close(fd);
    void* const loaded = ::dlopen(author.plugin.c_str(), RTLD_NOW | RTLD_LOCAL);
    REQUIRE(loaded != nullptr);
    CHECK(::dlsym(loaded, "gantry_plugin_entry") != nullptr);
    ::dlclose(loaded);
}

TEST_CASE("signing again changes nothing, and with another key only the seal") {
    const Author author;
    author.sign();
    const std::string once = read(author.plugin);
    author.sign();
    CHECK(read(author.plugin) == once);
    make_key(author.folder / "other");
    CHECK(author.sign("other.key").find(", in place of " + trust::hex(author.acme().id())) != std::string::npos);
    const std::string other = read(author.plugin);
    CHECK(other.size() == once.size());
    CHECK(other != once);
    author.sign();
    CHECK(read(author.plugin) == once);
}

TEST_CASE("a plugin behind a symbolic link is signed where it is") {
    const Author author;
    fs::rename(author.plugin, author.folder / "real.so");
    fs::create_symlink("real.so", author.plugin);
    author.sign();
    CHECK(fs::is_symlink(author.plugin));
    CHECK(contents_of(author.folder / "real.so").sealed == trust::Sealed::kWhole);
}

TEST_CASE("what cannot be signed is refused with a sentence, and stays as it was") {
    const Author author;
    const std::string plugin = author.plugin.string(), key = (author.folder / "acme.key").string();
    SECTION("a key that others can read") {
        REQUIRE(::chmod(key.c_str(), 0640) == 0);
        CHECK(author.refused() ==
              std::pair<int, std::string>{exit_status::kBadData,
                                          key + " can be used by others than its owner; run chmod 600 on it"});
    }
    SECTION("a public key") {
        REQUIRE(::chmod((author.folder / "acme.pub").c_str(), 0600) == 0);
        const auto [status, text] = author.refused("acme.pub");
        CHECK(status == exit_status::kBadData);
        CHECK(text.find("is no private Ed25519 key in PEM") != std::string::npos);
    }
    SECTION("a key that is not there") {
        const auto [status, text] = author.refused("gone.key");
        CHECK(status == exit_status::kNoInput);
        CHECK(text == (author.folder / "gone.key").string() + " cannot be read: No such file or directory");
    }
    SECTION("a file that is no plugin") {
        std::ofstream(author.plugin, std::ios::trunc) << "#!/bin/sh\n";
        CHECK(author.refused() ==
              std::pair<int, std::string>{exit_status::kBadData, plugin + " is no plugin: not an ELF file"});
    }
    SECTION("a folder") {
        fs::remove(author.plugin);
        fs::create_directory(author.plugin);
        const auto signing = [&] { sign_plugin(author.plugin, key); };
        CHECK_THROWS_WITH(signing(), plugin + " is no regular file");
        fs::remove(author.plugin);
        CHECK_THROWS_WITH(signing(), plugin + " cannot be read: No such file or directory");
    }
    SECTION("a seal that is damaged") {
        author.sign();
        fs::resize_file(author.plugin, fs::file_size(author.plugin) - 1);
        CHECK(author.refused() ==
              std::pair<int, std::string>{exit_status::kBadData, plugin + ": its signature is cut short: 127 of 128 " +
                                                                     "bytes; build the file again"});
    }
}

}  // namespace gantry::tools
