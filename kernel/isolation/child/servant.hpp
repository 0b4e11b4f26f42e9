// SPDX-License-Identifier: Apache-2.0
//
// Servant: one plugin in a process of its own. Does on its loop what gantryd says, with the host services of the same
// code as in gantryd; what crosses is operations, reports, the log and the resource tree.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <map>
#include <memory>
#include <optional>

#include "kernel/host/context.hpp"
#include "kernel/host/kept.hpp"
#include "kernel/host/library.hpp"
#include "kernel/isolation/child/remote_tree.hpp"
#include "kernel/isolation/packet.hpp"
#include "kernel/isolation/roles.hpp"
#include "kernel/isolation/window.hpp"

namespace gantry::isolation {

class Servant final : public Caller {
  public:
    explicit Servant(int socket);

    // Does what the first message says, then serves until it is told to stop. The exit status.
    int run();

    // What the plugin reports and logs. [any]
    gantry_status call(const Call& call, std::string message, const Writer& arguments) noexcept override;

  private:
    // A policy whose answer is a result. It has answered when its slot returns.
    struct Policy {
        Servant* servant;
        void* self;
        const gantry_placement* table;
        std::vector<host::Keys> keys;
        std::string result;
    };

    // What gantryd asked and waits for.
    struct Ongoing {
        Servant* servant;
        const Slot* slot;
        std::uint64_t id, own;  // gantryd's number, ours
        std::string result;
    };

    Status prepare(Reader& rest);
    Status create(const gantry_config& config);
    void init(const Head& head, Reader& rest);
    void start();
    void stop(std::int64_t deadline_ns);
    [[noreturn]] void stopped(gantry_status said, const host::ErrorBuffer& error);
    void serve_alone();
    void listen();
    bool receive(bool wait);
    void message(const Head& head, Reader& rest);
    void called(const Head& head, Reader& rest);
    void ended(Ongoing& ongoing, gantry_status status, const std::string& text);
    void done(std::uint64_t id, gantry_status status, std::string_view text, std::string_view result);
    void notified(const Slot& slot, const Head& head, Reader& rest);
    void answer(Kind kind, const Status& status, const std::function<void(Writer&)>& more = nullptr);
    void send(const Head& head, std::string message, const std::vector<int>& fds = {});
    const void* role_table(std::string_view interface);

    const int socket_;
    host::FileIdentity checked_;  // what gantryd saw when it checked the file
    boost::asio::io_context io_{1};
    boost::asio::posix::stream_descriptor reader_{io_};
    Message incoming_;
    Batch batch_;
    RemoteTree tree_;
    std::shared_ptr<host::Core> core_;
    std::shared_ptr<host::Context> context_;
    std::shared_ptr<const host::Library> library_;
    gantry_plugin plugin_{};
    const Role* role_ = nullptr;
    const void* table_ = nullptr;
    void* self_ = nullptr;  // first argument of the table's slots
    host::AskedPlacement asked_{};
    std::unique_ptr<Policy> policy_;
    Backlog backlog_;
    bool transport_ = false, start_called_ = false, stopping_ = false;
    std::shared_ptr<host::Kept> kept_ = std::make_shared<host::Kept>();
    std::map<std::uint64_t, Ongoing> operations_;  // by gantryd's number; an element stays where it is
};

}  // namespace gantry::isolation
