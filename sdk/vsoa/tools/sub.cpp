// vsoa sub: prints what is published, and the datagrams that come along.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sdk/vsoa/tools/commands.hpp"
#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {
namespace {

constexpr int64_t kReconnectNs = 1'000'000'000;

class Subscriber {
  public:
    Subscriber(const SubOptions& options, const Settings& settings) : options_(options), settings_(settings) {
        for (const auto& text : options.urls) add(text);
    }

    int run() {
        for (const auto& link : links_) begin(*link);
        const int64_t deadline =
            options_.duration.empty() ? INT64_MAX : monotonic_ns() + duration_ns(options_.duration, "--duration");
        Ended ended;
        Link* lost = nullptr;
        while ((ended = run_until(
                    links_, deadline, [&] { return enough(); }, &lost)) == Ended::kLost) {
            if (!options_.reconnect) fail_waiting(ended, *lost, "stopped");
            note(lost->name() + " closed the connection; connecting again");
            if (!again(*lost, deadline)) break;
        }
        if (interrupted()) return exit_status::kInterrupted;
        if (enough() || options_.count == 0) return exit_status::kOk;
        throw Failure(exit_status::kTimedOut, "expected " + std::to_string(options_.count) + " messages, got " +
                                                  std::to_string(got_) + " within " + options_.duration);
    }

  private:
    struct Result {
        bool ended = false, good = false;
    };

    bool enough() const { return options_.count > 0 && got_ >= options_.count; }

    // "/path" is one more topic of the server before it.
    void add(const std::string& text) {
        if (text.starts_with('/') && !links_.empty()) {
            topics_.back().push_back(text);
            return;
        }
        Target target = parse_target(text);
        const std::string topic = target.path.empty() ? "/" : target.path;
        const auto same = std::find_if(links_.begin(), links_.end(),
                                       [&](const auto& link) { return link->target().server == target.server; });
        if (same != links_.end()) {
            topics_[static_cast<size_t>(same - links_.begin())].push_back(topic);
            return;
        }
        const size_t index = links_.size();
        links_.push_back(std::make_unique<Link>(std::move(target), settings_,
                                                [this, index](auto type, auto url, const auto& payload, bool quick) {
                                                    message(*links_[index], type, url, payload, quick);
                                                }));
        topics_.push_back({topic});
    }

    void message(const Link& link, const char* type, std::string_view url, const vsoa_payload_t& payload, bool quick) {
        if (enough()) return;
        ++got_;
        if (settings_.json) {
            JsonLine line;
            line.text("time", utc(unix_now_ns())).text("server", link.address()).text("type", type).text("url", url);
            say(line.boolean("quick", quick).payload(param_of(payload), data_of(payload)).done());
        } else {
            say(clean(url) + ' ' + shown(param_of(payload), data_of(payload)));
        }
    }

    void begin(Link& link) {
        link.connect();
        catch_interrupts();
        for (const auto& topic : topics_[index_of(link)]) subscribe_to(link, topic);
    }

    size_t index_of(const Link& link) const {
        size_t at = 0;
        while (links_[at].get() != &link) ++at;
        return at;
    }

    void subscribe_to(Link& link, const std::string& topic) {
        const std::string what = "cannot subscribe " + clean(topic);
        const vsoa_url_t url = url_of(topic);
        const timespec timeout = link.timeout();
        const auto on_end = [](void* arg, vsoa_client_t*, bool success) {
            *static_cast<Result*>(arg) = {true, success};
        };
        const int64_t begun = monotonic_ns();
        // The library may end the call after we gave up waiting, so the result must outlive this function.
        Result& result = *results_.emplace_back(std::make_unique<Result>());
        if (!vsoa_client_subscribe(link.client(), &url, on_end, &result, &timeout)) {
            throw Failure(exit_status::kFailed, what + ": " + std::strerror(errno));
        }
        const std::span<const std::unique_ptr<Link>> one(&links_[index_of(link)], 1);
        const Ended ended = run_until(one, begun + settings_.timeout_ns + kReconnectNs, [&] { return result.ended; });
        if (ended != Ended::kDone) fail_waiting(ended, link, what);
        if (result.good) return;
        if (!vsoa_client_is_connect(link.client())) fail_waiting(Ended::kLost, link, what);
        if (monotonic_ns() - begun >= settings_.timeout_ns) fail_waiting(Ended::kTime, link, what);
        throw Failure(exit_status::kFailed, what + ": " + link.name() + " refused it");
    }

    // False: the time is over, or interrupted.
    bool again(Link& link, int64_t deadline) {
        std::string said;
        while (monotonic_ns() < deadline && !interrupted()) {
            vsoa_client_disconnect(link.client());
            try {
                begin(link);
                note("connected to " + link.name() + " again");
                return true;
            } catch (const Failure& failure) {
                if (failure.status == exit_status::kInterrupted) return false;
                if (said != failure.what()) note(said = failure.what());
            }
            fd_set none;
            FD_ZERO(&none);
            select_until(-1, none, std::min(deadline, monotonic_ns() + kReconnectNs));
        }
        return false;
    }

    const SubOptions& options_;
    const Settings& settings_;
    std::vector<std::unique_ptr<Result>> results_;
    std::vector<std::unique_ptr<Link>> links_;
    std::vector<std::vector<std::string>> topics_;  // of each link
    int64_t got_ = 0;
};

}  // namespace

int subscribe(const SubOptions& options, const Settings& settings) { return Subscriber(options, settings).run(); }

}  // namespace vsoa::tools
