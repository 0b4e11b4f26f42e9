// SPDX-License-Identifier: Apache-2.0
//
// Who vouches for a plugin's file: lists of digests, signatures, trusted keys; and that what is loaded is what was
// checked.
#include <fcntl.h>

#include <fstream>
#include <iterator>

#include "kernel/host/library.hpp"
#include "kernel/trust/owned.hpp"
#include "tests/unit/kernel/host/trust_place.hpp"

namespace gantry::host {
namespace {

namespace fs = std::filesystem;

std::string read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void write(const fs::path& path, const std::string& bytes, mode_t mode = 0644) {
    std::ofstream(path, std::ios::binary) << bytes;
    Place::mode(path, mode);
}

trust::Contents contents_of(const fs::path& path) {
    const trust::Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    trust::Contents out;
    std::string error;
    REQUIRE(trust::read_contents(fd.get(), out, error));
    return out;
}

// A Place with a folder of trusted keys beside its plugins.
struct Signed : Place {
    Signed() : keys(outer / "keys"), list(path / "gantry-plugins.sha256") {
        fs::create_directory(keys);
        mode(keys, 0755);
        trust_key("acme", acme);
    }
    void trust_key(const std::string& name, const trust::Key& key) { write(keys / (name + ".pub"), key.public_pem()); }
    void sign(const trust::Key& key) {
        const trust::Contents contents = contents_of(file);
        const auto seal = trust::write_seal(key.sign(contents.before_seal), contents.signed_size);
        write(file, read(file).substr(0, contents.signed_size) + std::string(seal.begin(), seal.end()));
    }
    void list_file() { write(list, trust::hex(contents_of(file).whole) + "  probe/bare.so\n"); }

    Result<std::shared_ptr<PluginFile>> open(const fs::path& package = {}) const {
        trust::Verifier verifier({package, keys, false});
        return open_plugin({path}, "probe", "bare", verifier);
    }
    // Who vouches for it, or why it is refused.
    std::string told(const fs::path& package = {}) const {
        const auto opened = open(package);
        return opened ? (*opened)->origin.text : opened.error().message;
    }

