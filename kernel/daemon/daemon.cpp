// SPDX-License-Identifier: Apache-2.0
#include "kernel/daemon/daemon.hpp"

#include <algorithm>
#include <csignal>

#include "kernel/base/units.hpp"
#include "kernel/control/machine.hpp"
#include "kernel/crash/witness.hpp"
#include "kernel/daemon/log.hpp"
#include "kernel/daemon/version.hpp"
#include "kernel/isolation/isolation.hpp"
#include "kernel/load/own_pages.hpp"

namespace gantry::daemon {
namespace {

constexpr int kConfigStatus = 78;  // EX_CONFIG
constexpr Duration kRetryMin = seconds(1), kRetryMax = seconds(60);
constexpr Duration kStartOver = seconds(60);  // by then a node has joined, adopted and fetched what it found
constexpr const char* kBootId = "/proc/sys/kernel/random/boot_id";
constexpr std::size_t kCrashesMax = 4 << 20;  // bytes of the record

host::HostOptions host_options(const control::Config& config, control::EventLog& events,
                               crash::Record* crashes = nullptr) {
    host::HostOptions options;
    options.plugin_path = config.plugin_path;
    options.state_dir = config.state_dir;
    options.workers = config.workers;
    options.trust = config.trust;
    options.crashes = crashes;
    options.isolation = isolation::make_isolation(config.plugin_host);
    options.log = [](host::LogLevel level, std::string_view plugin, std::string_view text) {
        log(level, plugin, text);
    };
    options.event = [&events](std::string kind, std::string text, json::object fields) {
        events.add(kind, text, std::move(fields));
    };
    return options;
}

// The address at which this machine's own agent reaches its controller.
std::string own_address(const std::string& listen) {
    const auto colon = listen.rfind(':');
    const auto host = listen.substr(0, colon);
    const auto port = listen.substr(colon);
    if (host == "0.0.0.0") return "127.0.0.1" + port;
    if (host == "[::]") return "[::1]" + port;
    return listen;
}

void report(std::string_view who, const Error& error) { log(host::LogLevel::kError, who, error.text()); }

// A port that is another program's, or a full disk: who watches over gantryd may try again.
int status_of(const Error& error) {
    return error.code == Code::kUnavailable || error.code == Code::kFull ? 1 : kConfigStatus;
}

}  // namespace

int check_config(const control::Config& config, const Handover* handover) {
    boost::asio::io_context io;
    control::EventLog events{std::filesystem::path{}};
    host::HostOptions options = host_options(config, events);
    if (handover != nullptr) options.files = handover->files;
    host::Host host(io, std::move(options));
    if (auto ok = host.configure(config.plugins); !ok) {
        report("gantryd", ok.error());
        return kConfigStatus;
    }
    for (const auto& title : handover != nullptr ? handover->running : std::vector<std::string>()) {
        if (auto ok = host.rehearse(title); !ok) {
            report(title, ok.error());
            return kConfigStatus;
        }
    }
    log(host::LogLevel::kInfo, "gantryd", config.file.string() + " is good");
    return 0;
}

Daemon::Listening::Listening(boost::asio::signal_set& signals) {
    signals.add(SIGHUP);
    sigset_t caught;
    ::sigemptyset(&caught);
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&caught, number);
    ::sigprocmask(SIG_UNBLOCK, &caught, nullptr);
}

Daemon::Daemon(control::Config config, Program program, std::unique_ptr<Handover> handover,
               std::shared_ptr<host::Kept> kept)
    : config_(std::move(config)),
      program_(std::move(program)),
      handover_(std::move(handover)),
      kept_(std::move(kept)),
      signals_(io_, SIGTERM, SIGINT),
      listening_(signals_),
      events_(config_.state_dir / "events.jsonl"),
      blobs_(config_.state_dir / "images"),
      crashes_([file = config_.state_dir / "crashes.json"](auto text) { return control::write_file(file, text); },
               control::read_boot_id(kBootId).value_or("")),
      host_(io_, [this] {
          host::HostOptions options = host_options(config_, events_, &crashes_);
          options.kept = kept_;
          if (handover_) options.files = handover_->files;
          return options;
      }()) {}

