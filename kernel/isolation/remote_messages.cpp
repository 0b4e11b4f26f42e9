// SPDX-License-Identifier: Apache-2.0
//
// What a plugin's process says, read as the words of a stranger.
#include <gantry/abi/frontend.h>
#include <sys/stat.h>

#include "kernel/host/border.hpp"
#include "kernel/host/kept.hpp"
#include "kernel/isolation/remote.hpp"

namespace gantry::isolation {

void Remote::message(const std::shared_ptr<Child>& child, const Head& head, Reader& rest) {
    bool good = false;
    switch (head.kind) {
        case Kind::kReady:
        case Kind::kStarted:
        case Kind::kStopped:
            good = answered(child, head, rest);
            break;
        case Kind::kDone:
            good = done(*child, head, rest);
            break;
        case Kind::kReport:
            good = reported(*child, head, rest);
            break;
        case Kind::kRequest:
            good = requested(child, head, rest);
            break;
        case Kind::kFollow:
            good = followed(child, head, rest);
            break;
        case Kind::kUnfollow:
            unfollow(*child, head.id);
            good = true;
            break;
        case Kind::kTaken: {
            const auto peer = rest.number<std::uint64_t>();
            child->window.taken(peer, rest.number<std::uint64_t>());
            for (const std::uint64_t one : child->window.writable())
                if (sink_ != nullptr) static_cast<const gantry_transport_sink*>(sink_)->writable(context_->handle, one);
            good = rest.complete();
            break;
        }
        case Kind::kKeep: {  // one that is no bound socket is not kept, as in gantryd
            const int fd = rest.descriptor();
            good = rest.complete();
            if (good && context_->core->options.kept) (void)context_->core->options.kept->keep(context_->name, fd);
            break;
        }
        case Kind::kPong:
            good = true;
            break;
        default:
            break;
    }
    if (good) return;
    child->process->kill("it broke the rules: its message of kind " + std::to_string(static_cast<unsigned>(head.kind)) +
                         " cannot be read");
}

// How init, start and stop went.
bool Remote::answered(const std::shared_ptr<Child>& child, const Head& head, Reader& rest) {
    const Phase expected = head.kind == Kind::kReady     ? Phase::kIniting
                           : head.kind == Kind::kStarted ? Phase::kStarting
                                                         : Phase::kStopping;
    if (child->phase != expected) return false;
    const std::string text = host::line(rest.text());
    if (!rest.good()) return false;
    if (head.status != GANTRY_OK) {
        child->error = text.empty() ? std::string(host::status_text(head.status)) : text;
        child->error_status = head.status;
        if (head.kind == Kind::kStopped) {
            child->phase = Phase::kStopped;
        } else {
            child->phase = Phase::kFailed;
            if (child->unattended) child->process->kill("it did not start: " + child->error);
        }
        return true;
    }
    if (head.kind == Kind::kStopped) {
        child->phase = Phase::kStopped;
    } else if (head.kind == Kind::kReady) {
        child->facts = rest.rest();
        if (child == child_ && !take_facts(*child)) return false;
        child->phase = Phase::kReady;
        if (!child->unattended) return true;
        if (child == next_ && alone_) {
            making_way_ = true;
            retire(*child_);
            return true;
        }
        tell_again(*child, Lasting::kBeforeStart);
        send_start(*child);
    } else {
        child->phase = Phase::kRunning;
        if (child->unattended) started(child);
    }
    return true;
}

// Into the table that adapters hold, once all of it was read.
bool Remote::take_facts(Child& child) {
    alignas(16) char room[kTableRoom]{};
    auto facts = std::make_shared<const std::string>(child.facts);
    auto reader = std::make_unique<Reader>(*facts, no_fds_);
    role_.take_facts(*reader, room);
    if (role_.interface == GANTRY_ROLE_FRONTEND) address_ = host::line(reader->text());
    if (!reader->complete()) return false;
    std::memcpy(table_, room, sizeof(table_));
    facts_ = std::move(facts);
    facts_reader_ = std::move(reader);
    if (role_.interface != GANTRY_ROLE_TRANSPORT) return true;
    auto& table = *reinterpret_cast<gantry_transport*>(table_);
    send_slot_ = table.send;
    if (table.send != nullptr) table.send = &transport_send;
    if (table.facts != nullptr) child.window.use(table.facts->message_max_bytes, table.facts->queue_max_bytes);
    return true;
}

bool Remote::done(Child& child, const Head& head, Reader& rest) {
    const std::string text = host::line(rest.text());
    const bool has_result = rest.number<std::uint8_t>() != 0;
    const auto found = child.operations.find(head.id);
    if (found == child.operations.end()) return rest.good();  // of one that has ended here
    const Slot& slot = *found->second;
    const void* const result = has_result && slot.take_result != nullptr ? slot.take_result(rest) : nullptr;
    if (!rest.complete()) return false;
    child.operations.erase(found);
    context_->core->operations.complete(context_->handle, head.id, head.status, text, result);
    const bool leaves = child.operations.empty() && child.phase == Phase::kRunning && &child != child_.get();
    if (leaves && &child != next_.get()) retire(child);
    return true;
}

bool Remote::reported(Child& child, const Head& head, Reader& rest) {
    const bool log = head.table == kLogTable;
    if (!log && head.table != kSinkTable) return false;
    const std::span<const Slot> slots = log ? log_slots() : role_.sink;
    if (head.slot >= slots.size()) return false;
    if (!log && role_.interface == GANTRY_ROLE_TRANSPORT) {
        Reader look(rest.rest(), no_fds_);
        const auto peer = look.number<std::uint64_t>();
        if (head.slot == kSinkUp) child.window.up(peer);
        if (head.slot == kSinkDown) child.window.down(peer);
        if (head.slot == kSinkWritable) return rest.number<std::uint64_t>() == peer && rest.complete();  // we tell it
    }
    const void* const table = log ? host::service_table(GANTRY_HOST_LOG) : sink_;
    slots[head.slot].call(rest, table, nullptr, context_->handle, {});
    return rest.complete();
}

bool Remote::requested(const std::shared_ptr<Child>& child, const Head& head, Reader& rest) {
    gantry_principal principal{};
    gantry_control_request request{sizeof(request), 0, &principal, {}, {}, {}};
    take(rest, principal);
    take(rest, request.method);
    take(rest, request.path);
    take(rest, request.body);
    const bool stream = rest.number<std::uint8_t>() != 0;
    const int fd = stream ? rest.descriptor() : -1;
    if (!rest.complete()) return false;
    struct stat info {};
    if (stream && (::fstat(fd, &info) != 0 || !(S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode)))) return false;
    if (asked_.size() >= kRequestsMax) {
        respond(*child, head.id, 503, "too many requests wait already, try again");
        return true;
    }
    const std::uint64_t number = ++last_asked_;
    auto& asked = asked_[number] = std::make_unique<Asked>(Asked{this, child, head.id, number});
    rest.release_descriptors();  // the tree's from the call on
    const gantry_host_control& control = *host::control_table();
    const gantry_status status = stream ? control.open(context_->handle, &request, fd, &on_response, asked.get())
                                        : control.request(context_->handle, &request, &on_response, asked.get());
    if (status == GANTRY_OK) return true;
    asked_.erase(number);
    respond(*child, head.id, 503, "it is stopping");
    return true;
}

