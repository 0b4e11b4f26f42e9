// SPDX-License-Identifier: Apache-2.0
//
// store/sqlite: the controller's state in one SQLite file. A thread of its own owns the database; the loop only puts
// jobs into its queue.
#include <condition_variable>
#include <deque>
#include <filesystem>
#include <functional>
#include <gantry/store.hpp>
#include <mutex>
#include <optional>
#include <thread>

#include "plugins/store/sqlite/database.hpp"

namespace gantry::sqlite {

namespace {
constexpr std::size_t kQueue = 1'024;
}

class SqliteStore final : public Store {
  public:
    ~SqliteStore() override { finish(); }

    void init(const Config& config) override {
        path_ = config.string("path");
        reserve_bytes_ = config.size("reserve");
        if (!std::filesystem::path(path_).is_absolute())
            throw Failure(Code::kInvalid, "path: expected an absolute path, got \"" + path_ + "\"");
    }

    void start() override {
        database_.emplace(path_, reserve_bytes_, version_number(GANTRY_VERSION));
        if (!database_->no_copy().empty()) host().warn(database_->no_copy());
        thread_ = std::thread([this] { run(); });
    }

    // What is queued is still written.
    void stop(Instant) override { finish(); }

    void load(Operation<StoreEntries> op, std::string prefix) override {
        put([this, op = std::move(op), prefix = std::move(prefix)]() mutable {
            op.answer([&] { return database_->load(prefix); });
        });
    }

    void commit(Operation<StoreCommit> op, StoreBatch batch) override {
        put([this, op = std::move(op), batch = std::move(batch)]() mutable {
            // Past its deadline the host has called it unknown and loads again: writing it now would surprise it.
            if (op.cancelled()) return op.fail(Code::kCancelled, "nobody waits for this commit any more");
            op.answer([&] { return StoreCommit{database_->commit(batch.changes, batch.use_reserve)}; });
        });
    }

  private:
    using Job = std::move_only_function<void()>;

    void put(Job job) {
        {
            const std::lock_guard lock(mutex_);
            if (ending_) throw Failure(Code::kUnavailable, "the store is stopping");
            if (jobs_.size() >= kQueue)
                throw Failure(Code::kFull, "the store is busy: " + std::to_string(kQueue) + " jobs wait");
            jobs_.push_back(std::move(job));
        }
        wake_.notify_one();
    }

    void run() {
        std::unique_lock lock(mutex_);
        while (true) {
            wake_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
            if (jobs_.empty()) return;
            Job job = std::move(jobs_.front());
            jobs_.pop_front();
            lock.unlock();
            job();
            job = nullptr;
            database_->tidy();
            lock.lock();
        }
    }

    void finish() {
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
        }
        wake_.notify_one();
        if (thread_.joinable()) thread_.join();
        database_.reset();
    }

    std::string path_;
    std::int64_t reserve_bytes_ = 0;
    std::optional<Database> database_;  // of the thread while it runs

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Job> jobs_;
    bool ending_ = false;
    std::thread thread_;
};

}  // namespace gantry::sqlite

GANTRY_PLUGIN(gantry::sqlite::SqliteStore)
