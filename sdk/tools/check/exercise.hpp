// SPDX-License-Identifier: Apache-2.0
//
// Exercise: every slot of a role called the way a host does, needing nothing but the plugin: what the suites that are
// not about one role do with it. The questions are such that a sound plugin answers all of them at once: a port where
// nobody listens, an image that is not there.
#pragma once

#include <functional>

#include "sdk/tools/check/rig.hpp"

namespace gantry::check {

// One operation under way.
struct Ongoing {
    std::string slot;
    std::function<bool()> ended;
    std::function<std::pair<Code, std::string>()> answer;  // once it ended
    std::function<void()> cancel;
};

class Exercise {
  public:
    // Before the instance is started: a sink is bound here. Skipped for a role without one.
    static std::unique_ptr<Exercise> of(Rig& rig, testing::Instance& instance);
    virtual ~Exercise() = default;

    // Calls every slot once; operations go to ongoing().
    virtual void use() = 0;
    std::vector<Ongoing>& ongoing() { return ongoing_; }
    // Until all have ended: for `patience` in real time, then by moving the clock past their deadlines. False if one
    // never does.
    bool settle(Duration patience = std::chrono::seconds(1));

  protected:
    explicit Exercise(Rig& rig) : rig_(rig) {}
    template <class Pending>
    void keep(std::string slot, Pending pending) {
        auto shared = std::make_shared<Pending>(std::move(pending));
        ongoing_.push_back({std::move(slot), [shared] { return shared->ended(); },
                            [shared] {
                                const auto answer = shared->wait(Duration::zero());
                                return std::pair(answer.code, answer.text);
                            },
                            [shared] { shared->cancel(); }});
    }

    Rig& rig_;

  private:
    std::vector<Ongoing> ongoing_;
};

// An instance that runs, was used, and is stopped and destroyed by end().
struct Used {
    explicit Used(Rig& rig_in) : rig(rig_in), instance(rig.make()), exercise(Exercise::of(rig, instance)) {
        instance.start();
    }
    void use() {
        exercise->use();
        exercise->settle();
    }
    // Throws gantry::Failure if stop does.
    void end();

    Rig& rig;
    testing::Instance& instance;
    std::unique_ptr<Exercise> exercise;
};

}  // namespace gantry::check
