// SPDX-License-Identifier: Apache-2.0
//
// Frontend (draft): a door to the resource tree. It opens its door in start(), closes it in stop(), translates, and
// says who asks; host().request, open and watch_events reach the tree.
#pragma once

#include <gantry/abi/frontend.h>

#include <gantry/plugin.hpp>

namespace gantry::inline v1 {

class Frontend : public Plugin {
  public:
    static constexpr std::string_view kRole = "draft.frontend";
    static constexpr std::string_view kInterface = GANTRY_ROLE_FRONTEND;

    // Where the door is, for people: "unix:/run/gantry/api.sock". Asked once, after init.
    virtual std::string address() const = 0;

  protected:
    Frontend() = default;

  private:
    const void* role_table() const noexcept override { return &kTable; }
    void publish_facts() override { address_ = address(); }
    static gantry_str on_address(void* self) noexcept {
        return str(static_cast<Frontend*>(static_cast<Plugin*>(self))->address_);
    }

    static constexpr gantry_frontend kTable{sizeof(gantry_frontend), 0, &on_address};
    std::string address_;
};

}  // namespace gantry::inline v1
