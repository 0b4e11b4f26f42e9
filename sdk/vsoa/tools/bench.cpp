// vsoa bench: rates and latencies of RPC and of publishing, and the server for it (--serve).
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "sdk/vsoa/include/vsoa_server.h"
#include "sdk/vsoa/tools/commands.hpp"
#include "sdk/vsoa/tools/serve.hpp"
#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {
namespace {

constexpr const char* kEcho = "/bench/echo";
constexpr const char* kTopic = "/bench/publish";
constexpr int64_t kSecond = 1'000'000'000;

// In front of the data that --serve publishes: how old it is can only be told on the machine whose clock it was.
struct Stamp {
    std::array<char, 8> mark{'v', 's', 'o', 'a', 'b', 'n', 'c', 'h'};
    std::array<char, 36> boot{};
    int32_t unused = 0;
    int64_t number = 0, at_ns = 0;
};

std::array<char, 36> boot_id() {
    std::array<char, 36> out{};
    if (FILE* in = std::fopen("/proc/sys/kernel/random/boot_id", "re")) {
        [[maybe_unused]] const size_t got = std::fread(out.data(), 1, out.size(), in);
        std::fclose(in);
    }
    return out;
}

// ---- the server

void echo(void*, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t*, vsoa_payload_t* payload) {
    vsoa_server_cli_reply(server, id, VSOA_STATUS_SUCCESS, vsoa_parser_get_seqno(header), 0, payload);
}

int serve(const BenchOptions& options, const Settings& settings) {
    constexpr int kBurst = 64;  // publishes between two looks at the input
    Tls tls;
    const auto close = [](vsoa_server_t* s) { vsoa_server_close(s); };
    const std::unique_ptr<vsoa_server_t, decltype(close)> server(vsoa_server_create("{\"name\":\"vsoa-bench\"}"),
                                                                 close);
    if (!server) throw Failure(exit_status::kFailed, std::string("cannot make a server: ") + std::strerror(errno));
    const vsoa_url_t echo_url = url_of(kEcho), topic = url_of(kTopic);
    vsoa_server_add_listener(server.get(), &echo_url, echo, nullptr);
    // A client that has much to read is slow, not gone.
    const timespec patience{5, 0};
    vsoa_server_send_timeout(server.get(), false, &patience);
    const Endpoint address = listen_on(server.get(), options.listen, settings, tls);
    say_listening(settings, "vsoa-bench", address);
    catch_interrupts();

    Stamp stamp;
    stamp.boot = boot_id();
    std::string data(std::max<size_t>(static_cast<size_t>(options.size), sizeof stamp), '\0');
    while (!interrupted()) {
        const bool wanted = vsoa_server_is_subscribed(server.get(), &topic);
        for (int i = 0; wanted && i < kBurst; ++i) {
            ++stamp.number;
            stamp.at_ns = monotonic_ns();
            std::memcpy(data.data(), &stamp, sizeof stamp);
            const vsoa_payload_t payload = payload_of("", data);
            vsoa_server_publish(server.get(), &topic, &payload);
        }
        fd_set set;
        FD_ZERO(&set);
        const int highest = vsoa_server_fds(server.get(), &set);
        if (select_until(highest, set, wanted ? 0 : INT64_MAX)) vsoa_server_input_fds(server.get(), &set);
    }
    return exit_status::kInterrupted;
}

// ---- the client

struct Figures {
    std::string what;
    int64_t window = 0;
    size_t size = 0;
    double seconds = 0;
    int64_t count = 0, failed = 0, lost = 0;
    const char* latency = "round trip";  // what the samples are
    Samples took;
};

void show(const Settings& settings, const std::string& address, Figures& f) {
    const double rate = f.seconds > 0 ? static_cast<double>(f.count) / f.seconds : 0;
    const double p50 = f.took.percentile_us(0.5), p90 = f.took.percentile_us(0.9), p99 = f.took.percentile_us(0.99),
                 p999 = f.took.percentile_us(0.999), most = f.took.percentile_us(1);
    if (settings.json) {
        JsonLine line;
        line.text("what", f.what).text("server", address);
        if (f.window > 0) line.number("window", f.window);
        line.number("bytes", static_cast<int64_t>(f.size)).number("count", f.count).real("seconds", f.seconds, 3);
        line.real("per_second", rate, 1).number("failed", f.failed).number("lost", f.lost).text("latency", f.latency);
        line.real("p50_us", p50, 1).real("p90_us", p90, 1).real("p99_us", p99, 1).real("p999_us", p999, 1);
        say(line.real("max_us", most, 1).done());
        return;
    }
    char out[256];
    std::snprintf(out, sizeof out, "%-22s %10.0f/s  %s p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  max %.1f us",
                  (f.what + (f.window > 1 ? ", window " + std::to_string(f.window) : "")).c_str(), rate, f.latency, p50,
                  p90, p99, p999, most);
    say(out + (f.failed > 0 ? ", " + std::to_string(f.failed) + " failed" : std::string()) +
        (f.lost > 0 ? ", " + std::to_string(f.lost) + " lost" : std::string()));
}

// Keeps `window` calls on their way until the time is over.
class Calls {
  public:
    Calls(Link& link, const std::string& path, int64_t window, size_t size, int64_t duration, const Settings& settings)
        : link_(link),
          path_(path),
          url_(url_of(path_)),
          data_(size, 'x'),
          slots_(static_cast<size_t>(window)),
          duration_(duration),
          settings_(settings) {
        figures_.what = "rpc";
        figures_.window = window;
        figures_.size = size;
    }

