#include "sdk/vsoa/src/workers.hpp"

#include <cstring>
#include <exception>

#include "sdk/vsoa/src/packet.hpp"
#include "sdk/vsoa/src/thread.hpp"

namespace vsoa {

void Workers::Job::refuse(uint8_t status) {
    vsoa_server_cli_reply(server, client, status, vsoa_parser_get_seqno(header()), 0, nullptr);
}

bool Workers::start(int threads) {
    threads_.reserve(static_cast<size_t>(threads));
    for (int i = 0; i < threads; ++i) {
        std::thread thread;
        if (!start_thread(thread, [self = shared_from_this()] { self->work(); })) {
            end();
            errno = EAGAIN;
            return false;
        }
        threads_.push_back(std::move(thread));
    }
    return true;
}

void Workers::end() {
    {
        const std::lock_guard guard(lock_);
        stopping_ = true;
    }
    ready_.notify_all();
    room_.notify_all();
    for (std::thread& thread : threads_) {
        thread.get_id() == std::this_thread::get_id() ? thread.detach() : thread.join();
    }
    threads_.clear();
    // Nobody touches queues any more: workers have ended, who submits sees `stopping_`.
    for (const auto& handler : handlers_) {
        for (Job& job : handler->queue) job.refuse(VSOA_STATUS_NO_RESPONDING);
    }
}

vsoa_plistener_handler_t Workers::handler(bool parallel, size_t max_queued, vsoa_server_cmd_func_t callback,
                                          void* arg) {
    auto made = std::make_unique<Handler>();
    made->owner = weak_from_this();
    made->parallel = parallel;
    made->max_queued = max_queued;
    made->callback = callback;
    made->arg = arg;
    const std::lock_guard guard(lock_);
    handlers_.push_back(std::move(made));
    return {called, handlers_.back().get()};
}

void Workers::called(void* arg, vsoa_server_t* server, vsoa_cli_id_t client, vsoa_header_t* header, vsoa_url_t*,
                     vsoa_payload_t*) {
    auto& handler = *static_cast<Handler*>(arg);
    // Keeps the handler while this thread waits for room and another one deletes the parallel listener.
    const auto owner = handler.owner.lock();
    if (!owner) return;
    try {
        const auto length = static_cast<size_t>(packet_length(*header, false));
        Job job{server, client, std::vector<uint32_t>((length + 3) / 4)};
        std::memcpy(job.packet.data(), header, length);
        owner->submit(handler, std::move(job));
    } catch (const std::exception&) {
        vsoa_server_cli_reply(server, client, VSOA_STATUS_NO_MEMORY, vsoa_parser_get_seqno(header), 0, nullptr);
    }
}

void Workers::submit(Handler& handler, Job job) {
    std::unique_lock held(lock_);
    if (handler.max_queued > 0) {
        room_.wait(held, [&] { return stopping_ || handler.queue.size() < handler.max_queued; });
    }
    if (stopping_) {
        held.unlock();
        return job.refuse(VSOA_STATUS_NO_RESPONDING);
    }
    handler.queue.push_back(std::move(job));
    ready_.notify_one();
}

/// A handler with a call that may run now.
Workers::Handler* Workers::next() {
    for (size_t i = 1; i <= handlers_.size(); ++i) {
        Handler& handler = *handlers_[(last_ + i) % handlers_.size()];
        if (handler.queue.empty() || handler.busy) continue;
        last_ = (last_ + i) % handlers_.size();
        return &handler;
    }
    return nullptr;
}

void Workers::work() {
    std::unique_lock held(lock_);
    while (!stopping_) {
        Handler* const handler = next();
        if (handler == nullptr) {
            ready_.wait(held);
            continue;
        }
        Job job = std::move(handler->queue.front());
        handler->queue.pop_front();
        handler->busy = !handler->parallel;
        room_.notify_all();
        held.unlock();
        Packet packet(job.header());
        handler->callback(handler->arg, job.server, job.client, packet.header, &packet.url, &packet.payload);
        held.lock();
        // This worker looks again itself, so what it held back needs no other to be woken.
        handler->busy = false;
    }
}

}  // namespace vsoa
