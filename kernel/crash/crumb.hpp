// SPDX-License-Identifier: Apache-2.0
//
// The breadcrumb: into which plugin and slot a thread is calling right now. It costs two loads and four stores a call;
// Witness reads it when the process dies.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace gantry::crash {

// One plugin, as a dying process can still tell it: no pointers, no allocation. Texts end with a zero.
struct Subject {
    std::array<char, 128> title{};  // "placement.least-loaded"
    std::array<char, 65> digest{};  // SHA-256 of its file, in hexadecimal digits

    Subject() = default;
    Subject(std::string_view of, std::string_view with) {
        std::copy_n(of.data(), std::min(of.size(), title.size() - 1), title.data());
        std::copy_n(with.data(), std::min(with.size(), digest.size() - 1), digest.data());
    }
};

struct Crumb {
    const Subject* plugin;  // nullptr: none of its calls is under way
    const char* slot;
};

// Initial-exec: one instruction finds it, also in a signal's handler.
[[gnu::tls_model("initial-exec")]] inline constinit thread_local Crumb current{nullptr, nullptr};

// While it lives, this thread is in `slot` of `plugin`; then again where it was. Both outlive it.
class Crumbs {
  public:
    Crumbs(const Subject& plugin, const char* slot) : before_(current) { current = {&plugin, slot}; }
    ~Crumbs() { current = before_; }
    Crumbs(const Crumbs&) = delete;
    Crumbs& operator=(const Crumbs&) = delete;

  private:
    const Crumb before_;
};

}  // namespace gantry::crash
