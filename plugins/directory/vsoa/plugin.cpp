// SPDX-License-Identifier: Apache-2.0
//
// directory/vsoa: libvsoa's position server on the loop.
#include <vsoa_position.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "plugins/directory/vsoa/table.hpp"

namespace vsoa_directory {
namespace {

using gantry::Code;
using gantry::Failure;

constexpr gantry::Duration kTableAwaited = std::chrono::seconds(2);

[[noreturn]] void refuse(const std::string& listen, int error) {
    std::string text = "cannot answer names on UDP " + listen + ": " + std::strerror(error);
    if (error == EADDRINUSE) {
        text += "; another position server or another gantryd has that port";
    } else if (error == EACCES) {
        text += "; ports below 1024 need root or CAP_NET_BIND_SERVICE, or set listen to a higher port";
    } else if (error == EADDRNOTAVAIL) {
        text += "; no interface of this machine has that address";
    }
    throw Failure(Code::kUnavailable, text);
}

class VsoaDirectory final : public gantry::Directory {
  public:
    // The port is taken here, because the facts that follow name it.
    void init(const gantry::Config& config) override {
        const std::string& listen = config.string("listen");
        const auto address = gantry::SocketAddress::parse(listen);
        if (!address) {
            throw Failure(Code::kInvalid,
                          "listen: '" + listen + "' is no address; expected IP:PORT, for example \"0.0.0.0:54\"");
        }
        server_.reset(vsoa_position_server_create(&VsoaDirectory::on_query, this));
        if (!server_) throw Failure(Code::kFailed, "no memory for the position server");
        gantry::Fd before = host().inherit("udp:" + address->text());
        inherited_ = before && vsoa_position_server_start_fd(server_.get(), before.get());
        if (inherited_) (void)before.release();
        if (!inherited_ && !vsoa_position_server_start(server_.get(), address->raw(), address->length))
            refuse(listen, errno);
        port_ = gantry::SocketAddress::local(vsoa_position_server_fd(server_.get())).port();
    }

    // Who asks an inherited socket has been answered before: not that the name is unknown, which only a table tells.
    void start() override {
        if (!inherited_) (void)host().keep(vsoa_position_server_fd(server_.get()));
        if (!inherited_ || table_no_ != 0) return answer();
        patience_ = host().timer(kTableAwaited, [this] { answer(); });
    }

    void stop(gantry::Instant) override {
        host().cancel(std::exchange(patience_, 0));
        host().unwatch(watch_);
        server_.reset();
    }

    gantry::DirectoryFacts facts() const override { return {port_, "VSOA_POS_SERVER"}; }

    void replace(std::uint64_t table_no, std::vector<gantry::NameRecord> records) override {
        if (table_no < table_no_) return;
        table_no_ = table_no;
        for (const std::string& line : table_.replace(records)) {
            host().warn("a name that cannot be answered is left out: " + line);
        }
        if (patience_ != 0) answer();
    }

  private:
    void answer() {
        host().cancel(std::exchange(patience_, 0));
        watch_ = host().watch(vsoa_position_server_fd(server_.get()), gantry::kReadable,
                              [this](std::uint32_t) { vsoa_position_server_input(server_.get()); });
    }

    static void on_query(void* arg, int domain, const char* name, vsoa_position_response_t* response) {
        auto& self = *static_cast<VsoaDirectory*>(arg);
        const Place* place = self.table_.find(name, domain);
        vsoa_position_server_response(self.server_.get(), response, place ? place->address.raw() : nullptr,
                                      place ? place->address.length : 0, place != nullptr && place->secure);
    }

    std::unique_ptr<vsoa_position_server_t, void (*)(vsoa_position_server_t*)> server_{nullptr,
                                                                                       &vsoa_position_server_close};
    gantry::WatchId watch_ = 0;
    gantry::TimerId patience_ = 0;  // until the first table
    bool inherited_ = false;
    std::uint16_t port_ = 0;
    std::uint64_t table_no_ = 0;
    Table table_;
};

}  // namespace
}  // namespace vsoa_directory

GANTRY_PLUGIN(vsoa_directory::VsoaDirectory)
