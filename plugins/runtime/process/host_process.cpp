// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/process/host_process.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <set>
#include <sstream>

#include "plugins/runtime/monitored/files.hpp"
#include "plugins/runtime/monitored/program.hpp"
#include "plugins/runtime/monitored/root_folder.hpp"

namespace process {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using gantry::Code;
using gantry::Failure;
using gantry::Fd;
using gantry::Instant;
using monitored::Home;
using monitored::Record;

constexpr auto kMonitorEnd = std::chrono::seconds(1);
constexpr int kReportFd = 3, kEnvironmentFd = 4;
constexpr std::size_t kMaxFile = 1 << 20;

[[noreturn]] void invalid(const std::string& name, const std::string& why) {
    throw Failure(Code::kInvalid, "container \"" + name + "\": " + why);
}

bool is_program(const std::string& path) {
    struct stat st {};
    return !path.empty() && ::stat(path.c_str(), &st) == 0 && S_ISREG(st.st_mode) && ::access(path.c_str(), X_OK) == 0;
}

// The program's path on this node. Looked up inside the image only: a program of the node would be another one.
std::string find_program(const monitored::RootFolder& root, const monitored::Program& program,
                         const std::string& name) {
    const std::string& wanted = program.args.front();
    std::vector<std::string> tries;
    if (wanted.front() == '/') {
        tries.push_back(wanted);
    } else if (wanted.find('/') != std::string::npos) {
        tries.push_back(program.cwd + "/" + wanted);
    } else {
        for (const std::string& line : program.env) {
            if (!line.starts_with("PATH=")) continue;
            std::istringstream folders(line.substr(5));
            for (std::string folder; std::getline(folders, folder, ':');) tries.push_back(folder + "/" + wanted);
        }
    }
    for (const std::string& path : tries) {
        std::string found = root.resolve(path);
        if (is_program(found)) return found;
    }
    invalid(name, "the image has no program \"" + wanted + "\"; correct `args` or the image's entry point");
}

// In a user namespace root may become only who is mapped into it, and may be denied to choose groups.
bool may_become(const monitored::User& user) {
    if (::geteuid() != 0) return false;
    if (monitored::read_file("/proc/self/setgroups", 16).value_or("").starts_with("deny")) return false;
    const auto mapped = [](const char* file, long long id) {
        std::istringstream lines(monitored::read_file(file, 64 << 10).value_or(""));
        for (long long inside = 0, outside = 0, count = 0; lines >> inside >> outside >> count;) {
            if (id >= inside && id < inside + count) return true;
        }
        return false;
    };
    const auto group_mapped = [&](unsigned gid) { return mapped("/proc/self/gid_map", gid); };
    return mapped("/proc/self/uid_map", user.uid) && group_mapped(user.gid) &&
           std::ranges::all_of(user.groups, group_mapped);
}

// Who the process becomes; nobody else: as the daemon.
std::optional<monitored::User> find_identity(const monitored::RootFolder& root, const gantry::ContainerSpec& spec,
                                             const monitored::Program& program) {
    if (program.user.empty()) return std::nullopt;
    const monitored::User user = monitored::find_user(root, program.user);
    if (may_become(user)) return user;
    const bool any_group = program.user.find(':') == std::string::npos;
    if (user.uid == ::geteuid() && (any_group || user.gid == ::getegid())) return std::nullopt;
    // An image's own wish is waived: an ordinary user has no other choice. An explicit one is not.
    if (spec.user.empty()) return std::nullopt;
    invalid(spec.name, "user \"" + spec.user + "\" needs root; this daemon runs as user " +
                           std::to_string(::geteuid()) + " of group " + std::to_string(::getegid()));
}

// The image lies in the daemon's state folder, and those are shut to other users. Only the plain bits are looked at.
void check_reach(const std::string& container, const monitored::User& user, const fs::path& target) {
    if (user.uid == 0) return;
    fs::path at;
    for (const fs::path& part : target) {
        at /= part;
        struct stat st {};
        if (::stat(at.c_str(), &st) != 0) monitored::file_failed("examine", at, errno);
        const bool of_group = st.st_gid == user.gid || std::ranges::find(user.groups, st.st_gid) != user.groups.end();
        const mode_t bit = st.st_uid == user.uid ? S_IXUSR : of_group ? S_IXGRP : S_IXOTH;
        if ((st.st_mode & bit) != 0) continue;
        invalid(container, "user " + std::to_string(user.uid) + " cannot get at " + target.string() + ": " +
                               at.string() + " is shut to him; use runtime/oci, or let it run as the daemon's user " +
                               "(user = \"" + std::to_string(::geteuid()) + "\"), or open that (chmod o+x)");
    }
}

struct Running {
    pid_t parent = 0;
    pid_t session = 0;
    bool dead = false;
};

std::map<pid_t, Running> all_processes() {
    std::map<pid_t, Running> out;
    std::error_code error;
    for (fs::directory_iterator it("/proc", error), end; !error && it != end; it.increment(error)) {
        const auto pid = monitored::parse_number(it->path().filename().string());
        if (!pid) continue;
        const std::string text = monitored::read_file(it->path() / "stat", 4096).value_or("");
        const std::size_t at = text.rfind(") ");
        if (at == std::string::npos) continue;
        std::istringstream fields(text.substr(at + 2));
        char state = 0;
        pid_t group = 0;
        Running item;
        fields >> state >> item.parent >> group >> item.session;
        item.dead = state == 'Z' || state == 'X';
        out.emplace(static_cast<pid_t>(*pid), item);
    }
    return out;
}

// The living processes of a container: its first, all of its session, all that the monitor adopted, and theirs.
std::vector<pid_t> members(const Record& record) {
    const std::map<pid_t, Running> all = all_processes();
    const bool first_lives = static_cast<bool>(monitored::open_process(record.process));
    const bool monitor_lives = static_cast<bool>(monitored::open_process(record.monitor));
    std::set<pid_t> inside;
    for (const auto& [pid, item] : all) {
        // A session keeps its number while it has a member, and the number is not given out again meanwhile. But once
        // both the first process and the monitor are gone nothing proves that a session of this number is the same.
        const bool of_session = item.session == record.process.pid && (first_lives || monitor_lives);
        if (of_session || (monitor_lives && item.parent == record.monitor.pid)) inside.insert(pid);
    }
    for (bool grown = true; grown;) {
        grown = false;
        for (const auto& [pid, item] : all) {
            if (inside.contains(item.parent)) grown = inside.insert(pid).second || grown;
        }
    }
    std::vector<pid_t> out;
    for (const pid_t pid : inside) {
        if (!all.at(pid).dead) out.push_back(pid);
    }
    return out;
}

std::string read_report(int fd, Instant deadline) {
    std::string out;
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - monitored::now());
        if (left.count() <= 0) throw Failure(Code::kDeadline, "the process did not start in time");
        pollfd item{fd, POLLIN, 0};
        if (::poll(&item, 1, static_cast<int>(std::min<long long>(left.count(), 60'000))) <= 0) continue;
        std::array<char, 1024> chunk;
        const ssize_t n = ::read(fd, chunk.data(), chunk.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        out.append(chunk.data(), static_cast<std::size_t>(n));
    }
    while (!out.empty() && out.back() == '\n') out.pop_back();
    return out;
}

// What the monitor wrote before it let the process begin.
bool read_processes(const Home& home, Record& record) {
    std::istringstream text(monitored::read_file(home.dir / "process", 256).value_or(""));
    monitored::ProcessRef first, monitor;
    if (!(text >> first.pid >> first.start >> monitor.pid >> monitor.start)) return false;
    first.boot = monitor.boot = monitored::current_boot();
    record.process = first;
    record.monitor = monitor;
    return true;
}

// The monitor is the daemon's program and must not run with the container's variables (LD_PRELOAD); as arguments
// everybody on the node could read them.
Fd environment_file(const json::array& lines) {
    Fd file(static_cast<int>(::memfd_create("environment", MFD_CLOEXEC)));
    std::string text;
    for (const json::value& line : lines) {
        text += line.as_string();
        text += '\0';
    }
    if (!file || ::write(file.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()) ||
        ::lseek(file.get(), 0, SEEK_SET) != 0) {
        throw Failure(Code::kFailed, std::string("cannot pass the environment: ") + std::strerror(errno));
    }
    return file;
}

}  // namespace

// Only looks and notes what start will do, so that what cannot work is said now.
void HostProcess::create(const gantry::ContainerSpec& spec, const image_store::Image& image, const Home& home, Record&,
                         Instant) {
    if (!spec.mounts.empty()) {
        invalid(spec.name, "runtime/process has no mounts; use runtime/oci or let the program use the node's paths");
    }
    const monitored::Program program = monitored::program_of(spec, image.config);
    const monitored::RootFolder root(image.layers.front());
    const std::string path = find_program(root, program, spec.name);
    const std::string cwd = root.resolve(program.cwd);
    if (cwd.empty()) invalid(spec.name, "the image has no working directory \"" + program.cwd + "\"");
    const std::optional<monitored::User> user = find_identity(root, spec, program);
    json::array who{"-1", "-1", "-"};
    if (user) {
        check_reach(spec.name, *user, cwd);
        check_reach(spec.name, *user, path);
        std::string groups;
        for (const unsigned group : user->groups) groups += (groups.empty() ? "" : ",") + std::to_string(group);
        who = {std::to_string(user->uid), std::to_string(user->gid), groups.empty() ? "-" : groups};
    }
    json::array args(who);
    args.emplace_back(cwd);
    args.emplace_back(path);
    for (const std::string& arg : program.args) args.emplace_back(arg);
    json::array env(program.env.begin(), program.env.end());
    env.emplace_back("GANTRY_ROOT=" + image.layers.front().string());
    monitored::replace_file(home.dir / "plan.json", json::serialize(json::object{{"args", args}, {"env", env}}));
}

void HostProcess::start(const Home& home, Record& record, Instant deadline) {
    json::error_code error;
    const json::value plan = json::parse(monitored::read_file(home.dir / "plan.json", kMaxFile).value_or(""), error);
    if (error) throw Failure(Code::kFailed, "container \"" + record.name + "\": its plan.json is damaged; remove it");
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) throw Failure(Code::kFailed, std::string("pipe: ") + std::strerror(errno));
    const Fd in(ends[0]);
    Fd out(ends[1]);
    const Fd environment = environment_file(plan.at("env").as_array());
    monitored::Command command;
    command.argv = {options_.monitor, home.dir.string(), (home.exits / record.name).string(),
                    std::to_string(options_.log_max_bytes) + "/" + std::to_string(options_.log_files)};
    for (const json::value& arg : plan.at("args").as_array()) command.argv.emplace_back(arg.as_string());
    command.fds = {{kReportFd, out.get()}, {kEnvironmentFd, environment.get()}};
    (void)monitored::run(command, deadline);
    out.reset();
    const std::string report = read_report(in.get(), deadline);
    const bool known = read_processes(home, record);
    if (!report.empty() || !known) {
        throw Failure(Code::kFailed,
                      "container \"" + record.name + "\": " + (report.empty() ? "the monitor died" : report));
    }
}

bool HostProcess::was_started(const Home& home, Record& record) { return read_processes(home, record); }

pid_t HostProcess::kill(const Home& home, const Record& record) {
    Record all = record;
    if (!all.process && !read_processes(home, all)) return 0;
    const std::vector<pid_t> left = members(all);
    for (const pid_t pid : left) (void)::kill(pid, SIGKILL);
    return left.empty() ? 0 : left.front();
}

void HostProcess::clean(const Home& home, const Record& record, Instant deadline) {
    Record all = record;
    if (!all.process && !read_processes(home, all)) return;
    const Fd monitor = monitored::open_process(all.monitor);
    if (monitored::wait_end(monitor, std::min(deadline, monitored::now() + kMonitorEnd))) return;
    (void)::syscall(SYS_pidfd_send_signal, monitor.get(), SIGKILL, nullptr, 0);
    (void)monitored::wait_end(monitor, deadline);
}

monitored::Command HostProcess::exec(const Home& home, const Record& record, const std::vector<std::string>& args,
                                     const std::string& mark, bool) {
    json::error_code error;
    const json::value plan = json::parse(monitored::read_file(home.dir / "plan.json", kMaxFile).value_or(""), error);
    if (error) throw Failure(Code::kFailed, "container \"" + record.name + "\": its plan.json is damaged");
    const json::array& all = plan.at("args").as_array();
    if (all.at(0).as_string() != "-1") {
        throw Failure(Code::kUnsupported, "container \"" + record.name + "\" runs as user " +
                                              std::string(all.at(0).as_string()) +
                                              ", and runtime/process runs further programs as the daemon only; use "
                                              "runtime/oci");
    }
    monitored::Program program;
    program.args = args;
    program.cwd = "/";
    std::string root;
    for (const json::value& line : plan.at("env").as_array()) {
        program.env.emplace_back(line.as_string());
        if (program.env.back().starts_with("GANTRY_ROOT=")) root = program.env.back().substr(12);
    }
    monitored::Command command;
    try {
        command.argv = {find_program(monitored::RootFolder(root), program, record.name)};
    } catch (const Failure& failure) {
        throw Failure(Code::kNotFound, failure.what());
    }
    command.argv.insert(command.argv.end(), args.begin() + 1, args.end());
    command.env = program.env;
    command.env.push_back("GANTRY_EXEC=" + mark);
    command.cwd = std::string(all.at(3).as_string());
    return command;
}

void HostProcess::end_exec(const Record&, const std::string& mark) {
    const Instant end = monitored::now() + std::chrono::seconds(1);
    // Each is killed as it is seen, before it can fork again; its children have greater numbers, so that the same look
    // comes to them. Numbers begin anew at some time: what had a process is looked through twice more.
    for (int looks = 1; looks > 0 && monitored::now() < end; --looks) {
        std::error_code error;
        for (fs::directory_iterator it("/proc", error), last; !error && it != last; it.increment(error)) {
            const auto pid = monitored::parse_number(it->path().filename().string());
            if (!pid || !monitored::has_mark(static_cast<pid_t>(*pid), mark)) continue;
            (void)::kill(static_cast<pid_t>(*pid), SIGKILL);
            looks = 3;
        }
    }
}

std::optional<gantry::ContainerStats> HostProcess::stats(const Record& record) {
    gantry::ContainerStats out;
    const long ticks = ::sysconf(_SC_CLK_TCK), page = ::sysconf(_SC_PAGESIZE);
    for (const pid_t pid : members(record)) {
        const std::string proc = "/proc/" + std::to_string(pid);
        const std::string stat = monitored::read_file(proc + "/stat", 4096).value_or("");
        const std::size_t at = stat.rfind(") ");
        if (at == std::string::npos) continue;
        std::istringstream fields(stat.substr(at + 2));
        std::string skipped;
        for (int field = 3; field < 14; ++field) fields >> skipped;
        long long user = 0, system = 0, total = 0, resident = 0;
        fields >> user >> system;
        std::istringstream(monitored::read_file(proc + "/statm", 256).value_or("")) >> total >> resident;
        out.cpu += std::chrono::nanoseconds(1'000'000'000LL / ticks * (user + system));
        out.memory_bytes += resident * page;
        out.pids += 1;
    }
    return out;
}

}  // namespace process
