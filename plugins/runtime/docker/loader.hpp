// SPDX-License-Identifier: Apache-2.0
//
// Loader: gives the engine images, one at a time, urgent ones first, on a thread of its own: digests are computed and
// whole images copied there.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <gantry/host.hpp>
#include <gantry/runtime_types.hpp>
#include <mutex>
#include <string>
#include <thread>

namespace docker {

class Loader {
  public:
    // timeout: how long the engine may take nothing, or say nothing.
    Loader(std::string socket, gantry::Duration timeout) : socket_(std::move(socket)), timeout_(timeout) {}
    ~Loader() { stop(); }

    // Loads the image unless the engine has it; prefix: "/v1.41". Ends the operation.
    void load(gantry::Operation<> op, gantry::ImageSource source, std::string reference, std::string prefix);
    // What waits or is under way ends as cancelled.
    void stop();

  private:
    struct Job {
        gantry::Operation<> op;
        gantry::ImageSource source;
        std::string reference, prefix;
    };
    void run();
    void work(Job& job);
    void send(Job& job, const std::function<bool()>& cancelled);

    const std::string socket_;
    const gantry::Duration timeout_;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<Job> jobs_;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace docker
