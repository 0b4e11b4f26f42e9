// vsoa call: one RPC.
#include <cerrno>
#include <cstring>
#include <optional>

#include "sdk/vsoa/tools/commands.hpp"
#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {
namespace {

struct Reply {
    bool ended = false, answered = false;
    int status = 0;
    uint16_t tunid = 0;  // host byte order, 0: none
    std::string param, data;
    int64_t at_ns = 0;
};

void on_reply(void* arg, vsoa_client_t*, vsoa_header_t* header, vsoa_payload_t* payload) {
    auto& reply = *static_cast<Reply*>(arg);
    reply.ended = true;
    reply.at_ns = monotonic_ns();
    if (header == nullptr) return;
    reply.answered = true;
    reply.status = vsoa_parser_get_status(header);
    if (vsoa_parser_get_flags(header) & VSOA_FLAG_TUNNEL) reply.tunid = ntohs(vsoa_parser_get_tunid(header));
    reply.param = param_of(*payload);
    reply.data = data_of(*payload);
}

int exit_of(int status) {
    switch (status) {
        case VSOA_STATUS_SUCCESS:
            return exit_status::kOk;
        case VSOA_STATUS_INVALID_URL:
            return exit_status::kNotFound;
        case VSOA_STATUS_PASSWORD:
        case VSOA_STATUS_NO_PERMISSIONS:
            return exit_status::kNoPermission;
        case VSOA_STATUS_NO_RESPONDING:
            return exit_status::kTimedOut;
        default:
            return exit_status::kFailed;
    }
}

void write_data(const std::string& file, const std::string& data) {
    const bool standard = file == "-";
    FILE* const out = standard ? stdout : std::fopen(file.c_str(), "wbe");
    const bool good =
        out != nullptr && std::fwrite(data.data(), 1, data.size(), out) == data.size() && std::fflush(out) == 0;
    const int error = errno;
    if (out != nullptr && !standard) std::fclose(out);
    if (!good) throw Failure(exit_status::kFailed, "cannot write --output " + file + ": " + std::strerror(error));
}

void show(const Reply& reply, const CallOptions& options, const Settings& settings, const Link& link, double ms) {
    const std::string& path = link.target().path;
    if (settings.json) {
        JsonLine line;
        line.text("server", link.address()).text("url", path).text("method", options.set ? "set" : "get");
        line.number("status", reply.status).text("status_text", status_word(reply.status)).real("ms", ms, 3);
        if (reply.tunid != 0) line.number("stream_port", reply.tunid);
        say(line.payload(reply.param, options.output_file.empty() ? reply.data : "").done());
    } else {
        const std::string text = shown(reply.param, options.output_file.empty() ? reply.data : "");
        if (!text.empty()) say(text);
        if (reply.tunid != 0) note("the server offers a stream on port " + std::to_string(reply.tunid));
    }
}

}  // namespace

std::string checked_param(const std::string& param, bool any_param) {
    if (!param.empty() && !any_param && !is_json(param)) {
        throw Failure(exit_status::kBadData, "--param: expected JSON (text in double quotes), got `" +
                                                 clean(param.substr(0, 60)) +
                                                 "`; --any-param sends it as it is, which the vendor's Node.js peers "
                                                 "answer by closing the connection");
    }
    return param;
}

std::string read_data(const std::string& file) {
    return file.empty() ? std::string() : read_file(file, VSOA_MAX_DATA_LENGTH, "--data");
}

int call(const CallOptions& options, const Settings& settings) {
    Target target = parse_target(options.url);
    if (target.path.empty()) target.path = "/";
    const std::string param = checked_param(options.param, options.any_param), data = read_data(options.data_file);
    if (options.output_file == "-" && settings.json) {
        throw Failure(exit_status::kUsage, "--output - and --json both want standard output");
    }
    std::vector<std::unique_ptr<Link>> links;
    links.push_back(std::make_unique<Link>(target, settings));
    Link& link = *links.front();
    link.connect();
    catch_interrupts();

    const std::string what = std::string(options.set ? "SET " : "GET ") + clean(target.path);
    const vsoa_url_t url = url_of(target.path);
    const vsoa_payload_t payload = payload_of(param, data);
    const timespec timeout = link.timeout();
    Reply reply;
    const int64_t begun = monotonic_ns();
    if (!vsoa_client_call(link.client(), options.set ? VSOA_CLIENT_RPC_METHOD_SET : VSOA_CLIENT_RPC_METHOD_GET, &url,
                          &payload, on_reply, &reply, &timeout)) {
        throw Failure(exit_status::kFailed,
                      "cannot send " + what + ": " +
                          (errno == EMSGSIZE ? "url, param and data are longer than a packet (262124 bytes)"
                                             : std::strerror(errno)));
    }
    // The library ends the call at its time limit; a little later is soon enough.
    const Ended ended = run_until(links, begun + settings.timeout_ns + 1'000'000'000, [&] { return reply.ended; });
    if (ended != Ended::kDone || !reply.answered) {
        const bool lost = !vsoa_client_is_connect(link.client());
        fail_waiting(ended == Ended::kDone && lost ? Ended::kLost : ended, link, what);
    }
    show(reply, options, settings, link, static_cast<double>(reply.at_ns - begun) / 1e6);
    if (!options.output_file.empty()) write_data(options.output_file, reply.data);
    if (reply.status == VSOA_STATUS_SUCCESS) return exit_status::kOk;
    throw Failure(exit_of(reply.status), what + ": " + link.name() + " answered status " +
                                             std::to_string(reply.status) + " (" + status_word(reply.status) + ')');
}

}  // namespace vsoa::tools
