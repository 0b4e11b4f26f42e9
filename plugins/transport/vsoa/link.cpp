// SPDX-License-Identifier: Apache-2.0
#include "plugins/transport/vsoa/link.hpp"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vsoa_transport {
namespace {

using gantry::Code;
using gantry::Down;
using gantry::Duration;
using gantry::Instant;

constexpr std::size_t kReadPerTurn = 1 << 20;
constexpr std::size_t kRecord = 16 << 10;  // most that one TLS record carries
constexpr int kUnsentMax = 128 << 10;      // in the kernel: what lies there, nothing can overtake
constexpr Duration kFlushLimit = std::chrono::seconds(1);

void tune(int fd, Duration peer_limit) {
    const int on = 1, unsent = kUnsentMax;
    const auto limit_ms =
        static_cast<unsigned>(std::chrono::duration_cast<std::chrono::milliseconds>(peer_limit).count());
    // Keepalive finds a peer that died while nothing was under way; its own counters do not matter beside the limit.
    const int idle_s = std::max(1, static_cast<int>(limit_ms / 1000)), interval_s = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof limit_ms);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof interval_s);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

std::string in_ms(Duration span) {
    return std::to_string(std::chrono::duration_cast<std::chrono::milliseconds>(span).count()) + " ms";
}

}  // namespace

Link::Link(gantry::Host& host, const TlsContext& tls, LinkEvents& events, const LinkLimits& limits, gantry::PeerId id,
           gantry::Fd fd, bool inbound, std::string remote, Instant deadline)
    : host_(host),
      events_(events),
      limits_(limits),
      id_(id),
      fd_(std::move(fd)),
      inbound_(inbound),
      remote_(std::move(remote)),
      begun_(host.now()),
      deadline_(deadline),
      tls_(tls, fd_.get(), inbound),
      receiver_(*this),
      phase_(inbound ? Phase::kHandshake : Phase::kConnecting) {
    tune(fd_.get(), limits.peer);
}

Link::~Link() {
    host_.unwatch(watch_);
    host_.cancel(timer_);
}

void Link::begin() {
    waits_for_ = inbound_ ? gantry::kReadable : gantry::kWritable;
    watch_ = host_.watch(fd_.get(), waits_for_, [weak = weak_from_this()](std::uint32_t) {
        if (const auto self = weak.lock()) self->on_ready();
    });
    if (inbound_) {
        limit(limits_.handshake, "no handshake");
    } else {
        limit(limits_.connect, "no answer");
    }
}

void Link::limit(Duration within, const char* what) {
    host_.cancel(timer_);
    const Duration left = std::max(Duration::zero(), std::min(within, Duration(deadline_ - host_.now())));
    timer_ = host_.timer(left, [weak = weak_from_this(), within, what] {
        const auto self = weak.lock();
        if (!self) return;
        self->timer_ = 0;
        self->end(Down::kTimeout,
                  std::string(what) + " within " + in_ms(std::min(within, self->deadline_ - self->begun_)));
    });
}

void Link::wait_for(std::uint32_t events) {
    if (events == waits_for_ || phase_ == Phase::kEnded) return;
    waits_for_ = events;
    host_.change(watch_, events);
}

void Link::on_ready() {
    if (phase_ == Phase::kConnecting) connected();
    if (phase_ == Phase::kHandshake) shake();
    if (phase_ == Phase::kHandshake || phase_ == Phase::kConnecting) return;
    // First what came in, then what goes out: answers made meanwhile leave with the same turn.
    if (phase_ != Phase::kEnded) read();
    if (phase_ != Phase::kEnded) flush();
}

void Link::connected() {
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) error = errno;
    if (error == EINPROGRESS || error == EALREADY) return;
    // Only a machine that is there can refuse.
    const bool nobody = error == EHOSTUNREACH || error == ENETUNREACH || error == ETIMEDOUT;
    if (error != 0) return end(nobody ? Down::kTimeout : Down::kReset, std::strerror(error));
    phase_ = Phase::kHandshake;
    limit(limits_.handshake, "no handshake");
}

void Link::shake() {
    const Step step = tls_.handshake();
    if (step == Step::kWantRead) return wait_for(gantry::kReadable);
    if (step == Step::kWantWrite) return wait_for(gantry::kWritable);
    if (step != Step::kOk) return broken(step);
    phase_ = Phase::kHello;
    wait_for(gantry::kReadable);
    if (!inbound_) {
        out_ += login_packet();
        queued_ += out_.size();
    }
}

