#include "sdk/vsoa/src/regulator.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "sdk/vsoa/src/socket.hpp"

namespace vsoa {
namespace {

bool fail(int error) {
    errno = error;
    return false;
}

}  // namespace

Regulator::Regulator(int64_t period_ns) : period_ns_(period_ns), origin_ns_(now_ns()) {}

Regulator::~Regulator() { vsoa_timer_delete(timer_); }

bool Regulator::open() { return (timer_ = vsoa_timer_create()) != nullptr; }

void Regulator::end(Regulator* regulator) {
    if (regulator->caller_ == std::this_thread::get_id()) {
        regulator->orphan_ = true;
    } else {
        delete regulator;
    }
}

std::unique_lock<std::mutex> Regulator::enter() {
    if (caller_ != std::this_thread::get_id()) return std::unique_lock(lock_);
    errno = EDEADLK;
    return {};
}

Regulator::Slot* Regulator::find(std::string_view url) {
    const auto found = slots_.find(url);
    if (found != slots_.end()) return &found->second;
    errno = ENOENT;
    return nullptr;
}

/// Starts the timer for the end of the present period.
bool Regulator::arm() {
    const int64_t into = (now_ns() - origin_ns_) % period_ns_;
    return armed_ = vsoa_timer_start(timer_, period_ns_ - into, 0, on_time, this);
}

bool Regulator::period(int64_t period_ns) {
    const auto held = enter();
    if (!held) return false;
    period_ns_ = period_ns;
    origin_ns_ = now_ns();
    return !armed_ || arm();
}

bool Regulator::add(std::string_view url, vsoa_regulator_func_t callback, void* arg, size_t room) {
    const auto held = enter();
    if (!held) return false;
    if (slots_.find(url) != slots_.end()) return fail(EEXIST);
    Slot slot{callback, arg, room, {}};
    slot.bytes.reserve(std::min<size_t>(room, VSOA_MAX_DATA_LENGTH));
    slots_.emplace(url, std::move(slot));
    return true;
}

bool Regulator::remove(std::string_view url) {
    const auto held = enter();
    if (!held) return false;
    const auto found = slots_.find(url);
    if (found == slots_.end()) return fail(ENOENT);
    slots_.erase(found);
    return true;
}

bool Regulator::has(std::string_view url, size_t* room) {
    const auto held = enter();
    const Slot* slot = held ? find(url) : nullptr;
    if (slot != nullptr && room != nullptr) *room = slot->room;
    return slot != nullptr;
}

bool Regulator::update(std::string_view url, const vsoa_payload_t& payload) {
    const auto held = enter();
    Slot* slot = held ? find(url) : nullptr;
    if (slot == nullptr) return false;
    const size_t room = std::min<size_t>(slot->room, VSOA_MAX_DATA_LENGTH);
    if (payload.param_len > room || payload.data_len > room - payload.param_len) return fail(EMSGSIZE);
    const auto* data = static_cast<const char*>(payload.data);
    slot->bytes.assign(payload.param, payload.param + payload.param_len);
    slot->bytes.insert(slot->bytes.end(), data, data + payload.data_len);
    slot->param_len = payload.param_len;
    slot->waits = true;
    return armed_ || arm();
}

bool Regulator::clear(std::string_view url) {
    const auto held = enter();
    Slot* slot = held ? find(url) : nullptr;
    if (slot != nullptr) slot->waits = false;
    return slot != nullptr;
}

void Regulator::on_time(void* self, vsoa_timer_t*, void*) {
    auto* regulator = static_cast<Regulator*>(self);
    regulator->tick();
    if (regulator->orphan_) delete regulator;
}

void Regulator::tick() {
    const std::lock_guard guard(lock_);
    armed_ = false;
    caller_ = std::this_thread::get_id();
    for (auto& [key, slot] : slots_) {
        if (!std::exchange(slot.waits, false)) continue;
        static char nothing[1];
        char* const bytes = slot.bytes.empty() ? nothing : slot.bytes.data();
        vsoa_url_t url = {const_cast<char*>(key.data()), key.size()};
        vsoa_payload_t payload = {bytes, slot.param_len, bytes + slot.param_len, slot.bytes.size() - slot.param_len};
        slot.callback(slot.arg, &url, &payload);
        if (orphan_) break;
    }
    caller_ = std::thread::id();
}

}  // namespace vsoa
