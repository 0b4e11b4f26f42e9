// SPDX-License-Identifier: Apache-2.0
#include "sdk/tools/sign/sign.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <gantry/elf/reader.hpp>
#include <gantry/trust/key.hpp>
#include <memory>
#include <vector>

#include "sdk/tools/commands.hpp"
#include "sdk/tools/trouble.hpp"

namespace gantry::tools {
namespace {

namespace fs = std::filesystem;

struct File {
    explicit File(int open) : fd(open) {}
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() {
        if (fd >= 0) ::close(fd);
    }
    const int fd;
};

std::unique_ptr<File> open_input(const fs::path& path, struct stat& info) {
    auto file = std::make_unique<File>(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (file->fd < 0 || ::fstat(file->fd, &info) != 0) {
        throw Failure(exit_status::kNoInput, path.string() + " cannot be read: " + std::strerror(errno));
    }
    return file;
}

trust::Key read_key(const fs::path& path) {
    struct stat info {};
    const auto file = open_input(path, info);
    if (!S_ISREG(info.st_mode)) throw Failure(exit_status::kBadData, path.string() + " is no regular file");
    if ((info.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        throw Failure(exit_status::kBadData,
                      path.string() + " can be used by others than its owner; run chmod 600 on it");
    }
    std::string pem(trust::kKeyFileMax + 1, '\0');
    const ssize_t count = ::read(file->fd, pem.data(), pem.size());
    if (count < 0) {
        throw Failure(exit_status::kNoInput, path.string() + " cannot be read: " + std::strerror(errno));
    }
    pem.resize(static_cast<std::size_t>(count));
    std::string error;
    const auto key = trust::Key::read_private(pem, error);
    if (!key) throw Failure(exit_status::kBadData, path.string() + " " + error);
    return *key;
}

bool write_whole(int fd, const std::uint8_t* bytes, std::size_t count) {
    while (count > 0) {
        const ssize_t n = ::write(fd, bytes, count);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        bytes += n;
        count -= static_cast<std::size_t>(n);
    }
    return true;
}

// The first `count` bytes of one file to the end of another.
bool copy(int from, int to, std::uint64_t count) {
    std::vector<std::uint8_t> chunk(64 << 10);
    for (std::uint64_t at = 0; at < count;) {
        const ssize_t n =
            ::pread(from, chunk.data(), std::min<std::uint64_t>(chunk.size(), count - at), static_cast<off_t>(at));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0 || !write_whole(to, chunk.data(), static_cast<std::size_t>(n))) return false;
        at += static_cast<std::uint64_t>(n);
    }
    return true;
}

// A new file takes the place of the old one when it is whole and on the disk.
void replace(const fs::path& path, const File& old, const struct stat& info, std::uint64_t kept,
             const trust::Seal& seal) {
    std::string temporary = path.string() + ".XXXXXX";
    const File made(::mkostemp(temporary.data(), O_CLOEXEC));
    const auto bytes = trust::write_seal(seal, kept);
    const bool whole = made.fd >= 0 && copy(old.fd, made.fd, kept) &&
                       write_whole(made.fd, bytes.data(), bytes.size()) &&
                       ::fchmod(made.fd, info.st_mode & 07777) == 0 && ::fsync(made.fd) == 0 &&
                       ::rename(temporary.c_str(), path.c_str()) == 0;
    if (whole) return;
    const std::string why = std::strerror(errno);
    if (made.fd >= 0) ::unlink(temporary.c_str());
    throw Failure(exit_status::kCannotCreate, path.string() + " cannot be replaced: " + why);
}

}  // namespace

std::string sign_plugin(const fs::path& file, const fs::path& key_file) {
    const trust::Key key = read_key(key_file);
    std::error_code missing;  // then opening it says so
    const fs::path canonical = fs::canonical(file, missing);
    const fs::path& path = missing ? file : canonical;
    struct stat info {};
    const auto plugin = open_input(path, info);
    trust::Contents contents;
    std::string error;
    if (!trust::read_contents(plugin->fd, contents, error)) {
        throw Failure(exit_status::kBadData, file.string() + " " + error);
    }
    if (contents.sealed == trust::Sealed::kDamaged) {
        throw Failure(exit_status::kBadData, file.string() + ": " + contents.text + "; build the file again");
    }
    const elf::Reading reading = elf::read_plugin(plugin->fd);
    if (reading.fault != elf::Fault::kNone) {
        throw Failure(exit_status::kBadData, file.string() + " is no plugin: " + reading.text);
    }
    const trust::Seal seal = key.sign(contents.before_seal);
    replace(path, *plugin, info, contents.signed_size, seal);
    const bool resigned = contents.sealed == trust::Sealed::kWhole && contents.seal.key != key.id();
    return file.string() + ": signed with the key " + trust::hex(key.id()) +
           (resigned ? ", in place of " + trust::hex(contents.seal.key) : std::string()) + "\n";
}

void add_sign(CLI::App& app, Chosen& chosen) {
    auto* const command = app.add_subcommand("sign", "Sign a plugin's file, after all that changes it (strip, too)");
    struct Given {
        std::string file, key;
    };
    auto given = std::make_shared<Given>();
    command->add_option("FILE.so", given->file, "The plugin")->required();
    command->add_option("--key", given->key, "The private key, as keygen made it: NAME.key")->required();
    command->footer("Example:\n  gantry-plugin sign --key acme.key my-policy.so");
    command->callback([&chosen, given] {
        chosen = [given] {
            std::fputs(sign_plugin(given->file, given->key).c_str(), stdout);
            return exit_status::kGood;
        };
    });
}

}  // namespace gantry::tools
