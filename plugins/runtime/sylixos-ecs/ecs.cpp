// SPDX-License-Identifier: Apache-2.0
//
// runtime/sylixos-ecs: containers of SylixOS by the verbs load, start, kill, delete and unreg of its program ecs. These
// are the only ones whose form is public; none of them says what runs. So what was done is recorded here, before and
// after each call, and a boot of the board, which ends everything on it, is told from the next by a file that does not
// outlive it.
#include <sys/random.h>

#include <atomic>
#include <boost/json.hpp>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <filesystem>
#include <fstream>
#include <gantry/runtime.hpp>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "plugins/runtime/image-store/archive.hpp"
#include "plugins/runtime/monitored/files.hpp"
#include "plugins/runtime/sylixos-ecs/board.hpp"
#include "plugins/runtime/sylixos-ecs/bundle.hpp"

namespace sylixos {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;
using namespace std::chrono_literals;
using gantry::Code;
using gantry::ContainerState;
using gantry::Duration;
using gantry::Failure;
using gantry::Instant;
using gantry::Operation;

constexpr Duration kMargin = 300ms;    // our answer must come before the host's own
constexpr Duration kSameBoot = 500ms;  // for so long an answer about the boot is believed
constexpr std::size_t kRecordMax = 1 << 20;
constexpr std::size_t kNameMax = 63;

// What was done with a container. Written before a call that changes something, and after it.
enum class Stage { kLoading, kCreated, kStarting, kRunning, kEnding, kEnded, kDeleting, kDeleted };
constexpr const char* kStages[] = {"loading", "created", "starting", "running",
                                   "ending",  "ended",   "deleting", "deleted"};

struct Record {
    std::string name, image, boot;
    gantry::Labels labels;
    Stage stage = Stage::kLoading;
    bool ran = false;   // it was started, or perhaps
    bool lost = false;  // a boot ended it: what the board still knows of it is not known
    int exit_code = 0;
    std::string detail;
    Instant started{};
};

std::string no_container(const std::string& name) { return "there is no container \"" + name + "\""; }

std::string written(const Record& r) {
    json::object labels;
    for (const auto& [key, value] : r.labels) labels[key] = value;
    return json::serialize(json::object{{"name", r.name},
                                        {"image", r.image},
                                        {"boot", r.boot},
                                        {"labels", std::move(labels)},
                                        {"stage", kStages[static_cast<int>(r.stage)]},
                                        {"ran", r.ran},
                                        {"lost", r.lost},
                                        {"exit_code", r.exit_code},
                                        {"detail", r.detail},
                                        {"started_ns", r.started.count()}});
}

std::optional<Record> read(const std::string& text) {
    json::error_code error;
    const json::value document = json::parse(text, error);
    if (error || !document.is_object()) return std::nullopt;
    try {
        Record out;
        const auto word = [&](const char* key) { return std::string(document.at(key).as_string()); };
        out.name = word("name");
        out.image = word("image");
        out.boot = word("boot");
        out.detail = word("detail");
        out.ran = document.at("ran").as_bool();
        out.lost = document.at("lost").as_bool();
        out.exit_code = document.at("exit_code").to_number<int>();
        out.started = Instant(document.at("started_ns").to_number<std::int64_t>());
        for (const auto& [key, value] : document.at("labels").as_object())
            out.labels.emplace_back(key, value.as_string());
        const auto stage = std::ranges::find(kStages, word("stage"));
        if (stage == std::end(kStages)) return std::nullopt;
        out.stage = static_cast<Stage>(stage - kStages);
        return out;
    } catch (const std::exception&) {
        return std::nullopt;
    }
}

void check(const gantry::ContainerSpec& spec) {
    const auto refuse = [&](const std::string& why) {
        throw Failure(Code::kInvalid, "container \"" + spec.name + "\": " + why);
    };
    const std::string_view first = "abcdefghijklmnopqrstuvwxyz0123456789";
    if (spec.name.empty() || spec.name.size() > kNameMax || first.find(spec.name[0]) == first.npos ||
        spec.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") != std::string::npos)
        refuse("expected a name of 1 to 63 of a-z, 0-9, '.' and '-'");
    for (const auto& [key, value] : spec.env) {
        if (key.empty() || key.find('=') != std::string::npos) refuse("no variable can be called \"" + key + "\"");
    }
    for (const gantry::Mount& mount : spec.mounts) {
        if (mount.source.empty() || mount.source[0] != '/' || mount.target.empty() || mount.target[0] != '/')
            refuse("mount " + mount.source + " to " + mount.target + ": both must be absolute");
    }
}

}  // namespace

class EcsRuntime final : public gantry::Runtime {
  public:
    void init(const gantry::Config& config) override {
        board_ = std::make_unique<Board>(config);
        board_->cancelled = [this] { return stopping_.load(); };
        architecture_ = config.string("architecture");
        (void)ecs_architecture(architecture_);
        timeout_ = config.duration("timeout");
        interval_ = config.duration("watch_interval");
        boot_file_ = config.string("boot_folder") + "/gantry-boot";
        state_dir_ = config.state_dir();
        for (const char* part : {"containers", "images", "tmp"}) fs::create_directories(state_dir_ / part);
        for (const auto& item : fs::directory_iterator(state_dir_ / "tmp")) fs::remove_all(item.path());
        for (const auto& item : fs::directory_iterator(state_dir_ / "containers")) {
            const auto text = monitored::read_file(item.path(), kRecordMax);
            if (auto record = text ? read(*text) : std::nullopt) records_[record->name] = std::move(*record);
        }
    }

