// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/oci/engine.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <sstream>

#include "plugins/runtime/monitored/files.hpp"
#include "plugins/runtime/monitored/log_file.hpp"
#include "plugins/runtime/monitored/program.hpp"
#include "plugins/runtime/monitored/root_folder.hpp"
#include "plugins/runtime/oci/bundle.hpp"
#include "plugins/runtime/oci/criu.hpp"
#include "plugins/runtime/oci/overlay.hpp"

namespace oci {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using gantry::Code;
using gantry::Failure;
using gantry::Fd;
using gantry::Instant;
using monitored::Home;
using monitored::Record;

constexpr auto kMonitorEnd = std::chrono::seconds(1);  // for conmon to follow its container
constexpr std::size_t kMaxAnswer = 64 << 10;
constexpr std::size_t kMaxConfig = 4 << 20;
constexpr int kSyncFd = 3;
constexpr auto kLogPause = std::chrono::seconds(1);
constexpr auto kFreezeTime = std::chrono::seconds(10);
constexpr std::string_view kCriuOptions = "tcp-close\n";  // connections are left out, and found closed
constexpr std::string_view kReopenLogs = "2 0 0\n";       // to conmon's control fifo

const std::vector<std::string> kEnvironment = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"};

// What conmon says about the creation, one line: {"data": PID} or {"data": -1, "message": "..."}.
std::string read_line(int fd, Instant deadline) {
    std::string out;
    for (;;) {
        const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - monitored::now());
        pollfd item{fd, POLLIN, 0};
        const int ready =
            left.count() <= 0 ? 0 : ::poll(&item, 1, static_cast<int>(std::min<long long>(left.count(), 60'000)));
        if (ready == 0 && left.count() <= 0)
            throw Failure(Code::kDeadline, "the engine did not create the container in time");
        if (ready <= 0) continue;
        std::array<char, 4096> chunk;
        const ssize_t n = ::read(fd, chunk.data(), chunk.size());
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0 || out.size() > kMaxAnswer) return out;
        out.append(chunk.data(), static_cast<std::size_t>(n));
        if (out.back() == '\n') return out;
    }
}

// The engine's own words without its log format: time="..." level=error msg="runc create failed: ..."
std::string words(std::string text) {
    std::string message = text;
    if (const std::size_t at = text.rfind("level=error msg=\""); at != std::string::npos) {
        message = text.substr(at + 17);
        std::string plain;
        for (std::size_t i = 0; i < message.size() && message[i] != '"'; ++i) {
            if (message[i] == '\\' && i + 1 < message.size()) ++i;
            plain += message[i];
        }
        message = plain;
    }
    while (!message.empty() && (message.back() == '\n' || message.back() == ' ')) message.pop_back();
    return message.empty() ? "no reason given" : message;
}

pid_t created_pid(const std::string& answer, const std::string& errors, const std::string& name) {
    json::error_code error;
    const json::value document = json::parse(answer, error);
    const json::object* object = error ? nullptr : document.if_object();
    const json::value* data = object == nullptr ? nullptr : object->if_contains("data");
    if (data != nullptr && data->is_int64() && data->as_int64() > 0) return static_cast<pid_t>(data->as_int64());
    const json::value* message = object == nullptr ? nullptr : object->if_contains("message");
    const std::string text = message != nullptr && message->is_string() ? std::string(message->as_string()) : errors;
    throw Failure(Code::kFailed, "container \"" + name + "\": " + words(text));
}

// Named in the bundle of every container.
fs::path criu_options(const fs::path& engine_root) { return engine_root.parent_path() / "criu.conf"; }

// Written before conmon goes to the background; 0 if there is none.
pid_t conmon_pid(const Home& home) {
    const auto pid = monitored::parse_number(monitored::read_file(home.dir / "conmon.pid", 32).value_or(""));
    return static_cast<pid_t>(pid.value_or(0));
}

std::vector<std::string> conmon_arguments(const EngineOptions& options, const Home& home, const std::string& name) {
    return {options.conmon,
            "--api-version",
            "1",
            "--cid",
            name,
            "--cuuid",
            name,
            "--name",
            name,
            "--runtime",
            options.engine,
            "--runtime-arg",
            "--root",
            "--runtime-arg",
            options.engine_root.string(),
            "--bundle",
            home.dir.string(),
            "--container-pidfile",
            (home.dir / "pid").string(),
            "--conmon-pidfile",
            (home.dir / "conmon.pid").string(),
            "--exit-dir",
            home.exits.string(),
            "--log-path",
            "k8s-file:" + home.log().string(),
            "--log-size-max",
            std::to_string(options.log_max_bytes * std::max(2, options.log_files) / 2),
            "--log-level",
            "error",
            "--full-attach",
            "--no-sync-log"};
}

}  // namespace

Engine::Engine(EngineOptions options)
    : options_(std::move(options)), cgroups_(options_.cgroup_parent), networks_(options_.network) {
    std::error_code error;
    fs::create_directories(options_.engine_root, error);
    if (error) monitored::file_failed("make", options_.engine_root, error.value());
    const fs::path file = criu_options(options_.engine_root);
    if (monitored::read_file(file, 64) != kCriuOptions) monitored::replace_file(file, kCriuOptions);
}

void Engine::create(const gantry::ContainerSpec& spec, const image_store::Image& image, const Home& home,
                    Record& record, Instant deadline) {
    const monitored::Settings settings = monitored::Settings::of(spec);
    const monitored::Program program = monitored::program_of(spec, image.config);
    mount_root(home.dir, image.layers);
    const monitored::User user = monitored::find_user(monitored::RootFolder(home.dir / "rootfs"), program.user);
    const std::string network =
        settings.network == "bridge" ? networks_.add(spec.name, settings.ports, deadline) : std::string();
    const std::string config = bundle_config({spec, settings, program, user, cgroups_.path(spec.name), network,
                                              cgroups_.counts_swap(), settings.io_weight > 0 && cgroups_.weighs_io(),
                                              options_.seccomp, criu_options(options_.engine_root)});
    monitored::replace_file(home.dir / "config.json", config);

    record.cpu_quota_us = cpu_quota_us(spec);
    conmon_made(home, run_conmon(home, spec.name, deadline), record);
}

void Engine::conmon_made(const Home& home, pid_t pid, Record& record) const {
    record.process = monitored::identify(pid);
    record.monitor = monitored::identify(conmon_pid(home));
    if (!record.process || !record.monitor) {
        throw Failure(Code::kFailed, "container \"" + record.name + "\" ended before it could be started");
    }
}

// criu: it goes on from the folder `from`; nullptr: a new one is made and waits for its start.
pid_t Engine::run_conmon(const Home& home, const std::string& name, Instant deadline, const Criu* criu,
                         const fs::path& from) {
    int ends[2] = {-1, -1};
    if (::pipe2(ends, O_CLOEXEC) != 0) throw Failure(Code::kFailed, std::string("pipe: ") + std::strerror(errno));
    const Fd in(ends[0]);
    Fd out(ends[1]);
    monitored::Command command;
    command.argv = conmon_arguments(options_, home, name);
    command.env = kEnvironment;
    if (criu != nullptr) {
        command.argv.insert(command.argv.end(), {"--restore", from.string()});
        for (const std::string& word : {std::string("--work-path"), from.string(), std::string("--file-locks")})
            command.argv.insert(command.argv.end(), {"--restore-arg", word});
        command.env = criu->environment();
    }
    command.env.push_back("_OCI_SYNCPIPE=" + std::to_string(kSyncFd));
    command.fds = {{kSyncFd, out.get()}};
    const monitored::Outcome outcome = monitored::run(command, deadline);
    out.reset();
    // Entering a group waits for the kernel some milliseconds, so conmon is moved while it runs the engine. Until then
    // only the half-made container would die with the daemon's group.
    if (const pid_t conmon = conmon_pid(home); conmon > 0) cgroups_.adopt_monitor(conmon);
    return created_pid(read_line(in.get(), deadline), outcome.errors, name);
}

void Engine::start(const Home&, Record& record, Instant deadline) {
    if (record.cpu_quota_us > 0) cgroups_.limit_cpu(record.name, record.cpu_quota_us, kCpuPeriodUs);
    monitored::Command command;
    command.argv = {options_.engine, "--root", options_.engine_root.string(), "start", record.name};
    command.env = kEnvironment;
    const monitored::Outcome outcome = monitored::run(command, deadline);
    if (outcome.code != 0) {
        throw Failure(Code::kFailed, "container \"" + record.name + "\": " + words(outcome.errors));
    }
}

// The engine's init waits for a reader of this pipe before it becomes the program; start deletes it.
bool Engine::was_started(const Home&, Record& record) {
    const fs::path state = options_.engine_root / record.name;
    return fs::exists(state) && !fs::exists(state / "exec.fifo");
}

pid_t Engine::kill(const Home&, const Record& record) {
    if (const pid_t left = cgroups_.kill(record.name); left != 0) return left;
    // Where it had no cgroup of its own any more. The number is checked: it may belong to somebody else today.
    const Fd process = monitored::open_process(record.process);
    if (!process) return 0;
    (void)::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
    return monitored::has_ended(process) ? 0 : record.process.pid;
}

namespace {

ino_t inode_of(const std::string& path) {
    struct stat about {};
    return ::stat(path.c_str(), &about) == 0 ? about.st_ino : 0;
}

void move_on(const std::string& log, const std::string& full) {
    monitored::shift_logs(log);
    (void)::rename(full.c_str(), (log + ".1").c_str());
}

// conmon writes <log>.tmp anew, if need be makes it, and renames it to <log>.
void prepare_next(const std::string& log, const std::string& next) {
    const std::string taken = log + ".tmp";
    (void)::unlink(next.c_str());
    const Fd made(::open(next.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!made || ::link(next.c_str(), taken.c_str()) != 0) (void)::unlink(next.c_str());
}

}  // namespace

// conmon puts a new file in place of a full log and drops the full one; told to, it does so earlier. A second name
// keeps the log, even while no daemon runs (<log>.kept), and the one that conmon will take next has a second name too
// (<log>.next). So nothing is lost before a third replacement that nobody saw. One of them may be ours; conmon does so
// by itself whenever it has written half of all that is to be kept.
void Engine::keep_log(const Home& home, std::uint64_t& asked) {
    const std::string log = home.log().string(), kept = log + ".kept", next = log + ".next";
    struct stat now {};
    if (::stat(log.c_str(), &now) != 0) return;
    if (const ino_t before = inode_of(kept); before != now.st_ino) {
        if (before != 0) move_on(log, kept);
        const ino_t taken = inode_of(next);
        const bool there = taken != 0 && inode_of(log + ".tmp") != taken;
        if (there && taken != now.st_ino) move_on(log, next);
        // Where links are not to be had the one before is lost.
        if (!there || taken != now.st_ino || ::rename(next.c_str(), kept.c_str()) != 0)
            (void)!::link(log.c_str(), kept.c_str());
        monitored::drop_logs(log, kept_bytes());
    }
    if (inode_of(log + ".tmp") == 0) prepare_next(log, next);
    if (now.st_size < options_.log_max_bytes || asked == now.st_ino) return;
    const Fd control(::open((home.dir / "ctl").c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
    if (control && ::write(control.get(), kReopenLogs.data(), kReopenLogs.size()) > 0) asked = now.st_ino;
}

gantry::Duration Engine::log_pause() const { return kLogPause; }

std::int64_t Engine::kept_bytes() const { return options_.log_max_bytes * options_.log_files; }

// Ends by itself after its container; it must be gone before its cgroup and folder can be.
void Engine::end_monitor(const Home& home, const Record& record, Instant deadline) const {
    monitored::ProcessRef monitor = record.monitor;
    bool sure = true;
    if (!monitor) {
        monitor = monitored::identify(conmon_pid(home));
        // Half-made: only a number is known, so look whether it is a conmon of this container. One that is just ending
        // has no command line any more; it is waited for like the others, but not killed.
        const std::string line =
            monitored::read_file("/proc/" + std::to_string(monitor.pid) + "/cmdline", 64 << 10).value_or("");
        sure = line.find(home.dir.string()) != std::string::npos;
        if (!sure && !line.empty()) return;
    }
    const Fd process = monitored::open_process(monitor);
    if (monitored::wait_end(process, std::min(deadline, monitored::now() + kMonitorEnd)) || !sure) return;
    (void)::syscall(SYS_pidfd_send_signal, process.get(), SIGKILL, nullptr, 0);
    (void)monitored::wait_end(process, deadline);
}

void Engine::clean(const Home& home, const Record& record, Instant deadline) {
    end_monitor(home, record, deadline);
    networks_.remove(record.name, deadline);
    unmount_root(home.dir);
    forget(record.name, deadline);
}

void Engine::forget(const std::string& name, Instant deadline) {
    cgroups_.remove(name, deadline);
    std::error_code error;
    fs::remove_all(options_.engine_root / name, error);
    if (error) monitored::file_failed("delete", options_.engine_root / name, error.value());
}

std::string Engine::exit_detail(const Home&, const Record& record, int exit_code) {
    return exit_code != 0 && cgroups_.out_of_memory(record.name) ? "out of memory" : "";
}

namespace {

fs::path exec_log(const Home& home, const std::string& mark) { return home.dir / ("exec-" + mark); }
fs::path exec_pid(const Home& home, const std::string& mark) { return home.dir / ("exec-" + mark + ".pid"); }
fs::path exec_process(const Home& home, const std::string& mark) { return home.dir / ("exec-" + mark + ".json"); }

// As the container's own process is: crun takes one more variable for all that there are.
std::string process_document(const Home& home, const std::vector<std::string>& args, const std::string& mark,
                             bool terminal) {
    const std::string config = monitored::read_file(home.dir / "config.json", kMaxConfig).value_or("");
    json::error_code error;
    json::value document = json::parse(config, error);
    json::object* bundle = error ? nullptr : document.if_object();
    json::value* process = bundle == nullptr ? nullptr : bundle->if_contains("process");
    if (process == nullptr || !process->is_object())
        throw Failure(Code::kFailed, "exec: " + (home.dir / "config.json").string() + " is no bundle's");
    json::object& out = process->get_object();
    out["args"] = json::array(args.begin(), args.end());
    out["terminal"] = terminal;
    out["env"].as_array().emplace_back("GANTRY_EXEC=" + mark);
    return json::serialize(out);
}

// The last one: {"level": "error", "msg": "...", "time": "..."}, a line each.
std::optional<std::string> logged_error(const std::string& log) {
    std::optional<std::string> out;
    std::istringstream lines(log);
    for (std::string line; std::getline(lines, line);) {
        json::error_code error;
        const json::value entry = json::parse(line, error);
        const json::object* fields = error ? nullptr : entry.if_object();
        const json::value* level = fields == nullptr ? nullptr : fields->if_contains("level");
        const json::value* text = fields == nullptr ? nullptr : fields->if_contains("msg");
        if (level != nullptr && *level == "error" && text != nullptr && text->is_string()) out = text->as_string();
    }
    return out;
}

}  // namespace

monitored::Command Engine::exec(const Home& home, const Record& record, const std::vector<std::string>& args,
                                const std::string& mark, bool terminal) {
    monitored::Command command;
    monitored::replace_file(exec_process(home, mark), process_document(home, args, mark, terminal));
    command.argv = {options_.engine,
                    "--root",
                    options_.engine_root.string(),
                    "--log",
                    exec_log(home, mark).string(),
                    "--log-format",
                    "json",
                    "exec",
                    "--pid-file",
                    exec_pid(home, mark).string(),
                    "--process",
                    exec_process(home, mark).string()};
    // It makes a terminal in the container, and passes on what comes from ours, and its size.
    if (terminal) command.argv.emplace_back("--tty");
    command.argv.push_back(record.name);
    command.env = kEnvironment;
    return command;
}

// The engine logs into a file of its own, so what is in there is no word of the program.
std::optional<gantry::Status> Engine::exec_failure(const Home& home, const std::string& mark, int code) {
    const auto error = logged_error(monitored::read_file(exec_log(home, mark), kMaxAnswer).value_or(""));
    if (code == 0 || !error) return std::nullopt;
    const std::string& text = *error;
    const bool missing = text.find("not found") != std::string::npos || text.find("no such file") != std::string::npos;
    const std::string name = home.dir.filename().string();
    if (!missing && cgroups_.no_more_processes(name))
        return gantry::Status(Code::kFull,
                              "exec: the limit of processes of container \"" + name + "\" is reached: " + text);
    return gantry::Status(missing ? Code::kNotFound : Code::kFailed, "exec: " + text);
}

namespace {

constexpr unsigned kPtyMajorFirst = 136, kPtyMajorLast = 143;  // UNIX98_PTY_SLAVE_MAJOR: Linux, admin-guide/devices.txt

// Only a terminal is opened: what the process has as its input by now is its own choice.
Fd input_terminal(long long pid) {
    const Fd input(::open(("/proc/" + std::to_string(pid) + "/fd/0").c_str(), O_PATH | O_CLOEXEC));
    struct stat about {};
    if (!input || ::fstat(input.get(), &about) != 0 || !S_ISCHR(about.st_mode)) return {};
    if (const unsigned kind = major(about.st_rdev); kind < kPtyMajorFirst || kind > kPtyMajorLast) return {};
    const std::string again = "/proc/self/fd/" + std::to_string(input.get());
    return Fd(::open(again.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
}

}  // namespace

// crun gives its terminal the size that ours has at the beginning, and no other; runc has done it before us.
void Engine::pass_size(const Home& home, const std::string& mark, int terminal) {
    const auto pid = monitored::parse_number(monitored::read_file(exec_pid(home, mark), 32).value_or(""));
    winsize ours{}, its{};
    const Fd input = pid ? input_terminal(*pid) : Fd();
    if (!input || ::ioctl(terminal, TIOCGWINSZ, &ours) != 0 || ::ioctl(input.get(), TIOCGWINSZ, &its) != 0) return;
    if (ours.ws_row == its.ws_row && ours.ws_col == its.ws_col) return;
    (void)::ioctl(input.get(), TIOCSWINSZ, &ours);  // which tells the process
}

// runc copies what a process writes, and goes on until nobody can write any more.
bool Engine::exec_over(const Home& home, const std::string& mark) {
    const auto pid = monitored::parse_number(monitored::read_file(exec_pid(home, mark), 32).value_or(""));
    return pid && !monitored::identify(static_cast<pid_t>(*pid));
}

void Engine::end_exec(const Record& record, const std::string& mark) { cgroups_.kill_marked(record.name, mark); }

std::optional<gantry::ContainerStats> Engine::stats(const Record& record) { return cgroups_.stats(record.name); }

void Engine::pause(const Record& record, bool on, Instant deadline) { cgroups_.pause(record.name, on, deadline); }

bool Engine::paused(const Record& record) { return cgroups_.paused(record.name); }

namespace {

// criu locks a network by programs that a node may lack, and was not seen to work with our bridge.
void check_network_is_nodes(const Home& home, const std::string& name) {
    const std::string config = monitored::read_file(home.dir / "config.json", kMaxConfig).value_or("");
    const json::value document = json::parse(config);
    for (const json::value& space : document.at("linux").at("namespaces").as_array()) {
        if (space.at("type") != "network") continue;
        throw Failure(Code::kUnsupported, "container \"" + name +
                                              "\" has a network of its own; only one with network = \"host\" can be "
                                              "checkpointed");
    }
}

}  // namespace

void Engine::go_on(const std::string& name) const { cgroups_.pause(name, false, monitored::now() + kFreezeTime); }

// criu kills nobody (--leave-running): whether what it wrote is used is decided by who asked for it.
void Engine::checkpoint(const Home& home, const Record& record, const fs::path& into, Instant deadline) {
    check_network_is_nodes(home, record.name);
    check_room(into, cgroups_.stats(record.name).value_or(gantry::ContainerStats{}).memory_bytes);
    const Criu criu(options_.criu, "checkpoint." + record.name);
    monitored::Command command;
    command.argv = {options_.engine, "--root",          options_.engine_root.string(),
                    "checkpoint",    "--leave-running", "--file-locks",
                    "--image-path",  into.string(),     "--work-path",
                    into.string(),   record.name};
    command.env = criu.environment();
    std::string why;
    try {
        cgroups_.pause(record.name, true, std::min(deadline, monitored::now() + kFreezeTime));
    } catch (const Failure& failure) {
        throw Failure(failure.code() == Code::kDeadline ? Code::kFailed : failure.code(), failure.what());
    }
    try {
        const monitored::Outcome outcome = monitored::run(command, deadline);
        if (outcome.code == 0) return;
        why = criu_error(into / "dump.log");
        why = why.empty() ? words(outcome.errors) : "criu: " + why;
    } catch (const Failure& failure) {
        criu.end();
        if (failure.code() == Code::kDeadline) throw;
        why = failure.what();
    }
    go_on(record.name);
    throw Failure(Code::kFailed, "container \"" + record.name + "\" cannot be checkpointed: " + why);
}

void Engine::rest(const Home& home, const Record& record, Instant deadline) {
    end_monitor(home, record, deadline);
    forget(record.name, deadline);
}

void Engine::restore(const Home& home, Record& record, const fs::path& from, Instant deadline) {
    const Criu criu(options_.criu, "restore." + record.name);
    pid_t pid = 0;
    try {
        pid = run_conmon(home, record.name, deadline, &criu, from);
    } catch (const Failure& failure) {
        criu.end();
        const std::string why = criu_error(from / "restore.log");
        if (failure.code() == Code::kDeadline || why.empty()) throw;
        throw Failure(failure.code(), "container \"" + record.name + "\" cannot be restored: criu: " + why);
    }
    try {
        conmon_made(home, pid, record);
        if (record.cpu_quota_us > 0) cgroups_.limit_cpu(record.name, record.cpu_quota_us, kCpuPeriodUs);
        go_on(record.name);  // it stood still when it was written
    } catch (const std::exception& trouble) {
        throw Failure(Code::kDeadline, trouble.what());
    }
}

}  // namespace oci
