// SPDX-License-Identifier: Apache-2.0
#include <unistd.h>

#include <stdexcept>

#include "kernel/host/adapter.hpp"

namespace gantry::host {
namespace {

RuntimeFacts raise_facts(const gantry_runtime_facts& raw) {
    RuntimeFacts out;
    out.system = line(raw.system);
    for (std::size_t i = 0; i < raw.architecture_count; ++i) out.architectures.push_back(line(raw.architectures[i]));
    const auto can = [&](std::uint32_t bit) { return (raw.capabilities & bit) != 0; };
    out.fenceable = can(GANTRY_RUNTIME_FENCEABLE);
    out.pause = can(GANTRY_RUNTIME_PAUSE);
    out.exec = can(GANTRY_RUNTIME_EXEC);
    out.stats = can(GANTRY_RUNTIME_STATS);
    out.limits = can(GANTRY_RUNTIME_LIMITS);
    out.settings = can(GANTRY_RUNTIME_SETTINGS);
    out.log_since = can(GANTRY_RUNTIME_LOG_SINCE);
    return out;
}

// Names and labels are kept and compared as they are, so they are refused rather than mended.
void check_texts(const Container& container) {
    bool good = valid_utf8(container.name);
    for (const auto& [key, value] : container.labels) good = good && valid_utf8(key) && valid_utf8(value);
    if (!good) throw std::runtime_error("the name or a label of container " + line(container.name) + " is not UTF-8");
}

std::vector<Container> raise_containers(const void* raw) {
    const auto r = result<gantry_container_list>(raw);
    std::vector<Container> out;
    out.reserve(r.count);
    for (std::size_t i = 0; i < r.count; ++i) {
        const gantry_container c = element(r.containers, r.container_size, i);
        if (c.state < GANTRY_CONTAINER_CREATED || c.state > GANTRY_CONTAINER_EXITED) {
            throw std::runtime_error("a container has the unknown state " + std::to_string(c.state));
        }
        out.push_back({copy(c.name), static_cast<ContainerState>(c.state), c.exit_code, c.pid, Instant{c.started_ns},
                       line(c.detail), copy_labels(c.labels, c.label_count)});
        check_texts(out.back());
    }
    return out;
}

std::vector<std::string> raise_images(const void* raw) {
    const auto r = result<gantry_image_list>(raw);
    std::vector<std::string> out;
    for (std::size_t i = 0; i < r.count; ++i) out.push_back(line(r.images[i]));
    return out;
}

class RuntimeAdapter final : public Runtime {
  public:
    explicit RuntimeAdapter(Site<gantry_runtime> site) : site_(std::move(site)) {
        site_.context->sink_target = this;
        site_.call("bind", &gantry_runtime::bind, &kSink);
        if (site_.has(&gantry_runtime::facts)) {
            facts_ = raise_facts(result<gantry_runtime_facts>(site_.table->facts));
        }
    }