    gantry::RuntimeFacts facts() const override {
        gantry::RuntimeFacts out;
        out.system = "sylixos";
        out.architectures = {architecture_};
        return out;  // memory is limited, CPU time and processes are not: so the whole is not promised
    }

    void start() override {
        thread_ = std::thread([this] { work(); });
    }
    void stop(Instant) override {
        {
            std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        if (thread_.joinable()) thread_.join();
        jobs_.clear();
    }

    void ensure_image(Operation<> op, gantry::ImageSource source) override {
        const bool urgent = source.urgent;
        later<void>(
            std::move(op), [this, source = std::move(source)](Instant until) { load_image(source, until); }, urgent);
    }
    void images(Operation<gantry::ImageList> op) override {
        later<gantry::ImageList>(std::move(op), [this](Instant) {
            gantry::ImageList out;
            for (const auto& item : fs::directory_iterator(state_dir_ / "images"))
                out.images.push_back("sha256:" + item.path().filename().string());
            std::ranges::sort(out.images);
            return out;
        });
    }
    void remove_image(Operation<> op, std::string image) override {
        later<void>(std::move(op), [this, image](Instant until) {
            const auto digest = image_store::Digest::parse(image, "image");
            for (const auto& [name, record] : records_) {
                if (record.image == image)
                    throw Failure(Code::kConflict, "image " + image + " is used by container \"" + name + "\"");
            }
            if (!fs::exists(image_mark(digest))) return;
            must("remove image " + image, board_->call({"rm", "-f", image_file(digest)}, left(until)));
            fs::remove(image_mark(digest));
        });
    }

    void create_container(Operation<> op, gantry::ContainerSpec spec) override {
        later<void>(std::move(op), [this, spec = std::move(spec)](Instant until) { create(spec, until); });
    }
    void start_container(Operation<> op, std::string name) override {
        later<void>(std::move(op), [this, name](Instant until) { begin(name, until); });
    }
    // ECS has one verb for both: kill. What grace a container gets is the board's.
    void stop_container(Operation<> op, std::string name, Duration) override { kill_container(std::move(op), name); }
    void kill_container(Operation<> op, std::string name) override {
        later<void>(std::move(op), [this, name](Instant until) { end(name, until); });
    }
    void remove_container(Operation<> op, std::string name) override {
        later<void>(std::move(op), [this, name](Instant until) { forget(name, until); });
    }
    void list_containers(Operation<gantry::ContainerList> op) override {
        later<gantry::ContainerList>(std::move(op), [this](Instant until) { return list(until); });
    }

  private:
    // ---- the thread: one call at a time, urgent images before others, containers before images
    struct Job {
        std::function<void()> run;
        int rank;
    };

    template <class R>
    void later(Operation<R> op, std::function<R(Instant)> body, bool urgent = true) {
        const auto shared = std::make_shared<Operation<R>>(std::move(op));
        const Instant until = shared->deadline() - kMargin;
        std::lock_guard lock(mutex_);
        const int rank = urgent ? 0 : 1;
        const auto place = std::ranges::find_if(jobs_, [&](const Job& job) { return job.rank > rank; });
        jobs_.insert(place,
                     {[shared, until, body = std::move(body)] { shared->answer([&] { return body(until); }); }, rank});
        wake_.notify_all();
    }

    void work() {
        std::unique_lock lock(mutex_);
        Instant look = monitored::now();
        while (!stopping_) {
            if (!jobs_.empty()) {
                Job job = std::move(jobs_.front());
                jobs_.pop_front();
                lock.unlock();
                job.run();
                lock.lock();
                continue;
            }
            if (monitored::now() >= look) {
                lock.unlock();
                watch();
                lock.lock();
                look = monitored::now() + interval_;
                continue;
            }
            wake_.wait_for(lock, look - monitored::now());
        }
    }

    Duration left(Instant until) const {
        return std::max<Duration>(std::min<Duration>(timeout_, until - monitored::now()), 1ms);
    }

    static void must(const std::string& what, const Board::Result& result) {
        if (!result.ok())
            throw Failure(Code::kFailed, what + ": status " + std::to_string(result.status) + ": " + result.words);
    }

    // ---- records
    void save(const Record& record) {
        monitored::replace_file(state_dir_ / "containers" / record.name, written(record));
        records_[record.name] = record;
    }
    Record& must_find(const std::string& name) {
        const auto found = records_.find(name);
        if (found == records_.end()) throw Failure(Code::kNotFound, no_container(name));
        return found->second;
    }

    // ---- the board
    // Which boot it is in: a file that does not outlive one, called after a number that does not come again.
    std::string boot(Instant until) {
        // Not before each of several calls in a row.
        if (!boot_.empty() && monitored::now() - asked_boot_ < kSameBoot) return boot_;
        const auto known = [this](const std::string& which) {
            asked_boot_ = monitored::now();
            return boot_ = which;
        };
        if (!boot_.empty() && board_->call({"ls", boot_file_ + "-" + boot_}, left(until)).ok()) return known(boot_);
        std::uint64_t number = 0;
        if (::getrandom(&number, sizeof number, 0) != sizeof number) throw Failure(Code::kFailed, "no randomness");
        char text[17];
        std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(number));
        // One that an earlier run of gantryd made in the same boot is in the state folder.
        const fs::path kept = state_dir_ / "boot";
        if (const auto before = monitored::read_file(kept, 64); boot_.empty() && before && before->size() == 16) {
            if (board_->call({"ls", boot_file_ + "-" + *before}, left(until)).ok()) return known(*before);
        }
        must("mark this boot of the board", board_->call({"mkdir", boot_file_ + "-" + text}, left(until)));
        monitored::replace_file(kept, text);
        return known(text);
    }

