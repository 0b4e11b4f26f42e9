// The controller's state as a log: every commit appends one record and is durable when it is answered. A thread of the
// plugin owns the file; the loop only hands jobs over.
//
// A record: length and check of what follows (8 bytes), then the revision, then the changes: '+' or '-', key, value;
// every text with its length before it. A record that was cut by a crash was never answered and is dropped.
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <filesystem>
#include <functional>
#include <gantry/store.hpp>
#include <map>
#include <mutex>
#include <thread>

namespace {

using gantry::Code;
using gantry::Failure;
using gantry::Operation;
using gantry::StoreBatch;
using gantry::StoreChange;
using gantry::StoreCommit;
using gantry::StoreEntries;
using gantry::StoreEntry;

constexpr std::size_t kRecordMax = 64 << 20;  // bytes
constexpr std::size_t kJobsMax = 1'024;

std::uint32_t check_of(std::string_view text) {  // FNV-1a
    std::uint32_t hash = 2166136261u;
    for (unsigned char c : text) hash = (hash ^ c) * 16777619u;
    return hash;
}

template <class Number>
void put(std::string& out, Number number) {
    out.append(reinterpret_cast<const char*>(&number), sizeof number);
}
void put_text(std::string& out, std::string_view text) {
    put(out, static_cast<std::uint32_t>(text.size()));
    out += text;
}

// Takes apart what put() put together; false at the end or if it does not fit.
template <class Number>
bool take(std::string_view& in, Number& number) {
    if (in.size() < sizeof number) return false;
    std::memcpy(&number, in.data(), sizeof number);
    in.remove_prefix(sizeof number);
    return true;
}
bool take_text(std::string_view& in, std::string& text) {
    std::uint32_t size = 0;
    if (!take(in, size) || size > in.size()) return false;
    text = in.substr(0, size);
    in.remove_prefix(size);
    return true;
}

class Log {
  public:
    explicit Log(std::string path) : path_(std::move(path)) { open(); }

    StoreEntries load(const std::string& prefix) {
        if (doubtful_) open();  // the disk knows what happened
        StoreEntries out;
        for (auto at = entries_.lower_bound(prefix); at != entries_.end() && at->first.starts_with(prefix); ++at) {
            out.entries.push_back(at->second);
        }
        out.revision = revision_;
        return out;
    }

    StoreCommit commit(const StoreBatch& batch) {
        if (doubtful_) throw Failure(Code::kFailed, "the last commit's outcome is unknown: load first");
        for (const StoreChange& change : batch.changes) {
            const auto found = entries_.find(change.key);
            const std::uint64_t now = found == entries_.end() ? gantry::kRevisionNone : found->second.revision;
            if (change.expected != gantry::kRevisionAny && change.expected != now) {
                throw Failure(Code::kConflict, change.key + " is at revision " + std::to_string(now) + ", expected " +
                                                   std::to_string(change.expected));
            }
        }
        std::string body;
        put(body, revision_ + 1);
        for (const StoreChange& change : batch.changes) {
            body += change.remove ? '-' : '+';
            put_text(body, change.key);
            put_text(body, change.remove ? std::string_view() : std::string_view(change.value));
        }
        if (body.size() > kRecordMax) throw Failure(Code::kFull, "the batch is larger than 64 MiB");
        append(body);
        apply(body);
        return {revision_};
    }

  private:
    static std::string record(const std::string& body) {
        std::string out;
        put(out, static_cast<std::uint32_t>(body.size()));
        put(out, check_of(body));
        return out + body;
    }

    void append(const std::string& body) {
        const std::string bytes = record(body);
        const off_t end = ::lseek(file_.get(), 0, SEEK_END);
        if (!write_all(file_.get(), bytes)) {
            const int why = errno;
            doubtful_ = end < 0 || ::ftruncate(file_.get(), end) != 0;
            throw Failure(doubtful_                        ? Code::kUnknown
                          : why == ENOSPC || why == EDQUOT ? Code::kFull
                                                           : Code::kFailed,
                          path_ + ": " + std::strerror(why));
        }
        if (::fdatasync(file_.get()) != 0) {
            doubtful_ = true;
            throw Failure(Code::kUnknown, path_ + " may or may not be on the disk: " + std::strerror(errno));
        }
    }

