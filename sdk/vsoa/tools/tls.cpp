#include "sdk/vsoa/tools/tls.hpp"

#include <cerrno>
#include <cstring>
#include <utility>

#include "sdk/vsoa/tools/target.hpp"
#include "sdk/vsoa/tools/text.hpp"
#include "sdk/vsoa/tools/trouble.hpp"

namespace vsoa::tools {
namespace {

const char* or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

}  // namespace

vsoa_tls_t Tls::config(const TlsOptions& options, const std::string& name) {
    vsoa_tls_t tls = VSOA_TLS_INITIALIZER;
    tls.ca_file = or_null(options.ca);
    tls.cert_file = or_null(options.cert);
    tls.key_file = or_null(options.key);
    tls.psk_file = or_null(options.psk);
    tls.server_name = or_null(options.name.empty() ? name : options.name);
    tls.flags = options.no_verify ? VSOA_TLS_NO_VERIFY : 0;
    tls.arg = this;
    tls.onfail = [](void* arg, const sockaddr* peer, socklen_t length, int, const char* reason) {
        auto& self = *static_cast<Tls*>(arg);
        self.reason_ = reason;
        if (!self.serving_ || peer == nullptr) return;
        Endpoint from;
        std::memcpy(&from.storage, peer, length);
        from.length = length;
        note(from.text() + ": " + clean(reason));
    };
    return tls;
}

void Tls::fail(int error) {
    const std::string reason = take_reason();
    switch (error) {
        case EINVAL:
            throw Failure(exit_status::kUsage,
                          "the --tls options do not go together: --tls-cert and --tls-key are given both or neither, "
                          "and a server needs them or --tls-psk, and always verifies");
        case ELIBACC:
        case ELIBBAD:
            throw Failure(exit_status::kFailed, std::string("cannot use TLS: libvsoa-tls.so.1 or OpenSSL ") +
                                                    (error == ELIBACC ? "is not installed" : "is of another version"));
        case ENOENT:
            throw Failure(exit_status::kNotFound, "cannot use TLS: " + clean(reason));
        case EBADMSG:
            throw Failure(exit_status::kBadData, "cannot use TLS: " + clean(reason));
        default:
            throw Failure(exit_status::kFailed,
                          "cannot use TLS: " + (reason.empty() ? std::string(std::strerror(error)) : clean(reason)));
    }
}

void Tls::use(vsoa_client_t* client, const TlsOptions& options, const std::string& name) {
    if (!options.wanted()) return;
    const vsoa_tls_t tls = config(options, name);
    if (!vsoa_client_tls(client, &tls)) fail(errno);
}

void Tls::use(vsoa_server_t* server, const TlsOptions& options) {
    if (!options.wanted()) return;
    serving_ = true;
    const vsoa_tls_t tls = config(options, {});
    if (!vsoa_server_tls(server, &tls)) fail(errno);
}

std::string Tls::take_reason() { return std::exchange(reason_, {}); }

}  // namespace vsoa::tools
