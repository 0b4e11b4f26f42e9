// SPDX-License-Identifier: Apache-2.0
//
// transport/vsoa in a fake host, over loopback.
#include <sys/stat.h>
#include <unistd.h>

#include <deque>
#include <fstream>
#include <gantry/testing/operations.hpp>
#include <gantry/transport.hpp>
#include <map>

#include "tests/unit/plugins/transport/world.hpp"

namespace contract {
namespace {

using namespace std::chrono_literals;
using gantry::testing::FakeHost;
using gantry::testing::Instance;

class VsoaEnd;
std::map<std::uint64_t, VsoaEnd*> ends_by_handle;

class VsoaEnd final : public End {
  public:
    explicit VsoaEnd(Instance& instance)
        : instance_(&instance),
          table_(static_cast<const gantry_transport*>(instance.role_table(GANTRY_ROLE_TRANSPORT))) {
        ends_by_handle[instance.handle()] = this;
        table_->bind(instance.self(), &kSink);
        instance.start();
    }
    ~VsoaEnd() override { ends_by_handle.erase(instance_->handle()); }

    std::int64_t message_max_bytes() override { return table_->facts->message_max_bytes; }
    std::shared_ptr<Outcome> listen(const std::string& address) override {
        return operate([&](gantry_op op) { return table_->listen(instance_->self(), op, gantry::str(address)); },
                       [](Outcome& out, const void* raw) {
                           out.address = gantry::text(static_cast<const gantry_listen_result*>(raw)->address);
                       });
    }
    std::shared_ptr<Outcome> dial(const std::string& address) override {
        return operate(
            [&](gantry_op op) { return table_->dial(instance_->self(), op, gantry::str(address)); },
            [](Outcome& out, const void* raw) { out.peer = static_cast<const gantry_dial_result*>(raw)->peer; });
    }
    std::int32_t send(std::uint64_t peer, std::uint32_t channel, std::string_view bytes) override {
        return table_->send(instance_->self(), peer, channel, gantry::bytes(bytes));
    }
    void close(std::uint64_t peer) override { table_->close(instance_->self(), peer); }

    Instance& instance() { return *instance_; }
    // The host delivers in a later turn.
    void deliver() {
        while (!arrived_.empty()) {
            Event event = std::move(arrived_.front());
            arrived_.pop_front();
            happened(std::move(event));
        }
    }

  private:
    template <class Call, class Read>
    std::shared_ptr<Outcome> operate(Call call, Read read) {
        auto out = std::make_shared<Outcome>();
        gantry::testing::begin_operation(
            *instance_, call,
            [out, read](const void* raw) {
                if (raw) read(*out, raw);
            },
            [out](gantry::Code code, std::string text) {
                out->ended = true;
                out->code = static_cast<std::int32_t>(code);
                out->text = std::move(text);
            });
        return out;
    }
    static gantry_status put(std::uint64_t host, Event event) {
        ends_by_handle.at(host)->arrived_.push_back(std::move(event));
        return GANTRY_OK;
    }

    static gantry_status on_up(std::uint64_t host, std::uint64_t peer, std::uint32_t inbound, gantry_str address,
                               gantry_str local) noexcept {
        return put(host, {Event::Kind::kUp, peer, inbound != 0, 0, 0, gantry::text(address), gantry::text(local)});
    }
    static gantry_status on_message(std::uint64_t host, std::uint64_t peer, std::uint32_t channel,
                                    gantry_bytes data) noexcept {
        return put(host, {Event::Kind::kMessage, peer, false, channel, 0, std::string(gantry::view(data))});
    }
    static gantry_status on_down(std::uint64_t host, std::uint64_t peer, std::uint32_t reason,
                                 gantry_str text) noexcept {
        return put(host, {Event::Kind::kDown, peer, false, 0, reason, gantry::text(text)});
    }
    static gantry_status on_writable(std::uint64_t host, std::uint64_t peer) noexcept {
        return put(host, {Event::Kind::kWritable, peer});
    }
    static gantry_status on_refused(std::uint64_t host, gantry_str address, std::uint32_t reason,
                                    gantry_str text) noexcept {
        return put(host, {Event::Kind::kRefused, 0, true, 0, reason, gantry::text(text), gantry::text(address)});
    }
    static constexpr gantry_transport_sink kSink{
        sizeof(gantry_transport_sink), 0, &on_up, &on_message, &on_down, &on_writable, &on_refused, nullptr};

    Instance* instance_;
    const gantry_transport* table_;
    std::deque<Event> arrived_;
};

class VsoaWorld final : public World {
  public:
    End& make(const std::string& secret) override {
        const std::string file = host_.folder() + "/secret" + std::to_string(ends_.size());
        std::ofstream(file) << "a long enough secret: " << secret << '\n';
        ::chmod(file.c_str(), 0600);
        Instance& instance = host_.load(GANTRY_PLUGIN_FILE, gantry::testing::Settings().string("secret_file", file));
        ends_.push_back(std::make_unique<VsoaEnd>(instance));
        return *ends_.back();
    }
    void kill(End& end) override { cut_sockets(end); }
    bool run_until(const std::function<bool()>& condition) override {
        return host_.run_until(
            [&] {
                for (auto& end : ends_) end->deliver();
                return condition();
            },
            20s);
    }

  private:
    gantry::testing::Options options() {
        gantry::testing::Options out;
        out.real_time = true;
        return out;
    }
    FakeHost host_{options()};
    std::vector<std::unique_ptr<VsoaEnd>> ends_;
};

}  // namespace

std::unique_ptr<World> vsoa_world() { return std::make_unique<VsoaWorld>(); }

}  // namespace contract