int Daemon::run() {
    if (auto ok = blobs_.open(); !ok) {
        report("gantryd", ok.error());
        return 1;
    }
    const crash::SignalStack stack;
    recall_crash();
    if (auto ok = host_.configure(config_.plugins); !ok) {
        turn_back(ok.error().text());
        report("gantryd", ok.error());
        return kConfigStatus;
    }
    wait_for_signal();
    boost::asio::post(io_, [this] { start(kRetryMin); });
    io_.run();
    return status_;
}

void Daemon::wait_for_signal() {
    signals_.async_wait([this](boost::system::error_code error, int number) {
        if (error) return;
        if (number != SIGHUP) return stop({});
        if (tree_ && !stopping_) reload_config("signal:SIGHUP", [](const Result<json::value>&) {});
        wait_for_signal();
    });
}

// What the last gantryd died of goes into the record before anything is decided by it. Trouble with these files is told
// and costs no more than the memory of crashes.
void Daemon::recall_crash() {
    const auto kept = control::read_file(config_.state_dir / "crashes.json", kCrashesMax);
    if (kept) {
        if (auto ok = crashes_.read(*kept); !ok) report("gantryd: crashes.json", ok.error());
    } else if (kept.error().code != Code::kNotFound) {
        report("gantryd", kept.error());
    }
    auto last = crash::watch(config_.state_dir / "last-crash", crashes_.boot());
    if (!last) return report("gantryd", last.error());
    if (!*last) return;
    const crash::Report& died = **last;
    const std::string text = "the last gantryd ended by " + died.how + " in " +
                             (died.plugin.empty() ? "no call into a plugin" : died.slot + " of " + died.plugin);
    log(host::LogLevel::kError, "gantryd", text);
    events_.add("gantryd-crashed", text, {{"plugin", died.plugin}, {"slot", died.slot}, {"how", died.how}});
    if (died.plugin.empty()) return;
    auto ok = crashes_.note(died.plugin, died.digest, {died.slot, died.how, died.boot, died.at, false});
    if (!ok) report("gantryd", ok.error());
}

// What cannot be done without, and crashed too often to run here, is tried for ever; meanwhile frontends tell.
void Daemon::start(Duration pause) {
    auto ok = start_plugins();
    if (ok) ok = complete(false);
    if (ok) return start_roles();
    if (!ok.error().retry || (handover_ && handover_->program >= 0)) return give_up(ok.error(), status_of(ok.error()));
    if (handover_) settle();
    log(host::LogLevel::kError, "gantryd", ok.error().text() + "; tried again in " + format_duration(pause));
    manager_.ready(ok.error().text());  // no start in vain: frontends answer, and tell why nothing else does
    retry_.expires_after(pause);
    retry_.async_wait([this, pause](boost::system::error_code error) {
        if (!error && !stopping_) start(std::min(2 * pause, kRetryMax));
    });
}

Status Daemon::start_plugins() {
    if (tree_) return host_.start(!handover_);
    // The tree looks at the loops when it is asked, so frontends may open their doors before the loops run.
    tree_ = std::make_unique<control::Tree>(
        control::Tree::Parts{io_, host_, events_, blobs_, nullptr, nullptr, kVersion,
                             [this](bool reboots) {
                                 stop({true, reboots});
                             },
                             &crashes_,
                             [this](const auto& title, const auto& file, const auto& who, auto answer) {
                                 exchange_plugin(title, file, who, std::move(answer));
                             },
                             [this](const auto& who, auto answer) { reload_config(who, std::move(answer)); }});
    host_.set_tree(tree_.get());
    return host_.start(!handover_);
}

void Daemon::start_roles() {
    auto* transport = host_.transport();
    route_transport();
    const auto log_as = [](std::string_view who) {
        return [who](host::LogLevel level, std::string_view text) { log(level, who, text); };
    };
    if (config_.node) {
        auto node = *config_.node;
        if (config_.controller) node.listen.clear();  // nothing can come between this node and its controller
        agent_ = std::make_unique<control::AgentLoop>(
            control::AgentLoop::Parts{io_, host_, *transport, blobs_, log_as("agent"), std::move(node),
                                      config_.controller ? config_.controller->timing : core::Timing{},
                                      config_.state_dir, kVersion, config_.controller.has_value(), config_.guard});
    }
    std::function<void(const core::Names&)> names;
    if (!config_.node) {
        // Numbered here: a controller that loads its store again counts from the beginning.
        names = [this, number = std::uint64_t{0}](const core::Names& table) mutable {
            ++number;
            std::vector<host::NameRecord> records;
            for (const auto& entry : table.entries)
                records.push_back({entry.name, entry.address, entry.port, false, false});
            for (auto* directory : host_.directories()) directory->replace(number, records);
        };
    }
    if (config_.controller) {
        controller_ = std::make_unique<control::ControllerLoop>(control::ControllerLoop::Parts{
            io_, host_, *transport, *host_.store(), events_, blobs_, log_as("controller"), *config_.controller, names});
    }
    tree_->use(controller_.get(), agent_.get());
    if (!controller_) return start_agent();
    controller_->start([this](Result<void> ready) {
        if (!ready) return give_up(ready.error(), 1);
        log(host::LogLevel::kInfo, "gantryd", "controller listens on " + controller_->listening());
        start_agent();
    });
}

