// vsoa pub: a server that publishes one topic, and answers a GET of it with what it published last.
#include <strings.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sdk/vsoa/include/vsoa_position.h"
#include "sdk/vsoa/include/vsoa_server.h"
#include "sdk/vsoa/tools/commands.hpp"
#include "sdk/vsoa/tools/serve.hpp"
#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {
namespace {

class Publisher {
  public:
    Publisher(const PubOptions& options, const Settings& settings)
        : options_(options),
          settings_(settings),
          from_input_(options.param == "-"),
          every_(duration_ns(options.every, "--every")),
          data_(read_data(options.data_file)) {
        if (!options.url.starts_with('/')) {
            throw Failure(exit_status::kUsage, "URL: expected /PATH, got `" + clean(options.url) + '`');
        }
        if (from_input_ && options.data_file == "-") {
            throw Failure(exit_status::kUsage, "--param - and --data - both want standard input");
        }
        if (options.quick && settings.tls.wanted()) {
            throw Failure(exit_status::kUsage, "--quick and --tls: what goes over UDP cannot be encrypted");
        }
        if (!from_input_) param_ = checked_param(options.param, options.any_param);
    }

    int run() {
        start();
        if (!options_.position.empty()) start_position();
        catch_interrupts();
        begin_line();
        int64_t next = monotonic_ns();
        while (!interrupted() && (options_.count == 0 || published_ < options_.count)) {
            if (from_input_ && input_.ended() && !line_) break;
            const bool wanted = vsoa_server_is_subscribed(server_.get(), &url_);
            const bool have = !from_input_ || line_;
            if (wanted && have && monotonic_ns() >= next) {
                if (from_input_) param_ = *line_;
                line_.reset();
                send();
                // Lines of standard input go as they come.
                next = from_input_ ? 0 : std::max(next + every_, monotonic_ns());
                continue;
            }
            // Who subscribes is learnt by the input of the server, so nothing else needs a look now and then.
            step(wanted && have ? next : INT64_MAX);
        }
        return interrupted() ? exit_status::kInterrupted : exit_status::kOk;
    }

  private:
    struct Close {
        void operator()(vsoa_server_t* server) const { vsoa_server_close(server); }
        void operator()(vsoa_position_server_t* server) const { vsoa_position_server_close(server); }
    };

    void start() {
        JsonLine info;
        server_.reset(vsoa_server_create(info.text("name", options_.name).done().c_str()));
        if (!server_) throw Failure(exit_status::kFailed, std::string("cannot make a server: ") + std::strerror(errno));
        address_ = listen_on(server_.get(), options_.listen, settings_, tls_);
        vsoa_server_add_listener(
            server_.get(), &url_,
            [](void* arg, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t*,
               vsoa_payload_t*) {
                auto& self = *static_cast<Publisher*>(arg);
                const bool set = (vsoa_parser_get_flags(header) & VSOA_FLAG_SET) != 0;
                const vsoa_payload_t value = payload_of(self.param_, self.data_);
                vsoa_server_cli_reply(server, id, set ? VSOA_STATUS_NO_PERMISSIONS : VSOA_STATUS_SUCCESS,
                                      vsoa_parser_get_seqno(header), 0, set ? nullptr : &value);
            },
            this);
        say_listening(settings_, options_.name, address_);
    }

    void start_position() {
        auto at = parse_address(options_.position, 54, true);
        if (!at) {
            throw Failure(exit_status::kUsage,
                          "--position: expected IP:PORT or IP, got `" + clean(options_.position) + '`');
        }
        position_.reset(vsoa_position_server_create(
            [](void* arg, int domain, const char* name, vsoa_position_response_t* response) {
                const auto& self = *static_cast<Publisher*>(arg);
                const bool known = strcasecmp(name, self.options_.name.c_str()) == 0 &&
                                   (domain < 0 || domain == self.address_.storage.ss_family);
                vsoa_position_server_response(self.position_.get(), response, known ? self.address_.raw() : nullptr,
                                              self.address_.length, self.settings_.tls.wanted());
            },
            this));
        if (!position_ || !vsoa_position_server_start(position_.get(), at->raw(), at->length)) {
            throw Failure(exit_status::kFailed,
                          "cannot be a position server at " + at->text() + ": " + std::strerror(errno));
        }
        getsockname(vsoa_position_server_fd(position_.get()), at->raw(), &at->length);
        if (settings_.json) {
            JsonLine line;
            say(line.text("position_server", at->text()).done());
        } else {
            note("position server at " + at->text());
        }
    }

    void begin_line() {
        if (from_input_ && !line_) line_ = input_.next();
        if (line_) checked_param(*line_, options_.any_param);
    }

    // Waits for what comes first and handles it.
    void step(int64_t deadline) {
        fd_set set;
        FD_ZERO(&set);
        int highest = vsoa_server_fds(server_.get(), &set);
        const int position = position_ ? vsoa_position_server_fd(position_.get()) : -1;
        const bool read = from_input_ && !line_ && !input_.ended();
        for (const int fd : {position, read ? STDIN_FILENO : -1}) {
            if (fd < 0) continue;
            FD_SET(fd, &set);
            highest = std::max(highest, fd);
        }
        if (!select_until(highest, set, deadline)) return;
        vsoa_server_input_fds(server_.get(), &set);
        if (position >= 0 && FD_ISSET(position, &set)) vsoa_position_server_input(position_.get());
        if (read && FD_ISSET(STDIN_FILENO, &set)) {
            input_.read();
            begin_line();
        }
    }

    void send() {
        const vsoa_payload_t payload = payload_of(param_, data_);
        const bool sent = options_.quick ? vsoa_server_quick_publish(server_.get(), &url_, &payload)
                                         : vsoa_server_publish(server_.get(), &url_, &payload);
        if (!sent) {
            throw Failure(exit_status::kFailed,
                          "cannot publish " + clean(options_.url) + ": " +
                              (errno == EMSGSIZE ? "it is longer than a packet" : std::strerror(errno)));
        }
        ++published_;
        if (settings_.json) {
            JsonLine line;
            line.text("time", utc(unix_now_ns())).number("published", published_).text("url", options_.url);
            say(line.payload(param_, data_).done());
        }
        begin_line();
    }

    const PubOptions& options_;
    const Settings& settings_;
    const bool from_input_;
    const int64_t every_;
    const std::string data_;
    const vsoa_url_t url_ = url_of(options_.url);
    std::string param_;  // the last published
    InputLines input_;
    std::optional<std::string> line_;  // the next to publish, of standard input
    int64_t published_ = 0;
    Endpoint address_;
    Tls tls_;
    std::unique_ptr<vsoa_server_t, Close> server_;
    std::unique_ptr<vsoa_position_server_t, Close> position_;
};

}  // namespace

int publish(const PubOptions& options, const Settings& settings) { return Publisher(options, settings).run(); }

}  // namespace vsoa::tools
