// SPDX-License-Identifier: Apache-2.0
//
// Daemon: puts the modules of one gantryd together and runs its loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <string>

#include "kernel/control/tree.hpp"
#include "kernel/daemon/service_manager.hpp"
#include "kernel/daemon/successor.hpp"

namespace gantry::daemon {

// Checks the plugins' tables as well, without running a plugin; as a successor also loads those that shall run. Returns
// the exit status, having said what is wrong.
int check_config(const control::Config& config, const Handover* handover);

class Daemon {
  public:
    // handover: of the gantryd that this one takes the process over from, else nullptr.
    Daemon(control::Config config, Program program, std::unique_ptr<Handover> handover,
           std::shared_ptr<host::Kept> kept);
    // Runs until a signal ends it. Returns the exit status: 0; 78 if a required plugin or the configuration cannot be
    // used; 1 for everything else that prevented the start.
    int run();

  private:
    // Signals wait from the old program to here.
    struct Listening {
        explicit Listening(boost::asio::signal_set& signals);
    };

    void wait_for_signal();
    void recall_crash();
    void start(Duration pause);
    Status start_plugins();
    void start_roles();
    void route_transport();
    void start_agent();
    void start_discovery();
    void stop(const core::ShutDown& how);
    void give_up(const Error& error, int status);

    // --- the next gantryd in this process (exchange.cpp) ---
    using Answer = control::ControllerLoop::Answer;
    void exchange_plugin(const std::string& title, const std::string& file, const std::string& who, Answer answer);
    void reload_config(const std::string& who, Answer answer);
    Handover successor() const;
    void attempt(Handover next, std::shared_ptr<void> keeps, const std::string& who, Answer answer);
    void refuse(const Handover& next, const Error& why, const std::string& who, const Answer& answer);
    void leave(std::shared_ptr<Handover> next, std::shared_ptr<void> keeps);
    void hand_over(Handover& next);
    // As the next one: whether all that ran runs (frontends come last); what became of it; nothing did.
    Status complete(bool frontends) const;
    void settle();
    void turn_back(const std::string& why);

    control::Config config_;
    const Program program_;
    std::unique_ptr<Handover> handover_;
    const std::shared_ptr<host::Kept> kept_;
    boost::asio::io_context io_{1};
    ServiceManager manager_{io_};
    boost::asio::signal_set signals_;
    const Listening listening_;
    control::EventLog events_;
    control::BlobStore blobs_;
    crash::Record crashes_;
    host::Host host_;
    boost::asio::steady_timer retry_{io_}, patience_{io_}, started_{io_};
    std::unique_ptr<control::ControllerLoop> controller_;
    std::unique_ptr<control::AgentLoop> agent_;
    std::unique_ptr<control::Tree> tree_;
    std::map<host::PeerId, std::string> inbound_;  // peers that dialled us, with their addresses
    int status_ = 0;
    bool stopping_ = false, exchanging_ = false, handed_over_ = false;
};

}  // namespace gantry::daemon
