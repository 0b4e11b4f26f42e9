// SPDX-License-Identifier: Apache-2.0
//
// store: batches whole or not at all, and what was said to be written is.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <gantry/testing/drivers.hpp>

#include "sdk/tools/check/exercise.hpp"

namespace gantry::check {
namespace {

using namespace std::chrono_literals;

// One run of the store; the next one in the same check finds what it wrote.
struct Opened {
    explicit Opened(Trial& trial) : rig(trial, true), instance(rig.make(settings(trial))), driver(instance) {
        instance.start();
    }
    static testing::Settings settings(Trial& trial) {
        const std::string state = trial.folder() + "/state";
        std::filesystem::create_directories(state);
        return settings_of(trial).state_dir(state);
    }

    StoreEntries load(const std::string& prefix = "") {
        const auto answer = driver.load(prefix).wait();
        expect(answer.ok(), "load answers", answer.text);
        return answer.result;
    }
    std::optional<std::string> value(const std::string& key) {
        for (const StoreEntry& entry : load(key).entries) {
            if (entry.key == key) return entry.value;
        }
        return std::nullopt;
    }
    Code commit(std::vector<StoreChange> changes, std::uint64_t* revision = nullptr) {
        const auto answer = driver.commit({std::move(changes), false}).wait();
        if (revision != nullptr) *revision = answer.result.revision;
        return answer.code;
    }
    void must_commit(std::vector<StoreChange> changes, std::uint64_t* revision = nullptr) {
        const Code code = commit(std::move(changes), revision);
        expect(code == Code::kOk, "commit takes a sound batch", "status " + std::to_string(static_cast<int>(code)));
    }

