#include "sdk/vsoa/src/robot.hpp"

#include <poll.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "sdk/vsoa/src/position.hpp"
#include "sdk/vsoa/src/thread.hpp"

namespace vsoa {
namespace {

constexpr std::string_view kScheme = "vsoa://";

timespec to_timespec(int64_t ns) { return {ns / (1000 * kNanosPerMs), ns % (1000 * kNanosPerMs)}; }

vsoa_url_t to_url(std::string& text) { return {text.data(), text.size()}; }

}  // namespace

bool Robot::read_server(std::string_view text, Settings& out) {
    if (text.size() >= kScheme.size() && strncasecmp(text.data(), kScheme.data(), kScheme.size()) == 0) {
        text.remove_prefix(kScheme.size());
    }
    text = text.substr(0, text.find('/'));
    constexpr std::string_view kLocal = "localhost:";
    std::string host(text);
    if (text.starts_with(kLocal)) host = "127.0.0.1:" + std::string(text.substr(kLocal.size()));
    out.address = Address::parse(host, 0);
    if (out.address) return true;
    // A port behind a name has no meaning: the position service says it. An address without a port is no name.
    if (const size_t colon = host.find(':'); colon != host.npos) host.resize(colon);
    if (host.empty() || host == "localhost" || host.size() > VSOA_POSITION_MAX_NAME_LEN) return false;
    if (Address::make(host, 1) || host.starts_with('[')) return false;
    out.host = host;
    return true;
}

bool Robot::open() {
    stop_event_ = Fd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    return bool(stop_event_);
}

void Robot::on_connect(vsoa_client_conn_func_t callback, void* arg) {
    on_connect_ = callback;
    connect_arg_ = arg;
}

void Robot::on_fail(vsoa_client_auto_fail_func_t callback, void* arg) {
    on_fail_ = callback;
    fail_arg_ = arg;
}

void Robot::consistent(std::vector<std::string> urls, int64_t timeout_ns) {
    asked_.clear();
    for (std::string& url : urls) asked_.push_back({this, std::move(url)});
    value_timeout_ns_ = timeout_ns;
}

void Robot::turbo(int64_t period_ns, unsigned max_in_row) {
    turbo_ns_ = period_ns;
    turbo_max_ = max_in_row;
}

bool Robot::start(Settings settings) {
    settings_ = std::move(settings);
    stopping_ = false;
    return start_thread(thread_, [this] { run(); });
}

bool Robot::stop() {
    if (!thread_.joinable() || in_own_thread()) {
        errno = in_own_thread() ? EDEADLK : EALREADY;
        return false;
    }
    stopping_ = true;
    const uint64_t one = 1;
    [[maybe_unused]] ssize_t unused = write(stop_event_.get(), &one, sizeof one);
    thread_.join();
    uint64_t count;
    unused = read(stop_event_.get(), &count, sizeof count);
    return true;
}

void Robot::run() {
    const Client::Loop loop(client_);
    while (!stopping_) {
        if (connect()) {
            serve();
        } else {
            fail(errno);
        }
        if (!wait(true, now_ns() + settings_.retry_delay_ns)) return;
    }
}

/// That the program stops it is no failure.
void Robot::fail(int error) {
    if (on_fail_ != nullptr && !stopping_) on_fail_(fail_arg_, handle_, error);
}

bool Robot::wait(bool only_stop, int64_t deadline) {
    pollfd entries[] = {{stop_event_.get(), POLLIN, 0}, {client_.poller().fd(), POLLIN, 0}};
    do {
        poll(entries, only_stop ? 1 : 2, poll_timeout_ms(deadline, now_ns()));
        if (stopping_) return false;
    } while (only_stop && now_ns() < deadline);
    return true;
}

bool Robot::connect() {
    std::optional<Address> address = settings_.address;
    if (!address) {
        // Asked anew each time: the service may have moved.
        const auto answer = position::look_up(position::servers(), {settings_.host, -1}, settings_.connect_timeout_ns,
                                              stop_event_.get());
        if (!answer) return false;
        // Whoever answers for the position server must not be able to switch encryption off, so it is only obeyed where
        // it wants more than the program.
        if (answer->secure && !client_.secured()) {
            errno = EPROTONOSUPPORT;
            return false;
        }
        address = answer->address;
    }
    return client_.connect(*address, now_ns() + settings_.connect_timeout_ns, settings_.password, info_,
                           stop_event_.get(), settings_.host);
}

void Robot::serve() {
    up_ = refused_ = false;
    lost_pings_ = 0;
    turbo_in_row_ = 0;
    next_ping_ = now_ns() + settings_.keepalive_ns;
    info_.resize(std::min<size_t>(info_.size(), VSOA_CLIENT_AUTO_MAX_INFO - 1));
    bool good = subscribe_all();
    while (good && wait(false, next_wake())) good = client_.input() && !refused_ && tend(now_ns());
    client_.disconnect();
    client_.input();  // ends outstanding calls
    if (!up_) return fail(refused_ ? EPERM : ECONNRESET);
    if (on_connect_ != nullptr) on_connect_(connect_arg_, handle_, false, "");
}

bool Robot::subscribe_all() {
    unsubscribed_ = settings_.urls.size();
    if (unsubscribed_ == 0) up();
    const timespec limit = to_timespec(settings_.connect_timeout_ns);
    // One packet each: the vendor's Go server takes an array for "everything".
    for (std::string& text : settings_.urls) {
        const vsoa_url_t url = to_url(text);
        const auto result = [](void* arg, vsoa_client_t*, bool success) {
            static_cast<Robot*>(arg)->subscribed(success);
        };
        if (!vsoa_client_subscribe(client_handle_, &url, result, this, &limit)) return false;
    }
    return true;
}

void Robot::subscribed(bool success) {
    refused_ = refused_ || !success;
    // Here and not in the loop, so that no message is delivered before the program knows it is connected.
    if (!refused_ && --unsubscribed_ == 0) up();
}

void Robot::up() {
    up_ = true;
    if (on_connect_ != nullptr) on_connect_(connect_arg_, handle_, true, info_.c_str());
    ask_values();
}

void Robot::ask_values() {
    const timespec limit = to_timespec(value_timeout_ns_);
    for (Asked& asked : asked_) {
        const vsoa_url_t url = to_url(asked.url);
        const auto reply = [](void* arg, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t* payload) {
            const auto* from = static_cast<const Asked*>(arg);
            from->robot->value(*from, header, payload);
        };
        vsoa_client_call(client_handle_, VSOA_CLIENT_RPC_METHOD_GET, &url, nullptr, reply, &asked, &limit);
    }
}

void Robot::value(const Asked& asked, const vsoa_header_t* header, vsoa_payload_t* payload) {
    if (header == nullptr || header->status != VSOA_STATUS_SUCCESS || on_message_ == nullptr) return;
    std::string text = asked.url;
    vsoa_url_t url = to_url(text);
    on_message_(message_arg_, client_handle_, &url, payload, false);
}

int64_t Robot::next_wake() const { return turbo_ns_ > 0 ? std::min(next_ping_, next_turbo_) : next_ping_; }

/// Pings. False when too many were lost.
bool Robot::tend(int64_t now) {
    if (lost_pings_ > VSOA_CLIENT_AUTO_MAX_PING_LOST) {
        client_.linger(0);
        return false;
    }
    if (now >= next_ping_) {
        next_ping_ = now + settings_.keepalive_ns;
        const timespec limit = to_timespec(settings_.keepalive_ns);
        const auto pong = [](void* arg, vsoa_client_t*, bool success) {
            auto* robot = static_cast<Robot*>(arg);
            robot->lost_pings_ = success ? 0 : robot->lost_pings_ + 1;
        };
        vsoa_client_ping(client_handle_, pong, this, &limit);
    }
    if (turbo_ns_ > 0 && now >= next_turbo_) {
        next_turbo_ = now + turbo_ns_;
        if (!client_.awaits_rpc()) {
            turbo_in_row_ = 0;
        } else if (turbo_in_row_ < turbo_max_) {
            ++turbo_in_row_;
            vsoa_client_ping(client_handle_, nullptr, nullptr, nullptr);
        }
    }
    return true;
}

}  // namespace vsoa
