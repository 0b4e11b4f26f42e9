// SPDX-License-Identifier: Apache-2.0
//
// placement: a policy is a function of its arguments.
#include <gantry/abi/placement.h>

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>

#include "sdk/tools/check/exercise.hpp"
#include "sdk/tools/check/interposed.hpp"
#include "sdk/tools/check/sealed.hpp"

namespace gantry::check {
namespace {

using Keys = std::array<std::int64_t, GANTRY_PLACEMENT_KEYS>;
constexpr int kSeeds = 1'000;

// A question with everything that its candidates point to.
class Question {
  public:
    explicit Question(std::uint64_t seed, std::size_t most = 12) {
        std::mt19937_64 random(seed);
        const auto up_to = [&](std::int64_t n) { return static_cast<std::int64_t>(random() % (n + 1)); };
        const std::size_t count = 1 + random() % most;
        for (std::size_t i = 0; i < count; ++i) {
            texts_.push_back(
                std::make_unique<std::string>("node-" + std::to_string(i) + "-" + std::to_string(random() % 1'000)));
            const std::string& name = *texts_.back();
            texts_.push_back(std::make_unique<std::string>("site-" + std::to_string(random() % 4)));
            labels_.push_back(std::make_unique<gantry_kv>(gantry_kv{str("site"), str(*texts_.back())}));
            const std::int64_t cpu = 1'000 * (1 + up_to(15)), memory = std::int64_t{1} << (28 + up_to(6));
            candidates_.push_back({str(name), cpu, cpu - up_to(cpu + 2'000), memory, memory - up_to(memory + 4'096),
                                   static_cast<std::uint32_t>(up_to(20)), static_cast<std::uint32_t>(up_to(5)),
                                   static_cast<std::uint32_t>(up_to(3)), static_cast<std::uint32_t>(up_to(1)),
                                   labels_.back().get(), 1});
        }
        snapshot_ = {sizeof(snapshot_), static_cast<std::uint32_t>(count + up_to(5)), static_cast<std::uint32_t>(count),
                     static_cast<std::uint32_t>(up_to(200))};
        request_ = {sizeof(request_),
                    sizeof(gantry_candidate),
                    str("service"),
                    up_to(2'000),
                    up_to(1 << 28),
                    static_cast<std::uint32_t>(1 + up_to(4)),
                    0};
    }

    const std::vector<gantry_candidate>& candidates() const { return candidates_; }

    std::vector<Keys> ask(testing::Instance& instance) const { return ask(instance, candidates_); }
    std::vector<Keys> ask(testing::Instance& instance, const std::vector<gantry_candidate>& in) const {
        return ask_raw(instance, in.data(), in.size(), sizeof(gantry_candidate));
    }
    std::vector<Keys> ask_raw(testing::Instance& instance, const void* in, std::size_t count,
                              std::size_t stride) const {
        std::vector<Keys> out(count);
        score(instance, in, count, stride, out.data());
        return out;
    }
    void score(testing::Instance& instance, const void* in, std::size_t count, std::size_t stride, Keys* out) const {
        const auto& table = *static_cast<const gantry_placement*>(instance.role_table(GANTRY_ROLE_PLACEMENT));
        gantry_placement_request request = request_;
        request.candidate_size = static_cast<std::uint32_t>(stride);
        char buffer[256];
        gantry_error error{sizeof(error), sizeof(buffer), buffer, 0, 0};
        const gantry_status status =
            table.score(instance.self(), &snapshot_, &request, static_cast<const gantry_candidate*>(in), count,
                        reinterpret_cast<std::int64_t(*)[GANTRY_PLACEMENT_KEYS]>(out), &error);
        if (status != GANTRY_OK) {
            throw Failed{"an answer to a question with sound candidates",
                         "status " + std::to_string(status) + " " + std::string(buffer, error.text_len)};
        }
    }

  private:
    std::vector<std::unique_ptr<std::string>> texts_;
    std::vector<std::unique_ptr<gantry_kv>> labels_;
    std::vector<gantry_candidate> candidates_;
    gantry_snapshot snapshot_{};
    gantry_placement_request request_{};
};

std::string shown(const Keys& keys) {
    std::string out;
    for (std::int64_t key : keys) out += (out.empty() ? "(" : ", ") + std::to_string(key);
    return out + ")";
}

void name_keys(Trial& trial) {
    Rig rig(trial);
    testing::Instance& instance = rig.make();
    instance.start();
    const auto& table = *static_cast<const gantry_placement*>(instance.role_table(GANTRY_ROLE_PLACEMENT));
    expect(table.key_count >= 1 && table.key_count <= GANTRY_PLACEMENT_KEYS, "1 to 4 keys",
           std::to_string(table.key_count));
    for (std::uint32_t i = 0; i < table.key_count; ++i) {
        expect(!view(table.key_names[i]).empty(), "a name for each key, which gantry explain shows",
               "none for key " + std::to_string(i));
    }
    for (int i = 0; i < 100; ++i) {
        for (const Keys& keys : Question(trial.random()).ask(instance)) {
            for (std::size_t k = table.key_count; k < keys.size(); ++k) {
                expect(keys[k] == 0, "0 in keys that have no name", shown(keys));
            }
        }
    }
}

void stay_pure(Trial& trial) {
    Rig rig(trial);
    testing::Instance& instance = rig.make();
    instance.start();
    Question(trial.random()).ask(instance);
    const std::uint64_t calls = rig.recorder.calls();
    const std::uint64_t seed = trial.random();
    const Sealed sealed = run_sealed([&] {
        for (int i = 0; i < 100; ++i) Question(seed + static_cast<std::uint64_t>(i)).ask(instance);
    });
    expect(sealed.clock == nullptr, "no look at a clock", sealed.clock == nullptr ? "" : sealed.clock);
    expect(sealed.forbidden.empty(), "no system call but for memory and locks", sealed.forbidden);
    expect(rig.recorder.calls() == calls, "no call into the host", rig.recorder.last_call());
    if (!sealed.possible) trial.warn("a kernel that takes a seccomp filter", "none: only clock functions were watched");
}

void decide_again(Trial& trial) {
    Rig rig(trial);
    testing::Instance& one = rig.make();
    testing::Instance& two = rig.make();
    one.start();
    two.start();
    for (int i = 0; i < kSeeds; ++i) {
        const std::uint64_t seed = trial.random();
        const Question question(seed);
        const std::vector<Keys> first = question.ask(one);
        for (const auto& [who, again] :
             {std::pair{"again", question.ask(one)}, {"of another instance", question.ask(two)}}) {
            for (std::size_t k = 0; k < first.size(); ++k) {
                expect(first[k] == again[k], "the same keys for the same question, " + shown(first[k]),
                       std::string(who) + " " + shown(again[k]) + " (question " + std::to_string(seed) + ")");
            }
        }
    }
    trial.remark(std::to_string(kSeeds) + " questions");
}

void ignore_order(Trial& trial) {
    Rig rig(trial);
    testing::Instance& instance = rig.make();
    instance.start();
    for (int i = 0; i < kSeeds; ++i) {
        const std::uint64_t seed = trial.random();
        const Question question(seed);
        const std::vector<Keys> straight = question.ask(instance);
        std::vector<std::size_t> order(straight.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        std::ranges::shuffle(order, trial.random);
        std::vector<gantry_candidate> mixed;
        for (std::size_t k : order) mixed.push_back(question.candidates()[k]);
        const std::vector<Keys> answer = question.ask(instance, mixed);
        const auto same = [&](const Keys& got, std::size_t k, const char* how) {
            expect(got == straight[k], "the same keys for a candidate wherever it stands, " + shown(straight[k]),
                   shown(got) + " " + how + " (question " + std::to_string(seed) + ")");
        };
        for (std::size_t k = 0; k < order.size(); ++k) same(answer[k], order[k], "in another order");
        const std::size_t alone = order[0];
        same(question.ask(instance, {question.candidates()[alone]})[0], alone, "alone");
    }
    trial.remark(std::to_string(kSeeds) + " questions");
}

void walk_by_size(Trial& trial) {
    constexpr std::size_t kWider = sizeof(gantry_candidate) + 24;
    Rig rig(trial);
    testing::Instance& instance = rig.make();
    instance.start();
    for (int round = 0; round < 20; ++round) {  // one of few candidates may be answered well by luck
        const Question question(trial.random(), 40);
        const auto& narrow = question.candidates();
        std::vector<char> wide(narrow.size() * kWider, '\x7f');
        for (std::size_t i = 0; i < narrow.size(); ++i) {
            std::memcpy(wide.data() + i * kWider, &narrow[i], sizeof(narrow[i]));
        }
        expect(question.ask_raw(instance, wide.data(), narrow.size(), kWider) == question.ask(instance),
               "the same keys from a host whose candidates are larger by members that it appended", "others");
    }
}

void count_allocations(Trial& trial) {
    if (!can_count_allocations()) throw Skipped{"a build with sanitizers has an allocator of its own", false};
    constexpr std::size_t kCalls = 1'000;
    Rig rig(trial);
    testing::Instance& instance = rig.make();
    instance.start();
    const Question question(trial.random(), 20);
    const auto& in = question.candidates();
    std::vector<Keys> keys(in.size());
    const auto call = [&] { question.score(instance, in.data(), in.size(), sizeof(gantry_candidate), keys.data()); };
    for (int i = 0; i < 10; ++i) call();
    std::size_t allocations = 0;
    {
        const Watched watched;
        for (std::size_t i = 0; i < kCalls; ++i) call();
        allocations = Watched::allocations();
    }
    const std::string each = std::to_string(allocations / kCalls) + "." +
                             std::to_string(allocations % kCalls * 10 / kCalls) + " allocations for each call with " +
                             std::to_string(in.size()) + " candidates";
    trial.remark(each);
    if (allocations > 0) trial.warn("no allocation in score", each);
}

}  // namespace

void add_placement(std::vector<Check>& out) {
    out.push_back({"placement.keys",
                   "1 to 4 keys have a name; the others are 0.",
                   "Name the keys in the constructor, and leave what you do not name 0.",
                   {"lifecycle.use"},
                   &name_keys,
                   20,
                   "placement"});
    out.push_back({"placement.pure",
                   "score uses no clock, no file, no socket, no randomness and no host service.",
                   "Compute the keys from the arguments and the configuration alone; read what you need in init.",
                   {"lifecycle.late-calls"},
                   &stay_pure,
                   20,
                   "placement"});
    out.push_back({"placement.deterministic",
                   "The same question has the same answer, from every instance.",
                   "Keep nothing between calls; no pointers, hashes of addresses or random numbers in keys.",
                   {"placement.pure", "lifecycle.beside"},
                   &decide_again,
                   30,
                   "placement"});
    out.push_back({"placement.order",
                   "The keys of a candidate do not depend on its place or on the other candidates.",
                   "Compute each candidate's keys from it, the snapshot and the request; ties are the kernel's.",
                   {"placement.deterministic"},
                   &ignore_order,
                   30,
                   "placement"});
    out.push_back({"placement.newer-host",
                   "Candidates are walked by the size that the host says.",
                   "Step by request->candidate_size bytes, not by sizeof(gantry_candidate).",
                   {"placement.deterministic"},
                   &walk_by_size,
                   20,
                   "placement"});
    out.push_back({"placement.allocations",
                   "score allocates nothing once it is warm.",
                   "Use fixed arrays and string_view in score; allocate in init.",
                   {"placement.pure"},
                   &count_allocations,
                   20,
                   "placement"});
}

}  // namespace gantry::check
