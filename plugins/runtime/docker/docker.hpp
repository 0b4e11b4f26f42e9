// SPDX-License-Identifier: Apache-2.0
//
// DockerRuntime: operations as coroutines on one thread of the plugin's own, in order for each container. The engine is
// the truth: nothing is remembered of a container but what the engine cannot say.
#pragma once

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <deque>
#include <functional>
#include <gantry/runtime.hpp>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include "plugins/runtime/docker/body.hpp"
#include "plugins/runtime/docker/engine.hpp"
#include "plugins/runtime/docker/loader.hpp"

namespace docker {

class DockerRuntime final : public gantry::Runtime {
  public:
    void init(const gantry::Config& config) override;
    void start() override;
    void stop(gantry::Instant deadline) override;
    gantry::RuntimeFacts facts() const override;

    void ensure_image(gantry::Operation<> op, gantry::ImageSource source) override;
    void images(gantry::Operation<gantry::ImageList> op) override;
    void remove_image(gantry::Operation<> op, std::string image) override;
    void create_container(gantry::Operation<> op, gantry::ContainerSpec spec) override;
    void start_container(gantry::Operation<> op, std::string name) override;
    void stop_container(gantry::Operation<> op, std::string name, gantry::Duration grace) override;
    void kill_container(gantry::Operation<> op, std::string name) override;
    void pause_container(gantry::Operation<> op, std::string name) override;
    void resume_container(gantry::Operation<> op, std::string name) override;
    void remove_container(gantry::Operation<> op, std::string name) override;
    void list_containers(gantry::Operation<gantry::ContainerList> op) override;
    void stats(gantry::Operation<gantry::ContainerStats> op, std::string name) override;
    void logs(gantry::Operation<> op, gantry::LogRequest request) override;
    void exec(gantry::Operation<gantry::ExecResult> op, gantry::ExecRequest request) override;

  private:
    // How long is left of an operation, and of one request in it.
    class Time {
      public:
        Time(const gantry::Host& host, gantry::Instant deadline, gantry::Duration most)
            : host_(&host), deadline_(deadline), most_(most) {}
        gantry::Duration left() const;
        gantry::Duration request() const { return std::min(left(), most_); }

      private:
        const gantry::Host* host_;
        gantry::Instant deadline_;
        gantry::Duration most_;
    };
    struct Lane {
        std::deque<std::function<Task<void>()>> waiting;
        bool stopping = false;
    };

    // Answers op with what body(time) returns or throws, on the engine's thread. With a name: behind what was asked for
    // that container before.
    template <class R>
    void serve(gantry::Operation<R> op, const std::string& name, std::function<Task<R>(Time)> body);
    Task<void> run_lane(std::string name);

    std::string reference(const std::string& image) const {
        return "localhost/" + repository() + ":" + image.substr(7);
    }
    std::string repository() const { return "gantry-" + instance_; }
    std::string own_filter() const;
    // Nothing: there is none of ours by that name; `foreign` says whether somebody else has it.
    Task<std::optional<Inspected>> find(std::string name, Time time, bool* foreign = nullptr);
    Task<Inspected> must_find(std::string name, Time time);
    Task<bool> has_image(std::string image, Time time);
    Task<std::vector<Inspected>> all(Time time);
    Task<void> create(gantry::ContainerSpec spec, Time time);
    Task<void> begin(std::string name, Time time);
    Task<void> end(std::string name, gantry::Duration grace, bool kill, Time time);
    Task<void> signal(std::string name, int number, Time time);
    // Waits until it has ended; false: it has not within `limit`.
    Task<bool> ended(std::string name, gantry::Duration limit, Time time);
    Task<void> freeze(std::string name, bool on, Time time);
    Task<void> forget(std::string name, Time time);
    Task<void> drop_image(std::string image, Time time);
    Task<void> write_logs(std::shared_ptr<gantry::Operation<>> op, std::shared_ptr<gantry::LogRequest> asked,
                          Time time);
    Task<int> execute(std::shared_ptr<gantry::Operation<gantry::ExecResult>> op,
                      std::shared_ptr<gantry::ExecRequest> asked, Time time);

    // Reports the end of a container, once.
    void watch(const std::string& name);
    Task<void> wait_for_end(std::string name);
    Task<void> adopt();
    gantry::Instant started(const Inspected& found) const;

    // A container that was stopped before it was started has ended for the kernel, and is merely created for the
    // engine.
    std::string stopped_mark(const std::string& name) const;
    gantry::Container shown(const Inspected& found) const;

    std::string state_dir_, instance_;
    gantry::Duration timeout_{}, image_timeout_{};
    std::unique_ptr<Engine> engine_;
    std::unique_ptr<Loader> loader_;
    boost::asio::io_context io_{1};
    std::optional<boost::asio::executor_work_guard<boost::asio::io_context::executor_type>> work_;
    std::thread thread_;
    std::atomic<bool> stopping_{false};
    // On the engine's thread:
    std::map<std::string, Lane> lanes_;
    std::set<std::string> watched_;
};

}  // namespace docker
