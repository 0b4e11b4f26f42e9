// SPDX-License-Identifier: Apache-2.0
//
// Tree: the resource tree of docs/api.md. Translates requests into inputs and documents of the loops.
//
// Threads: the loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <string>
#include <vector>

#include "kernel/control/agent_loop.hpp"
#include "kernel/control/controller_loop.hpp"
#include "kernel/control/files.hpp"
#include "kernel/control/lane.hpp"

namespace gantry::control {

// A path taken apart: "/v1/services/%E9%99%80?dry_run=1" -> {"services", "陀"}, {"dry_run": "1"}.
struct Route {
    std::vector<std::string> parts;
    std::vector<std::pair<std::string, std::string>> query;
    std::string who;  // asks
    std::string argument(std::string_view key, std::string fallback = "") const;
    bool flag(std::string_view key) const;
    // A whole number from min to max. Errors: kInvalid with the key as its field.
    Result<std::int64_t> number(std::string_view key, std::int64_t fallback, std::int64_t min, std::int64_t max) const;
};
// Errors: kInvalid for bad escapes, kNotFound for anything that is not below /v1.
Result<Route> parse_route(std::string_view path);

class Tree : public host::ResourceTree {
  public:
    struct Parts {
        boost::asio::io_context& io;
        host::Host& host;
        EventLog& events;
        BlobStore& blobs;
        ControllerLoop* controller;  // nullptr: this gantryd is no controller
        AgentLoop* agent;            // nullptr: this gantryd is no node
        std::string version;
        std::function<void(bool reboots)> leave;  // `gantry node leave`: the machine goes down
        crash::Record* crashes = nullptr;         // of plugins
        // A plugin of this process is exchanged, the configuration read again: `who` wants it.
        std::function<void(const std::string& title, const std::string& file, const std::string& who,
                           ControllerLoop::Answer answer)>
            exchange = nullptr;
        std::function<void(const std::string& who, ControllerLoop::Answer answer)> reload = nullptr;
    };

    explicit Tree(Parts parts) : parts_(std::move(parts)) {}
    // The loops come up after the frontends.
    void use(ControllerLoop* controller, AgentLoop* agent) {
        parts_.controller = controller;
        parts_.agent = agent;
    }

    // Blobs that are uploaded or read now.
    std::size_t streams() const { return blobs_streamed_; }

    void request(host::ControlRequest request, std::function<void(host::ControlResponse)> done) override;
    void open(host::ControlRequest request, int fd, std::function<void(host::ControlResponse)> done) override;
    std::uint64_t watch(host::Principal principal, std::string prefix, std::uint64_t after,
                        std::function<void(std::uint64_t, const std::string&)> fn) override;
    void unwatch(std::uint64_t watch) override { parts_.events.unwatch(watch); }

  private:
    using Answer = ControllerLoop::Answer;
    void get(const Route& route, Answer answer);
    void get_list(const Route& route, Answer answer);
    void get_one(const Route& route, Answer answer);
    void put(const Route& route, const std::string& body, Answer answer);
    void put_image(const Route& route, const json::value& document, Answer answer);
    Answer drop_blobs_after(const std::string& name, Answer answer);
    void remove(const Route& route, Answer answer);
    void post_drill(const Route& route, const std::string& body, Answer answer);
    void post_rebalance(const Route& route, const std::string& body, Answer answer);
    void post_rollout(const Route& route, const std::string& body, Answer answer);
    void post(const Route& route, const std::string& body, Answer answer);
    json::array nodes(const core::Controller& core) const;
    Result<json::value> load_history(const core::Controller& core, const Route& route) const;
    host::ControlResponse events(const Route& route) const;
    void stream_blob(const std::string& method, const std::string& digest, std::shared_ptr<FileDescriptor> stream,
                     Answer answer);
    json::value plugins() const;
    void change_plugin(const Route& route, Answer answer);
    Result<json::value> forget_crashes(const Route& route);
    void reload_plugin(const Route& route, const std::string& body, Answer answer);
    json::value cluster(const core::Controller* core) const;

    Parts parts_;
    std::unique_ptr<Lane> blob_streams_;  // their pace is the clients'; not there while there is none
    std::size_t blobs_streamed_ = 0;
};

host::ControlResponse to_response(Result<json::value> result);

}  // namespace gantry::control
