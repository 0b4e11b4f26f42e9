// SPDX-License-Identifier: Apache-2.0
//
// A probe that tries what the border promises and answers with what it saw: the same text in every host.
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <gantry/probe.hpp>

using namespace gantry;
using namespace std::chrono_literals;

class Contract final : public Probe {
  public:
    void check(Operation<ProbeResult> op, ProbeRequest) override {
        op_ = std::move(op);
        refused("file", ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
        refused("folder", ::open("/", O_RDONLY | O_CLOEXEC));
        refused("nothing", -1);
        const auto* ops = host().ops();
        note("another's operation", ops->complete(host().handle() + 1'000, op_.id(), GANTRY_OK, {}, nullptr));
        note("no operation", ops->complete(host().handle(), op_.id() + 1'000, GANTRY_OK, {}, nullptr));
        note("its end", ops->cancelled(host().handle(), op_.id() + 1'000));
        note("cancelled", op_.cancelled() ? 1 : 0);
        note("a timer backwards", host().timer(
                                      1ms, [] {}, -1ms) == 0
                                      ? 1
                                      : 0);
        host().warn("two\nlines \x1b[31m" + std::string(10'000, 'x'));
        host().event("contract", "one\ttext");
        watch_both();
    }
    void stop(Instant) override { op_ = {}; }

  private:
    void note(std::string_view what, std::int64_t value) {
        seen_ += std::string(what) + "=" + std::to_string(value) + " ";
    }
    void refused(std::string_view what, int raw) {
        const Fd fd(raw);
        try {
            host().watch(fd.get(), kReadable, [](std::uint32_t) {});
            note(what, 0);
        } catch (const Failure& failure) {
            note(what, static_cast<int>(failure.code()));
        }
    }
    // A socket that is ready in both directions: each is told in a call of its own.
    void watch_both() {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) throw Failure(Code::kFailed, "no sockets");
        near_ = Fd(ends[0]);
        far_ = Fd(ends[1]);
        if (::write(far_.get(), "x", 1) != 1) throw Failure(Code::kFailed, "no write");
        watch_ = host().watch(near_.get(), kReadable | kWritable, [this](std::uint32_t events) {
            told_.push_back(events);
            if (std::ranges::find(told_, kReadable) == told_.end()) return;
            if (std::ranges::find(told_, kWritable) == told_.end()) return;
            note("both at once", std::ranges::find(told_, kReadable | kWritable) != told_.end());
            note("non-blocking", (::fcntl(near_.get(), F_GETFL) & O_NONBLOCK) != 0);
            host().unwatch(watch_);
            watch_closed();
        });
    }
    // The plugin closes its descriptor too early: the watch goes on.
    void watch_closed() {
        watch_ = host().watch(near_.get(), kReadable, [this](std::uint32_t) {
            note("after close", 1);
            host().unwatch(watch_);
            op_.done({Verdict::kHealthy, {}, seen_});
        });
        near_.reset();
    }

    Operation<ProbeResult> op_;
    std::string seen_;
    std::vector<std::uint32_t> told_;
    Fd near_, far_;
    WatchId watch_ = 0;
};

GANTRY_PLUGIN(Contract)
