// The C functions of vsoa_tls.h.
#include "sdk/vsoa/src/client.hpp"
#include "sdk/vsoa/src/server.hpp"
#include "sdk/vsoa/src/shell.hpp"
#include "sdk/vsoa/src/tls.hpp"

using vsoa::guarded;

namespace {

/// Hands what tls says to use(setup); null = no TLS.
template <typename Handle, typename Use>
bool set(Handle* handle, const vsoa_tls_t* tls, bool server, Use use) {
    return guarded(false, handle, [&] {
        vsoa::tls::SetupPtr setup;
        if (tls != nullptr && !(setup = vsoa::tls::Setup::make(*tls, server))) return false;
        return use(std::move(setup));
    });
}

bool set_client(vsoa_client_t* client, const vsoa_tls_t* tls) {
    return set(client, tls, false, [&](vsoa::tls::SetupPtr setup) {
        client->core.secure(std::move(setup));
        return true;
    });
}

}  // namespace

extern "C" {

bool vsoa_server_tls(vsoa_server_t* server, const vsoa_tls_t* tls) {
    return set(server, tls, true, [&](vsoa::tls::SetupPtr setup) { return server->core.secure(std::move(setup)); });
}

bool vsoa_client_tls(vsoa_client_t* client, const vsoa_tls_t* tls) { return set_client(client, tls); }

bool vsoa_client_auto_tls(vsoa_client_auto_t* cliauto, const vsoa_tls_t* tls) {
    return set_client(cliauto != nullptr ? vsoa_client_auto_handle(cliauto) : nullptr, tls);
}
}
