// SPDX-License-Identifier: Apache-2.0
//
// Writer and Reader: values of the border as bytes of a message between gantryd and a plugin's process, which are of
// one build on one machine. A reader trusts nothing: what is short, too long or left over makes it bad, a count is
// believed only as far as the bytes that are there could hold so many, and what it hands out lives in the message and
// in an arena beside it.
#pragma once

#include <gantry/abi/base.h>

#include <concepts>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace gantry::isolation {

// A descriptor on its way; closed if nobody takes it.
class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(other.release()) {}
    Fd& operator=(Fd&& other) noexcept {
        reset(other.release());
        return *this;
    }
    ~Fd() { reset(); }
    int get() const { return fd_; }
    int release() { return std::exchange(fd_, -1); }
    void reset(int fd = -1);
    explicit operator bool() const { return fd_ >= 0; }

  private:
    int fd_ = -1;
};

class Writer {
  public:
    explicit Writer(std::string& out) : out_(out) {}

    template <class T>
    requires std::is_arithmetic_v<T>
    void number(T value) { out_.append(reinterpret_cast<const char*>(&value), sizeof(value)); }
    void text(std::string_view text) {
        number<std::uint64_t>(text.size());
        out_.append(text);
    }
    // Borrowed: who sends the message says what becomes of it.
    void descriptor(int fd) { fds.push_back(fd); }

    std::vector<int> fds;
    const void* sink = nullptr;  // a table to report to; it does not travel

  private:
    std::string& out_;
};

class Reader {
  public:
    Reader(std::string_view bytes, std::vector<Fd>& fds) : rest_(bytes), fds_(fds) {}
    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    bool good() const { return good_; }
    // Nothing may be left.
    bool complete() const { return good_ && rest_.empty(); }
    void fail() { good_ = false; }

    template <class T>
    requires std::is_arithmetic_v<T> T number() {
        T value{};
        if (rest_.size() < sizeof(T)) {
            fail();
            return value;
        }
        std::memcpy(&value, rest_.data(), sizeof(T));
        rest_.remove_prefix(sizeof(T));
        return value;
    }
    std::string_view text() {
        const auto size = number<std::uint64_t>();
        if (!good_ || size > rest_.size()) {
            fail();
            return {};
        }
        const std::string_view out = rest_.substr(0, size);
        rest_.remove_prefix(size);
        return out;
    }
    // How many elements follow, each of `least` bytes or more.
    std::size_t count(std::size_t least) {
        const auto n = number<std::uint64_t>();
        if (good_ && n <= rest_.size() / least) return n;
        fail();
        return 0;
    }
    // The next descriptor, which the message owns until release_descriptors(). -1 if there is none.
    int descriptor() {
        if (next_fd_ < fds_.size()) return fds_[next_fd_++].get();
        fail();
        return -1;
    }
    void release_descriptors() {
        for (std::size_t i = 0; i < next_fd_; ++i) (void)fds_[i].release();
    }
    // What was not read yet.
    std::string_view rest() const { return rest_; }
    // n zeroed objects that live as long as the reader.
    template <class T>
    T* make(std::size_t n = 1) {
        static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= alignof(std::max_align_t));
        if (n == 0) return nullptr;
        const std::size_t bytes = (n * sizeof(T) + alignof(std::max_align_t) - 1) & ~(alignof(std::max_align_t) - 1);
        if (bytes > room_ - used_) {
            room_ = bytes > kBlock ? bytes : kBlock;
            used_ = 0;
            blocks_.push_back(std::make_unique_for_overwrite<char[]>(room_));  // aligned for every T, as all of new is
            block_ = blocks_.back().get();
        }
        void* const at = std::memset(block_ + used_, 0, bytes);
        used_ += bytes;
        return static_cast<T*>(at);
    }

    const void* sink = nullptr;  // the table that stands for the caller's

  private:
    static constexpr std::size_t kBlock = 1024;

    std::string_view rest_;
    std::vector<Fd>& fds_;
    std::size_t next_fd_ = 0;
    bool good_ = true;
    // The first block is here: most messages need no other.
    alignas(std::max_align_t) char first_[kBlock];
    char* block_ = first_;
    std::size_t room_ = kBlock, used_ = 0;
    std::vector<std::unique_ptr<char[]>> blocks_;
};

}  // namespace gantry::isolation
