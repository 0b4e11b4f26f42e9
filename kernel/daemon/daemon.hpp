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

namespace gantry::daemon {

// Checks the plugins' tables as well, without running a plugin. Returns the exit status, having said what is wrong.
int check_config(const control::Config& config);

class Daemon {
  public:
    explicit Daemon(control::Config config);
    // Runs until a signal ends it. Returns the exit status: 0; 78 if a required plugin or the configuration cannot be
    // used; 1 for everything else that prevented the start.
    int run();

  private:
    void recall_crash();
    void start(Duration pause);
    Status start_plugins();
    void start_roles();
    void route_transport();
    void start_agent();
    void start_discovery();
    void stop(const core::ShutDown& how);
    void give_up(const Error& error, int status);

    control::Config config_;
    boost::asio::io_context io_{1};
    boost::asio::signal_set signals_;
    control::EventLog events_;
    control::BlobStore blobs_;
    crash::Record crashes_;
    host::Host host_;
    boost::asio::steady_timer retry_{io_};
    std::unique_ptr<control::ControllerLoop> controller_;
    std::unique_ptr<control::AgentLoop> agent_;
    std::unique_ptr<control::Tree> tree_;
    std::map<host::PeerId, std::string> inbound_;  // peers that dialled us, with their addresses
    int status_ = 0;
    bool stopping_ = false;
};

}  // namespace gantry::daemon
