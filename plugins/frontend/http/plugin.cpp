// SPDX-License-Identifier: Apache-2.0
//
// frontend/http: REST and server-sent events over a Unix socket.
#include <charconv>
#include <gantry/frontend.hpp>
#include <optional>

#include "plugins/frontend/http/server.hpp"
#include "plugins/frontend/http/socket_file.hpp"

namespace gantry::http {

class HttpFrontend final : public Frontend {
  public:
    void init(const Config& config) override {
        settings_.socket = config.string("socket");
        check_socket_path(settings_.socket);
        settings_.mode = mode(config.string("mode"));
        settings_.group = config.string("group");
        settings_.body_max = static_cast<std::size_t>(config.size("body_max"));
    }
    void start() override {
        server_.emplace(settings_, host());
        server_->start();
    }
    void stop(Instant deadline) override {
        if (server_) server_->stop(deadline - host().now() - kMargin);
    }
    std::string address() const override { return "unix:" + settings_.socket; }

  private:
    static constexpr std::chrono::milliseconds kMargin{500};  // of the deadline, to join the thread

    static unsigned mode(const std::string& text) {
        unsigned value = 0;
        const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value, 8);
        if (ec != std::errc() || end != text.data() + text.size() || value > 0777)
            throw Failure(Code::kInvalid, "mode: expected an octal number like \"0660\", got \"" + text + "\"");
        return value;
    }

    Settings settings_;
    std::optional<Server> server_;
};

}  // namespace gantry::http

GANTRY_PLUGIN(gantry::http::HttpFrontend)