void Daemon::start_agent() {
    if (agent_) {
        if (controller_) agent_->controller_found(own_address(controller_->listening()));
        if (auto ok = agent_->start(); !ok) return give_up(ok.error(), 1);
        log(host::LogLevel::kInfo, "gantryd", "node " + config_.node->name + " started");
    }
    start_discovery();
    settle();
    std::string parts = config_.controller ? "controller" : "";
    if (config_.node) parts += (parts.empty() ? "node " : " and node ") + config_.node->name;
    manager_.ready(parts);
    started_.expires_after(kStartOver);
    started_.async_wait([](boost::system::error_code error) {
        if (!error) load::drop_unused_pages();  // small boards: much of what a start maps is not needed again
    });
}

// Controllers are for our agent to dial, nodes for our controller to show.
void Daemon::start_discovery() {
    for (auto* discovery : host_.discoveries()) {
        discovery->begin(
            [this](const host::Discovered& found) {
                if (found.controller && agent_) agent_->controller_found(found.address);
                if (!found.controller && controller_) controller_->node_expected(found);
            },
            [this](const host::Discovered& gone) {
                if (gone.controller && agent_) agent_->controller_gone(gone.address);
                if (!gone.controller && controller_) controller_->node_gone(gone);
            });
    }
}

// Peers that dialled us are agents of ours, or where there is no controller nodes that ask for one. What our agent
// dialled is told to it by the dial.
void Daemon::route_transport() {
    host::TransportEvents events;
    events.up = [this](host::PeerId peer, bool inbound, std::string address, std::string) {
        if (!inbound) return;
        if (!controller_) return agent_->asked_by(peer);
        inbound_[peer] = std::move(address);
        controller_->peer_up(peer);
    };
    events.message = [this](host::PeerId peer, host::Channel, std::string bytes) {
        const auto found = inbound_.find(peer);
        if (found != inbound_.end() && controller_) return controller_->peer_message(peer, found->second, bytes);
        if (agent_ && agent_->owns(peer)) agent_->peer_message(peer, bytes);
    };
    events.down = [this](host::PeerId peer, host::Down reason, std::string) {
        if (inbound_.erase(peer) && controller_) return controller_->peer_down(peer, reason);
        if (agent_ && agent_->owns(peer)) agent_->peer_down(peer, reason);
    };
    events.writable = [this](host::PeerId peer) {
        if (inbound_.contains(peer) && controller_) return controller_->peer_writable(peer);
        if (agent_) agent_->peer_writable(peer);
    };
    events.refused = [this](std::string address, host::Down, std::string text) {
        if (controller_) controller_->peer_refused(address, text);
    };
    host_.transport()->begin(std::move(events));
}

void Daemon::give_up(const Error& error, int status) {
    turn_back(error.text());
    report("gantryd", error);
    status_ = status;
    signals_.cancel();
    stopping_ = true;
    host_.stop();
    io_.stop();
}

void Daemon::stop(const core::ShutDown& how) {
    if (std::exchange(stopping_, true)) {
        if (handed_over_) return (void)(handed_over_ = false);     // hand_over() ends instead
        if (agent_ && !how.machine_goes_down) agent_->stop_now();  // the machine does not wait for the moves
        return;
    }
    manager_.stopping();
    log(host::LogLevel::kInfo, "gantryd",
        how.machine_goes_down ? "the machine goes down: leaving" : "stopping; containers go on");
    const auto end = [this] {
        if (controller_) controller_->stop();
        signals_.cancel();
        host_.stop();
        io_.stop();
    };
    if (agent_) return agent_->stop(how, end);
    end();
}

}  // namespace gantry::daemon
