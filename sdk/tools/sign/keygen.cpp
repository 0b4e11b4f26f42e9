// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include <cerrno>
#include <cstring>
#include <gantry/trust/key.hpp>
#include <memory>

#include "sdk/tools/commands.hpp"
#include "sdk/tools/sign/sign.hpp"
#include "sdk/tools/trouble.hpp"

namespace gantry::tools {
namespace {

// False, with errno, if it is there already or cannot be written whole.
bool write_new(const std::filesystem::path& file, const std::string& text, mode_t mode) {
    const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) return false;
    const bool whole = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       ::fchmod(fd, mode) == 0 && ::fsync(fd) == 0;
    const int why = errno;
    ::close(fd);
    if (whole) return true;
    ::unlink(file.c_str());
    errno = why;
    return false;
}

}  // namespace

std::string make_key(const std::filesystem::path& name) {
    const auto file = [&](const char* ending) { return std::filesystem::path(name.string() + ending); };
    const auto cannot = [](const std::filesystem::path& which) {
        return Failure(exit_status::kCannotCreate, which.string() + " cannot be written: " + std::strerror(errno));
    };
    const auto key = trust::Key::make();
    if (!key) throw Failure(exit_status::kInternal, "OpenSSL makes no key");
    if (!write_new(file(".key"), key->private_pem(), 0600)) throw cannot(file(".key"));
    if (!write_new(file(".pub"), key->public_pem(), 0644)) {
        const Failure failure = cannot(file(".pub"));
        ::unlink(file(".key").c_str());
        throw failure;
    }
    return file(".key").string() + ": the private key, for gantry-plugin sign; keep it to yourself\n" +
           file(".pub").string() + ": the public key " + trust::hex(key->id()) +
           ", for operators to put into /etc/gantry/trusted-keys.d\n";
}

void add_keygen(CLI::App& app, Chosen& chosen) {
    auto* const command = app.add_subcommand("keygen", "Make a key that signs plugins: NAME.key and NAME.pub");
    auto name = std::make_shared<std::string>();
    command->add_option("NAME", *name, "Where to put it, without an ending")->required();
    command->footer("Example:\n  gantry-plugin keygen acme");
    command->callback([&chosen, name] {
        chosen = [name] {
            std::fputs(make_key(*name).c_str(), stdout);
            return exit_status::kGood;
        };
    });
}

}  // namespace gantry::tools