    Figures run(std::span<const std::unique_ptr<Link>> links) {
        const int64_t begun = monotonic_ns();
        until_ = begun + duration_;
        for (auto& slot : slots_) {
            slot.owner = this;
            send(slot);
        }
        // Calls have their own time limit; the rest is for a loop that is late.
        const Ended ended = run_until(links, until_ + settings_.timeout_ns + kSecond, [&] { return on_way_ == 0; });
        if (ended != Ended::kDone) fail_waiting(ended, link_, "stopped");
        if (refused_ != 0) {
            throw Failure(refused_ == VSOA_STATUS_INVALID_URL ? exit_status::kNotFound : exit_status::kFailed,
                          link_.name() + " answered GET " + clean(path_) + " with status " + std::to_string(refused_) +
                              " (" + status_word(refused_) +
                              "); give an url that it serves, or run vsoa bench --serve");
        }
        if (!vsoa_client_is_connect(link_.client())) fail_waiting(Ended::kLost, link_, "stopped");
        figures_.seconds = static_cast<double>(last_ns_ - begun) / 1e9;
        return std::move(figures_);
    }

  private:
    struct Slot {
        Calls* owner = nullptr;
        int64_t begun = 0;
    };

    void send(Slot& slot) {
        const timespec timeout = timespec_of(settings_.timeout_ns);
        const vsoa_payload_t payload = payload_of("", data_);
        slot.begun = monotonic_ns();
        if (vsoa_client_call(link_.client(), VSOA_CLIENT_RPC_METHOD_GET, &url_, &payload, on_reply, &slot, &timeout)) {
            ++on_way_;
        } else {
            ++figures_.failed;
        }
    }

    static void on_reply(void* arg, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t*) {
        auto& slot = *static_cast<Slot*>(arg);
        Calls& self = *slot.owner;
        const int64_t now = monotonic_ns();
        --self.on_way_;
        self.last_ns_ = now;
        if (header == nullptr) {
            ++self.figures_.failed;
            return;
        }
        if (vsoa_parser_get_status(header) != VSOA_STATUS_SUCCESS) {
            self.refused_ = vsoa_parser_get_status(header);
            return;
        }
        ++self.figures_.count;
        self.figures_.took.add(now - slot.begun);
        if (now < self.until_ && !interrupted() && self.refused_ == 0) self.send(slot);
    }

