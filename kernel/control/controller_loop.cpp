// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/controller_loop.hpp"

#include <algorithm>

#include "kernel/base/limits.hpp"
#include "kernel/base/units.hpp"
#include "kernel/control/files.hpp"
#include "kernel/control/image_source.hpp"

namespace gantry::control {
namespace {

constexpr Duration kStoreLimit = seconds(30);
constexpr Duration kReloadPause = seconds(1);
constexpr Duration kFullPause = seconds(5);  // API changes are refused so long after the disk was found full
constexpr Duration kRefusedLogged = seconds(60);
constexpr std::chrono::hours kUploadKept{1};

std::vector<std::string> policy_names(const host::Host& host, const std::string& preferred) {
    std::vector<std::string> out;
    for (const auto& [name, placement] : host.placements()) out.push_back(name);
    const auto found = std::ranges::find(out, preferred);
    if (found != out.end()) std::rotate(out.begin(), found, found + 1);
    return out;
}

std::string ip_of(const std::string& address) {
    const auto colon = address.rfind(':');
    std::string ip = address.substr(0, colon);
    if (ip.starts_with('[') && ip.ends_with(']')) ip = ip.substr(1, ip.size() - 2);
    return ip;
}

}  // namespace

ControllerLoop::ControllerLoop(Parts parts)
    : parts_(std::move(parts)),
      timer_(parts_.io,
             [this](Duration lag) {
                 if (lag > parts_.config.timing.heartbeat) turn(core::LoopLate{lag});
                 turn(core::Tick{});
             }),
      log_writers_(parts_.io),
      files_(parts_.io, 1),
      reload_timer_(parts_.io),
      load_timer_(parts_.io) {
    outbox_.use(&parts_.transport, [this](host::PeerId, std::size_t bytes) {
        const std::string text = "a message of " + std::to_string(bytes) +
                                 " bytes to a node is longer than the transport takes and was not sent";
        parts_.log(host::LogLevel::kError, text);
        parts_.events.add("message-too-long", text, {{"bytes", bytes}});
    });
    log_writers_.on_abandoned([this](std::uint64_t stream, host::PeerId peer) { send(peer, core::LogClose{stream}); });
    log_writers_.on_taken([this](std::uint64_t stream, host::PeerId peer, std::uint64_t bytes) {
        send(peer, core::ExecInput{stream, false, bytes});
    });
}

void ControllerLoop::start(host::Done<void> ready) {
    load([this, ready = std::move(ready)](Status loaded) mutable {
        if (!loaded) return ready(loaded);
        listen(std::move(ready));
    });
}

void ControllerLoop::listen(host::Done<void> ready) {
    parts_.transport.listen(parts_.config.listen, [this, ready = std::move(ready)](Result<std::string> bound) {
        if (!bound) return ready(fail_because("cannot listen on " + parts_.config.listen, bound.error()));
        listening_ = *bound;
        parts_.events.set_term(core_->term());
        parts_.events.add("controller-started",
                          "controller of cluster " + core_->cluster_id() + " listens on " + *bound,
                          {{"term", core_->term()}});
        // Not what was uploaded a moment ago: its image may not have a name yet.
        files_.run([this, needed = core_->images_needed()] { parts_.blobs.keep(needed, kUploadKept); },
                   [](const Status&) {});
        remember_load();
        ready({});
    });
}

void ControllerLoop::remember_load() {
    load_timer_.expires_after(load::History::kStep);
    load_timer_.async_wait([this](boost::system::error_code cancelled) {
        if (cancelled || stopping_) return;
        const auto wall = std::chrono::system_clock::now().time_since_epoch();
        if (core_) load_history_.take(*core_, wall / milliseconds(1));
        remember_load();
    });
}

void ControllerLoop::stop() {
    stopping_ = true;
    reload_timer_.cancel();
    load_timer_.cancel();
    timer_.stop();
}

// Also after a failed commit: the core that decided it is gone, the store is the truth.
void ControllerLoop::load(std::function<void(Status)> done) {
    parts_.store.load("", kStoreLimit, [this, done = std::move(done)](Result<host::StoreEntries> entries) {
        if (!entries) return done(fail_because("cannot load the store", entries.error()));
        std::vector<core::Entry> stored;
        stored.reserve(entries->entries.size());
        for (auto& entry : entries->entries) stored.push_back({std::move(entry.key), std::move(entry.value)});
        auto core = std::make_unique<core::Controller>(parts_.config.timing,
                                                       policy_names(parts_.host, parts_.config.default_policy));
        auto effects = core->load(stored, new_uuid(), host::boottime_now());
        if (!effects) return done(fail_because("the store cannot be used", effects.error()));
        core_ = std::move(core);
        ++cores_;
        gate_ = core::CommitGate();
        loaded_ = done;
        gather(*effects);
        gate_.add(std::move(*effects));
        timer_.arm(core_->next_deadline());
        pump();
    });
}

void ControllerLoop::turn(const core::Input& input, const std::string& who) {
    if (!core_ || stopping_) return;
    const auto now = host::boottime_now();
    auto effects = core_->step(input, now);
    if (!who.empty()) {  // the first event says what was asked for, those behind it what came of it
        const auto event = std::ranges::find_if(
            effects.acts, [](const auto& effect) { return std::holds_alternative<core::Event>(effect); });
        if (event != effects.acts.end()) std::get<core::Event>(*event).fields["by"] = who;
    }
    gather(effects);
    gate_.add(std::move(effects));
    timer_.arm(core_->next_deadline());
    pump();
}

// What policies answer at once joins the turn; the others' answers are turns of their own.
void ControllerLoop::gather(core::Effects& effects) {
    std::vector<core::Rank> ranks = std::exchange(effects.ranks, {});
    while (!ranks.empty()) {
        std::vector<core::Rank> next;
        for (const auto& rank : ranks) {
            const auto answer = answer_rank(rank);
            if (!answer) continue;
            auto more = core_->step(*answer, host::boottime_now());
            std::ranges::move(more.writes, std::back_inserter(effects.writes));
            std::ranges::move(more.acts, std::back_inserter(effects.acts));
            std::ranges::move(more.ranks, std::back_inserter(next));
        }
        ranks = std::move(next);
    }
}

std::optional<core::Input> ControllerLoop::answer_rank(const core::Rank& rank) {
    struct Question {
        bool in_turn = true;
        std::optional<core::Input> answer;
    };
    const auto question = std::make_shared<Question>();
    ask(rank, [this, question, id = rank.id, core = cores_](Ranking keys) {
        core::Input input = core::RankFailed{id, keys ? std::string() : keys.error().text()};
        if (keys) input = core::Ranked{id, std::move(*keys)};
        if (question->in_turn)
            question->answer = std::move(input);
        else if (core == cores_)
            turn(input);
    });
    question->in_turn = false;
    return std::move(question->answer);
}

void ControllerLoop::ask(const core::Rank& rank, std::function<void(Ranking)> done) {
    auto* placement = parts_.host.placement(rank.policy);
    if (!placement) return done(fail(Code::kUnavailable, "placement policy " + rank.policy + " is not running"));
    std::vector<host::CandidateView> candidates;
    candidates.reserve(rank.candidates.size());
    for (const auto& c : rank.candidates) {
        candidates.push_back({c.node, c.cpu_total_milli, c.cpu_free_milli, c.memory_total_bytes, c.memory_free_bytes,
                              c.copies_running, c.copies_pending, c.copies_of_service, c.has_image, c.labels});
    }
    placement->score({rank.nodes_total, rank.nodes_ready, rank.copies_total, rank.service, rank.cpu_milli,
                      rank.memory_bytes, rank.instances_wanted, candidates},
                     std::move(done));
}

void ControllerLoop::pump() {
    for (auto& effect : gate_.release()) act(std::move(effect));
    auto commit = gate_.begin();
    if (!commit) {
        if (loaded_ && gate_.idle()) std::exchange(loaded_, nullptr)({});
        return;
    }
    std::vector<host::StoreChange> changes;
    changes.reserve(commit->writes.size());
    for (auto& write : commit->writes) {
        changes.push_back({std::move(write.key), write.value.value_or(""), host::kRevisionAny, !write.value});
    }
    parts_.store.commit(std::move(changes), commit->use_reserve, kStoreLimit,
                        [this](Result<std::uint64_t> result) { committed(std::move(result)); });
}

void ControllerLoop::committed(Result<std::uint64_t> result) {
    if (result) {
        gate_.committed();
        return pump();
    }
    auto error = result.error();
    parts_.log(host::LogLevel::kError, "commit failed, loading the store again: " + error.text());
    if (error.code == Code::kFull) {
        full_until_ = host::boottime_now() + kFullPause;
        error.message = "the disk of the controller is nearly full, nothing was changed: free some space and try again";
    }
    fail_requests(gate_.failed(), error);
    core_.reset();
    ++cores_;
    joined_.clear();
    for (auto peer : peers_) outbox_.close(peer);
    if (auto waiting = std::exchange(loaded_, nullptr)) return waiting(std::unexpected(error));  // at start: give up
    reload();
}

void ControllerLoop::reload() {
    load([this](Status loaded) {
        if (loaded || stopping_) return;
        parts_.log(host::LogLevel::kError, loaded.error().text());
        reload_timer_.expires_after(kReloadPause);
        reload_timer_.async_wait([this](boost::system::error_code cancelled) {
            if (!cancelled && !stopping_) reload();
        });
    });
}

void ControllerLoop::act(core::Effect effect) {
    if (auto* to = std::get_if<core::SendTo>(&effect)) {
        send(to->peer, to->message);
        if (std::holds_alternative<core::Welcome>(to->message)) {
            joined_.insert(to->peer);
            if (names_)
                for (const auto& part : core::divide(*names_)) send(to->peer, part);
        }
    } else if (auto* close = std::get_if<core::ClosePeer>(&effect)) {
        joined_.erase(close->peer);
        outbox_.close(close->peer);
    } else if (auto* announce = std::get_if<core::Announce>(&effect)) {
        names_ = std::move(announce->names);
        for (const auto& part : core::divide(*names_))
            for (auto peer : joined_) send(peer, part);
        if (parts_.names) parts_.names(*names_);
    } else if (auto* event = std::get_if<core::Event>(&effect)) {
        if (const auto* who = event->fields.if_contains("by")) {
            parts_.log(host::LogLevel::kInfo, std::string(who->as_string()) + ": " + event->text);
        }
        parts_.events.set_term(core_ ? core_->term() : 0);
        parts_.events.add(event->kind, event->text, std::move(event->fields));
    } else if (auto* answer = std::get_if<core::Reply>(&effect)) {
        reply(answer->request, std::move(answer->result));
    }
}

void ControllerLoop::send(host::PeerId peer, const core::ControllerMessage& message, std::string_view tail) {
    const auto channel = tail.empty() ? host::Channel::kControl : host::Channel::kBulk;
    outbox_.send(peer, channel, core::encode(message, tail));
}

void ControllerLoop::peer_message(host::PeerId peer, const std::string& address, std::string_view bytes) {
    if (!core_) return outbox_.close(peer);  // it says hello again when it is back
    auto decoded = core::decode_agent(bytes);
    if (!decoded) {
        parts_.log(host::LogLevel::kWarn, "message from " + address + " refused: " + decoded.error().text());
        return outbox_.close(peer);
    }
    if (const auto* read = std::get_if<core::BlobRead>(&decoded->message)) return serve_blob(peer, *read);
    if (const auto* data = std::get_if<core::LogData>(&decoded->message)) {
        if (data->stream >= kOrders) return obeyed(peer, *data);
        return log_writers_.data(peer, *data, std::move(decoded->tail));
    }
    turn(core::PeerMessage{peer, ip_of(address), std::move(decoded->message)});
}

void ControllerLoop::peer_down(host::PeerId peer, host::Down reason) {
    peers_.erase(peer);
    joined_.erase(peer);
    outbox_.forget(peer);
    log_writers_.peer_down(peer);
    std::vector<std::uint64_t> lost;
    for (const auto& [stream, order] : orders_)
        if (order.peer == peer) lost.push_back(stream);
    for (const auto stream : lost) obeyed(peer, {{}, stream, true, "the connection to the node was lost"});
    turn(core::PeerDown{peer, reason == host::Down::kClosed    ? core::Down::kClosed
                              : reason == host::Down::kTimeout ? core::Down::kTimeout
                                                               : core::Down::kReset});
}

void ControllerLoop::peer_writable(host::PeerId peer) { outbox_.writable(peer); }

void ControllerLoop::peer_refused(const std::string& address, const std::string& text) {
    const auto now = host::boottime_now();
    const auto ip = ip_of(address);
    const auto found = refused_logged_.find(ip);
    if (found != refused_logged_.end() && now - found->second < kRefusedLogged) return;
    if (refused_logged_.size() > limits::kNodes) refused_logged_.clear();
    refused_logged_[ip] = now;
    parts_.log(host::LogLevel::kWarn, "connection from " + ip + " refused: " + text);
    parts_.events.add("connection-refused", ip + ": " + text, {{"address", ip}});
}

void ControllerLoop::serve_blob(host::PeerId peer, const core::BlobRead& read) {
    auto piece = std::make_shared<std::pair<core::BlobData, std::string>>();
    auto near = read.image.empty() ? std::vector<std::string>{} : core_->neighbours_with(read.image, peer);
    files_.run([this, piece, read] { *piece = answer(parts_.blobs, read); },
               [this, piece, peer, near = std::move(near)](const Status& ran) {
                   auto& [head, bytes] = *piece;
                   if (!ran) head.error = ran.error().text();
                   head.near = near;
                   outbox_.send(peer, host::Channel::kBulk, core::encode(head, bytes));
               });
}

void ControllerLoop::drop_blobs(const std::string& manifest) {
    if (!core_) return;  // the next start does it
    files_.run([this, manifest, needed = core_->images_needed()] { parts_.blobs.remove(manifest, needed); },
               [](const Status&) {});
}

void ControllerLoop::change(const std::function<core::Input(core::RequestId)>& make, const std::string& who,
                            Answer answer) {
    if (!core_) return answer(fail(Code::kUnavailable, "the controller is loading its store, try again"));
    if (host::boottime_now() < full_until_) {
        return answer(fail(Code::kFull, "the disk of the controller is nearly full: free some space and try again"));
    }
    if (requests_.size() >= limits::kWaitingRequests) {
        return answer(fail(Code::kFull, "too many requests wait already, try again"));
    }
    const auto id = next_request_++;
    requests_.emplace(id, std::move(answer));
    turn(make(id), who);
}

void ControllerLoop::read(const std::function<Result<json::value>(const core::Controller&)>& make, Answer answer) {
    if (!core_) return answer(fail(Code::kUnavailable, "the controller is loading its store, try again"));
    const auto id = next_request_++;
    requests_.emplace(id, std::move(answer));
    core::Effects effects;
    effects.acts.emplace_back(core::Reply{id, make(*core_)});
    gate_.add(std::move(effects));
    pump();
}

Result<json::value> ControllerLoop::explained(const core::Controller& core, const std::string& service,
                                              const std::function<Ranking(const core::Rank&)>& rank) const {
    return core.explain(service, host::boottime_now(), rank, [this](const std::string& policy) {
        auto* placement = parts_.host.placement(policy);
        return placement ? placement->key_names() : std::vector<std::string>{};
    });
}

// Made twice: to learn what the policy must be asked, then with what it answered.
void ControllerLoop::explain(const std::string& service, Answer answer) {
    const auto nodes_of = [](const core::Rank& rank) {
        std::vector<std::string> nodes;
        for (const auto& candidate : rank.candidates) nodes.emplace_back(candidate.node);
        return nodes;
    };
    std::optional<core::Rank> question;
    const auto learn = [&](const core::Rank& rank) -> Ranking {
        question = rank;
        return fail(Code::kUnavailable, "it has not answered yet");
    };
    if (core_) (void)explained(*core_, service, learn);  // the errors are those of the second time
    auto finish = [this, service, nodes_of, answer = std::move(answer),
                   asked = question ? nodes_of(*question) : std::vector<std::string>{}](Ranking keys) {
        const auto rank = [&](const core::Rank& now) -> Ranking {
            if (nodes_of(now) == asked) return keys;
            return fail(Code::kConflict, "the candidates changed while it was asked, ask again");
        };
        read([&](const core::Controller& core) { return explained(core, service, rank); }, answer);
    };
    if (!question) return finish(std::vector<core::Keys>{});
    ask(*question, std::move(finish));
}

void ControllerLoop::logs(const std::string& instance, bool follow, std::int64_t tail_lines, std::int64_t since_ms,
                          int fd, Answer started) {
    FileDescriptor owned(fd);
    if (!core_) return started(fail(Code::kUnavailable, "the controller is loading its store, try again"));
    auto place = core_->place(instance);
    if (!place) return started(std::unexpected(place.error()));
    if (log_writers_.size() >= limits::kLogStreams) {
        return started(
            fail(Code::kFull, "too many read logs already (" + std::to_string(limits::kLogStreams) + "); try again"));
    }
    const auto stream = log_writers_.open(place->peer, owned.release());
    send(place->peer, core::LogOpen{stream, place->copy, follow, tail_lines, since_ms});
    started(json::object{{"node", place->node}});
}

void ControllerLoop::order(const std::string& instance, const std::string& what, const std::string& who,
                           Answer answer) {
    if (!core_) return answer(fail(Code::kUnavailable, "the controller is loading its store, try again"));
    const auto place = core_->place(instance);
    if (!place) return answer(std::unexpected(place.error()));
    const bool restart = what == "restart", disk = what == "checkpoint" || what == "restore";
    if (!(restart ? place->restart : disk ? place->disk : place->exec))
        return answer(
            fail(Code::kUnsupported, "gantryd of " + place->node + " is older and cannot " + what + "; upgrade it"));
    if (orders_.size() >= limits::kLogStreams)
        return answer(fail(Code::kFull, "too many orders wait for their nodes already; try again"));
    const auto stream = kOrders + ++last_order_;
    orders_[stream] = {place->peer, what, instance, place->node, who, std::move(answer)};
    if (restart)
        send(place->peer, core::RestartCopy{stream, place->copy});
    else
        send(place->peer, core::PauseCopy{stream, place->copy, what == "pause" || what == "checkpoint", disk});
}

void ControllerLoop::obeyed(host::PeerId peer, const core::LogData& data) {
    const auto found = orders_.find(data.stream);
    if (found == orders_.end() || found->second.peer != peer) return;
    const Order order = std::move(orders_.extract(found).mapped());
    const bool restart = order.what == "restart";
    const std::string kind = restart ? "instance-restarted" : order.what + (order.what.ends_with('e') ? "d" : "ed");
    const std::string place = order.instance + " on " + order.node, done = restart ? "restarted" : kind;
    if (!data.error.empty()) return order.answer(fail(Code::kFailed, place + " is not " + done + ": " + data.error));
    json::object fields{{"instance", order.instance}, {"node", order.node}};
    json::object said = fields;
    if (!order.who.empty()) said["by"] = order.who;
    parts_.events.add(kind, place + " is " + done + (restart ? " by hand" : ""), std::move(said));
    if (!restart) fields["paused"] = kind == "paused" || kind == "checkpointed";
    order.answer(std::move(fields));
}

void ControllerLoop::drill(const std::string& node, const std::string& kind, Duration duration, const std::string& who,
                           Answer answer) {
    if (!core_) return answer(fail(Code::kUnavailable, "the controller is loading its store, try again"));
    const auto peer = core_->drilled(node, kind);
    if (!peer) return answer(std::unexpected(peer.error()));
    const Instant now = host::boottime_now();
    if (now < drill_until_)
        return answer(fail(Code::kConflict, "a drill is under way for another " + format_duration(drill_until_ - now) +
                                                "; there is one at a time"));
    drill_until_ = now + duration;
    json::object fields{{"node", node}, {"kind", kind}, {"for_ms", duration / milliseconds(1)}};
    send(*peer, core::Drill{kind, duration / milliseconds(1)});
    json::object said = fields;
    if (!who.empty()) said["by"] = who;
    parts_.events.add("drill", node + ": drill " + kind + " for " + format_duration(duration), std::move(said));
    answer(std::move(fields));
}

void ControllerLoop::exec(const std::string& instance, const json::value& document, int fd, const std::string& who,
                          Answer started) {
    FileDescriptor owned(fd);
    if (!core_) return started(fail(Code::kUnavailable, "the controller is loading its store, try again"));
    const auto place = core_->place(instance);
    if (!place) return started(std::unexpected(place.error()));
    if (!place->exec)
        return started(
            fail(Code::kUnsupported, "gantryd of " + place->node + " is older and runs no commands; upgrade it"));
    if (log_writers_.size() >= limits::kLogStreams)
        return started(fail(Code::kFull, "too many read logs or run commands already (" +
                                             std::to_string(limits::kLogStreams) + "); try again"));
    Fields f(&document, "");
    const auto args = f.texts("args");
    const auto terminal = f.boolean("terminal", false), input = f.boolean("input", false);
    const auto rows = f.integer("rows", 24, 1, UINT16_MAX), columns = f.integer("columns", 80, 1, UINT16_MAX);
    const auto known = f.finish();
    for (const Error* error :
         {args ? nullptr : &args.error(), terminal ? nullptr : &terminal.error(), input ? nullptr : &input.error(),
          rows ? nullptr : &rows.error(), columns ? nullptr : &columns.error(), known ? nullptr : &known.error()})
        if (error) return started(std::unexpected(*error));
    if (args->empty()) return started(fail(Code::kInvalid, "expected a program and its arguments", "args"));
    const auto stream = log_writers_.open(place->peer, owned.release(), true);
    log_writers_.say(stream, 's', json::object{{"exec", stream}, {"instance", instance}, {"node", place->node}});
    parts_.log(host::LogLevel::kInfo,
               who + " runs \"" + one_line(args->front(), 200) + "\" in " + instance + " on " + place->node);
    send(place->peer, core::ExecOpen{stream, place->copy, *args, *terminal, *input, static_cast<std::uint16_t>(*rows),
                                     static_cast<std::uint16_t>(*columns)});
    started(json::object{{"node", place->node}});
}

void ControllerLoop::exec_input(core::ExecInput input, const std::string& bytes, Answer answer) {
    const auto peer = log_writers_.command(input.stream);
    if (!peer) return answer(fail(Code::kNotFound, "command " + std::to_string(input.stream) + " has ended"));
    if (bytes.size() > limits::kBlobChunk)
        return answer(fail(Code::kInvalid, "expected at most " + std::to_string(limits::kBlobChunk) +
                                               " bytes of input at once, got " + std::to_string(bytes.size())));
    outbox_.send(*peer, host::Channel::kBulk, core::encode(input, bytes));
    answer(json::object{});
}

void ControllerLoop::reply(core::RequestId request, Result<json::value> result) {
    auto found = requests_.find(request);
    if (found == requests_.end()) return;
    auto answer = std::move(found->second);
    requests_.erase(found);
    answer(std::move(result));
}

void ControllerLoop::fail_requests(const std::vector<core::RequestId>& requests, const Error& why) {
    for (auto request : requests) reply(request, std::unexpected(why));
}

}  // namespace gantry::control