    RuntimeFacts facts() const override { return facts_; }
    void begin(std::function<void(std::string, int)> exited, std::function<void()> changed) override {
        exited_ = std::move(exited);
        changed_ = std::move(changed);
    }
    void ensure_image(const std::string& image, const std::string& layout_dir, bool urgent, Duration limit,
                      Done<void> done) override {
        const gantry_image_source source{sizeof(source), urgent ? GANTRY_IMAGE_URGENT : 0, str(image), str(layout_dir)};
        site_.ask("ensure_image", limit, std::move(done), &gantry_runtime::ensure_image, &source);
    }
    void images(Duration limit, Done<std::vector<std::string>> done) override {
        site_.ask<std::vector<std::string>>("images", limit, std::move(done), &raise_images, &gantry_runtime::images);
    }
    void remove_image(const std::string& image, Duration limit, Done<void> done) override {
        site_.ask("remove_image", limit, std::move(done), &gantry_runtime::remove_image, str(image));
    }
    void create(const ContainerSpec& spec, Duration limit, Done<void> done) override {
        const std::vector<gantry_str> args = lower(spec.args);
        const std::vector<gantry_kv> env = lower(spec.env), labels = lower(spec.labels);
        std::vector<gantry_mount> mounts;
        for (const Mount& m : spec.mounts)
            mounts.push_back(
                {str(m.source), str(m.target), m.read_only ? 1u : 0u, m.no_exec ? GANTRY_MOUNT_NOEXEC : 0u});
        gantry_container_spec raw{};
        raw.struct_size = sizeof(raw);
        raw.stop_signal = static_cast<std::uint32_t>(spec.stop_signal);
        raw.name = str(spec.name);
        raw.image = str(spec.image);
        raw.hostname = str(spec.hostname);
        raw.cwd = str(spec.cwd);
        raw.user = str(spec.user);
        raw.args = args.data();
        raw.arg_count = args.size();
        raw.env = env.data();
        raw.env_count = env.size();
        raw.mounts = mounts.data();
        raw.mount_size = sizeof(gantry_mount);
        raw.mount_count = mounts.size();
        raw.cpu_milli = spec.cpu_milli;
        raw.memory_bytes = spec.memory_bytes;
        raw.pids = spec.pids;
        raw.labels = labels.data();
        raw.label_count = labels.size();
        raw.settings = str(spec.settings);
        site_.ask("create", limit, std::move(done), &gantry_runtime::create, &raw);
    }
    void start(const std::string& name, Duration limit, Done<void> done) override {
        site_.ask("start", limit, std::move(done), &gantry_runtime::start, str(name));
    }
    void stop(const std::string& name, Duration grace, Duration limit, Done<void> done) override {
        site_.ask("stop", limit, std::move(done), &gantry_runtime::stop, str(name), grace.count());
    }
    void kill(const std::string& name, Duration limit, Done<void> done) override {
        site_.ask("kill", limit, std::move(done), &gantry_runtime::kill, str(name));
    }
    void pause(const std::string& name, bool on, bool disk, Duration limit, Done<void> done) override {
        if (disk)
            site_.ask(on ? "checkpoint" : "restore", limit, std::move(done),
                      on ? &gantry_runtime::checkpoint : &gantry_runtime::restore, str(name));
        else
            site_.ask(on ? "pause" : "resume", limit, std::move(done),
                      on ? &gantry_runtime::pause : &gantry_runtime::resume, str(name));
    }
    void remove(const std::string& name, Duration limit, Done<void> done) override {
        site_.ask("remove", limit, std::move(done), &gantry_runtime::remove, str(name));
    }
    void list(Duration limit, Done<std::vector<Container>> done) override {
        site_.ask<std::vector<Container>>("list", limit, std::move(done), &raise_containers, &gantry_runtime::list);
    }
    void stats(const std::string& name, Duration limit, Done<ContainerStats> done) override {
        const auto raise = [](const void* raw) {
            const auto r = result<gantry_container_stats>(raw);
            return ContainerStats{Duration(r.cpu_ns), r.memory_bytes, r.pids};
        };
        site_.ask<ContainerStats>("stats", limit, std::move(done), raise, &gantry_runtime::stats, str(name));
    }
    std::uint64_t logs(const std::string& name, bool follow, std::int64_t tail_lines, std::int64_t since_ns, int fd,
                       Done<void> done) override {
        const gantry_log_request request{sizeof(request), follow ? 1u : 0u, str(name), tail_lines, fd, 0, since_ns};
        // A slot that does not accept leaves the descriptor with us; one that does owns it even if it failed since.
        bool accepted = false;
        const auto accept = [&](gantry_op op) {
            const gantry_status status =
                site_.has(&gantry_runtime::logs) ? site_.table->logs(site_.self, op, &request) : GANTRY_UNSUPPORTED;
            accepted = status == GANTRY_OK;
            return status;
        };
        const std::uint64_t id = site_.ask_by("logs", Duration::max(), std::move(done), accept);
        if (!accepted) ::close(fd);
        return id;
    }
    std::uint64_t exec(const std::string& name, const std::vector<std::string>& args, bool terminal, int fd,
                       Duration limit, Done<int> done) override {
        const std::vector<gantry_str> list = lower(args);
        const gantry_exec_request request{
            sizeof(request), terminal ? 1u : 0u, str(name), list.data(), list.size(), fd, 0};
        const auto raise = [](const void* raw) { return static_cast<int>(result<gantry_exec_result>(raw).exit_code); };
        bool accepted = false;
        const auto id = site_.ask_result<int>("exec", limit, std::move(done), raise, [&](gantry_op op) {
            const gantry_status status =
                site_.has(&gantry_runtime::exec) ? site_.table->exec(site_.self, op, &request) : GANTRY_UNSUPPORTED;
            accepted = status == GANTRY_OK;
            return status;
        });
        if (!accepted) ::close(fd);
        return id;
    }
    void stop_logs(std::uint64_t id) override { site_.context->core->operations.cancel(id); }

  private:
    static gantry_status on_exited(std::uint64_t host, gantry_str name, std::int32_t code) noexcept {
        return report<RuntimeAdapter>(host, [name = copy(name), code](RuntimeAdapter& a) {
            if (a.exited_) a.exited_(name, code);
        });
    }
    static gantry_status on_changed(std::uint64_t host) noexcept {
        return report<RuntimeAdapter>(host, [](RuntimeAdapter& a) {
            if (a.changed_) a.changed_();
        });
    }

    static constexpr gantry_runtime_sink kSink{sizeof(gantry_runtime_sink), 0, &on_exited, &on_changed};
    Site<gantry_runtime> site_;
    RuntimeFacts facts_;
    std::function<void(std::string, int)> exited_;
    std::function<void()> changed_;
};

}  // namespace

std::unique_ptr<Runtime> adapt(Site<gantry_runtime> site) { return std::make_unique<RuntimeAdapter>(std::move(site)); }

}  // namespace gantry::host
