// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/sylixos-ecs/board.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

namespace sylixos {
namespace {

using gantry::Code;
using gantry::Failure;

constexpr int kSshFailed = 255;  // of ssh itself: no connection, another host key, no login

bool plain(std::string_view word) {
    return !word.empty() && word[0] != '-' &&
           word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-:=@") == word.npos;
}

std::string absolute(const gantry::Config& config, const char* key) {
    const std::string& value = config.string(key);
    if (value.empty() || value[0] != '/' || !plain(value) || value.find("..") != value.npos) {
        throw Failure(
            Code::kInvalid,
            std::string(key) + ": expected an absolute path of letters, digits and /._-, got \"" + value + "\"");
    }
    return value;
}

std::string last_words(std::string text) {
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    return text.empty() ? "without a word" : text;
}

}  // namespace

Board::Board(const gantry::Config& config) : program_(absolute(config, "ecs")), folder_(absolute(config, "folder")) {
    (void)absolute(config, "boot_folder");
    if (!config.has("ssh")) return;
    target_ = config.string("ssh");
    const std::size_t at = target_.find('@');
    if (at == 0 || at == target_.npos || at + 1 == target_.size() || !plain(target_))
        throw Failure(Code::kInvalid, "ssh: expected USER@HOST, got \"" + target_ + "\"");
    for (const char* key : {"known_hosts", "identity"}) {
        if (!config.has(key))
            throw Failure(
                Code::kInvalid,
                std::string(key) + ": required with ssh: the board's key is pinned, and nobody types a password");
        std::error_code error;
        if (!std::filesystem::is_regular_file(absolute(config, key), error)) {
            throw Failure(Code::kInvalid, std::string(key) + ": there is no file " + config.string(key) +
                                              (std::string_view(key) == "known_hosts"
                                                   ? "; write it with 'ssh-keyscan " + target_.substr(at + 1) +
                                                         "' and compare the key with the board's own"
                                                   : "; make one with 'ssh-keygen -t ed25519 -N \"\"'"));
        }
    }
    known_hosts_ = config.string("known_hosts");
    identity_ = config.string("identity");
    port_ = std::to_string(config.integer("ssh_port"));
}

std::vector<std::string> Board::ssh_options(const char* port_option) const {
    std::vector<std::string> out{port_option, port_, "-i", identity_};
    // Nothing of the user's own configuration; a key that is not in the file is refused, nothing is asked.
    for (const char* option : {"IdentitiesOnly=yes", "BatchMode=yes", "StrictHostKeyChecking=yes",
                               "GlobalKnownHostsFile=/dev/null", "UpdateHostKeys=no", "ConnectTimeout=5",
                               "ServerAliveInterval=2", "ServerAliveCountMax=3", "LogLevel=ERROR"}) {
        out.insert(out.end(), {"-o", option});
    }
    out.insert(out.end(), {"-F", "/dev/null", "-o", "UserKnownHostsFile=" + known_hosts_});
    return out;
}

Board::Result Board::run(std::vector<std::string> argv, gantry::Duration limit, int input) const {
    monitored::Command command;
    command.argv = std::move(argv);
    command.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C"};
    if (input >= 0) command.fds = {{0, input}};
    try {
        const monitored::Outcome outcome = monitored::run(command, monitored::now() + limit, cancelled);
        return {outcome.code, last_words(outcome.errors)};
    } catch (const Failure& failure) {
        if (failure.code() == Code::kDeadline) {
            throw Failure(Code::kDeadline, name() + " did not end a call within " +
                                               std::to_string(limit.count() / 1'000'000) + " ms; does the board hang?");
        }
        throw;
    }
}

Board::Result Board::call(const std::vector<std::string>& words, gantry::Duration limit) const {
    for (const std::string& word : words) {
        // A first word may not begin with '-', a later one may.
        const std::string_view checked =
            word.starts_with('-') ? std::string_view(word).substr(1) : std::string_view(word);
        if (!plain(checked)) throw Failure(Code::kInvalid, "\"" + word + "\" cannot be said to a board's shell");
    }
    if (!remote()) {
        std::vector<std::string> argv{"/usr/bin/env"};
        argv.insert(argv.end(), words.begin(), words.end());
        return run(std::move(argv), limit);
    }
    std::vector<std::string> argv{"/usr/bin/ssh", "-T"};
    for (std::string& option : ssh_options("-p")) argv.push_back(std::move(option));
    argv.push_back(target_);
    argv.push_back("--");
    argv.insert(argv.end(), words.begin(), words.end());
    Result out = run(std::move(argv), limit);
    if (out.status == kSshFailed)
        throw Failure(Code::kUnavailable, "the board " + name() + " cannot be reached: " + out.words);
    return out;
}

Board::Result Board::ecs(const std::vector<std::string>& words, gantry::Duration limit) const {
    std::vector<std::string> all{program_};
    all.insert(all.end(), words.begin(), words.end());
    return call(all, limit);
}

void Board::put(const std::string& file, const std::string& to, gantry::Duration limit) const {
    const std::string half = to + ".new";
    Result copied;
    if (!remote()) {
        copied = run({"/bin/cp", file, half}, limit);
        if (copied.ok()) copied = run({"/bin/mv", half, to}, limit);
    } else {
        const std::string batch = "put " + file + " " + half + "\n-rm " + to + "\nrename " + half + " " + to + "\n";
        const gantry::Fd input(::memfd_create("batch", MFD_CLOEXEC));
        if (!input || ::write(input.get(), batch.data(), batch.size()) != static_cast<ssize_t>(batch.size()))
            throw Failure(Code::kFailed, std::string("no memory file: ") + std::strerror(errno));
        ::lseek(input.get(), 0, SEEK_SET);
        std::vector<std::string> argv{"/usr/bin/sftp", "-q", "-b", "-"};
        for (std::string& option : ssh_options("-P")) argv.push_back(std::move(option));
        argv.push_back(target_);
        copied = run(std::move(argv), limit, input.get());
    }
    if (!copied.ok()) {
        const bool full = copied.words.find("No space left") != std::string::npos;
        throw Failure(full                          ? Code::kFull
                      : copied.status == kSshFailed ? Code::kUnavailable
                                                    : Code::kFailed,
                      "cannot copy " + to + " to " + name() + ": " + copied.words);
    }
}

}  // namespace sylixos
