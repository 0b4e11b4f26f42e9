// SPDX-License-Identifier: Apache-2.0
//
// Random histories: whatever comes, the rules hold; when the faults stop, the node looks like its list.
#include <random>

#include "tests/unit/kernel/core/agent_shell.hpp"

using namespace gantry;
using namespace gantry::core;

namespace {

constexpr std::uint64_t kServices = 4;

// Drives one agent through everything that can happen to a node, in random order.
class History {
  public:
    explicit History(unsigned seed) : random_(seed) {
        shell_.images["oci"] = {};
        shell_.facts.runtimes.push_back({"process", "linux", {"amd64"}, false});
        shell_.images["process"] = {};
        shell_.hold = [this](const AgentEffect& e) { return hold(e); };
        shell_.probe = [this](const Check&) {
            return Probed{0, faults_ ? roll(3) != 0 : true, faults_ && roll(5) == 0, "x"};
        };
        for (std::uint64_t i = 0; i < kServices; ++i) {
            auto spec = AgentShell::spec("service" + std::to_string(i));
            if (i == 1) spec.spec.runtime = "process";
            if (i == 2) spec.spec.cut_off_start = true;
            spec.image_digest = "sha256:" + std::to_string(i);
            spec.spec.probes.resize(i % 2);
            for (auto& probe : spec.spec.probes) probe.kind = "tcp";
            spec.spec.endpoints = {{"vsoa", spec.service, static_cast<std::uint16_t>(3000 + i), ""}};
            specs_.push_back(spec);
        }
        shell_.start();
    }

    void run(int turns) {
        for (int i = 0; i < turns; ++i) {
            random_step();
            check();
        }
    }

    // No more faults: the node must become what the list says.
    void settle() {
        faults_ = false;
        shell_.failures.clear();
        shell_.list_error.reset();
        shell_.fetch_error.reset();
        finish_all();
        if (shell_.peer != 0) shell_.disconnect();
        connect();
        give();
        finish_all();
        for (int i = 0; i < 400; ++i) {
            tick(milliseconds(500));
            finish_all();
        }
        std::set<std::string> expected;
        for (const auto& [copy, index] : wanted_) expected.insert(copy.text());
        std::multiset<std::string> actual;
        for (const auto& name : shell_.running()) actual.insert(parse_container_name(name)->copy.text());
        CHECK(std::set<std::string>(actual.begin(), actual.end()) == expected);
        CHECK(actual.size() == expected.size());
        CHECK(shell_.report.copies.size() == wanted_.size());
        for (const auto& copy : shell_.report.copies) CHECK(copy.state == CopyState::kReady);
        CHECK(shell_.names().size() == wanted_.size());
        CHECK(shell_.report.applied == no_);
    }

    const AgentShell& shell() const { return shell_; }

  private:
    unsigned roll(unsigned sides) { return static_cast<unsigned>(random_() % sides); }

    bool hold(const AgentEffect& e) {
        const bool operation = std::holds_alternative<Create>(e) || std::holds_alternative<Start>(e) ||
                               std::holds_alternative<Stop>(e) || std::holds_alternative<Remove>(e) ||
                               std::holds_alternative<ListContainers>(e) || std::holds_alternative<FetchImage>(e) ||
                               std::holds_alternative<Check>(e);
        if (!operation || !faults_ || roll(2) == 0) return false;
        // A list is taken when it is asked for and told later.
        if (const auto* list = std::get_if<ListContainers>(&e)) {
            late_lists_.push_back(shell_.listing(list->runtime));
            return true;
        }
        waiting_.push_back(e);
        return true;
    }

    // One held effect is done now, or its outcome is not known.
    void finish_one() {
        if (!late_lists_.empty() && roll(2) == 0) {
            auto list = std::move(late_lists_.front());
            late_lists_.pop_front();
            shell_.step(list);
            return;
        }
        if (waiting_.empty()) return;
        const auto at = waiting_.begin() + roll(static_cast<unsigned>(waiting_.size()));
        const auto effect = *at;
        waiting_.erase(at);
        const auto before = std::exchange(shell_.hold, nullptr);
        shell_.act(effect);
        const auto operation = std::visit(
            [](const auto& e) -> std::uint64_t {
                if constexpr (requires { e.id; })
                    return e.id;
                else
                    return 0;
            },
            effect);
        if (operation != 0 && faults_ && roll(4) == 0 && !std::holds_alternative<Check>(effect))
            shell_.answers.back() = OperationDone{operation, std::unexpected(kNobodyKnows)};
        shell_.hold = before;
        drain();
    }

    void finish_all() {
        while (!waiting_.empty() || !late_lists_.empty()) finish_one();
        drain();
    }

    void drain() {
        while (!shell_.answers.empty()) {
            auto next = std::move(shell_.answers.front());
            shell_.answers.pop_front();
            shell_.one(next);
        }
    }

