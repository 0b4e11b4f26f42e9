// SPDX-License-Identifier: Apache-2.0
//
// Between the border's types and C++: views that borrow, copies that own.
#pragma once

#include <gantry/abi/base.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace gantry::inline v1 {

using Duration = std::chrono::nanoseconds;
// An instant: nanoseconds of CLOCK_BOOTTIME, as Host::now() gives it.
using Instant = std::chrono::nanoseconds;
// Text by key, sorted by key where the host made it.
using Labels = std::vector<std::pair<std::string, std::string>>;

// Borrowing: valid as long as what they point to.
inline std::string_view view(gantry_str s) noexcept {
    return s.ptr == nullptr ? std::string_view() : std::string_view(s.ptr, s.len);
}
inline std::string_view view(gantry_bytes b) noexcept {
    return b.ptr == nullptr ? std::string_view() : std::string_view(reinterpret_cast<const char*>(b.ptr), b.len);
}
inline gantry_str str(std::string_view s) noexcept { return {s.data(), s.size()}; }
inline gantry_bytes bytes(std::string_view s) noexcept {
    return {reinterpret_cast<const std::uint8_t*>(s.data()), s.size()};
}

// Owning copies.
inline std::string text(gantry_str s) { return std::string(view(s)); }
inline std::vector<std::string> texts(const gantry_str* list, std::size_t count) {
    std::vector<std::string> out;
    out.reserve(count);
    for (std::size_t i = 0; i < count; ++i) out.push_back(text(list[i]));
    return out;
}
inline Labels labels(const gantry_kv* list, std::size_t count) {
    Labels out;
    out.reserve(count);
    for (std::size_t i = 0; i < count; ++i) out.emplace_back(text(list[i].key), text(list[i].value));
    return out;
}

// A file descriptor that is closed with its owner.
class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) noexcept : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(other.release()) {}
    Fd& operator=(Fd&& other) noexcept {
        if (this != &other) reset(other.release());
        return *this;
    }
    ~Fd() { reset(); }

    int get() const noexcept { return fd_; }
    explicit operator bool() const noexcept { return fd_ >= 0; }
    int release() noexcept { return std::exchange(fd_, -1); }
    void reset(int fd = -1) noexcept {
        if (fd_ >= 0) ::close(fd_);
        fd_ = fd;
    }

  private:
    int fd_ = -1;
};

namespace detail {

// Walks an array whose element size the other side chose: a newer side may have appended members.
template <class T>
const T* element(const T* first, std::size_t size, std::size_t i) noexcept {
    return reinterpret_cast<const T*>(reinterpret_cast<const char*>(first) + i * (size == 0 ? sizeof(T) : size));
}

inline std::vector<gantry_str> lower(const std::vector<std::string>& list) {
    std::vector<gantry_str> out;
    out.reserve(list.size());
    for (const std::string& item : list) out.push_back(str(item));
    return out;
}
inline std::vector<gantry_kv> lower(const Labels& list) {
    std::vector<gantry_kv> out;
    out.reserve(list.size());
    for (const auto& [key, value] : list) out.push_back({str(key), str(value)});
    return out;
}

}  // namespace detail
}  // namespace gantry::inline v1
