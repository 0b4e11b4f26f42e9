// SPDX-License-Identifier: Apache-2.0
//
// Ten thousand broken copies of a plugin that a list of digests names: whatever a reader would make of them, each is
// refused by its name.
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>

#include "kernel/trust/verifier.hpp"
#include "tests/support/mutations.hpp"

using gantry::test::Mutations;

namespace gantry::trust {
namespace {

constexpr const char* kName = "placement/least-loaded.so";

// A folder of plugins with a list that names one, by the contents given.
class Folder {
  public:
    explicit Folder(const Digest& digest) {
        std::string made = (std::filesystem::temp_directory_path() / "gantry-list-XXXXXX").string();
        REQUIRE(::mkdtemp(made.data()) != nullptr);
        path = made;
        std::ofstream(path / kListName) << hex(digest) << "  " << kName << '\n';
        REQUIRE(::chmod((path / kListName).c_str(), 0644) == 0);
    }
    ~Folder() { std::filesystem::remove_all(path); }
    std::filesystem::path path;
};

// A file in memory that takes one content after the other.
class File {
  public:
    File() : fd(::memfd_create("plugin", MFD_CLOEXEC)) { REQUIRE(fd >= 0); }
    ~File() { ::close(fd); }
    void put(const Mutations::Bytes& bytes) const {
        const auto size = static_cast<ssize_t>(bytes.size());
        if (::ftruncate(fd, size) != 0 || ::pwrite(fd, bytes.data(), bytes.size(), 0) != size) FAIL("no memory");
    }
    const int fd;
};

}  // namespace

TEST_CASE("with a list of digests in force ten thousand broken copies of a plugin are each refused by name") {
    const Mutations broken(GANTRY_BUNDLED_FILE);
    WARN("seed " << broken.seed() << " (GANTRY_SEED repeats it)");
    const File file;
    file.put(broken.whole());
    Contents contents;
    std::string error;
    REQUIRE(read_contents(file.fd, contents, error));
    const Folder folder(contents.whole);
    Options options;
    options.package = folder.path;
    Verifier verifier(options);
    const Result<Origin> sound = verifier.examine(file.fd, folder.path, kName);
    REQUIRE(sound);
    CHECK(sound->voucher == Voucher::kPackage);

    const std::string sentence = (folder.path / kName).string() + " was changed: ";
    for (const std::uint64_t number : broken.numbers()) {
        INFO("GANTRY_SEED=" << broken.seed() << " GANTRY_MUTATION=" << number);
        file.put(broken.copy(number));
        const Result<Origin> origin = verifier.examine(file.fd, folder.path, kName);
        if (origin) FAIL("taken as " << origin->text);
        if (!origin.error().message.starts_with(sentence)) FAIL(origin.error().message);
    }
}

}  // namespace gantry::trust