void Link::read() {
    char buffer[kRecord];
    std::size_t total = 0;
    while (phase_ != Phase::kEnded) {
        if (total >= kReadPerTurn) {
            // Others want their turn. What lies in OpenSSL's buffer wakes nobody, so come back by ourselves.
            if (!read_posted_) {
                read_posted_ = true;
                host_.post([weak = weak_from_this()] {
                    const auto self = weak.lock();
                    if (!self) return;
                    self->read_posted_ = false;
                    self->on_ready();
                });
            }
            return;
        }
        std::size_t got = 0;
        const Step step = tls_.read(buffer, sizeof buffer, got);
        if (step == Step::kWantWrite) return wait_for(gantry::kReadable | gantry::kWritable);  // a new key's answer
        if (step == Step::kWantRead) return;
        if (step != Step::kOk) return broken(step);
        total += got;
        if (phase_ == Phase::kFlushing || phase_ == Phase::kDraining) continue;  // nobody listens any more
        if (!receiver_.feed(buffer, got) && phase_ != Phase::kEnded && !receiver_.text().empty()) {
            return end(Down::kReset, receiver_.text());
        }
    }
}

void Link::broken(Step step) {
    if (phase_ == Phase::kDraining || phase_ == Phase::kFlushing) return end(end_reason_, end_text_);
    switch (step) {
        case Step::kEnd:
            tls_.shut();
            return end(Down::kClosed, "closed by the other side");
        case Step::kRefused:
            return end(Down::kRefused, "the secrets differ (" + tls_.text() + ")");
        case Step::kFailed:
            return end(Down::kReset, was_up_ ? "the encryption broke: " + tls_.text()
                                             : "no TLS 1.3 with the cluster's key: " + tls_.text());
        default:
            if (tls_.error() == ETIMEDOUT) return end(Down::kTimeout, "took nothing for " + in_ms(limits_.peer));
            return end(Down::kReset, tls_.text());
    }
}

void Link::end(Down reason, const std::string& text) {
    if (phase_ == Phase::kEnded) return;
    const auto self = shared_from_this();
    phase_ = Phase::kEnded;
    host_.unwatch(std::exchange(watch_, 0));
    host_.cancel(std::exchange(timer_, 0));
    events_.link_ended(*this, reason, text);
}

void Link::become_up() {
    phase_ = Phase::kUp;
    was_up_ = true;
    host_.cancel(std::exchange(timer_, 0));
    events_.link_up(*this);
}

Code Link::send(gantry::Channel channel, std::string_view data) {
    if (phase_ != Phase::kUp) return Code::kNotFound;
    if (static_cast<std::size_t>(channel) >= kChannels || data.size() > kMessageMax) return Code::kInvalid;
    if (queued_ > 0 && queued_ + data.size() > limits_.queue_max) {
        want_writable_ = true;
        return Code::kFull;
    }
    for (std::string& packet : message_packets(channel, data)) {
        queued_ += packet.size();
        queues_[static_cast<std::size_t>(channel)].push_back(std::move(packet));
    }
    flush_later();
    return Code::kOk;
}

// Once per turn: what one turn says leaves together.
void Link::flush_later() {
    if (flush_posted_ || blocked_) return;
    flush_posted_ = true;
    host_.post([weak = weak_from_this()] {
        const auto self = weak.lock();
        if (!self) return;
        self->flush_posted_ = false;
        self->flush();
    });
}

// Makes out_ one record full, or one packet: the control channel first.
bool Link::refill() {
    if (out_at_ < out_.size()) return true;
    out_.clear();
    out_at_ = 0;
    for (auto& queue : queues_) {
        while (!queue.empty() && (out_.empty() || out_.size() + queue.front().size() <= kRecord)) {
            if (out_.empty()) {
                out_ = std::move(queue.front());
            } else {
                out_ += queue.front();
            }
            queue.pop_front();
        }
    }
    return !out_.empty();
}