void Remote::respond(Child& child, std::uint64_t id, int code, std::string_view why) {
    const std::string body = R"({"error":{"code":"unavailable","message":")" + std::string(why) + "\"}}";
    std::string message = open_message();
    Writer w(message);
    put(w, gantry_control_response{sizeof(gantry_control_response), code, 0, host::str(body)});
    tell(child, {.kind = Kind::kResponse, .id = id}, std::move(message));
}

void Remote::on_response(void* arg, const gantry_control_response* response) noexcept {
    try {
        Remote& remote = *static_cast<Asked*>(arg)->remote;
        const auto asked = std::move(remote.asked_.extract(static_cast<Asked*>(arg)->number).mapped());
        const auto child = asked->child.lock();
        if (child == nullptr || child->process->over()) return;
        std::string message = open_message();
        Writer w(message);
        put(w, *response);
        tell(*child, {.kind = Kind::kResponse, .id = asked->id}, std::move(message));
    } catch (...) {
        // No memory: the request stays without an answer, as its deadline will say.
    }
}

bool Remote::followed(const std::shared_ptr<Child>& child, const Head& head, Reader& rest) {
    gantry_principal principal{};
    gantry_str prefix{};
    take(rest, principal);
    take(rest, prefix);
    const auto after = rest.number<std::uint64_t>();
    if (!rest.complete() || child->followed.contains(head.id)) return false;
    const std::uint64_t number = ++last_asked_;
    auto& asked = asked_[number] = std::make_unique<Asked>(Asked{this, child, head.id, number});
    std::uint64_t watch = 0;
    const gantry_status status =
        host::control_table()->watch(context_->handle, &principal, prefix, after, &on_event, asked.get(), &watch);
    if (status == GANTRY_OK)
        child->followed[head.id] = {watch, number};
    else
        asked_.erase(number);
    return true;
}

void Remote::on_event(void* arg, std::uint64_t number, gantry_str event) noexcept {
    try {
        const Asked& asked = *static_cast<Asked*>(arg);
        const auto child = asked.child.lock();
        if (child == nullptr || child->process->over()) return;
        std::string message = open_message();
        Writer w(message);
        w.number(number);
        put(w, event);
        tell(*child, {.kind = Kind::kTreeEvent, .id = asked.id}, std::move(message));
    } catch (...) {
        // No memory: the numbers show the gap.
    }
}

void Remote::unfollow(Child& child, std::uint64_t id) {
    const auto found = child.followed.find(id);
    if (found == child.followed.end()) return;
    const auto [watch, number] = found->second;
    child.followed.erase(found);
    host::control_table()->unwatch(context_->handle, watch);
    asked_.erase(number);
}

}  // namespace gantry::isolation
