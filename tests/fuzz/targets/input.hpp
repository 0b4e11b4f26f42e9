// What the fuzz targets share. Each has the entry point of libFuzzer; what libvsoa promises and does not keep ends the
// program, so that the fuzzer keeps the input.
#pragma once

#include <sanitizer/asan_interface.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size);

namespace fuzz {

/// Not assert: this holds in every build.
inline void demand(bool kept, const char* promise) {
    if (kept) return;
    std::fprintf(stderr, "broken promise: %s\n", promise);
    std::abort();
}

/// Reads every byte, so that the address sanitizer sees what a program would; or asks it, which is quicker.
inline void look_at(const void* bytes, size_t size) {
    if (size == 0 || __asan_region_is_poisoned(const_cast<void*>(bytes), size) == nullptr) return;
    const auto* at = static_cast<const volatile uint8_t*>(bytes);
    for (size_t i = 0; i < size; ++i) static_cast<void>(at[i]);
}

/// A copy that is aligned for a header, with nothing behind it.
class Copy {
  public:
    explicit Copy(std::span<const uint8_t> from) : bytes_(new uint8_t[from.size()]), size_(from.size()) {
        if (!from.empty()) std::memcpy(bytes_.get(), from.data(), from.size());
    }
    uint8_t* data() { return bytes_.get(); }
    size_t size() const { return size_; }

  private:
    std::unique_ptr<uint8_t[]> bytes_;
    size_t size_;
};

/// The first byte of an input says how, the others what.
struct Input {
    Input(const uint8_t* bytes, size_t size)
        : how(size > 0 ? bytes[0] : 0), what(bytes + (size > 0 ? 1 : 0), size > 0 ? size - 1 : 0) {}
    bool option(int bit) const { return (how >> bit & 1) != 0; }
    std::string_view text() const { return {reinterpret_cast<const char*>(what.data()), what.size()}; }

    uint8_t how;
    std::span<const uint8_t> what;
};

}  // namespace fuzz