    // What an earlier boot ran has ended with it.
    void settle(const std::string& now_boot) {
        for (auto& [name, record] : records_) {
            if (record.boot == now_boot) continue;
            if (record.stage != Stage::kStarting && record.stage != Stage::kRunning && record.stage != Stage::kEnding)
                continue;
            Record ended = record;
            ended.stage = Stage::kEnded;
            ended.lost = true;
            ended.exit_code = -1;
            ended.detail = "the board was started anew";
            save(ended);
            events().exited(name, -1);
        }
    }

    void watch() {
        try {
            const bool first = boot_.empty();
            const std::string before = boot_, now_boot = boot(monitored::now() + timeout_);
            if (!first && now_boot != before) host().warn("the board " + board_->name() + " was started anew");
            settle(now_boot);
            if (std::exchange(trouble_, {}) != "") {
                host().info("the board " + board_->name() + " is there");
                events().changed();
            }
        } catch (const Failure& failure) {
            if (stopping_ || std::exchange(trouble_, failure.what()) == failure.what()) return;
            host().warn(failure.what());
        }
    }

    gantry::ContainerList list(Instant until) {
        settle(boot(until));
        gantry::ContainerList out;
        for (const auto& [name, record] : records_) {
            if (record.stage == Stage::kLoading) continue;
            gantry::Container& item = out.containers.emplace_back();
            item.name = name;
            item.labels = record.labels;
            item.started = record.started;
            item.detail = record.detail;
            item.exit_code = record.exit_code;
            // Whether a start or an end whose answer was lost took place nobody can say: it counts as running.
            item.state = record.stage == Stage::kCreated ? ContainerState::kCreated
                         : record.stage >= Stage::kEnded ? ContainerState::kExited
                                                         : ContainerState::kRunning;
        }
        return out;
    }

