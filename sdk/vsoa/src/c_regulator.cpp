// The C functions of vsoa_regulator.h.
#include <memory>
#include <optional>

#include "sdk/vsoa/src/packet.hpp"
#include "sdk/vsoa/src/regulator.hpp"
#include "sdk/vsoa/src/shell.hpp"
#include "sdk/vsoa/src/socket.hpp"

using vsoa::guarded;
using vsoa::invalid;

namespace {

vsoa::Regulator* core(vsoa_regulator_t* regulator) { return reinterpret_cast<vsoa::Regulator*>(regulator); }

/// Nothing, with errno EINVAL, when it is none.
std::optional<int64_t> period_of(const timespec* period) {
    constexpr int64_t kNanosPerSecond = 1000 * vsoa::kNanosPerMs;
    int64_t ns = 0;
    const bool good = period != nullptr && period->tv_nsec >= 0 && period->tv_nsec < kNanosPerSecond &&
                      !__builtin_mul_overflow(int64_t{period->tv_sec}, kNanosPerSecond, &ns) &&
                      !__builtin_add_overflow(ns, int64_t{period->tv_nsec}, &ns) && ns >= vsoa::kNanosPerMs;
    if (good) return ns;
    errno = EINVAL;
    return std::nullopt;
}

/// Runs use(text of the url).
template <typename Use>
bool with_url(const vsoa_regulator_t* regulator, const vsoa_url_t* url, Use use) {
    return guarded(false, regulator, [&] {
        const auto text = vsoa::sendable(url);
        return text && use(*text);
    });
}

}  // namespace

extern "C" {

vsoa_regulator_t* vsoa_regulator_create(const struct timespec* period) {
    return guarded<vsoa_regulator_t*>(nullptr, [&]() -> vsoa_regulator_t* {
        const auto ns = period_of(period);
        if (!ns) return nullptr;
        auto regulator = std::make_unique<vsoa::Regulator>(*ns);
        return regulator->open() ? reinterpret_cast<vsoa_regulator_t*>(regulator.release()) : nullptr;
    });
}

void vsoa_regulator_delete(vsoa_regulator_t* regulator) {
    if (regulator != nullptr) vsoa::Regulator::end(core(regulator));
}

bool vsoa_regulator_period(vsoa_regulator_t* regulator, const struct timespec* period) {
    return guarded(false, regulator, [&] {
        const auto ns = period_of(period);
        return ns && core(regulator)->period(*ns);
    });
}

bool vsoa_regulator_slot(vsoa_regulator_t* regulator, const vsoa_url_t* url, vsoa_regulator_func_t ondelay, void* arg,
                         size_t buf_size) {
    if (ondelay == nullptr) return invalid();
    return with_url(regulator, url, [&](auto text) { return core(regulator)->add(text, ondelay, arg, buf_size); });
}

bool vsoa_regulator_unslot(vsoa_regulator_t* regulator, const vsoa_url_t* url) {
    return with_url(regulator, url, [&](auto text) { return core(regulator)->remove(text); });
}

bool vsoa_regulator_has_slot(vsoa_regulator_t* regulator, const vsoa_url_t* url, size_t* buf_size) {
    return with_url(regulator, url, [&](auto text) { return core(regulator)->has(text, buf_size); });
}

bool vsoa_regulator_update(vsoa_regulator_t* regulator, const vsoa_url_t* url, const vsoa_payload_t* payload) {
    const vsoa_payload_t value = payload != nullptr ? *payload : vsoa_payload_t{};
    if ((value.param_len > 0 && value.param == nullptr) || (value.data_len > 0 && value.data == nullptr)) {
        return invalid();
    }
    return with_url(regulator, url, [&](auto text) { return core(regulator)->update(text, value); });
}

bool vsoa_regulator_clear(vsoa_regulator_t* regulator, const vsoa_url_t* url) {
    return with_url(regulator, url, [&](auto text) { return core(regulator)->clear(text); });
}
}
