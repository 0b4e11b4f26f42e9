// For the C functions: no exception may leave them.
#pragma once

#include <cerrno>
#include <exception>
#include <new>

namespace vsoa {

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

}  // namespace vsoa
