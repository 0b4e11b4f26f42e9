// The C functions of vsoa_timer.h.
#include <memory>

#include "sdk/vsoa/src/shell.hpp"
#include "sdk/vsoa/src/socket.hpp"
#include "sdk/vsoa/src/timer.hpp"

using vsoa::guarded;
using vsoa::invalid;
using vsoa::TimerService;

namespace {

int64_t from_ms(int64_t ms) {
    int64_t ns;
    return __builtin_mul_overflow(ms, vsoa::kNanosPerMs, &ns) ? vsoa::kForever : ns;
}

}  // namespace

extern "C" {

bool vsoa_timer_init(void) {
    return guarded(false, [] { return TimerService::instance().run(); });
}

vsoa_timer_t* vsoa_timer_create(void) {
    return guarded<vsoa_timer_t*>(nullptr, []() -> vsoa_timer_t* {
        if (!TimerService::instance().run()) return nullptr;
        auto timer = std::make_unique<vsoa_timer_t>();
        TimerService::Queue nursery = {{0, timer.get()}};
        timer->node = nursery.extract(nursery.begin());
        return timer.release();
    });
}

void vsoa_timer_delete(vsoa_timer_t* timer) {
    if (timer != nullptr) TimerService::instance().end(timer);
}

bool vsoa_timer_start(vsoa_timer_t* timer, int64_t count, int64_t interval, vsoa_timer_ontime_func_t callback,
                      void* arg) {
    if (timer == nullptr || callback == nullptr || count < 0 || interval < 0) return invalid();
    TimerService::instance().start(*timer, count, interval, callback, arg);
    return true;
}

bool vsoa_timer_start_ms(vsoa_timer_t* timer, int64_t count, int64_t interval, vsoa_timer_ontime_func_t callback,
                         void* arg) {
    if (count < 0 || interval < 0) return invalid();
    return vsoa_timer_start(timer, from_ms(count), from_ms(interval), callback, arg);
}

void vsoa_timer_stop(vsoa_timer_t* timer) {
    timer != nullptr ? TimerService::instance().stop(*timer) : void(invalid());
}

bool vsoa_timer_is_started(vsoa_timer_t* timer) {
    return timer != nullptr ? TimerService::instance().started(*timer) : invalid();
}

void vsoa_timer_set_custom(vsoa_timer_t* timer, void* custom) {
    timer != nullptr ? void(timer->custom = custom) : void(invalid());
}

void* vsoa_timer_custom(vsoa_timer_t* timer) {
    if (timer != nullptr) return timer->custom;
    errno = EINVAL;
    return nullptr;
}
}