void Link::flush() {
    if (phase_ != Phase::kHello && phase_ != Phase::kUp && phase_ != Phase::kFlushing) return;
    blocked_ = false;
    while (refill()) {
        std::size_t done = 0;
        const Step step = tls_.write(out_.data() + out_at_, out_.size() - out_at_, done);
        if (step == Step::kWantWrite || step == Step::kWantRead) {
            blocked_ = true;
            break;
        }
        if (step != Step::kOk) return broken(step);
        out_at_ += done;
        queued_ -= done;
    }
    wait_for(blocked_ ? gantry::kReadable | gantry::kWritable : gantry::kReadable);
    tell_writable();
    if (!blocked_ && phase_ == Phase::kFlushing) goodbye();
}

void Link::tell_writable() {
    if (!want_writable_ || phase_ != Phase::kUp || queued_ > limits_.queue_max / 2) return;
    want_writable_ = false;
    events_.link_writable(*this);
}

void Link::close() {
    if (phase_ == Phase::kFlushing || phase_ == Phase::kDraining || phase_ == Phase::kEnded) return;
    end_text_ = "closed here";
    const bool can_flush = phase_ == Phase::kUp || phase_ == Phase::kHello;
    phase_ = Phase::kFlushing;
    host_.cancel(timer_);
    timer_ = host_.timer(can_flush ? kFlushLimit : Duration::zero(), [weak = weak_from_this()] {
        const auto self = weak.lock();
        if (!self) return;
        self->timer_ = 0;
        self->end(self->end_reason_, self->end_text_);
    });
    if (can_flush) flush_later();
}

// Everything is out. The other side closes when it has read it; closing first could make the kernel throw it away.
void Link::goodbye() {
    if (tls_.shut() != Step::kOk) return end(end_reason_, end_text_);
    ::shutdown(fd_.get(), SHUT_WR);
    phase_ = Phase::kDraining;
    wait_for(gantry::kReadable);
}

void Link::stop_now(Instant until) {
    host_.unwatch(std::exchange(watch_, 0));
    host_.cancel(std::exchange(timer_, 0));
    bool whole = phase_ == Phase::kUp || phase_ == Phase::kFlushing;
    while (whole && refill()) {
        std::size_t done = 0;
        const Step step = tls_.write(out_.data() + out_at_, out_.size() - out_at_, done);
        if (step == Step::kOk) {
            out_at_ += done;
            continue;
        }
        const auto left_ms = std::chrono::duration_cast<std::chrono::milliseconds>(until - host_.now()).count();
        pollfd ready{fd_.get(), POLLOUT, 0};
        whole = step == Step::kWantWrite && left_ms > 0 && poll(&ready, 1, static_cast<int>(left_ms)) > 0;
    }
    if (whole) tls_.shut();
    phase_ = Phase::kEnded;
}

// ---- what arrives

bool Link::wire_login(std::uint32_t seqno, bool protocol_fits) {
    if (!inbound_ || phase_ != Phase::kHello) return true;
    const std::string answer =
        protocol_fits ? welcome_packet(static_cast<std::uint32_t>(id_), seqno) : refusal_packet(seqno);
    out_ += answer;
    queued_ += answer.size();
    if (protocol_fits) {
        become_up();
    } else {
        close();
        end_text_ = "the other side knows the secret but does not speak gantry/1; update the older one";
    }
    return true;
}

bool Link::wire_welcome(std::uint8_t status, bool protocol_fits) {
    if (inbound_ || phase_ != Phase::kHello) return true;
    if (status == VSOA_STATUS_SUCCESS && protocol_fits) {
        become_up();
        return true;
    }
    end(Down::kClosed, "the other side knows the secret but does not speak gantry/1; update the older one");
    return false;
}

bool Link::wire_ping(std::uint32_t seqno) {
    if (phase_ != Phase::kUp) return true;
    std::string answer = echo_packet(seqno);
    // Somebody who only asks and never reads gets no more answers.
    if (queued_ + answer.size() > limits_.queue_max) return true;
    queued_ += answer.size();
    queues_[0].push_back(std::move(answer));
    flush_later();
    return true;
}

bool Link::wire_message(gantry::Channel channel, std::string_view data) {
    if (phase_ == Phase::kHello) {
        end(Down::kReset, "a message came before the login");
        return false;
    }
    if (phase_ == Phase::kUp) events_.link_message(*this, channel, data);
    return phase_ != Phase::kEnded;
}

}  // namespace vsoa_transport