    // ---- images: one tar each on the board
    fs::path image_mark(const image_store::Digest& digest) const { return state_dir_ / "images" / digest.hex(); }
    std::string image_file(const image_store::Digest& digest) const {
        return board_->folder() + "/images/" + std::string(digest.hex()) + ".tar";
    }
    std::string bundle(const std::string& name) const { return board_->folder() + "/bundles/" + name; }

    void load_image(const gantry::ImageSource& source, Instant until) {
        const auto digest = image_store::Digest::parse(source.image, "image");
        if (fs::exists(image_mark(digest)) && board_->call({"ls", image_file(digest)}, left(until)).ok()) return;
        const image_store::Archive archive(source.layout_dir, source.image, "gantry:" + std::string(digest.hex()),
                                           {"sylixos", architecture_}, [this] { return stopping_.load(); });
        if (archive.image().layers.size() != 1 ||
            archive.image().layers[0].digest != archive.image().layers[0].diff_id) {
            throw Failure(Code::kInvalid, "image " + source.image +
                                              ": expected one layer that is not compressed, as ecsc " +
                                              "packs it, got " + std::to_string(archive.image().layers.size()) +
                                              " (or a compressed one); pack it with 'ecsc pack'");
        }
        const fs::path file = state_dir_ / "tmp" / "image.tar";
        {
            std::ofstream out(file, std::ios::binary | std::ios::trunc);
            archive.write([&](std::string_view part) {
                if (!out.write(part.data(), static_cast<std::streamsize>(part.size())))
                    throw Failure(Code::kFull, "image " + source.image + ": " + file.string() +
                                                   " cannot be written; is the disk full?");
            });
        }
        for (const char* part : {"", "/images", "/bundles"})
            (void)board_->call({"mkdir", board_->folder() + part}, left(until));  // it may be there
        // For the copy the whole time that is left.
        board_->put(file.string(), image_file(digest), std::max<Duration>(until - monitored::now(), 1ms));
        fs::remove(file);
        // Kept for create: the program, the environment and the settings that the image asks for.
        monitored::replace_file(image_mark(digest), archive.config());
    }

    // ---- containers
    void create(const gantry::ContainerSpec& spec, Instant until) {
        check(spec);
        const auto known = records_.find(spec.name);
        const bool ours = known != records_.end();
        if (ours && known->second.stage != Stage::kLoading) return;
        const auto digest = image_store::Digest::parse(spec.image, "image");
        const auto config = monitored::read_if_there(image_mark(digest), kRecordMax * 4);
        if (!config) throw Failure(Code::kNotFound, "image " + spec.image + " is not on this node");
        const std::string text =
            config_json(spec, image_store::parse_config(*config, "image " + spec.image, {"sylixos", architecture_}),
                        labels_of(json::parse(*config)), architecture_);
        for (const gantry::Mount& mount : spec.mounts) {
            if (!board_->call({"ls", mount.source}, left(until)).ok()) {
                throw Failure(Code::kInvalid, "container \"" + spec.name + "\": mount source " + mount.source +
                                                  " does not exist on " + board_->name());
            }
        }
        const std::string where = bundle(spec.name);
        if (ours) {  // what a create that was cut off has left
            clean(spec.name, true, until);
        } else if (board_->call({"ls", where}, left(until)).ok()) {
            throw Failure(Code::kConflict, "the board has a bundle " + where +
                                               " that this gantryd did not make; it is left alone: remove it there");
        }
        Record record;
        record.name = spec.name;
        record.image = spec.image;
        record.labels = spec.labels;
        record.boot = boot(until);
        save(record);
        bool perhaps_loaded = true;
        try {
            const Board::Result loaded = board_->ecs({"load", image_file(digest), spec.name, where}, left(until));
            perhaps_loaded = loaded.ok();
            must("ecs load", loaded);
            const fs::path file = state_dir_ / "tmp" / "config.json";
            monitored::replace_file(file, text);
            board_->put(file.string(), where + "/config.json", left(until));
        } catch (const Failure&) {
            try {
                clean(spec.name, perhaps_loaded, until);
                drop(spec.name);
            } catch (const Failure& second) {  // the next create of that name begins with it
                host().warn("container \"" + spec.name +
                            "\" cannot be cleaned away on the board yet: " + second.what());
            }
            throw;
        }
        record.stage = Stage::kCreated;
        save(record);
    }

