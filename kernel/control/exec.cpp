// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/exec.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <cstring>

#include "kernel/base/units.hpp"

namespace gantry::control {
namespace {

constexpr std::size_t kAtOnce = 64, kOutputMost = 64 << 10;
constexpr auto kLinger = std::chrono::seconds(1);

}  // namespace

void Execs::run(host::Runtime& runtime, const std::string& container, const json::value& document, Answer answer) {
    Fields f(&document, "");
    const auto args = f.texts("args");
    const auto timeout = f.integer("timeout_ms", 1'000, 1, 600'000);
    const auto most = f.integer("output_max", 4'096, 0, kOutputMost);
    const auto known = f.finish();
    if (!args) return answer(std::unexpected(args.error()));
    if (!timeout) return answer(std::unexpected(timeout.error()));
    if (!most) return answer(std::unexpected(most.error()));
    if (!known) return answer(std::unexpected(known.error()));
    if (*running_ >= kAtOnce)
        return answer(
            fail(Code::kUnavailable, std::to_string(kAtOnce) + " processes are being run in containers already"));
    int ends[2] = {-1, -1};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return answer(fail(Code::kFailed, std::string("socketpair: ") + std::strerror(errno)));
    const auto run = std::make_shared<Run>(io_, ends[0]);
    (void)::shutdown(ends[0], SHUT_WR);  // there is nothing to read for it
    run->most = static_cast<std::size_t>(*most);
    run->limit = milliseconds(*timeout);
    run->answer = std::move(answer);
    ++*running_;
    read(run);
    (void)runtime.exec(container, *args, false, ends[1], run->limit, [run, running = running_](Result<int> code) {
        --*running;
        run->ended = std::move(code);
        finish(run);
        if (!run->answer) return;
        // What got away from it may hold the stream open.
        run->linger.expires_after(kLinger);
        run->linger.async_wait([run](auto) {
            run->open = false;
            finish(run);
        });
    });
}

void Execs::read(const Shared& run) {
    run->out.async_read_some(boost::asio::buffer(run->chunk), [run](boost::system::error_code error, std::size_t n) {
        const std::size_t taken = std::min(n, run->most - run->output.size());
        run->output.append(run->chunk, taken);
        run->cut = run->cut || taken < n;
        if (!error) return read(run);
        run->open = false;
        finish(run);
    });
}

// Its end is told by the runtime; what it wrote is whole when the other end of the stream is closed.
void Execs::finish(const Shared& run) {
    if (!run->answer || !run->ended) return;
    const auto& ended = *run->ended;
    if (ended && run->open) return;
    boost::system::error_code ignored;
    run->out.close(ignored);
    run->linger.cancel();
    const auto answer = std::exchange(run->answer, nullptr);
    if (ended)
        return answer(json::object{
            {"exit_code", *ended}, {"output", one_line(run->output, run->output.size() * 3)}, {"cut", run->cut}});
    // The runtime kills it when its stream is closed, or because nobody waits any more.
    if (ended.error().code != Code::kUnknown && ended.error().code != Code::kDeadline)
        return answer(std::unexpected(ended.error()));
    answer(fail(Code::kDeadline, "it did not end in " + format_duration(run->limit) + " and was killed" +
                                     (run->output.empty() ? "" : ": " + one_line(run->output, 1'024))));
}

}  // namespace gantry::control
