// SPDX-License-Identifier: Apache-2.0
//
// The host service control: forwards to the test's tree.
#include "sdk/testing/src/loop.hpp"

namespace gantry::testing {
namespace {

gantry_status ask(std::uint64_t handle, const gantry_control_request* raw, int fd, gantry_control_fn fn,
                  void* arg) noexcept {
    Fd owned(fd);
    const gantry_status told = tell_monitor(handle, GANTRY_HOST_CONTROL, fd < 0 ? "request" : "open");
    if (told != GANTRY_OK) return told;
    Loop* loop = Loop::of(handle);
    if (loop == nullptr) return GANTRY_STALE;
    if (raw == nullptr || raw->principal == nullptr || fn == nullptr) return GANTRY_INVALID;
    return detail::guarded(nullptr, [&] {
        auto call = std::make_shared<ControlCall>();
        const gantry_principal& who = *raw->principal;
        call->request = {
            {text(who.kind), text(who.name), who.uid, who.gid}, text(raw->method), text(raw->path), text(raw->body)};
        call->fd = std::move(owned);
        call->answer = [loop, handle, fn, arg](ControlResponse response) {
            loop->post(handle, [fn, arg, response = std::move(response)] {
                const gantry_control_response lowered{sizeof(lowered), response.code, response.revision,
                                                      str(response.body)};
                const InSlot inside("control response");
                fn(arg, &lowered);
            });
        };
        loop->post(handle, [loop, call] {
            FakeHost& host = loop->host();
            if (host.tree) {
                host.tree(std::move(*call));
            } else {
                call->answer({404, 0, R"({"error":"this test has no tree"})"});
            }
        });
    });
}

const gantry_host_control kControl{
    sizeof(gantry_host_control),
    0,
    [](std::uint64_t handle, const gantry_control_request* request, gantry_control_fn fn,
       void* arg) noexcept -> gantry_status { return ask(handle, request, -1, fn, arg); },
    [](std::uint64_t handle, const gantry_principal*, gantry_str, std::uint64_t after, gantry_control_event_fn fn,
       void* arg, std::uint64_t* watch) noexcept -> gantry_status {
        if (const gantry_status told = tell_monitor(handle, GANTRY_HOST_CONTROL, "watch"); told != GANTRY_OK)
            return told;
        Loop* loop = Loop::of(handle);
        if (loop == nullptr) return GANTRY_STALE;
        if (fn == nullptr || watch == nullptr) return GANTRY_INVALID;
        return detail::guarded(nullptr, [&] { *watch = loop->add_watcher({handle, after, fn, arg}); });
    },
    [](std::uint64_t handle, std::uint64_t watch) noexcept -> gantry_status {
        if (const gantry_status told = tell_monitor(handle, GANTRY_HOST_CONTROL, "unwatch"); told != GANTRY_OK)
            return told;
        Loop* loop = Loop::of(handle);
        return loop == nullptr ? GANTRY_STALE : loop->end_watcher(watch);
    },
    [](std::uint64_t handle, const gantry_control_request* request, std::int32_t fd, gantry_control_fn fn,
       void* arg) noexcept -> gantry_status { return ask(handle, request, fd, fn, arg); }};

}  // namespace

const gantry_host_control* control_table() { return &kControl; }

}  // namespace gantry::testing
