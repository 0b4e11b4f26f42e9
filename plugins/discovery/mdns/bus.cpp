// SPDX-License-Identifier: Apache-2.0
#include "plugins/discovery/mdns/bus.hpp"

#include <poll.h>

#include <cerrno>
#include <cstring>

namespace mdns {
namespace {

constexpr const char* kAvahi = "org.freedesktop.Avahi";
constexpr std::uint64_t kCallLimit_us = 10'000'000;
constexpr int kPerTurn = 64;  // messages, so that the loop goes on

void destroy_handler(void* handler) { delete static_cast<Bus::Handler*>(handler); }

}  // namespace

std::string Reply::error() const {
    const sd_bus_error* error = sd_bus_message_get_error(message_);
    if (error == nullptr) return "an answer of another form";
    return std::string(text(error->name)) + ": " + std::string(text(error->message));
}

Bus::Bus(gantry::Host& host, std::function<void(const std::string&)> lost) : host_(host), lost_(std::move(lost)) {
    const int opened = sd_bus_open_system(&bus_);
    if (opened < 0) {
        throw gantry::Failure(gantry::Code::kUnavailable,
                              std::string("the system's D-Bus is not there: ") + std::strerror(-opened));
    }
    watch_ = host_.watch(sd_bus_get_fd(bus_), gantry::kReadable, [this](std::uint32_t) { turn(); });
    wait();
}

Bus::~Bus() {
    host_.unwatch(watch_);
    host_.cancel(timer_);
    sd_bus_close_unref(bus_);
}

void Bus::match(const std::string& rule, Handler handler) {
    sd_bus_slot* slot = nullptr;
    auto made = std::make_unique<Handler>(std::move(handler));
    const int done = sd_bus_add_match_async(bus_, &slot, rule.c_str(), &Bus::on_message, nullptr, made.get());
    if (done < 0) return fail(-done);
    sd_bus_slot_set_destroy_callback(slot, &destroy_handler);
    made.release();
    sd_bus_slot_set_floating(slot, 1);
    sd_bus_slot_unref(slot);
    wait();
}

sd_bus_message* Bus::begin(const std::string& path, const char* interface, const char* method) {
    sd_bus_message* message = nullptr;
    const int done = sd_bus_message_new_method_call(bus_, &message, kAvahi, path.c_str(), interface, method);
    if (done < 0) fail(-done);
    return message;
}

void Bus::send(sd_bus_message* message, bool good, Handler then) {
    sd_bus_slot* slot = nullptr;
    auto made = std::make_unique<Handler>(std::move(then));
    const int done =
        good ? sd_bus_call_async(bus_, &slot, message, &Bus::on_message, made.get(), kCallLimit_us) : -EINVAL;
    sd_bus_message_unref(message);
    if (done < 0) return fail(-done);
    sd_bus_slot_set_destroy_callback(slot, &destroy_handler);
    made.release();
    sd_bus_slot_set_floating(slot, 1);
    sd_bus_slot_unref(slot);
    wait();
}

void Bus::add_service(const std::string& group, const std::string& name, const char* type, std::uint16_t port,
                      const char* text, Handler then) {
    sd_bus_message* message = begin(group, "org.freedesktop.Avahi.EntryGroup", "AddService");
    if (message == nullptr) return;
    const std::int32_t everywhere = -1;
    const bool good =
        sd_bus_message_append(message, "iiussssq", everywhere, everywhere, 0u, name.c_str(), type, "", "", port) >= 0 &&
        sd_bus_message_open_container(message, 'a', "ay") >= 0 &&
        sd_bus_message_append_array(message, 'y', text, std::strlen(text)) >= 0 &&
        sd_bus_message_close_container(message) >= 0;
    send(message, good, std::move(then));
}

int Bus::on_message(sd_bus_message* message, void* handler, sd_bus_error*) {
    try {
        (*static_cast<Handler*>(handler))(Reply(message));
    } catch (...) {
        return -EIO;  // no exception passes through C
    }
    return 0;
}

void Bus::turn() {
    turning_ = true;
    int done = 1;
    for (int i = 0; i < kPerTurn && done > 0; ++i) done = sd_bus_process(bus_, nullptr);
    turning_ = false;
    if (done < 0) return fail(-done);
    wait();
}

void Bus::wait() {
    if (failed_ || turning_) return;
    const int events = sd_bus_get_events(bus_);
    if (events < 0) return fail(-events);
    host_.change(
        watch_, ((events & POLLIN) != 0 ? gantry::kReadable : 0u) | ((events & POLLOUT) != 0 ? gantry::kWritable : 0u));
    std::uint64_t until_us = 0;
    host_.cancel(std::exchange(timer_, 0));
    if (sd_bus_get_timeout(bus_, &until_us) <= 0 || until_us == UINT64_MAX) return;
    // Absolute, on CLOCK_MONOTONIC.
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto now_us =
        static_cast<std::uint64_t>(now.tv_sec) * 1'000'000 + static_cast<std::uint64_t>(now.tv_nsec) / 1000;
    const std::uint64_t left = until_us > now_us ? until_us - now_us : 0;
    timer_ = host_.timer(std::chrono::microseconds(left), [this] {
        timer_ = 0;
        turn();
    });
}

void Bus::fail(int error) {
    if (std::exchange(failed_, true)) return;
    host_.change(watch_, 0);
    timer_ = host_.timer({}, [this, error] {
        timer_ = 0;
        const auto lost = std::move(lost_);
        lost(std::string("the system's D-Bus is gone: ") + std::strerror(error));
    });
}

}  // namespace mdns
