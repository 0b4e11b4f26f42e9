// SPDX-License-Identifier: Apache-2.0
//
// The host service control: brings requests of frontends to the resource tree, on the loop.
#include <unistd.h>

#include <utility>

#include "kernel/base/limits.hpp"
#include "kernel/host/border.hpp"
#include "kernel/host/context.hpp"

namespace gantry::host {
namespace {

Principal copy_principal(const gantry_principal* raw) {
    if (raw == nullptr) return {"none", "", -1, -1};
    const auto who = result<gantry_principal>(raw);
    return {copy(who.kind), copy(who.name), who.uid, who.gid};
}

// Owns a descriptor until the tree takes it; shared because a posted call must be copyable.
struct Stream {
    explicit Stream(int given) : fd(given) {}
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() {
        if (fd >= 0) ::close(fd);
    }
    int fd;
};

// The place of one follower. What the tree calls owns it, so it is not free before the tree has let its follower go.
struct Seat {
    explicit Seat(const std::shared_ptr<Core>& of) : core(of), before(of->followers.fetch_add(1)) {}
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;
    ~Seat() { --core->followers; }
    const std::shared_ptr<Core> core;
    const std::size_t before;
};

void answer(const std::shared_ptr<Context>& context, gantry_control_fn fn, void* arg, const ControlResponse& response) {
    if (!context->alive()) return;
    const gantry_control_response raw{sizeof(raw), response.code, response.revision, str(response.body)};
    context->timed("a control response", [&] { fn(arg, &raw); });
}

gantry_status ask(std::uint64_t handle, const gantry_control_request* raw, int fd, bool with_stream,
                  gantry_control_fn fn, void* arg) noexcept {
    try {
        auto stream = std::make_shared<Stream>(fd);
        const std::shared_ptr<Context> context = Context::find(handle);
        if (context == nullptr) return GANTRY_STALE;
        if (raw == nullptr || fn == nullptr || (with_stream && fd < 0)) return GANTRY_INVALID;
        const auto given = result<gantry_control_request>(raw);
        ControlRequest request{copy_principal(given.principal), copy(given.method), copy(given.path), copy(given.body)};
        // What the kernel does is not booked on the plugin: the clock runs in answer() only.
        context->core->loop.post([context, stream, with_stream, fn, arg, request = std::move(request)] {
            if (!context->alive()) return;
            ResourceTree* const tree = context->core->tree;
            auto done = [context, fn, arg](const ControlResponse& response) { answer(context, fn, arg, response); };
            if (tree == nullptr) {
                done({503, 0, R"({"error":{"code":"unavailable","message":"not ready yet; try again"}})"});
            } else if (with_stream) {
                tree->open(request, std::exchange(stream->fd, -1), done);
            } else {
                tree->request(request, done);
            }
        });
        return GANTRY_OK;
    } catch (...) {
        return GANTRY_FAILED;
    }
}

gantry_status watch(std::uint64_t handle, const gantry_principal* principal, gantry_str prefix, std::uint64_t after,
                    gantry_control_event_fn fn, void* arg, std::uint64_t* watch_id) noexcept {
    try {
        const std::shared_ptr<Context> context = Context::find(handle);
        if (context == nullptr) return GANTRY_STALE;
        if (fn == nullptr || watch_id == nullptr) return GANTRY_INVALID;
        if (context->core->tree == nullptr) return GANTRY_UNAVAILABLE;
        const auto seat = std::make_shared<const Seat>(context->core);
        if (seat->before >= limits::kWatchers) return GANTRY_FULL;
        std::uint64_t id = 0;
        {
            std::lock_guard lock(context->control_mutex);
            id = ++context->last_control_watch;
            context->control_watches[id] = 0;
        }
        *watch_id = id;
        auto tell = [context, seat, id, fn, arg](std::uint64_t number, const std::string& event) {
            {
                std::lock_guard lock(context->control_mutex);
                if (!context->control_watches.contains(id)) return;
            }
            context->timed("a watch of events", [&] { fn(arg, number, str(event)); });
        };
        context->core->loop.post([context, id, after, tell, who = copy_principal(principal), path = copy(prefix)] {
            ResourceTree* const tree = context->core->tree;
            if (tree == nullptr || !context->alive()) return;
            const std::uint64_t of_tree = tree->watch(who, path, after, tell);
            std::unique_lock lock(context->control_mutex);
            auto it = context->control_watches.find(id);
            if (it != context->control_watches.end()) {
                it->second = of_tree;
                return;
            }
            lock.unlock();  // ended before it began
            tree->unwatch(of_tree);
        });
        return GANTRY_OK;
    } catch (...) {
        return GANTRY_FAILED;
    }
}

gantry_status unwatch(std::uint64_t handle, std::uint64_t id) noexcept {
    try {
        const std::shared_ptr<Context> context = Context::find(handle);
        if (context == nullptr) return GANTRY_STALE;
        std::uint64_t of_tree = 0;
        {
            std::lock_guard lock(context->control_mutex);
            auto it = context->control_watches.find(id);
            if (it == context->control_watches.end()) return GANTRY_NOT_FOUND;
            of_tree = it->second;
            context->control_watches.erase(it);
        }
        if (of_tree != 0) {
            context->core->loop.dispatch([context, of_tree] {
                if (ResourceTree* const tree = context->core->tree) tree->unwatch(of_tree);
            });
        }
        return GANTRY_OK;
    } catch (...) {
        return GANTRY_FAILED;
    }
}

const gantry_host_control kControl{
    sizeof(gantry_host_control),
    0,
    [](std::uint64_t handle, const gantry_control_request* request, gantry_control_fn fn,
       void* arg) noexcept -> gantry_status { return ask(handle, request, -1, false, fn, arg); },
    &watch,
    &unwatch,
    [](std::uint64_t handle, const gantry_control_request* request, std::int32_t fd, gantry_control_fn fn,
       void* arg) noexcept -> gantry_status { return ask(handle, request, fd, true, fn, arg); }};

}  // namespace

const gantry_host_control* control_table() { return &kControl; }

}  // namespace gantry::host
