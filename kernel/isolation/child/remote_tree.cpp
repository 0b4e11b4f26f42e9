// SPDX-License-Identifier: Apache-2.0
#include "kernel/isolation/child/remote_tree.hpp"

#include "kernel/isolation/members.hpp"

namespace gantry::isolation {
namespace {

void put_principal(Writer& w, const host::Principal& who) {
    put(w, gantry_principal{sizeof(gantry_principal), 0, host::str(who.kind), host::str(who.name), who.uid, who.gid});
}

}  // namespace

void RemoteTree::request(host::ControlRequest request, std::function<void(host::ControlResponse)> done) {
    ask(request, -1, std::move(done));
}

void RemoteTree::open(host::ControlRequest request, int fd, std::function<void(host::ControlResponse)> done) {
    ask(request, fd, std::move(done));
}

void RemoteTree::ask(const host::ControlRequest& request, int fd, std::function<void(host::ControlResponse)> done) {
    const std::uint64_t id = ++last_;
    asked_[id] = std::move(done);
    std::string message = open_message();
    Writer w(message);
    put_principal(w, request.principal);
    w.text(request.method);
    w.text(request.path);
    w.text(request.body);
    w.number<std::uint8_t>(fd >= 0 ? 1 : 0);
    send_({.kind = Kind::kRequest, .id = id}, std::move(message), fd);
}

std::uint64_t RemoteTree::watch(host::Principal principal, std::string prefix, std::uint64_t after,
                                std::function<void(std::uint64_t, const std::string&)> fn) {
    const std::uint64_t id = ++last_;
    followed_[id] = std::move(fn);
    std::string message = open_message();
    Writer w(message);
    put_principal(w, principal);
    w.text(prefix);
    w.number(after);
    send_({.kind = Kind::kFollow, .id = id}, std::move(message), -1);
    return id;
}

void RemoteTree::unwatch(std::uint64_t watch) {
    if (followed_.erase(watch) > 0) send_({.kind = Kind::kUnfollow, .id = watch}, open_message(), -1);
}

void RemoteTree::response(const Head& head, Reader& rest) {
    auto found = asked_.extract(head.id);
    gantry_control_response raw{};
    take(rest, raw);
    if (found.empty() || !rest.complete()) return;
    found.mapped()({raw.code, raw.revision, host::copy(raw.body)});
}

void RemoteTree::event(const Head& head, Reader& rest) {
    const auto found = followed_.find(head.id);
    const auto number = rest.number<std::uint64_t>();
    const std::string text(rest.text());
    if (found == followed_.end() || !rest.complete()) return;
    const auto tell = found->second;  // it may end its watch
    tell(number, text);
}

}  // namespace gantry::isolation