    const trust::Key acme = *trust::Key::make(), other = *trust::Key::make();
    const fs::path keys, list;
};

}  // namespace

TEST_CASE("nobody vouches for a file that is neither listed nor signed") {
    const Signed place;
    CHECK(place.told() == "not signed");
    CHECK((*place.open())->origin.voucher == trust::Voucher::kNobody);
    CHECK((*place.open())->origin.digest == trust::hex(contents_of(place.file).whole));
}

TEST_CASE("a signature with a trusted key vouches for a file, which loads as before") {
    Signed place;
    place.sign(place.acme);
    const auto opened = place.open();
    REQUIRE(opened);
    CHECK((*opened)->origin.text == "signed by acme");
    CHECK((*opened)->origin.voucher == trust::Voucher::kKey);
    CHECK(Library::load(**opened));
}

TEST_CASE("a signature with a key that is not trusted counts as none, and says which key it is") {
    Signed place;
    place.sign(place.other);
    const std::string id = trust::hex(place.other.id()), keys = place.keys.string();
    CHECK(place.told() == "signed by the key " + id + ", which is not in " + keys);
    CHECK((*place.open())->origin.voucher == trust::Voucher::kNobody);
    fs::remove_all(place.keys);
    CHECK(place.told() == "signed by the key " + id + ", which is not in " + keys + " (" + keys + " does not exist)");
}

TEST_CASE("a signed file of which one byte was changed is refused, wherever the byte is") {
    Signed place;
    place.sign(place.acme);
    const std::string good = read(place.file);
    const std::string file = place.file.string();
    const auto with = [&](std::size_t at) {
        std::string bytes = good;
        bytes[at] = static_cast<char>(bytes[at] ^ 1);
        write(place.file, bytes);
        return place.told();
    };
    const std::size_t end = good.size() - trust::kSealBytes;
    for (const std::size_t at : {std::size_t{7}, end / 2, end - 1, end + 40, end + 103}) {
        CHECK(with(at) == file + " was changed: it is not what acme signed; fetch the file again");
    }
    CHECK(with(end + 16) == file + ": its signature has format 0, expected 1; fetch the file again");
    for (const std::size_t at : {end + 20, end + 24, end + 110}) {
        CHECK(with(at) == file +
                              ": its signature belongs to a file of another length, or was changed; "
                              "fetch the file again");
    }
    CHECK(with(end) == file + ": its signature has lost its beginning; fetch the file again");
    CHECK(with(end + 24 + 8).find("which is not in") != std::string::npos);  // the key's id
}

TEST_CASE("a signature that is cut short, or that something follows, is refused") {
    Signed place;
    place.sign(place.acme);
    const std::string good = read(place.file), file = place.file.string();
    for (const std::size_t left : {std::size_t{16}, std::size_t{64}, trust::kSealBytes - 1}) {
        write(place.file, good.substr(0, good.size() - trust::kSealBytes + left));
        CHECK(place.told() ==
              file + ": its signature is cut short: " + std::to_string(left) + " of 128 bytes; fetch the file again");
    }
    write(place.file, good + "more");
    CHECK(place.told() == file + ": 4 bytes stand behind its signature; fetch the file again");
}

TEST_CASE("a file of keys that is not to be trusted is no key, and whoever misses it is told why") {
    Signed place;
    place.sign(place.acme);
    const fs::path key = place.keys / "acme.pub";
    const std::string missing =
        "signed by the key " + trust::hex(place.acme.id()) + ", which is not in " + place.keys.string();
    Place::mode(key, 0646);
    CHECK(place.told() == missing + " (" + key.string() + " can be written by everybody; run chmod o-w on it)");
    Place::mode(key, 0644);
    CHECK(place.told() == "signed by acme");
    fs::rename(key, place.outer / "acme.pub");
    fs::create_symlink(place.outer / "acme.pub", key);
    CHECK(place.told() == missing + " (" + key.string() + " is a symbolic link, expected the file itself)");
    fs::remove(key);
    write(key, "ssh-ed25519 AAAA");
    CHECK(place.told() ==
          missing + " (" + key.string() + " is no public Ed25519 key in PEM, expected -----BEGIN PUBLIC KEY-----)");
    write(key, std::string(trust::kKeyFileMax + 1, 'x'));
    CHECK(place.told() == missing + " (" + key.string() + " is longer than 4096 bytes)");
    write(place.keys / "README", "no key, and not taken for one");
    place.trust_key("acme", place.acme);
    CHECK(place.told() == "signed by acme");
}

TEST_CASE("a folder of keys behind a symbolic link, or that others can write, holds no keys") {
    Signed place;
    place.sign(place.acme);
    const std::string keys = place.keys.string();
    const std::string missing = "signed by the key " + trust::hex(place.acme.id()) + ", which is not in " + keys;
    Place::mode(place.keys, 0757);
    CHECK(place.told() == missing + " (" + keys + " can be written by everybody; run chmod o-w on it)");
    Place::mode(place.keys, 0755);
    fs::rename(place.keys, place.outer / "real");
    fs::create_symlink("real", place.keys);
    CHECK(place.told() == missing + " (" + keys + " is a symbolic link, expected a folder; write " +
                              fs::canonical(place.keys).string() + " instead)");
}

TEST_CASE("a list of digests is in force for the folder it lies in") {
    Signed place;
    place.list_file();
    CHECK(place.told() == "not signed");         // a list of somebody's: it refuses what was changed, and vouches
    CHECK(place.told(place.path) == "package");  // for nothing; that of gantryd's own package does
    CHECK(place.told(place.path / ".") == "package");
    const std::string file = place.file.string(), list = place.list.string();
    write(place.list, std::string(64, '0') + " *./probe/other.so\n");
    const std::string not_there = file + " is not in " + list +
                                  ": keep plugins from elsewhere in a folder of their own, and name it in "
                                  "[plugins] path";
    CHECK(place.told() == not_there);
    CHECK(place.told(place.path) == not_there);
    place.list_file();
    const std::string before = trust::hex(contents_of(place.file).whole).substr(0, 16);
    std::string bytes = read(place.file);
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    write(place.file, bytes);
    const std::string changed = file + " was changed: " + list + " expects SHA-256 " + before + "..., it has " +
                                trust::hex(contents_of(place.file).whole).substr(0, 16) +
                                "...; install its package again";
    CHECK(place.told() == changed);
    CHECK(place.told(place.path) == changed);
    place.sign(place.acme);
    CHECK(place.told().find("was changed: " + list) != std::string::npos);  // a signature does not outweigh a list
    fs::remove(place.list);
    fs::remove_all(place.keys);
    CHECK(place.told(place.path).ends_with(", and " + list + " is missing"));
}

TEST_CASE("a second package has a list of its own beside the first") {
    Signed place;
    const auto extra = place.path / "gantry-plugins-extra.sha256";
    const auto line = trust::hex(contents_of(place.file).whole) + "  probe/bare.so\n";
    write(place.list, std::string(64, '0') + "  probe/other.so\n");
    CHECK_THAT(place.told(place.path), Catch::Matchers::Contains("bare.so is not in " + place.list.string()));
    write(extra, line);
    CHECK(place.told(place.path) == "package");
    fs::remove(place.list);
    CHECK(place.told(place.path) == "package");
    write(place.list, line);
    CHECK(place.told(place.path) ==
          extra.string() + " names probe/bare.so, which another list beside it names as well");
}

TEST_CASE("a list of digests that is damaged or not to be trusted refuses the whole folder") {
    Signed place;
    const std::string list = place.list.string();
    for (const char* text : {"no list\n", "0123  probe/bare.so\n", "-1\n"}) {
        write(place.list, text);
        CHECK(place.told() == list +
                                  ", line 1: expected 64 hexadecimal digits, two spaces and a name, as sha256sum "
                                  "writes them");
    }
    const std::string zero(64, '0');
    write(place.list, "\n" + zero + "  probe/a.so\n" + zero + "  probe/a.so\n");
    CHECK(place.told() == list + ", line 3: names a file a second time");
    write(place.list, zero + "  /probe/a.so\n");
    CHECK(place.told() == list + ", line 1: expected a name below the list's folder");
    place.list_file();
    Place::mode(place.list, 0646);
    CHECK(place.told() == list + " can be written by everybody; run chmod o-w on it");
    fs::remove(place.list);
    fs::create_symlink("elsewhere", place.list);
    CHECK(place.told() == list + " is a symbolic link, expected the file itself");
}

TEST_CASE("keys and lists are read once, until they are asked for anew") {
    Signed place;
    place.sign(place.acme);
    trust::Verifier verifier({{}, place.keys, false});
    const auto told = [&] {
        const auto opened = open_plugin({place.path}, "probe", "bare", verifier);
        return opened ? (*opened)->origin.text : opened.error().message;
    };
    CHECK(told() == "signed by acme");
    fs::remove_all(place.keys);
    CHECK(told() == "signed by acme");
    verifier.refresh();
    CHECK(told().starts_with("signed by the key "));
}

TEST_CASE("a file that is written to between the check and the load is not loaded, one that is replaced is") {
    Signed place;
    const auto replaced = place.open();
    REQUIRE(replaced);
    write(place.outer / "new.so", "another file");
    fs::rename(place.outer / "new.so", place.file);
    CHECK(Library::load(**replaced));  // what was checked: the descriptor is that file still

    Signed second;
    const auto opened = second.open();
    REQUIRE(opened);
    std::ofstream(second.file, std::ios::binary | std::ios::app) << "more";
    const auto loaded = Library::load(**opened);
    REQUIRE_FALSE(loaded);
    CHECK(loaded.error().message == second.file.string() +
                                        " was written to after it was checked; put a new file in its place instead of "
                                        "writing into it");
}

}  // namespace gantry::host