    void begin(const std::string& name, Instant until) {
        settle(boot(until));
        Record record = must_find(name);
        if (record.stage == Stage::kLoading) throw Failure(Code::kNotFound, no_container(name));
        if (record.stage == Stage::kRunning) return;
        if (record.stage >= Stage::kEnding)
            throw Failure(Code::kConflict, "container \"" + name + "\" has run and ended; create one with a new name");
        const bool perhaps = record.stage == Stage::kStarting;  // the answer to an earlier start was lost
        record.stage = Stage::kStarting;
        record.ran = true;
        record.boot = boot_;
        record.started = monitored::now();
        save(record);
        const Board::Result result = board_->ecs({"start", name}, left(until));
        if (result.ok()) {
            record.stage = Stage::kRunning;
        } else if (!perhaps) {
            record.stage = Stage::kCreated;
            record.ran = false;
            record.started = {};
        }
        save(record);
        must("ecs start", result);
    }

    void end(const std::string& name, Instant until) {
        settle(boot(until));
        Record record = must_find(name);
        if (record.stage == Stage::kLoading) throw Failure(Code::kNotFound, no_container(name));
        if (record.stage >= Stage::kEnded) return;
        Stage after = Stage::kEnded;
        if (record.ran) {
            const bool perhaps = record.stage == Stage::kEnding;  // the answer to an earlier kill was lost
            const Stage before = record.stage;
            record.stage = Stage::kEnding;
            save(record);
            const Board::Result result = board_->ecs({"kill", name}, left(until));
            if (!result.ok() && !perhaps) {
                record.stage = before;
                save(record);
            }
            // Only what is killed can be deleted.
            if (!result.ok() && perhaps && board_->ecs({"delete", name}, left(until)).ok()) {
                after = Stage::kDeleted;
            } else {
                must("ecs kill", result);
            }
        }
        record.stage = after;
        record.exit_code = 128 + SIGKILL;
        record.detail = record.ran ? "" : "it was stopped before it was started";
        save(record);
        if (record.ran) events().exited(name, record.exit_code);
    }

    void forget(const std::string& name, Instant until) {
        if (!records_.contains(name)) return;
        settle(boot(until));
        Record record = must_find(name);
        if (record.stage == Stage::kStarting || record.stage == Stage::kRunning || record.stage == Stage::kEnding)
            throw Failure(Code::kConflict, "container \"" + name + "\" runs; stop it first");
        if (record.ran && record.stage != Stage::kDeleted) {
            const bool perhaps = record.stage == Stage::kDeleting || record.lost;
            record.stage = Stage::kDeleting;
            save(record);
            const Board::Result result = board_->ecs({"delete", name}, left(until));
            record.stage = result.ok() || perhaps ? Stage::kDeleted : Stage::kEnded;
            save(record);
            if (!perhaps) must("ecs delete", result);
        }
        // Whether a registration outlives a boot is the board's affair.
        clean(name, record.lost || record.stage == Stage::kLoading, until);
        drop(name);
    }

    // The registration and the bundle. perhaps: there may be no registration.
    void clean(const std::string& name, bool perhaps, Instant until) {
        const Board::Result result = board_->ecs({"unreg", name}, left(until));
        if (!perhaps) must("ecs unreg", result);
        must("remove the bundle of " + name, board_->call({"rm", "-rf", bundle(name)}, left(until)));
    }

    void drop(const std::string& name) {
        std::error_code error;
        fs::remove(state_dir_ / "containers" / name, error);
        records_.erase(name);
    }

    std::unique_ptr<Board> board_;
    std::string architecture_, boot_file_;
    fs::path state_dir_;
    Duration timeout_{}, interval_{};
    std::atomic<bool> stopping_{false};
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Job> jobs_;
    std::thread thread_;
    // On the thread alone, from start() on:
    std::map<std::string, Record> records_;
    std::string boot_, trouble_;
    Instant asked_boot_{};
};

}  // namespace sylixos

GANTRY_PLUGIN(sylixos::EcsRuntime)