    void tick(Duration most) {
        const auto end =
            shell_.now + Duration(static_cast<std::int64_t>(random_() % static_cast<std::uint64_t>(most.count())) + 1);
        for (int turns = 0; shell_.agent->next_deadline() <= end; ++turns) {
            REQUIRE(turns < 10'000);
            shell_.now = std::max(shell_.now, shell_.agent->next_deadline());
            shell_.step(AgentTick{});
            REQUIRE(shell_.agent->next_deadline() > shell_.now);
        }
        shell_.now = end;
    }

    void connect() { shell_.connect(++last_peer_); }

    void give() {
        std::vector<ListEntry> entries;
        for (const auto& [copy, index] : wanted_) entries.push_back(shell_.entry(copy, specs_[index], index == 3));
        shell_.give(no_, entries, {"sha256:0", "sha256:9"});
    }

    void change_list() {
        const auto index = roll(kServices);
        const auto known = std::ranges::find(wanted_, index, &decltype(wanted_)::value_type::second);
        const auto epoch = epochs_[index];
        if (known != wanted_.end()) wanted_.erase(known);
        if (roll(3) != 0) {
            // Sometimes the last epoch comes back.
            const auto next = epoch == 0 || roll(3) != 0 ? ++epochs_[index] : epoch;
            wanted_[CopyId{{index + 1, 0}, next}] = index;
        }
        if (roll(20) == 0)
            no_ = {no_.term + 1, 1};
        else
            ++no_.no;
    }

    void lose_waiting() {
        // What the old gantryd had asked for still happens, or does not; nobody hears of it.
        for (const auto& effect : std::exchange(waiting_, {}))
            if (roll(2) == 0) {
                const auto before = std::exchange(shell_.hold, nullptr);
                if (!std::holds_alternative<Check>(effect)) shell_.act(effect);
                shell_.hold = before;
            }
        shell_.answers.clear();
        late_lists_.clear();
    }

    void random_step() {
        const auto running = shell_.running();
        switch (roll(22)) {
            case 0:
            case 1:
                change_list();
                if (shell_.peer != 0) give();
                break;
            case 2:
                if (!running.empty()) shell_.crash(running[roll(static_cast<unsigned>(running.size()))]);
                break;
            case 3:
                shell_.peer != 0 && roll(2) == 0 ? shell_.disconnect() : connect();
                break;
            case 4:
                if (roll(4) == 0) {
                    lose_waiting();
                    shell_.restart();
                }
                break;
            case 5:
                if (roll(12) == 0) {
                    lose_waiting();
                    shell_.reboot();
                }
                break;
            case 6: {
                const char* kinds[] = {"create", "start", "stop", "remove"};
                shell_.failures = {{kinds[roll(4)], roll(2) == 0 ? kBroken : kNobodyKnows}};
                break;
            }
            case 7:
                shell_.failures.clear();
                shell_.list_error.reset();
                shell_.fetch_error.reset();
                break;
            case 8:
                if (roll(3) == 0) shell_.list_error = kBroken;
                if (roll(3) == 0) shell_.fetch_error = kBroken;
                break;
            case 9:
                if (shell_.peer != 0) give();  // again
                break;
            case 10:
                if (shell_.peer != 0) shell_.step(FromController{shell_.peer, HeartbeatAck{1, no_, 0}});
                break;
            case 11:
                shell_.step(OperationDone{1'000'000, {}});
                shell_.step(Probed{1'000'000, true, false, {}});
                shell_.step(ContainersListed{"elsewhere", std::vector<Seen>{}});
                shell_.step(ImageReady{"sha256:0", {}});
                shell_.step(ContainerExited{"process", "", 0});
                break;
            case 12:
            case 13:
                tick(seconds(3));
                break;
            case 14:
                tick(seconds(40));
                break;
            default:
                finish_one();
        }
    }

    void check() {
        std::map<CopyId, int> per_copy;
        for (const auto& name : shell_.running()) ++per_copy[parse_container_name(name)->copy];
        for (const auto& [copy, count] : per_copy) CHECK(count <= 1);
        std::set<CopyId> once;
        for (const auto& copy : shell_.report.copies) CHECK(once.insert(copy.copy).second);
    }

    std::mt19937_64 random_;
    AgentShell shell_;
    bool faults_ = true;
    std::vector<CopySpec> specs_;
    std::map<CopyId, unsigned> wanted_;
    std::map<unsigned, std::uint64_t> epochs_;
    ListNo no_{1, 1};
    PeerId last_peer_ = 0;
    std::vector<AgentEffect> waiting_;
    std::deque<ContainersListed> late_lists_;
};

std::string told(const AgentEffects& effects) {
    std::string out;
    for (const auto& e : effects) {
        out += std::to_string(e.index()) + " ";
        if (const auto* m = std::get_if<Send>(&e)) out += encode(m->message);
        if (const auto* m = std::get_if<Save>(&e)) out += m->document;
        if (const auto* m = std::get_if<Create>(&e)) out += m->wanted.name;
        if (const auto* m = std::get_if<AgentEvent>(&e)) out += m->text;
        out += "\n";
    }
    return out;
}

}  // namespace

TEST_CASE("in random histories one container per copy runs, no name is used twice, and the list is reached") {
    const auto first = std::random_device{}();
    for (unsigned i = 0; i < 60; ++i) {
        const unsigned seed = first + i;
        INFO("seed " << seed);
        History history(seed);
        history.run(400);
        history.settle();
    }
}

TEST_CASE("the same history gives the same effects byte for byte") {
    const auto seed = std::random_device{}();
    INFO("seed " << seed);
    History a(seed), b(seed);
    a.run(600);
    b.run(600);
    CHECK(told(a.shell().log) == told(b.shell().log));
}
