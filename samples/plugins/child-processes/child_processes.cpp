// SPDX-License-Identifier: Apache-2.0
//
// Runs each container's args as a process group of this machine: no image, no root folder, no limits, no output kept.
// README.md says what that is good for. A group outlives gantryd; its record lies in the instance's folder.
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <gantry/runtime.hpp>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

using namespace gantry;
#ifdef __aarch64__
constexpr const char* kArchitecture = "arm64";
#else
constexpr const char* kArchitecture = "amd64";
#endif

struct Group {
    ContainerSpec spec;
    ContainerState state = ContainerState::kCreated;
    pid_t pid = 0;     // of the first process, which is the group's number too
    std::string born;  // when that process began, by the kernel's count: a pid may be used again
    int exit_code = 0;
    Instant started{};
    Fd process;  // pidfd, while it runs
    WatchId watch = 0;
    std::vector<Operation<>> waiting;  // until no process is left
    bool runs() const { return state == ContainerState::kRunning; }
};

// Field 22 of /proc/PID/stat; empty if there is no such process.
std::string born(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    if (text.rfind(')') == std::string::npos) return {};
    std::istringstream fields(text.substr(text.rfind(')') + 1));
    return *std::next(std::istream_iterator<std::string>(fields), 19);
}

class ChildProcesses final : public Runtime {
  public:
    void init(const Config& config) override { folder_ = config.state_dir(); }
    // What ran when gantryd ended may run still; how it ended meanwhile nobody knows.
    void start() override {
        for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
            const std::string name = entry.path().filename();
            if (name.ends_with('~') || !entry.is_regular_file()) continue;
            Group& group = groups_[name];
            read(name, group);
            if (group.runs() && (group.born != born(group.pid) || !follow(group))) {
                group.state = ContainerState::kExited;
                group.exit_code = -1;
            }
        }
    }
    void stop(Instant) override {
        for (auto& [name, group] : groups_) host().unwatch(group.watch);
    }
    RuntimeFacts facts() const override { return {.architectures = {kArchitecture}}; }
    void ensure_image(Operation<> op, ImageSource source) override { images_.insert(source.image), op.done(); }
    void images(Operation<ImageList> op) override { op.done({{images_.begin(), images_.end()}}); }
    void remove_image(Operation<> op, std::string image) override { images_.erase(image), op.done(); }
    void create_container(Operation<> op, ContainerSpec spec) override {
        if (spec.args.empty() || !spec.mounts.empty() || !spec.user.empty()) {
            throw Failure(Code::kInvalid, "expected container.args, and neither mounts nor user: no image is run here");
        }
        if (!images_.contains(spec.image)) throw Failure(Code::kNotFound, "there is no image " + spec.image);
        if (const auto [at, fresh] = groups_.try_emplace(spec.name); fresh) at->second.spec = std::move(spec);
        op.done();
    }
    void start_container(Operation<> op, std::string name) override {
        Group& group = find(name);
        if (group.runs()) return op.done();
        if (group.state == ContainerState::kExited) throw Failure(Code::kConflict, name + " has ended already");
        spawn(group);
        write(group);
        if (!follow(group)) throw Failure(Code::kFailed, std::string("no pidfd: ") + std::strerror(errno));
        op.done();
    }
    void stop_container(Operation<> op, std::string name, Duration grace) override {
        const int asked = find(name).spec.stop_signal;
        end(std::move(op), name, asked == 0 ? SIGTERM : asked);
        host().timer(grace, [this, name] {
            const auto found = groups_.find(name);
            if (found != groups_.end() && found->second.runs()) ::kill(-found->second.pid, SIGKILL);
        });
    }
    void kill_container(Operation<> op, std::string name) override { end(std::move(op), name, SIGKILL); }
    void remove_container(Operation<> op, std::string name) override {
        const auto found = groups_.find(name);
        if (found == groups_.end()) return op.done();
        if (found->second.runs()) throw Failure(Code::kConflict, name + " runs");
        std::filesystem::remove(folder_ + "/" + name);
        groups_.erase(found);
        op.done();
    }
    void list_containers(Operation<ContainerList> op) override {
        ContainerList out;
        for (const auto& [name, g] : groups_) {
            out.containers.push_back({name, g.state, g.exit_code, g.runs() ? g.pid : 0, g.started, "", g.spec.labels});
        }
        op.done(out);
    }

  private:
    Group& find(const std::string& name) {
        const auto found = groups_.find(name);
        if (found == groups_.end()) throw Failure(Code::kNotFound, "there is no container " + name);
        return found->second;
    }
    void end(Operation<> op, const std::string& name, int signal) {
        Group& group = find(name);
        if (!group.runs()) return op.done();
        ::kill(-group.pid, signal);
        group.waiting.push_back(std::move(op));
    }
    // The process leads a group and a session of its own and has nothing of gantryd's but its user.
    void spawn(Group& group) {
        std::vector<std::string> environment{"PATH=/usr/local/bin:/usr/bin:/bin"};
        for (const auto& [key, value] : group.spec.env) environment.push_back(key + "=" + value);
        std::vector<char*> args, env;
        for (std::string& word : group.spec.args) args.push_back(word.data());
        for (std::string& word : environment) env.push_back(word.data());
        args.push_back(nullptr), env.push_back(nullptr);
        posix_spawn_file_actions_t files;
        posix_spawnattr_t attributes;
        sigset_t all;
        sigfillset(&all), posix_spawn_file_actions_init(&files), posix_spawnattr_init(&attributes);
        posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDWR, 0);
        for (int output : {1, 2}) posix_spawn_file_actions_adddup2(&files, 0, output);
        posix_spawn_file_actions_addclosefrom_np(&files, 3);
        posix_spawn_file_actions_addchdir_np(&files, group.spec.cwd.empty() ? "/" : group.spec.cwd.c_str());
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF);
        posix_spawnattr_setsigdefault(&attributes, &all);
        const int failed = ::posix_spawnp(&group.pid, args[0], &files, &attributes, args.data(), env.data());
        posix_spawn_file_actions_destroy(&files), posix_spawnattr_destroy(&attributes);
        if (failed != 0) throw Failure(Code::kFailed, std::string(args[0]) + ": " + std::strerror(failed));
        group.state = ContainerState::kRunning;
        group.born = born(group.pid);
        group.started = host().now();
    }
    bool follow(Group& group) {
        group.process.reset(static_cast<int>(::syscall(SYS_pidfd_open, group.pid, 0)));
        if (!group.process) return false;
        group.watch = host().watch(group.process.get(), kReadable, [this, &group](auto) { first_ended(group); });
        return true;
    }
    // The first process has ended: the others of its group go with it.
    void first_ended(Group& group) {
        siginfo_t info{};
        const bool ours = ::waitid(P_PID, group.pid, &info, WEXITED | WNOWAIT) == 0;
        if (ours) ::kill(-group.pid, SIGKILL), ::waitid(P_PID, group.pid, &info, WEXITED);
        host().unwatch(std::exchange(group.watch, 0));
        group.process.reset();
        group.exit_code = !ours ? -1 : info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
        // Killed while the number cannot be another's, they are gone in no time; a loop may wait that long.
        for (int i = 0; i < 20 && ::kill(-group.pid, 0) == 0; ++i) ::usleep(100);
        group.state = ContainerState::kExited;
        write(group);
        events().exited(group.spec.name, group.exit_code);
        for (Operation<>& op : std::exchange(group.waiting, {})) op.done();
    }
    // What must be known after a restart; it appears whole or not at all.
    void write(const Group& g) const {
        const std::string path = folder_ + "/" + g.spec.name;
        std::ofstream file(path + "~", std::ios::binary | std::ios::trunc);
        file << static_cast<int>(g.state) << ' ' << g.pid << ' ' << g.born << ' ' << g.exit_code << ' '
             << g.started.count() << ' ' << g.spec.stop_signal << '\0';
        for (const auto& [key, value] : g.spec.labels) file << key << '\0' << value << '\0';
        if (!file.flush()) throw Failure(Code::kFailed, path + " cannot be written");
        std::filesystem::rename(path + "~", path);
    }
    void read(const std::string& name, Group& g) const {
        std::ifstream file(folder_ + "/" + name, std::ios::binary);
        std::int64_t state = 0, started = 0;
        file >> state >> g.pid >> g.born >> g.exit_code >> started >> g.spec.stop_signal, file.get();
        g.state = state == GANTRY_CONTAINER_RUNNING ? ContainerState::kRunning : ContainerState::kExited;
        g.started = Instant(started);
        g.spec.name = name;
        std::string key, value;
        while (std::getline(file, key, '\0') && std::getline(file, value, '\0')) g.spec.labels.emplace_back(key, value);
    }

    std::string folder_;
    std::map<std::string, Group> groups_;  // an element stays where it is
    std::set<std::string> images_;
};

GANTRY_PLUGIN(ChildProcesses)
