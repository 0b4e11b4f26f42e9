// SPDX-License-Identifier: Apache-2.0
//
// Content addresses: "sha256:<64 hex digits>", the only algorithm accepted.
#pragma once

#include <gantry/view.hpp>

#include <compare>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace image_store {

class Digest {
  public:
    // Throws gantry::Failure(kInvalid) unless text is "sha256:" and 64 lower-case hex digits. `what` names it.
    static Digest parse(std::string_view text, std::string_view what);

    const std::string& text() const { return text_; }
    std::string_view hex() const { return std::string_view(text_).substr(7); }

    auto operator<=>(const Digest&) const = default;

  private:
    explicit Digest(std::string text) : text_(std::move(text)) {}
    friend class Sha256;
    std::string text_;
};

// A running SHA-256. Not shared between threads.
class Sha256 {
  public:
    Sha256();
    ~Sha256();
    Sha256(const Sha256&) = delete;
    Sha256& operator=(const Sha256&) = delete;

    void add(const void* data, std::size_t len);
    // Ends it; nothing may be added afterwards.
    Digest finish();

  private:
    void* context_;
};

// Asked now and then during long work: true ends it with Failure(kCancelled).
using Cancelled = std::function<bool()>;

// Opens a blob and checks that it has `size` bytes (-1: any) and this digest. Throws Failure(kInvalid) naming `what`,
// "damaged" or "missing", the expected and the found; kFailed if it cannot be read. The descriptor stands at the
// beginning.
gantry::Fd open_verified(const std::filesystem::path& file, const Digest& digest, long long size, std::string_view what,
                         const Cancelled& cancelled);

}  // namespace image_store