    Rig rig;
    testing::Instance& instance;
    testing::StoreDriver driver;
};

StoreChange put(std::string key, std::string value, std::uint64_t expected = kRevisionAny) {
    return {std::move(key), std::move(value), expected, false};
}

void find_again(Trial& trial) {
    Opened store(trial);
    expect(store.load().entries.empty(), "a new store is empty", std::to_string(store.load().entries.size()) + " keys");
    const std::string bytes("\0\xff\n binary", 10);
    store.must_commit({put("b/2", "two"), put("a/1", bytes), put("b/10", "ten"), put("c", "")});
    const StoreEntries all = store.load();
    std::string keys;
    for (const StoreEntry& entry : all.entries) keys += entry.key + " ";
    expect(keys == "a/1 b/10 b/2 c ", "every key once, in the order of their bytes: a/1 b/10 b/2 c", keys);
    expect(all.entries[0].value == bytes, "values byte for byte", "another one");
    expect(store.load("b/").entries.size() == 2, "2 keys that begin with b/",
           std::to_string(store.load("b/").entries.size()));
    store.must_commit({{"a/1", "", kRevisionAny, true}});
    expect(!store.value("a/1"), "a removed key is gone", "it is there");
}

void all_or_nothing(Trial& trial) {
    Opened store(trial);
    std::uint64_t revision = 0;
    store.must_commit({put("kept", "before")}, &revision);
    const Code code = store.commit({put("first", "x"), put("kept", "after", revision + 1'000), put("last", "x")});
    expect(code == Code::kConflict, "CONFLICT for a batch with an expected revision that differs",
           "status " + std::to_string(static_cast<int>(code)));
    const StoreEntries now = store.load();
    expect(now.entries.size() == 1 && now.entries[0].value == "before", "nothing of a refused batch was written",
           std::to_string(now.entries.size()) + " keys");
}

void count_revisions(Trial& trial) {
    Opened store(trial);
    std::uint64_t first = 0, second = 0;
    store.must_commit({put("a", "1", kRevisionNone), put("b", "1")}, &first);
    store.must_commit({put("a", "2", first)}, &second);
    expect(first > 0 && second > first, "revisions that grow from 1",
           std::to_string(first) + ", " + std::to_string(second));
    const StoreEntries now = store.load();
    expect(now.revision == second, "load names the newest revision, " + std::to_string(second),
           std::to_string(now.revision));
    expect(now.entries.size() == 2 && now.entries[0].revision == second && now.entries[1].revision == first,
           "each entry has the revision of the commit that wrote it", "others");
    expect(store.commit({put("a", "3", first)}) == Code::kConflict, "CONFLICT for an old revision", "another status");
    expect(store.commit({put("a", "3", kRevisionNone)}) == Code::kConflict,
           "CONFLICT for a key that must not exist and does", "another status");
    expect(store.commit({put("new", "1", kRevisionNone)}) == Code::kOk, "a key that must not exist and does not",
           "a refusal");
}

void outlive_restart(Trial& trial) {
    std::uint64_t revision = 0;
    {
        Opened store(trial);
        store.must_commit({put("a", "1"), put("b", "2")}, &revision);
        store.must_commit({{"b", "", kRevisionAny, true}}, &revision);
    }
    Opened store(trial);
    const StoreEntries now = store.load();
    expect(now.entries.size() == 1 && now.entries[0].key == "a" && now.entries[0].value == "1",
           "what was committed is there after a restart", std::to_string(now.entries.size()) + " keys");
    expect(now.revision == revision, "the revision of before, " + std::to_string(revision),
           std::to_string(now.revision));
    std::uint64_t next = 0;
    store.must_commit({put("c", "3")}, &next);
    expect(next > revision, "revisions go on growing after a restart", std::to_string(next));
}

std::vector<StoreChange> pair_of(int i) {
    const std::string key = "batch-" + std::to_string(i);
    return {put(key + ".a", std::string(512, 'a')), put(key + ".b", std::string(512, 'b'))};
}

// Batches 0 to count - 1 as pair_of made them: whole, and all that `sure` says.
void expect_whole(Opened& store, int count, const std::vector<bool>& sure) {
    std::map<std::string, int> halves;
    for (const StoreEntry& entry : store.load("batch-").entries) ++halves[entry.key.substr(0, entry.key.find('.'))];
    for (int i = 0; i < count; ++i) {
        const int have = halves["batch-" + std::to_string(i)];
        expect(have == 0 || have == 2, "both keys of a batch or none", "one of batch " + std::to_string(i));
        const bool must = static_cast<std::size_t>(i) < sure.size() && sure[static_cast<std::size_t>(i)];
        expect(!must || have == 2, "every batch whose commit was answered", "none of batch " + std::to_string(i));
    }
}

void run_out_of_time(Trial& trial) {
    constexpr int kBatches = 40;
    Opened store(trial);
    std::vector<testing::Pending<StoreCommit>> pending;
    for (int i = 0; i < kBatches; ++i) {
        store.instance.limit = std::chrono::microseconds(i % 4 == 0 ? 0 : trial.random() % 30'000);
        pending.push_back(store.driver.commit({pair_of(i), false}));
        if (i % 7 == 0) pending.back().cancel();
    }
    std::vector<bool> sure;
    std::size_t unknown = 0;
    for (auto& one : pending) {
        const Code code = one.wait().code;
        sure.push_back(code == Code::kOk);
        if (code == Code::kUnknown) ++unknown;
    }
    store.instance.limit = 30s;
    trial.remark(std::to_string(unknown) + " of " + std::to_string(kBatches) + " ended as unknown");
    expect_whole(store, kBatches, sure);
}

// A process of its own that commits one batch after the other and says so, until it is killed.
[[noreturn]] void commit_until_killed(Trial& trial, int first, int said) {
    try {
        Opened store(trial);
        for (int i = first;; ++i) {
            if (store.commit(pair_of(i)) != Code::kOk) ::_exit(1);
            if (::write(said, &i, sizeof(i)) != sizeof(i)) ::_exit(1);
        }
    } catch (...) {
        ::_exit(1);
    }
}

void outlive_kill(Trial& trial) {
    constexpr int kKills = 5;
    int next = 0;
    std::vector<bool> sure;
    for (int kill = 0; kill < kKills; ++kill) {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw Skipped{"no pipe"};
        Fd in(ends[0]), out(ends[1]);
        const pid_t pid = ::fork();
        if (pid == 0) commit_until_killed(trial, next, out.get());
        out.reset();
        const std::size_t most = 1 + trial.random() % 40;
        int number = 0;
        std::size_t heard = 0;
        while (heard < most && ::read(in.get(), &number, sizeof(number)) == sizeof(number)) ++heard;
        if (heard > 0) ::usleep(static_cast<useconds_t>(trial.random() % 2'000));
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        // What it still said before it died.
        while (::read(in.get(), &number, sizeof(number)) == sizeof(number)) ++heard;
        expect(heard > 0, "a store that commits in a process of its own", "no commit was answered");
        for (std::size_t i = 0; i < heard; ++i) sure.push_back(true);
        sure.push_back(false);  // perhaps one more was under way
        next = static_cast<int>(sure.size());
    }
    trial.remark(std::to_string(next) + " batches, killed " + std::to_string(kKills) + " times");
    Opened store(trial);
    expect_whole(store, next, sure);
    store.must_commit({put("after", "all")});
}

}  // namespace

void add_store(std::vector<Check>& out) {
    const auto add = [&out](std::string_view name, std::string_view promise, std::string_view cure,
                            std::string_view need, void (*body)(Trial&), int limit_s = 20) {
        out.push_back({name, promise, cure, {need}, body, limit_s, "store"});
    };
    add("store.load", "What was committed is loaded: by prefix, ordered, byte for byte.",
        "Compare keys as bytes, keep values as bytes with their length.", "operations.answered", &find_again);
    add("store.atomic", "A batch is written whole or not at all.",
        "Check every expected revision before the first change, or use a transaction.", "store.load", &all_or_nothing);
    add("store.revisions", "Revisions grow, and the conditions on them hold.",
        "Take one new number for each commit; compare a key's number with `expected` inside the same transaction.",
        "store.atomic", &count_revisions);
    add("store.restart", "What was committed is there after a restart.",
        "Write to the disk before you answer; read the revision back in start.", "store.revisions", &outlive_restart);
    add("store.unknown", "A commit that ran out of time is there whole or not at all.",
        "Look at cancelled() before the first change, not between two.", "store.revisions", &run_out_of_time, 60);
    add("store.crash", "What was answered outlives SIGKILL between commit and reply, and nothing is half written.",
        "Answer after the write is durable (fsync), never before.", "store.restart", &outlive_kill, 60);
}

}  // namespace gantry::check
