// For the C functions: no exception may leave them, and no handle may be null.
#pragma once

#include <cerrno>
#include <exception>
#include <new>

namespace vsoa {

/// False with errno EINVAL.
inline bool invalid() {
    errno = EINVAL;
    return false;
}

/// Runs function; what it throws becomes the result `failed` with errno ENOMEM (nothing else is thrown but for want of
/// memory or of threads).
template <typename Result, typename Function>
Result guarded(Result failed, Function function) noexcept {
    try {
        return function();
    } catch (const std::exception&) {
        errno = ENOMEM;
        return failed;
    }
}

/// The same for a function that works on a handle: null gives `failed` with errno EINVAL.
template <typename Result, typename Handle, typename Function>
Result guarded(Result failed, const Handle* handle, Function function) noexcept {
    if (handle != nullptr) return guarded(failed, function);
    errno = EINVAL;
    return failed;
}

}  // namespace vsoa
