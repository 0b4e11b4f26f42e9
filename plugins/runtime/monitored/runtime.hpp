// SPDX-License-Identifier: Apache-2.0
//
// MonitoredRuntime: everything about the role runtime/1 that does not depend on how a container is made: the table of
// containers, adoption after a restart, who may do what in which state, exits, grace periods, logs, images.
//
// <state_dir>/images/            image store
// <state_dir>/containers/<name>/ one folder per container: record.json, log, and what the backend puts there
// <state_dir>/exits/<name>       exit status, written by the monitor
//
// Threads: the table belongs to the loop. Work that blocks runs as a job on the host's pool, one at a time per
// container, and none that waits for a process to end; images are unpacked on a thread of their own, so that a large
// one delays no start or stop.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "plugins/runtime/monitored/backend.hpp"
#include "plugins/runtime/monitored/log_stream.hpp"

namespace monitored {

class MonitoredRuntime : public gantry::Runtime {
  public:
    ~MonitoredRuntime() override;

    void start() override;
    void stop(gantry::Instant deadline) override;

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
    void checkpoint_container(gantry::Operation<> op, std::string name) override;
    void restore_container(gantry::Operation<> op, std::string name) override;

  protected:
    // To be called from init. store.dir is set here, and store.unpack where it is not given: by gantry-unpack, which
    // the configuration's `unpack_path` may name.
    void configure(const gantry::Config& config, std::unique_ptr<Backend> backend, image_store::StoreOptions store);
    const Backend& backend() const { return *backend_; }

  private:
    // kMaking and kBroken are shown to nobody: the one is not whole yet, the other has never run and is cleaned away,
    // again and again until nothing of it is left.
    enum class State { kMaking, kCreated, kRunning, kExited, kBroken };
    using Step = std::move_only_function<void()>;

    struct Container {
        Record record;
        State state = State::kMaking;
        int exit_code = 0;
        std::string detail;
        bool busy = false;           // a job is under way
        bool process_ended = false;  // seen, but not recorded by the monitor yet
        bool killing = false;
        bool paused = false;  // by us, or found so; not while it is frozen for a moment
        bool rests() const { return record.checkpoint_bytes > 0; }
        std::deque<Step> waiting;  // calls that came while busy
        gantry::Fd process, monitor;
        gantry::WatchId process_watch = 0, monitor_watch = 0;
        gantry::TimerId patience = 0;            // of a stop: then SIGKILL
        gantry::TimerId exit_patience = 0;       // for the monitor's word
        gantry::TimerId retry = 0;               // kBroken: to clean it away
        gantry::Duration retry_pause{};          // that came before
        std::string trouble;                     // kBroken: why that did not succeed
        std::vector<gantry::Operation<>> stops;  // end when the container has
        std::vector<std::unique_ptr<LogStream>> streams;
        int log_watch = -1;           // inotify, of its folder
        std::uint64_t log_asked = 0;  // Backend::keep_log
    };
    using Shared = std::shared_ptr<Container>;

    // exec.cpp: further processes in a container
    struct Exec {
        gantry::Operation<gantry::ExecResult> op;
        gantry::ExecRequest request;
        Record record;
        std::string mark;
        Child child{};
        gantry::WatchId end_watch = 0;
        gantry::TimerId look = 0;
        bool ending = false, over = false;
    };
    using SharedExec = std::shared_ptr<Exec>;
    void watch_exec(const SharedExec& exec);
    void look_at_exec(const SharedExec& exec);
    void exec_ended(const SharedExec& exec);
    void end_by_force(const Exec& exec);
    void end_execs();
    void forget_exec(const std::string& name, const std::string& mark);
    void end_left_execs(const Record& record);

    // What a job makes; the loop takes it over.
    struct Made {
        explicit Made(const Record& from) : record(from) {}
        void open() {
            process = open_process(record.process);
            monitor = open_process(record.monitor);
        }
        Record record;
        gantry::Fd process, monitor;
    };

    static std::string no_container(const std::string& name);
    Home home(const std::string& name) const;
    Shared find(const std::string& name) const;

    // jobs.cpp: work on other threads
    using Done = std::move_only_function<void(gantry::Status)>;
    void job(const Shared& container, Step work, Done done);
    gantry::Status in_pool(Step work);
    void idle(const Shared& container);
    struct ImageStep {
        Step run;
        std::string image = {};  // that it unpacks or removes
        bool urgent = false, removes = false;
    };
    void on_image_thread(ImageStep step);
    void queue(ImageStep step);
    void run_image_thread();

    // adoption.cpp: what an earlier daemon left, and how containers end
    void adopt_all();
    void adopt(Record record);
    void discard(const std::string& name);
    void watch_processes(const Shared& container);
    void on_inotify();
    void check_exit(const Shared& container, bool give_up = false);
    void finish(const Shared& container, int exit_code);
    void unwatch(Container& container);

    // ending.cpp: stopping, killing, cleaning away
    static constexpr auto kCleanTime = std::chrono::seconds(10);
    void pause(gantry::Operation<> op, std::string name, bool on);
    void kill_now(const Shared& container);
    void end_unstarted(const Shared& container);
    void end_processes(const Shared& container, gantry::Instant deadline, Done then,
                       gantry::Duration pause = std::chrono::milliseconds(1));
    void clean_away(const Shared& container, gantry::Instant deadline, Done then);
    void unmake(const Container& container, gantry::Instant deadline);
    void retry_later(const Shared& container, const gantry::Status& status);

    // checkpoint.cpp: containers whose memory lies on disk
    gantry::Status may_change_place(const Shared& container, const std::string& name) const;
    void let_rest(const Shared& container, Done then);
    void clear_away(const Home& at, const Record& record);
    void wake(Made& made, gantry::Instant deadline);
    void not_woken(const Shared& container, const gantry::Status& status, gantry::Operation<> op);
    bool adopt_resting(const Shared& container);
    void drop_unfinished(const Shared& container);
    void end_resting(const Shared& container, gantry::Operation<> op);

    void answer_lists();
    void take(const Shared& container, Made& made);
    void watch_log(const Shared& container, bool growth);
    void part_streams(Container& container);
    void attach_stream(const std::string& name, gantry::Operation<> op, gantry::Fd out, LogFile log, bool follow);

    std::filesystem::path state_dir_;
    std::unique_ptr<Backend> backend_;
    std::unique_ptr<image_store::Store> store_;
    std::map<std::string, Shared> containers_;
    std::map<int, std::weak_ptr<Container>> log_watches_;      // by inotify watch
    std::vector<std::unique_ptr<LogStream>> parting_streams_;  // of removed containers
    std::vector<gantry::Operation<gantry::ContainerList>> lists_;
    std::set<std::string> doomed_images_;
    std::set<SharedExec> execs_;
    std::uint64_t last_exec_ = 0;
    gantry::Fd inotify_;
    gantry::WatchId inotify_watch_ = 0;
    gantry::TimerId log_timer_ = 0;

    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    int jobs_ = 0;
    std::deque<ImageStep> image_steps_;
    bool image_thread_busy_ = false;
    std::thread image_thread_;
    std::atomic<bool> stopping_{false};
};

}  // namespace monitored
