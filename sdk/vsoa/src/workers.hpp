// The parallel listener behind vsoa_plistener.h: handlers, each with a queue of calls, and threads that run them.
//
// Threads: one lock guards queues and states; it is not held while a callback runs. The event loop of a server is the
// one that submits.
#pragma once

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "sdk/vsoa/include/vsoa_plistener.h"

namespace vsoa {

class Workers : public std::enable_shared_from_this<Workers> {
  public:
    /// False with errno EAGAIN; those that did start have ended.
    bool start(int threads);
    /// Ends all, as vsoa_server_plistener_delete says. Once.
    void end();
    vsoa_plistener_handler_t handler(bool parallel, size_t max_queued, vsoa_server_cmd_func_t callback, void* arg);

  private:
    /// A call: who is to be answered, and a copy of its packet.
    struct Job {
        vsoa_server_t* server;
        vsoa_cli_id_t client;
        std::vector<uint32_t> packet;  // words, so that the header in it is aligned

        vsoa_header_t* header() { return reinterpret_cast<vsoa_header_t*>(packet.data()); }
        void refuse(uint8_t status);
    };
    struct Handler {
        std::weak_ptr<Workers> owner;
        bool parallel;
        size_t max_queued;
        vsoa_server_cmd_func_t callback;
        void* arg;
        std::deque<Job> queue;
        bool busy = false;  // one that is not parallel is running
    };

    /// The callback that the server gets; arg is a Handler.
    static void called(void* arg, vsoa_server_t* server, vsoa_cli_id_t client, vsoa_header_t* header, vsoa_url_t* url,
                       vsoa_payload_t* payload);
    void submit(Handler& handler, Job job);
    void work();
    Handler* next();

    std::mutex lock_;
    std::condition_variable ready_;  // a call waits for a worker
    std::condition_variable room_;   // a queue has become shorter
    bool stopping_ = false;
    std::vector<std::unique_ptr<Handler>> handlers_;
    size_t last_ = 0;  // the handler served last: they take turns
    std::vector<std::thread> threads_;
};

}  // namespace vsoa

struct vsoa_plistener {
    std::shared_ptr<vsoa::Workers> core;
};
