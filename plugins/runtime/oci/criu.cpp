// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/oci/criu.hpp"

#include <signal.h>

#include <gantry/status.hpp>
#include <sstream>
#include <string_view>

#include "plugins/runtime/monitored/files.hpp"
#include "plugins/runtime/monitored/process.hpp"

namespace oci {
namespace {

using gantry::Code;
using gantry::Failure;

constexpr std::string_view kPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr auto kCheckTime = std::chrono::seconds(5);
constexpr std::size_t kMaxLog = 8 << 20;
constexpr std::int64_t kKept = 64 << 20;  // bytes that a node needs for itself

// "(00.988487) Error (criu/filesystems.c:426): Can't dump tmpfs content": what is behind the place, of the last one
// that names a cause. "exited, status=1" only says that some program failed, and "FAILED" that all has.
std::string cause_in(const std::string& text) {
    std::string out;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        const std::size_t error = line.find("Error (");
        const std::size_t place = error == std::string::npos ? error : line.find("): ", error);
        if (place == std::string::npos) continue;
        const std::string cause = line.substr(place + 3);
        if (cause.find("exited, status") == std::string::npos && cause.find("FAILED") == std::string::npos) out = cause;
    }
    return out;
}

}  // namespace

std::string why_no_checkpoints(const std::string& engine, const std::filesystem::path& criu) {
    if (engine != "runc") return "they were shown to work with engine = \"runc\" alone";
    if (criu.empty()) return "criu is not installed; install it (apt-get install criu) and restart gantryd";
    monitored::Command command;
    command.argv = {criu.string(), "check"};
    command.env = {"PATH=" + std::string(kPath)};
    std::string said;
    try {
        const monitored::Outcome outcome = monitored::run(command, monitored::now() + kCheckTime);
        if (outcome.code == 0) return {};
        said = cause_in(outcome.errors);
        if (said.empty()) said = outcome.errors.empty() ? "it says nothing" : outcome.errors;
    } catch (const Failure& failure) {
        said = failure.what();
    }
    return "this node's kernel does not suit criu: " + said + "; see what `" + criu.string() + " check` says";
}

std::string criu_error(const std::filesystem::path& log) {
    return cause_in(monitored::read_file(log, kMaxLog).value_or(""));
}

Criu::Criu(const std::filesystem::path& program, const std::string& mark)
    : folder_(program.parent_path().string()), mark_(mark) {}

std::vector<std::string> Criu::environment() const {
    return {"PATH=" + folder_ + ":" + std::string(kPath), "GANTRY_EXEC=" + mark_};
}

void Criu::end() const {
    std::error_code error;
    for (std::filesystem::directory_iterator it("/proc", error), last; !error && it != last; it.increment(error)) {
        const auto pid = monitored::parse_number(it->path().filename().string());
        if (pid && monitored::has_mark(static_cast<pid_t>(*pid), mark_))
            (void)::kill(static_cast<pid_t>(*pid), SIGKILL);
    }
}

void check_room(const std::filesystem::path& dir, std::int64_t bytes) {
    const auto free = static_cast<std::int64_t>(std::filesystem::space(dir).available);
    if (free >= bytes + kKept) return;
    throw Failure(Code::kFull, "a checkpoint of " + std::to_string(bytes >> 20) + " MiB does not fit: " + dir.string() +
                                   " has " + std::to_string(free >> 20) + " MiB free, of which " +
                                   std::to_string(kKept >> 20) + " are kept");
}

}  // namespace oci