    Link& link_;
    const std::string path_;
    const vsoa_url_t url_;
    const std::string data_;
    std::vector<Slot> slots_;
    const int64_t duration_;
    const Settings& settings_;
    Figures figures_;
    int64_t until_ = 0, last_ns_ = 0;
    size_t on_way_ = 0;
    int refused_ = 0;
};

// What arrives of a topic; latencies where the publisher is vsoa bench --serve of this machine, else the gaps.
class Deliveries {
  public:
    void take(const vsoa_payload_t& payload) {
        const int64_t now = monotonic_ns();
        const std::string_view data = data_of(payload);
        figures_.size = payload.param_len + data.size();
        Stamp stamp;
        const Stamp expected;
        if (data.size() >= sizeof stamp) std::memcpy(&stamp, data.data(), sizeof stamp);
        const bool stamped = data.size() >= sizeof stamp && stamp.mark == expected.mark;
        const bool dated = stamped && stamp.boot == boot_;
        figures_.latency = dated ? "age" : "gap";
        if (stamped && last_number_ > 0) figures_.lost += stamp.number - last_number_ - 1;
        if (stamped) last_number_ = stamp.number;
        if (begun_ == 0) {
            begun_ = now;  // its rate is counted from the first on
        } else {
            ++figures_.count;
            figures_.took.add(now - (dated ? stamp.at_ns : last_ns_));
        }
        last_ns_ = now;
    }

    Figures done() {
        figures_.what = "publish";
        figures_.seconds = static_cast<double>(last_ns_ - begun_) / 1e9;
        return std::move(figures_);
    }

  private:
    const std::array<char, 36> boot_ = boot_id();
    Figures figures_;
    int64_t begun_ = 0, last_ns_ = 0, last_number_ = 0;
};

Figures measure_publishes(const std::string& path, const Target& target, int64_t duration, const Settings& settings,
                          std::vector<std::unique_ptr<Link>>& links) {
    // A connection of its own: the calls' one shall not have to read it.
    Deliveries deliveries;
    links.clear();
    links.push_back(std::make_unique<Link>(
        target, settings, [&](auto, auto, const vsoa_payload_t& payload, bool) { deliveries.take(payload); }));
    Link& link = *links.front();
    link.connect();
    bool ended = false, good = false;
    struct Result {
        bool &ended, &good;
    } result{ended, good};
    const vsoa_url_t url = url_of(path);
    const timespec timeout = link.timeout();
    vsoa_client_subscribe(
        link.client(), &url,
        [](void* arg, vsoa_client_t*, bool success) {
            auto& r = *static_cast<Result*>(arg);
            r.ended = true;
            r.good = success;
        },
        &result, &timeout);
    const Ended how = run_until(links, monotonic_ns() + settings.timeout_ns + kSecond, [&] { return ended; });
    if (how != Ended::kDone) fail_waiting(how, link, "cannot subscribe " + clean(path));
    if (!good)
        throw Failure(exit_status::kFailed, "cannot subscribe " + clean(path) + ": " + link.name() + " refused it");
    const Ended over = run_until(links, monotonic_ns() + duration, [] { return false; });
    if (over == Ended::kLost) fail_waiting(over, link, "stopped");
    Figures figures = deliveries.done();
    links.front().reset();
    return figures;
}

}  // namespace

int bench(const BenchOptions& options, const Settings& settings) {
    if (options.serve) return serve(options, settings);
    if (options.url.empty()) {
        throw Failure(exit_status::kUsage, "give the URL of a server, or --serve to be one");
    }
    const int64_t duration = duration_ns(options.duration, "--duration");
    const Target target = parse_target(options.url);
    const bool all = target.path.empty();
    std::vector<std::unique_ptr<Link>> links;
    links.push_back(std::make_unique<Link>(target, settings));
    links.front()->connect();
    const std::string address = links.front()->address();
    catch_interrupts();
    if (all || !options.publish) {
        const std::string path = all ? kEcho : target.path;
        std::vector<int64_t> windows{1};
        if (options.window > 1) windows.push_back(options.window);
        for (const int64_t window : windows) {
            if (interrupted()) break;
            Calls calls(*links.front(), path, window, static_cast<size_t>(options.size), duration, settings);
            Figures figures = calls.run(links);
            show(settings, address, figures);
        }
    }
    if ((all || options.publish) && !interrupted()) {
        Figures figures = measure_publishes(all ? kTopic : target.path, target, duration, settings, links);
        if (figures.count == 0) {
            throw Failure(exit_status::kTimedOut, "nothing was published on " + clean(all ? kTopic : target.path) +
                                                      " within " + options.duration);
        }
        show(settings, address, figures);
    }
    return interrupted() ? exit_status::kInterrupted : exit_status::kOk;
}

}  // namespace vsoa::tools
