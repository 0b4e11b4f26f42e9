// vsoa ping: is the server there, and how long does it take.
#include <cerrno>
#include <cstring>

#include "sdk/vsoa/tools/commands.hpp"
#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {
namespace {

struct Echo {
    bool ended = false, good = false;
    int64_t at_ns = 0;
};

void on_echo(void* arg, vsoa_client_t*, bool success) { *static_cast<Echo*>(arg) = {true, success, monotonic_ns()}; }

void show(const Settings& settings, const Link& link, int64_t number, const Echo& echo, int64_t begun) {
    const double ms = static_cast<double>(echo.at_ns - begun) / 1e6;
    if (settings.json) {
        JsonLine line;
        line.text("server", link.address()).number("seq", number).boolean("answered", echo.good);
        if (echo.good) line.real("ms", ms, 3);
        say(line.done());
        return;
    }
    char took[64];
    std::snprintf(took, sizeof took, "%.3f ms", ms);
    say(link.address() + " seq=" + std::to_string(number) + ' ' + (echo.good ? took : "no answer"));
}

void summary(const Settings& settings, const Link& link, int64_t sent, Samples& took) {
    const auto answered = static_cast<int64_t>(took.count());
    if (settings.json) {
        JsonLine line;
        line.text("server", link.address()).number("sent", sent).number("answered", answered);
        line.real("min_ms", took.percentile_us(0) / 1e3, 3).real("mean_ms", took.mean_us() / 1e3, 3);
        say(line.real("max_ms", took.percentile_us(1) / 1e3, 3).done());
        return;
    }
    char times[128];
    std::snprintf(times, sizeof times, "min/mean/max %.3f/%.3f/%.3f ms", took.percentile_us(0) / 1e3,
                  took.mean_us() / 1e3, took.percentile_us(1) / 1e3);
    say(link.name() + ": " + std::to_string(answered) + " of " + std::to_string(sent) + " answered" +
        (answered > 0 ? std::string(", ") + times : std::string()));
}

}  // namespace

int ping(const PingOptions& options, const Settings& settings) {
    const int64_t interval = duration_ns(options.interval, "--interval");
    std::vector<std::unique_ptr<Link>> links;
    links.push_back(std::make_unique<Link>(parse_target(options.url), settings));
    Link& link = *links.front();
    link.connect();
    catch_interrupts();
    if (!settings.json)
        say("connected to " + link.name() + (link.info().empty() ? "" : ", info " + clean(link.info())));

    Samples took;
    int64_t sent = 0;
    Echo echo;
    Ended ended = Ended::kDone;
    const auto never = [] { return false; };
    while (options.count == 0 || sent < options.count) {
        const int64_t begun = monotonic_ns();
        const timespec timeout = link.timeout();
        echo = {};
        if (!vsoa_client_ping(link.client(), on_echo, &echo, &timeout)) {
            ended = Ended::kLost;
            break;
        }
        ++sent;
        ended = run_until(links, begun + settings.timeout_ns + 1'000'000'000, [&] { return echo.ended; });
        if (ended == Ended::kInterrupted || ended == Ended::kLost) break;
        if (ended == Ended::kDone && !echo.good && !vsoa_client_is_connect(link.client())) {
            ended = Ended::kLost;
            break;
        }
        if (echo.good) took.add(echo.at_ns - begun);
        show(settings, link, sent, echo, begun);
        if (options.count > 0 && sent == options.count) break;
        ended = run_until(links, begun + interval, never);
        if (ended != Ended::kTime) break;
    }
    summary(settings, link, sent, took);
    if (ended == Ended::kInterrupted) return exit_status::kInterrupted;
    if (ended == Ended::kLost) fail_waiting(ended, link, "stopped");
    if (took.count() == 0) throw Failure(exit_status::kTimedOut, "no ping was answered by " + link.name());
    return exit_status::kOk;
}

}  // namespace vsoa::tools