    static bool write_all(int fd, std::string_view bytes) {
        while (!bytes.empty()) {
            const ssize_t n = ::write(fd, bytes.data(), bytes.size());
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return false;
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
        return true;
    }

    bool apply(std::string_view body) {
        std::uint64_t revision = 0;
        if (!take(body, revision)) return false;
        while (!body.empty()) {
            const char kind = body.front();
            body.remove_prefix(1);
            StoreEntry entry;
            if ((kind != '+' && kind != '-') || !take_text(body, entry.key) || !take_text(body, entry.value))
                return false;
            entry.revision = revision;
            if (kind == '-') {
                entries_.erase(entry.key);
            } else {
                entries_[entry.key] = std::move(entry);
            }
        }
        revision_ = revision;
        return true;
    }

    // Reads the whole log. What is damaged before its end is left as it is, and refused.
    void open() {
        file_.reset(::open(path_.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
        struct stat info {};
        if (!file_ || ::fstat(file_.get(), &info) != 0) {
            throw Failure(Code::kFailed, path_ + " cannot be opened: " + std::strerror(errno));
        }
        std::string all(static_cast<std::size_t>(info.st_size), '\0');
        for (std::size_t have = 0; have < all.size();) {
            const ssize_t n = ::pread(file_.get(), all.data() + have, all.size() - have, static_cast<off_t>(have));
            if (n <= 0) throw Failure(Code::kFailed, path_ + " cannot be read: " + std::strerror(errno));
            have += static_cast<std::size_t>(n);
        }
        entries_.clear();
        revision_ = 0;
        std::string_view rest = all;
        while (!rest.empty()) {
            std::string_view at = rest;
            std::uint32_t size = 0, check = 0;
            const bool whole = take(at, size) && take(at, check) && size <= at.size();
            if (whole && check_of(at.substr(0, size)) == check && apply(at.substr(0, size))) {
                rest = at.substr(size);
                continue;
            }
            // Cut short, or the last one and never finished: both were not answered.
            if (whole && size < at.size()) {
                throw Failure(Code::kFailed, path_ + " is damaged at byte " + std::to_string(all.size() - rest.size()) +
                                                 ", before its end; restore a copy");
            }
            if (::ftruncate(file_.get(), static_cast<off_t>(all.size() - rest.size())) != 0) {
                throw Failure(Code::kFailed, path_ + " cannot be cut: " + std::strerror(errno));
            }
            break;
        }
        doubtful_ = false;
    }

    const std::string path_;
    gantry::Fd file_;
    std::map<std::string, StoreEntry> entries_;
    std::uint64_t revision_ = 0;
    bool doubtful_ = false;
};

class LogStore final : public gantry::Store {
  public:
    ~LogStore() override { finish(); }

    void init(const gantry::Config& config) override {
        path_ = config.string("path");
        if (path_.empty()) path_ = config.state_dir() + "/log";
        if (path_.front() != '/') {
            throw Failure(Code::kInvalid, "path: expected an absolute path, got \"" + path_ + "\"");
        }
    }
    void start() override {
        log_ = std::make_unique<Log>(path_);
        thread_ = std::thread([this] { run(); });
    }
    // What waits is still written.
    void stop(gantry::Instant) override { finish(); }

    void load(Operation<StoreEntries> op, std::string prefix) override {
        hand_over([this, op = share(std::move(op)), prefix] { op->answer([&] { return log_->load(prefix); }); });
    }
    void commit(Operation<StoreCommit> op, StoreBatch batch) override {
        hand_over([this, op = share(std::move(op)), batch = std::move(batch)] {
            // Past its deadline the host called it unknown and loads again: writing it now would surprise it.
            if (op->cancelled()) return op->fail(Code::kCancelled, "nobody waits for this commit any more");
            op->answer([&] { return log_->commit(batch); });
        });
    }

  private:
    template <class Result>
    static std::shared_ptr<Operation<Result>> share(Operation<Result> op) {
        return std::make_shared<Operation<Result>>(std::move(op));
    }

    void hand_over(std::function<void()> job) {
        const std::lock_guard lock(mutex_);
        if (ending_) throw Failure(Code::kUnavailable, "the store is stopping");
        if (jobs_.size() >= kJobsMax) throw Failure(Code::kFull, "too many jobs wait for the disk");
        jobs_.push_back(std::move(job));
        wake_.notify_one();
    }
    void run() {
        std::unique_lock lock(mutex_);
        while (true) {
            wake_.wait(lock, [this] { return ending_ || !jobs_.empty(); });
            if (jobs_.empty()) return;
            std::function<void()> job = std::move(jobs_.front());
            jobs_.pop_front();
            lock.unlock();
            job();
            job = nullptr;
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
    }

    std::string path_;
    std::unique_ptr<Log> log_;  // of the thread while it runs
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> jobs_;
    bool ending_ = false;
    std::thread thread_;
};

}  // namespace

GANTRY_PLUGIN(LogStore)
