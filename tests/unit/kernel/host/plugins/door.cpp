// SPDX-License-Identifier: Apache-2.0
//
// A frontend that asks the tree at once and logs what it hears.
#include <gantry/frontend.hpp>

using namespace gantry;

class Door final : public Frontend {
  public:
    std::string address() const override { return "unix:/run/door"; }
    void start() override {
        const ControlRequest question{{"unix", "root", 0, 0}, "GET", "/v1/nodes", ""};
        host().request(question, [this](ControlResponse r) {
            host().info("response " + std::to_string(r.code) + " " + std::to_string(r.revision) + " " + r.body);
        });
        int ends[2];
        if (::pipe(ends) != 0) throw Failure(Code::kFailed, "no pipe");
        read_ = Fd(ends[0]);
        host().open(question, Fd(ends[1]), [this](ControlResponse r) {
            char buffer[64];
            const ssize_t n = ::read(read_.get(), buffer, sizeof(buffer));
            host().info("stream " + std::to_string(r.code) + " " + std::string(buffer, n > 0 ? n : 0));
        });
        try {
            follow();
        } catch (const Failure& failure) {
            host().info("cannot follow: " + std::to_string(static_cast<int>(failure.code())));
        }
    }

  private:
    void follow() {
        watch_ = host().watch_events({}, "/v1/events", 10, [this](std::uint64_t number, std::string_view event) {
            host().info("event " + std::to_string(number) + " " + std::string(event));
            if (number == 12) host().unwatch_events(watch_);
        });
    }

    Fd read_;
    WatchId watch_ = 0;
};

GANTRY_PLUGIN(Door)
