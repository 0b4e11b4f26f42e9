// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/docker/docker.hpp"

#include <sys/random.h>
#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <filesystem>
#include <fstream>

#include "plugins/runtime/docker/serve.hpp"
#include "plugins/runtime/image-store/layout.hpp"

namespace docker {
namespace {

namespace asio = boost::asio;
namespace json = boost::json;
using namespace std::chrono_literals;
using gantry::Code;
using gantry::ContainerState;
using gantry::Duration;
using gantry::Failure;
using gantry::Instant;
using gantry::Operation;

constexpr Duration kMargin = 200ms;     // our answer must come before the host's own
constexpr Duration kRetry = 1s;         // while the engine is away
constexpr Duration kWaitAgain = 10min;  // one request that waits for the end of a container

bool alive(const gantry::Container& c) {
    return c.state == ContainerState::kRunning || c.state == ContainerState::kPaused;
}

std::string no_container(const std::string& name) { return "there is no container \"" + name + "\""; }

}  // namespace

Duration DockerRuntime::Time::left() const { return std::max(deadline_ - host_->now() - kMargin, Duration(1ms)); }

// ---- life

void DockerRuntime::init(const gantry::Config& config) {
    const std::string& socket = config.string("socket");
    if (socket.empty() || socket[0] != '/')
        throw Failure(Code::kInvalid, "socket: expected an absolute path, got \"" + socket + "\"");
    timeout_ = config.duration("timeout");
    state_dir_ = config.state_dir();
    // Whose containers are ours: a number that this state folder has, and no other.
    const std::string file = state_dir_ + "/instance";
    if (!(std::ifstream(file) >> instance_) || instance_.size() != 16) {
        std::uint64_t number = 0;
        if (::getrandom(&number, sizeof number, 0) != sizeof number) throw Failure(Code::kFailed, "no randomness");
        char text[17];
        std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
        instance_ = text;
        std::ofstream(file + ".new") << instance_ << '\n';
        std::filesystem::rename(file + ".new", file);
    }
    std::filesystem::create_directories(state_dir_ + "/stopped");
    engine_ = std::make_unique<Engine>(socket);
    loader_ = std::make_unique<Loader>(socket, config.duration("image_timeout"));
}

gantry::RuntimeFacts DockerRuntime::facts() const {
    gantry::RuntimeFacts out;
    out.architectures = {std::string(image_store::machine_architecture())};
    // Not fenceable: the cgroup of a container is the engine's, who may make and remove it as it likes.
    out.pause = out.exec = out.stats = out.limits = out.settings = out.log_since = true;
    return out;
}

void DockerRuntime::start() {
    work_.emplace(io_.get_executor());
    thread_ = std::thread([this] { io_.run(); });
    asio::co_spawn(io_, adopt(), asio::detached);
}

void DockerRuntime::stop(Instant) {
    stopping_ = true;
    loader_->stop();
    work_.reset();
    io_.stop();
    if (thread_.joinable()) thread_.join();
}

// ---- looking

std::string DockerRuntime::own_filter() const {
    return "filters=" +
           escaped(json::serialize(json::object{{"label", {std::string(kInstanceLabel) + "=" + instance_}}}));
}

Task<std::optional<Inspected>> DockerRuntime::find(std::string name, Time time, bool* foreign) {
    if (foreign != nullptr) *foreign = false;
    const Answer answer = co_await engine_->ask("GET", "/containers/" + escaped(name) + "/json", "", time.request());
    if (answer.status == 404) co_return std::nullopt;
    Inspected found = inspected(answer.expect("container " + name).json("container " + name), instance_);
    // An engine also takes the beginning of an id for a name.
    if (!found.ours || found.container.name != name) {
        if (foreign != nullptr) *foreign = found.container.name == name;
        co_return std::nullopt;
    }
    co_return found;
}

Task<Inspected> DockerRuntime::must_find(std::string name, Time time) {
    std::optional<Inspected> found = co_await find(name, time);
    if (!found) throw Failure(Code::kNotFound, no_container(name));
    co_return std::move(*found);
}

std::string DockerRuntime::stopped_mark(const std::string& name) const { return state_dir_ + "/stopped/" + name; }

gantry::Container DockerRuntime::shown(const Inspected& found) const {
    gantry::Container out = found.container;
    out.started = started(found);
    std::error_code error;
    if (out.state == ContainerState::kCreated && std::filesystem::exists(stopped_mark(out.name), error)) {
        out.state = ContainerState::kExited;
        out.exit_code = 128 + SIGKILL;
        out.detail = "it was stopped before it was started";
    }
    return out;
}

// From the process where there is one: the engine's time is the wall clock's, which is set now and then.
Instant DockerRuntime::started(const Inspected& found) const {
    if (found.container.pid > 0) {
        std::ifstream file("/proc/" + std::to_string(found.container.pid) + "/stat");
        std::string text((std::istreambuf_iterator<char>(file)), {});
        const std::size_t behind = text.rfind(") ");
        std::size_t at = behind;
        for (int i = 0; at != std::string::npos && i < 20; ++i) at = text.find(' ', at + 1);
        if (at != std::string::npos) {
            const long long ticks = std::atoll(text.c_str() + at + 1);
            if (ticks > 0) return Duration(1s) / ::sysconf(_SC_CLK_TCK) * ticks;
        }
    }
    const auto wall = parse_time(found.started_text);
    if (!wall) return {};
    return std::max(host().now() - (host().wall() - *wall), Instant(1));
}

Task<std::vector<Inspected>> DockerRuntime::all(Time time) {
    const Answer answer = co_await engine_->ask("GET", "/containers/json?all=1&" + own_filter(), "", time.request());
    const json::value listed = answer.expect("list").json("list");
    if (!listed.is_array()) throw Failure(Code::kFailed, "list: the engine's answer is no list");
    std::vector<Inspected> out;
    for (const json::value& item : listed.as_array()) {
        const json::value* id = item.is_object() ? item.as_object().if_contains("Id") : nullptr;
        if (id == nullptr || !id->is_string()) throw Failure(Code::kFailed, "list: a container without an id");
        const Answer one =
            co_await engine_->ask("GET", "/containers/" + std::string(id->as_string()) + "/json", "", time.request());
        if (one.status == 404) continue;  // removed meanwhile
        Inspected found = inspected(one.expect("list").json("list"), instance_);
        if (found.ours) out.push_back(std::move(found));
    }
    co_return out;
}

void DockerRuntime::list_containers(Operation<gantry::ContainerList> op) {
    serve<gantry::ContainerList>(std::move(op), "", [this](Time time) -> Task<gantry::ContainerList> {
        gantry::ContainerList out;
        for (const Inspected& found : co_await all(time)) out.containers.push_back(shown(found));
        co_return out;
    });
}

void DockerRuntime::stats(Operation<gantry::ContainerStats> op, std::string name) {
    serve<gantry::ContainerStats>(std::move(op), "", [this, name](Time time) -> Task<gantry::ContainerStats> {
        const Inspected found = co_await must_find(name, time);
        if (!alive(found.container)) throw Failure(Code::kNotFound, "no container \"" + name + "\" is running");
        const Answer answer = co_await engine_->ask("GET", "/containers/" + name + "/stats?stream=false&one-shot=true",
                                                    "", time.request());
        co_return stats_of(answer.expect("stats").json("stats"));
    });
}

// ---- changing

void DockerRuntime::create_container(Operation<> op, gantry::ContainerSpec spec) {
    const std::string name = spec.name;
    serve<void>(std::move(op), name, [this, spec = std::move(spec)](Time time) { return create(spec, time); });
}

Task<void> DockerRuntime::create(gantry::ContainerSpec spec, Time time) {
    check(spec);
    bool foreign = false;
    if (co_await find(spec.name, time, &foreign)) co_return;
    const std::string left_alone = "the engine has a container \"" + spec.name +
                                   "\" that somebody else made; it is left alone: rename or remove it";
    if (foreign) throw Failure(Code::kConflict, left_alone);
    if (!co_await has_image(spec.image, time))
        throw Failure(Code::kNotFound, "image " + spec.image + " is not on this node");
    std::error_code ignored;
    std::filesystem::remove(stopped_mark(spec.name), ignored);
    const Answer answer = co_await engine_->ask("POST", "/containers/create?name=" + escaped(spec.name),
                                                create_body(spec, reference(spec.image), instance_), time.request());
    if (answer.status == 409) throw Failure(Code::kConflict, left_alone);
    if (answer.status == 400) throw Failure(Code::kInvalid, "create: " + answer.words());
    answer.expect("create");
}

void DockerRuntime::start_container(Operation<> op, std::string name) {
    serve<void>(std::move(op), name, [this, name](Time time) { return begin(name, time); });
}

Task<void> DockerRuntime::begin(std::string name, Time time) {
    const Inspected found = co_await must_find(name, time);
    const gantry::Container now = shown(found);
    if (alive(now)) co_return watch(name);
    if (now.state == ContainerState::kExited)
        throw Failure(Code::kConflict, "container \"" + name + "\" has run and ended; create one with a new name");
    const Answer answer = co_await engine_->ask("POST", "/containers/" + name + "/start", "", time.request());
    answer.expect("start");
    watch(name);
}

Task<void> DockerRuntime::signal(std::string name, int number, Time time) {
    const Answer answer = co_await engine_->ask(
        "POST", "/containers/" + name + "/kill?signal=" + std::to_string(number), "", time.request());
    // It ended meanwhile, or is gone.
    if (answer.status == 404 || answer.status == 409) co_return;
    if (!answer.ok()) {
        const auto found = co_await find(name, time);
        if (found && alive(found->container)) answer.expect("kill");
    }
}

Task<bool> DockerRuntime::ended(std::string name, Duration limit, Time time) {
    const Instant until = host().now() + std::min(limit, time.left());
    for (Duration pause = 2ms;; pause = std::min<Duration>(pause * 2, 50ms)) {
        const auto found = co_await find(name, time);
        if (!found || !alive(found->container)) co_return true;
        if (host().now() >= until) co_return false;
        asio::steady_timer timer(io_, std::min<Duration>(pause, until - host().now()));
        co_await timer.async_wait(asio::use_awaitable);
    }
}

Task<void> DockerRuntime::end(std::string name, Duration grace, bool kill, Time time) {
    const Inspected found = co_await must_find(name, time);
    if (found.container.state == ContainerState::kCreated) {
        std::ofstream(stopped_mark(name)) << '\n';
        co_return;
    }
    if (!alive(found.container)) co_return;
    if (found.container.state == ContainerState::kPaused) co_await freeze(name, false, time);
    if (!kill) {
        co_await signal(name, found.stop_signal, time);
        if (co_await ended(name, grace, time)) co_return;
    }
    co_await signal(name, SIGKILL, time);
    if (!co_await ended(name, time.left(), time))
        throw Failure(Code::kDeadline, "container \"" + name + "\" was killed and the engine still says that it runs");
}

void DockerRuntime::stop_container(Operation<> op, std::string name, Duration grace) {
    serve<void>(std::move(op), name, [this, name, grace](Time time) -> Task<void> {
        lanes_[name].stopping = true;
        std::exception_ptr failed;
        try {
            co_await end(name, grace, false, time);
        } catch (...) {
            failed = std::current_exception();
        }
        lanes_[name].stopping = false;
        if (failed) std::rethrow_exception(failed);
    });
}

void DockerRuntime::kill_container(Operation<> op, std::string name) {
    // A kill does not wait for the grace of a stop.
    auto shared = std::make_shared<Operation<>>(std::move(op));
    asio::post(io_, [this, shared, name] {
        const auto lane = lanes_.find(name);
        const bool at_once = lane != lanes_.end() && lane->second.stopping;
        serve<void>(std::move(*shared), at_once ? "" : name,
                    [this, name](Time time) { return end(name, {}, true, time); });
    });
}

Task<void> DockerRuntime::freeze(std::string name, bool on, Time time) {
    const Inspected found = co_await must_find(name, time);
    if (!alive(found.container)) throw Failure(Code::kConflict, "container \"" + name + "\" does not run");
    if ((found.container.state == ContainerState::kPaused) == on) co_return;
    const Answer answer =
        co_await engine_->ask("POST", "/containers/" + name + (on ? "/pause" : "/unpause"), "", time.request());
    answer.expect(on ? "pause" : "resume");
}

void DockerRuntime::pause_container(Operation<> op, std::string name) {
    serve<void>(std::move(op), name, [this, name](Time time) { return freeze(name, true, time); });
}
void DockerRuntime::resume_container(Operation<> op, std::string name) {
    serve<void>(std::move(op), name, [this, name](Time time) { return freeze(name, false, time); });
}

void DockerRuntime::remove_container(Operation<> op, std::string name) {
    serve<void>(std::move(op), name, [this, name](Time time) { return forget(name, time); });
}

Task<void> DockerRuntime::forget(std::string name, Time time) {
    const auto found = co_await find(name, time);
    if (found && alive(found->container))
        throw Failure(Code::kConflict, "container \"" + name + "\" runs; stop it first");
    if (found) {
        const Answer answer = co_await engine_->ask("DELETE", "/containers/" + name + "?v=1", "", time.request());
        if (answer.status != 404) answer.expect("remove");
    }
    std::error_code ignored;
    std::filesystem::remove(stopped_mark(name), ignored);
}

// ---- ends of containers

void DockerRuntime::watch(const std::string& name) {
    if (watched_.insert(name).second) asio::co_spawn(io_, wait_for_end(name), asio::detached);
}

Task<void> DockerRuntime::wait_for_end(std::string name) {
    bool lost = false;
    for (;;) {
        bool again = false;
        try {
            // Podman looks every quarter of a second unless told otherwise.
            const Answer answer =
                co_await engine_->ask("POST", "/containers/" + name + "/wait?interval=20ms", "", kWaitAgain);
            if (answer.status == 404) break;
            const Time time(host(), host().now() + timeout_, timeout_);
            const auto found = co_await find(name, time);
            if (!found) break;
            if (!alive(found->container)) {
                events().exited(name, found->container.exit_code);
                break;
            }
            again = true;
        } catch (const Failure& failure) {
            lost = lost || failure.code() == Code::kUnavailable;
        }
        if (again && std::exchange(lost, false)) events().changed();  // what happened meanwhile was not seen
        asio::steady_timer timer(io_, kRetry);
        co_await timer.async_wait(asio::use_awaitable);
    }
    watched_.erase(name);
}

// Containers of an earlier run of gantryd.
Task<void> DockerRuntime::adopt() {
    for (bool told = false;;) {
        try {
            for (const Inspected& found : co_await all(Time(host(), host().now() + timeout_, timeout_))) {
                if (alive(found.container)) watch(found.container.name);
            }
            if (told) {
                host().info("the engine at " + engine_->socket() + " is there");
                events().changed();
            }
            co_return;
        } catch (const Failure& failure) {
            if (!std::exchange(told, true)) host().warn(failure.what());
        }
        asio::steady_timer timer(io_, kRetry);
        co_await timer.async_wait(asio::use_awaitable);
    }
}

}  // namespace docker

GANTRY_PLUGIN(docker::DockerRuntime)
