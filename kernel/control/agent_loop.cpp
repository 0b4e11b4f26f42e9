// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/agent_loop.hpp"

#include <algorithm>

#include "kernel/base/units.hpp"
#include "kernel/control/carrier.hpp"
#include "kernel/control/files.hpp"
#include "kernel/control/machine.hpp"

namespace gantry::control {
namespace {

constexpr Duration kDialLimit = seconds(2);
constexpr Duration kDialPauseMin = milliseconds(50);
constexpr Duration kDialPauseMax = milliseconds(500);
constexpr Duration kLoadPeriod = seconds(1);
constexpr Duration kStatsLimit = seconds(5);
constexpr Duration kGoodbye = milliseconds(200);
constexpr Duration kPauseLimit = seconds(10), kDiskLimit = seconds(120);
constexpr Duration kContainerLimit = seconds(30);
constexpr Duration kAloneWarned = seconds(5);  // without a controller to dial
constexpr unsigned kDiskPeriods = 10;          // load periods between two looks at how full the disk is
constexpr std::size_t kStateMax = 64 << 20;
constexpr std::size_t kAskingMax = 16;  // a controller asks through three; the rest are readers of images

}  // namespace

AgentLoop::AgentLoop(Parts parts)
    : parts_(std::move(parts)),
      timer_(parts_.io, [this](Duration) { turn(core::AgentTick{}); }),
      state_file_(parts_.io, 1),
      image_files_(parts_.io, 1),
      volumes_(parts_.state_dir / "volumes", parts_.host, image_files_),
      images_(
          image_files_, parts_.blobs, [this](const core::BlobRead& read) { source_.read(read); },
          [this](const std::string& image, std::uint32_t percent, std::uint64_t bytes) {
              tell_progress(image, percent, bytes);
              turn(core::ImageProgress{image, percent});
          }),
      source_({parts_.io, parts_.transport, [this](host::PeerId peer, const core::BlobRead& read) { send(peer, read); },
               [this](host::PeerId peer) { outbox_.close(peer); }, [this] { images_.again(); },
               [this](const std::string& text) { parts_.log(host::LogLevel::kInfo, text); }}),
      logs_(parts_.io, outbox_,
            [this](host::PeerId peer, const core::LogData& data, std::string_view text) {
                outbox_.send(peer, host::Channel::kBulk, core::encode(data, text));  // its end behind all of it
            }),
      execs_(parts_.io),
      machine_(parts_.io, 1),
      heat_(parts_.io, 1),
      usage_({parts_.state_dir, [this](auto work, auto done) { machine_.run(std::move(work), std::move(done)); },
              [this](auto work, auto done) { heat_.run(std::move(work), std::move(done)); },
              [this](const auto& place, auto done) {
                  auto* runtime = parts_.host.runtime(place.runtime);
                  if (!runtime || !runtime->facts().stats) return done(fail(Code::kUnsupported, "not measured"));
                  runtime->stats(place.container, kStatsLimit, std::move(done));
              },
              parts_.config.measure_every}),
      dial_timer_(parts_.io),
      load_timer_(parts_.io),
      drill_(parts_.io),
      spare_(parts_.config.image_high_watermark, parts_.config.image_low_watermark) {
    outbox_.use(&parts_.transport, [this](host::PeerId, std::size_t bytes) {
        parts_.log(host::LogLevel::kError, "a message of " + std::to_string(bytes) +
                                               " bytes is longer than the transport takes and was not sent; the "
                                               "controller does not hear of what it says");
    });
}

Result<core::AgentFacts> AgentLoop::facts() {
    core::AgentFacts facts;
    facts.node = parts_.config.name;
    GANTRY_TRY(id, node_id(parts_.state_dir));
    GANTRY_TRY(boot, read_boot_id(parts_.config.boot_id_file));
    GANTRY_TRY(session, next_session(parts_.state_dir));
    facts.node_id = id;
    facts.boot_id = boot;
    facts.session = session;
    facts.version = parts_.version;
    facts.advertise = parts_.config.advertise;
    facts.labels = parts_.config.labels;
    for (const auto& [name, runtime] : parts_.host.runtimes()) {
        const auto known = runtime->facts();
        facts.runtimes.push_back({name, known.system, known.architectures, known.fenceable, known.limits,
                                  known.fenceable && !parts_.guard.empty(), known.settings, true});
    }
    for (const auto& [name, probe] : parts_.host.probes()) facts.probes.push_back(name);
    facts.cpu_milli = parts_.config.cpu_milli ? parts_.config.cpu_milli : cpu_count() * 1000;
    facts.memory_bytes = parts_.config.memory_bytes ? parts_.config.memory_bytes : memory_now().total_bytes;
    for (auto* directory : parts_.host.directories()) {
        if (facts.directory_port) continue;
        const auto known = directory->facts();
        facts.directory_port = known.port;
        if (!known.environment.empty()) facts.directory_environment = known.environment;
    }
    for (const auto& server : parts_.config.position_servers) {
        facts.position_servers += (facts.position_servers.empty() ? "" : ",") + server;
    }
    cpu_milli_ = facts.cpu_milli;
    facts.ask_port = parts_.config.ask_port();
    facts.disk_warn_percent = parts_.config.disk_warn_percent;
    facts.ports = parts_.config.ports;
    for (const auto& [kind, command] : parts_.config.drill) facts.drills.push_back(kind);
    return facts;
}

Status AgentLoop::start() {
    GANTRY_TRY(known, facts());
    facts_ = known;
    started_ = host::boottime_now();
    core_ = std::make_unique<core::Agent>(known, parts_.timing);
    for (const auto& [name, runtime] : parts_.host.runtimes()) {
        runtime->begin(
            [this, name](std::string container, int code) {
                turn(core::ContainerExited{name, std::move(container), code});
            },
            [this, name] {
                turn(core::ContainerExited{name, {}, 0});
            });
    }
    const auto file = parts_.state_dir / "agent.json";
    std::optional<std::string> saved;
    bool lost = false;
    if (auto text = read_file(file, kStateMax)) {
        saved = std::move(*text);
        if (auto usable = core::Agent::check_saved(*saved); !usable) {
            auto aside = file;
            aside += ".corrupt";
            std::error_code ignored;
            std::filesystem::rename(file, aside, ignored);
            parts_.log(host::LogLevel::kError, file.string() + " cannot be used: " + usable.error().text() +
                                                   "; set aside as " + aside.string() +
                                                   ", the list of containers and the controller tell the rest");
            saved.reset();
            lost = true;
        }
    } else if (text.error().code != Code::kNotFound) {
        parts_.log(host::LogLevel::kError, text.error().text());
        lost = true;
    }
    turn(core::AgentStart{std::move(saved), lost});
    start_guard();
    listen();
    measure();
    dial();
    return {};
}

// A node that cannot be asked is one node as it would be without its neighbours: no reason not to start.
void AgentLoop::listen() {
    if (parts_.config.listen.empty()) return;
    parts_.transport.listen(parts_.config.listen, [this](const Result<std::string>& bound) {
        if (bound) return;
        parts_.log(host::LogLevel::kWarn,
                   "other nodes cannot answer for this one when its controller does not hear it: " +
                       bound.error().text() + "; [node] listen says where they dial");
    });
}

void AgentLoop::stop(const core::ShutDown& how, std::function<void()> done) {
    stopped_ = std::move(done);
    turn(how);
    if (!how.machine_goes_down || !core_) stop_now();
}

void AgentLoop::stop_now() {
    if (std::exchange(stopping_, true)) return;
    if (guard_) guard_->stop();
    if (saving_) effects_.clear();  // the farewell has passed them; nothing comes after it
    timer_.stop();
    load_timer_.cancel();
    dial_timer_.expires_after(kGoodbye);
    dial_timer_.async_wait([this](auto) { stopped_(); });
}

void AgentLoop::turn(const core::AgentInput& input) {
    if (!core_ || stopping_) return;
    auto effects = core_->step(input, host::boottime_now());
    std::ranges::move(effects, std::back_inserter(effects_));
    timer_.arm(core_->next_deadline());
    drain();
}

// Effects are done in order; a Save holds up everything behind it until it is durable.
void AgentLoop::drain() {
    if (draining_) return;
    draining_ = true;
    while (!saving_ && !effects_.empty()) {
        auto effect = std::move(effects_.front());
        effects_.pop_front();
        act(std::move(effect));
    }
    draining_ = false;
    if (saving_) pass_ahead();
}

// What claims nothing that is not saved yet does not wait: a sign of life, the farewell, and what others say.
void AgentLoop::pass_ahead() {
    std::vector<core::AgentEffect> ahead;
    std::erase_if(effects_, [&](core::AgentEffect& effect) {
        if (auto* message = std::get_if<core::Send>(&effect)) {
            auto* beat = std::get_if<core::Heartbeat>(&message->message);
            if (beat) beat->applied = applied_told_;
            if (!beat && !std::holds_alternative<core::Leaving>(message->message) &&
                !std::holds_alternative<core::Hold>(message->message) &&
                !std::holds_alternative<core::Relayed>(message->message)) {
                return false;
            }
        } else if (!std::holds_alternative<core::Reach>(effect) && !std::holds_alternative<core::PassOn>(effect) &&
                   !std::holds_alternative<core::HangUp>(effect)) {
            return false;
        }
        ahead.push_back(std::move(effect));
        return true;
    });
    for (auto& effect : ahead) act(std::move(effect));
}

void AgentLoop::save(std::string document) {
    saving_ = true;
    auto result = std::make_shared<Status>();
    state_file_.run(
        [result, file = parts_.state_dir / "agent.json", text = std::move(document)] {
            *result = write_file(file, text);
        },
        [this, result](const Status& ran) {
            if (!ran) *result = ran;
            saving_ = false;
            if (!*result && !save_failed_) {
                parts_.log(host::LogLevel::kError,
                           "the agent's state was not saved, nothing new will be started: " + result->error().text());
            }
            save_failed_ = !*result;
            drain();
        });
}

host::Done<void> AgentLoop::done_with(std::uint64_t id) {
    return [this, id](Result<void> result) { turn(core::OperationDone{id, std::move(result)}); };
}

void AgentLoop::act(core::AgentEffect effect) {
    if (auto* saved = std::get_if<core::Save>(&effect)) return save(std::move(saved->document));
    if (auto* message = std::get_if<core::Send>(&effect)) return say(std::move(*message));
    if (auto* list = std::get_if<core::ListContainers>(&effect)) return list_containers(list->runtime);
    if (auto* image = std::get_if<core::FetchImage>(&effect)) return fetch(*image);
    if (auto* keep = std::get_if<core::KeepImages>(&effect)) return keep_images(*keep);
    if (auto* create = std::get_if<core::Create>(&effect)) return act_container(std::move(*create));
    if (auto* question = std::get_if<core::Check>(&effect)) return check(*question);
    if (auto* lease = std::get_if<core::Arm>(&effect)) return arm(*lease);
    if (auto* over = std::get_if<core::Disarm>(&effect)) return guard_ ? guard_->disarm(over->name) : void();
    if (auto* names = std::get_if<core::ServeNames>(&effect)) return serve(*names);
    if (std::holds_alternative<core::MayStop>(effect)) return stop_now();
    if (auto* node = std::get_if<core::Reach>(&effect)) return reach(*node);
    if (auto* message = std::get_if<core::PassOn>(&effect))
        return outbox_.send(message->peer, host::Channel::kControl, core::frame(message->message));
    if (auto* done = std::get_if<core::HangUp>(&effect)) return outbox_.close(done->peer);
    if (auto* which = std::get_if<core::TryPort>(&effect))
        return turn(core::PortTried{which->id, port_is_free(which->port)});
    if (auto* drop = std::get_if<core::DropPeer>(&effect)) {
        parts_.log(host::LogLevel::kWarn, "leaving this controller: " + drop->reason);
        return outbox_.close(drop->peer);
    }
    if (auto* event = std::get_if<core::AgentEvent>(&effect)) {
        return parts_.log(host::LogLevel::kInfo, event->kind + ": " + event->text);
    }
    if (auto* images = std::get_if<core::ListImages>(&effect)) {
        auto* runtime = parts_.host.runtime(images->runtime);
        if (!runtime) return;
        return runtime->images(kListLimit, [this, name = images->runtime](Result<std::vector<std::string>> result) {
            turn(core::ImagesListed{name, result.value_or(std::vector<std::string>{})});
        });
    }
    const auto with = [&](std::uint64_t id, const std::string& name, auto fn) {
        if (auto* runtime = parts_.host.runtime(name)) return fn(*runtime);
        turn(core::OperationDone{id, fail(Code::kUnavailable, "runtime " + name + " is not running")});
    };
    if (auto* start = std::get_if<core::Start>(&effect)) {
        with(start->id, start->runtime,
             [&](host::Runtime& r) { r.start(start->name, kContainerLimit, done_with(start->id)); });
    } else if (auto* stop = std::get_if<core::Stop>(&effect)) {
        with(stop->id, stop->runtime, [&](host::Runtime& r) {
            r.stop(stop->name, stop->grace, stop->grace + kContainerLimit, done_with(stop->id));
        });
    } else if (auto* remove = std::get_if<core::Remove>(&effect)) {
        with(remove->id, remove->runtime,
             [&](host::Runtime& r) { r.remove(remove->name, kContainerLimit, done_with(remove->id)); });
    }
}

namespace {

// As the manifest has them, with the ports that a network of its own is to publish.
std::string settings_of(const core::ServiceSpec& spec) {
    json::object out = spec.settings;
    auto* container = out.if_contains("container");
    if (container && container->get_object().contains("network")) {
        json::array ports;
        for (const auto& endpoint : spec.endpoints) ports.push_back(endpoint.port);
        if (!ports.empty()) container->get_object()["ports"] = std::move(ports);
    }
    return to_text(out);
}

}  // namespace

void AgentLoop::act_container(core::Create effect) {
    auto* runtime = parts_.host.runtime(effect.runtime);
    if (!runtime) {
        return turn(
            core::OperationDone{effect.id, fail(Code::kUnavailable, "runtime " + effect.runtime + " is not running")});
    }
    if (save_failed_) {
        return turn(core::OperationDone{effect.id, fail(Code::kFull, "the agent's state cannot be saved")});
    }
    auto& wanted = effect.wanted;
    if (const auto named = wanted.spec.setting_names(); !named.empty() && !runtime->facts().settings) {
        return turn(core::OperationDone{
            effect.id, fail(Code::kUnsupported, "runtime " + effect.runtime + " cannot apply " + named.front())});
    }
    host::ContainerSpec spec;
    spec.name = wanted.name;
    spec.image = wanted.image_digest;
    spec.hostname = wanted.spec.hostname;
    spec.cwd = wanted.spec.cwd;
    spec.user = wanted.spec.user;
    spec.args = wanted.spec.args;
    spec.env = wanted.env;
    for (const auto& mount : wanted.spec.mounts)
        spec.mounts.push_back({mount.source, mount.target, mount.read_only, mount.no_exec});
    spec.cpu_milli = wanted.spec.cpu_milli;
    spec.memory_bytes = wanted.spec.memory_bytes;
    spec.pids = wanted.spec.pids;
    spec.stop_signal = wanted.spec.stop_signal;
    if (!wanted.spec.settings.empty()) spec.settings = settings_of(wanted.spec);
    spec.labels = wanted.labels;
    if (auto there = volumes_.prepare(spec); !there) return turn(core::OperationDone{effect.id, std::move(there)});
    runtime->create(spec, kContainerLimit, [this, spec, done = done_with(effect.id)](Result<void> result) {
        volumes_.prepared(spec);
        done(std::move(result));
    });
}

void AgentLoop::list_containers(const std::string& name) {
    auto* runtime = parts_.host.runtime(name);
    if (!runtime) {
        return turn(core::ContainersListed{name, fail(Code::kUnavailable, "runtime " + name + " is not running")});
    }
    runtime->list(kListLimit, [this, name](Result<std::vector<host::Container>> result) {
        if (!result) return turn(core::ContainersListed{name, std::unexpected(result.error())});
        std::vector<core::Seen> seen;
        for (auto& c : *result) {
            const bool running = c.state == host::ContainerState::kRunning || c.state == host::ContainerState::kPaused;
            seen.push_back({name, std::move(c.name), running, c.state == host::ContainerState::kCreated, c.exit_code,
                            std::move(c.detail), c.state == host::ContainerState::kPaused});
        }
        turn(core::ContainersListed{name, std::move(seen)});
    });
}

void AgentLoop::check(const core::Check& effect) {
    const auto answer = [this, id = effect.id](bool healthy, bool unknown, std::string detail) {
        turn(core::Probed{id, healthy, unknown, std::move(detail)});
    };
    auto* probe = parts_.host.probe(effect.kind);
    if (!probe) return answer(false, true, "this node has no probe " + effect.kind);
    probe->check({effect.container, effect.address, effect.port, effect.params}, effect.limit,
                 [answer](Result<host::ProbeAnswer> result) {
                     if (!result) return answer(false, true, result.error().text());
                     answer(result->verdict == host::Verdict::kHealthy, result->verdict == host::Verdict::kUnknown,
                            std::move(result->detail));
                 });
}

void AgentLoop::serve(const core::ServeNames& effect) {
    std::vector<host::NameRecord> records;
    for (const auto& entry : effect.entries) {
        records.push_back({entry.name, entry.address, entry.port, false, entry.node == parts_.config.name});
    }
    for (auto* directory : parts_.host.directories()) directory->replace(effect.table_no, records);
}

void AgentLoop::say(core::Send effect) {
    std::visit([this](auto& message) { message.id.seq = ++seq_; }, effect.message);
    if (const auto* report = std::get_if<core::Report>(&effect.message)) applied_told_ = report->applied;
    if (std::holds_alternative<core::Hello>(effect.message)) applied_told_ = {};
    send(effect.peer, effect.message);
}

void AgentLoop::send(host::PeerId peer, const core::AgentMessage& message, std::string_view tail) {
    const auto channel = tail.empty() ? host::Channel::kControl : host::Channel::kBulk;
    outbox_.send(peer, channel, core::encode(message, tail));
}

void AgentLoop::peer_up(host::PeerId peer) {
    peers_.insert(peer);
    controller_ = peer;
    no_carrier_ = false;
    source_.controller(peer);
    images_.connected(true);
    turn(core::Connected{peer});
}

void AgentLoop::asked_by(host::PeerId peer) {
    if (asking_.size() >= kAskingMax) return outbox_.close(peer);
    asking_.insert(peer);
    turn(core::Connected{peer, true});
}

void AgentLoop::reach(const core::Reach& effect) {
    parts_.transport.dial(effect.address, effect.limit, [this, route = effect.route](Result<host::PeerId> peer) {
        if (peer) reached_.insert(*peer);
        turn(core::Reached{route, std::move(peer)});
    });
}

void AgentLoop::node_message(host::PeerId peer, std::string_view bytes) {
    auto message = core::unframe(bytes);
    if (message) return turn(core::FromNode{peer, std::move(*message)});
    parts_.log(host::LogLevel::kWarn, "message of another node to its controller refused: " + message.error().text());
    outbox_.close(peer);
}

void AgentLoop::peer_message(host::PeerId peer, std::string_view bytes) {
    if (reached_.contains(peer)) return node_message(peer, bytes);
    if (source_.owns(peer)) return blob_came(peer, bytes);
    if (asking_.contains(peer) && serve_blob(peer, bytes)) return;
    auto decoded = core::decode_controller(bytes);
    if (!decoded) {
        parts_.log(host::LogLevel::kWarn, "message from the controller refused: " + decoded.error().text());
        return outbox_.close(peer);
    }
    if (const auto* blob = std::get_if<core::BlobData>(&decoded->message)) {
        if (source_.take(peer, *blob)) images_.data(*blob, std::move(decoded->tail));
        return;
    }
    const auto open_stream = [&](const auto& open, auto begin) {
        const auto place = core_->container_of(open.copy);
        auto* runtime = place ? parts_.host.runtime(place->runtime) : nullptr;
        if (!runtime) return send(peer, core::LogData{{}, open.stream, true, "no container of " + open.copy.text()});
        (logs_.*begin)(peer, open, *runtime, place->container);
    };
    if (const auto* open = std::get_if<core::LogOpen>(&decoded->message)) return open_stream(*open, &LogReaders::open);
    if (const auto* open = std::get_if<core::ExecOpen>(&decoded->message)) return open_stream(*open, &LogReaders::exec);
    if (const auto* what = std::get_if<core::PauseCopy>(&decoded->message)) return pause(peer, *what);
    if (const auto* input = std::get_if<core::ExecInput>(&decoded->message)) {
        return logs_.input(peer, *input, decoded->tail);
    }
    if (const auto* close = std::get_if<core::LogClose>(&decoded->message)) return logs_.close(peer, close->stream);
    if (const auto* what = std::get_if<core::Drill>(&decoded->message)) return drill(*what);
    welcomed_ = welcomed_ || std::holds_alternative<core::Welcome>(decoded->message);
    turn(core::FromController{peer, std::move(decoded->message)});
}

// The runtime is asked, and what it lists then is what the core knows of it.
void AgentLoop::pause(host::PeerId peer, const core::PauseCopy& what) {
    const auto place = core_->container_of(what.copy);
    auto* runtime = place ? parts_.host.runtime(place->runtime) : nullptr;
    std::string no;
    if (!runtime)
        no = "no container of " + what.copy.text();
    else if (what.disk && !place->may_rest)
        no = "it is on its way out, or runs by a lease (overlap = \"forbid\"), which does not wait for it";
    else if (!what.disk && !runtime->facts().pause)
        no = "runtime " + place->runtime + " cannot pause; runtime.oci and runtime.docker can";
    if (!no.empty()) return send(peer, core::LogData{{}, what.stream, true, std::move(no)});
    runtime->pause(place->container, what.on, what.disk, what.disk ? kDiskLimit : kPauseLimit,
                   [this, peer, stream = what.stream, name = place->runtime](Result<void> done) {
                       turn(core::ContainerExited{name, {}, 0});
                       send(peer, core::LogData{{}, stream, true, done ? "" : done.error().text()});
                   });
}

// Only what this node's own configuration permits, whatever the controller takes for permitted.
void AgentLoop::drill(const core::Drill& what) {
    const auto command = parts_.config.drill.find(what.kind);
    const json::object fields{{"kind", what.kind}};
    const std::string name = facts_.node + ": drill " + what.kind;
    if (command == parts_.config.drill.end())
        return tell("drill-failed", name + " is not in [node.drill] here", fields);
    parts_.log(host::LogLevel::kWarn, name + " for " + format_duration(milliseconds(what.for_ms)) + " begins");
    drill_.run(what.kind, command->second, milliseconds(what.for_ms), [this, name, fields](const Status& ended) {
        if (!ended) tell("drill-failed", name + ": " + ended.error().text(), fields);
    });
}

void AgentLoop::tell(std::string kind, std::string text, json::object fields) {
    parts_.log(host::LogLevel::kWarn, kind + ": " + text);
    if (controller_ == 0 || !welcomed_ || stopping_) return;
    say({controller_, core::NodeEvent{{facts_.node_id, facts_.boot_id, facts_.session, 0},
                                      std::move(kind),
                                      std::move(text),
                                      std::move(fields)}});
}

void AgentLoop::peer_down(host::PeerId peer, host::Down reason) {
    outbox_.forget(peer);
    if (reached_.erase(peer)) {
        return turn(core::NodeGone{peer, reason == host::Down::kReset    ? core::Ended::kReset
                                         : reason == host::Down::kClosed ? core::Ended::kClosed
                                                                         : core::Ended::kSilent});
    }
    if (source_.owns(peer)) return source_.peer_down(peer);
    logs_.peer_down(peer);
    if (asking_.erase(peer)) return readers_.erase(peer) ? void() : turn(core::Disconnected{peer});
    peers_.erase(peer);
    if (controller_ == peer) {
        controller_ = 0;
        source_.controller(0);
        images_.connected(false);
    }
    turn(core::Disconnected{peer});
    // Who turned us away, or fell silent before a welcome, is asked again ever more slowly.
    dial_failures_ = std::exchange(welcomed_, false) ? 0 : dial_failures_ + 1;
    if (peers_.empty() && !dialling_) dial_later();
}

void AgentLoop::controller_found(const std::string& address) {
    if (std::ranges::count(controllers_, address) > 0) return;
    controllers_.push_back(address);
    if (core_) dial();
}

void AgentLoop::dial() {
    if (stopping_ || dialling_ || !peers_.empty()) return;
    if (controllers_.empty()) {
        if (!warned_alone_ && host::boottime_now() - started_ >= kAloneWarned) {
            warned_alone_ = true;
            parts_.log(host::LogLevel::kWarn,
                       "no controller is known: the discovery plugins have found none in " +
                           std::to_string(kAloneWarned / seconds(1)) +
                           " s; name one in [discovery.static] controllers, or see what they log");
        }
        return dial_later();
    }
    const auto address = controllers_[next_controller_++ % controllers_.size()];
    // Dialled without one, the kernel would look for the other side only once a second, for some time after it is
    // there.
    if (!has_carrier(address)) {
        if (!std::exchange(no_carrier_, true))
            parts_.log(host::LogLevel::kWarn, "cannot reach the controller at " + address +
                                                  ": its link has no carrier; dialled as soon as it has");
        return dial_after(kDialPauseMin);
    }
    dialling_ = true;
    parts_.transport.dial(address, kDialLimit, [this, address](Result<host::PeerId> peer) {
        dialling_ = false;
        if (peer) return peer_up(*peer);
        ++dial_failures_;
        if (peer.error().message != std::exchange(last_dial_error_, peer.error().message) ||
            dial_failures_ % 100 == 1) {
            parts_.log(host::LogLevel::kWarn, "cannot reach the controller at " + address + ": " + peer.error().text());
        }
        dial_later();
    });
}

void AgentLoop::dial_later() { dial_after(std::min(kDialPauseMax, kDialPauseMin * (1 + dial_failures_))); }

void AgentLoop::dial_after(Duration pause) {
    if (stopping_) return;
    dial_timer_.expires_after(pause);
    dial_timer_.async_wait([this](boost::system::error_code error) {
        if (!error) dial();
    });
}

void AgentLoop::measure() {
    const auto ticks = cpu_now();
    core::Load load;
    const auto memory = memory_now();
    load.memory_free_bytes = memory.available_bytes;
    if (parts_.config.memory_bytes) {  // the operator gives us that much: what the machine uses comes off it
        load.memory_free_bytes = std::clamp<std::int64_t>(
            parts_.config.memory_bytes - (memory.total_bytes - memory.available_bytes), 0, memory.available_bytes);
    }
    if (ticks.total > cpu_total_ && cpu_total_ != 0) {
        load.cpu_used_milli = static_cast<std::int64_t>(
            (ticks.busy - cpu_busy_) * static_cast<std::uint64_t>(cpu_milli_) / (ticks.total - cpu_total_));
    }
    cpu_busy_ = ticks.busy;
    cpu_total_ = ticks.total;
    turn(core::LoadMeasured{load, usage_.sample(core_->running())});
    if (++measured_ % kDiskPeriods == 0) make_room();
    load_timer_.expires_after(kLoadPeriod);
    load_timer_.async_wait([this](boost::system::error_code error) {
        if (!error) measure();
    });
}

void AgentLoop::exec(const std::string& container, const json::value& document, Execs::Answer answer) {
    const auto parsed = core::parse_container_name(container);
    const auto place = parsed && core_ ? core_->container_of(parsed->copy) : std::nullopt;
    auto* runtime = place && place->container == container ? parts_.host.runtime(place->runtime) : nullptr;
    if (!runtime) return answer(fail(Code::kNotFound, "no container " + container + " is here"));
    execs_.run(*runtime, container, document, std::move(answer));
}

json::value AgentLoop::document() const { return core_ ? core_->document() : json::value(nullptr); }

}  // namespace gantry::control
