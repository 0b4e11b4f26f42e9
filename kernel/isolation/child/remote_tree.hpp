// SPDX-License-Identifier: Apache-2.0
//
// The resource tree as a plugin's process has it: requests go to gantryd, answers and events come back. [loop]
#pragma once

#include <functional>
#include <map>

#include "kernel/host/roles.hpp"
#include "kernel/isolation/messages.hpp"

namespace gantry::isolation {

class RemoteTree final : public host::ResourceTree {
  public:
    using Send = std::function<void(const Head& head, std::string message, int fd)>;
    explicit RemoteTree(Send send) : send_(std::move(send)) {}

    void request(host::ControlRequest request, std::function<void(host::ControlResponse)> done) override;
    void open(host::ControlRequest request, int fd, std::function<void(host::ControlResponse)> done) override;
    std::uint64_t watch(host::Principal principal, std::string prefix, std::uint64_t after,
                        std::function<void(std::uint64_t number, const std::string& event)> fn) override;
    void unwatch(std::uint64_t watch) override;

    void response(const Head& head, Reader& rest);
    void event(const Head& head, Reader& rest);

  private:
    void ask(const host::ControlRequest& request, int fd, std::function<void(host::ControlResponse)> done);

    Send send_;
    std::uint64_t last_ = 0;
    std::map<std::uint64_t, std::function<void(host::ControlResponse)>> asked_;
    std::map<std::uint64_t, std::function<void(std::uint64_t, const std::string&)>> followed_;
};

}  // namespace gantry::isolation
