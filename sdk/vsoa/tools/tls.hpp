// The options --tls-...: what a command shows and wants to see on encrypted connections.
#pragma once

#include <string>

#include "sdk/vsoa/include/vsoa_tls.h"

namespace vsoa::tools {

struct TlsOptions {
    bool on = false;  // --tls, or any other of these
    std::string ca, cert, key, psk, name;
    bool no_verify = false;

    bool wanted() const {
        return on || no_verify || !ca.empty() || !cert.empty() || !key.empty() || !psk.empty() || !name.empty();
    }
};

/// Makes a client or server speak TLS when the options say so. Must outlive it: it keeps what the library says of
/// handshakes that failed.
class Tls {
  public:
    /// name: what a server's certificate must be for when --tls-name says nothing; "" = its address. Throws Failure.
    void use(vsoa_client_t* client, const TlsOptions& options, const std::string& name);
    void use(vsoa_server_t* server, const TlsOptions& options);

    /// Why the last handshake failed, "" when none did. Forgets it.
    std::string take_reason();

  private:
    vsoa_tls_t config(const TlsOptions& options, const std::string& name);
    [[noreturn]] void fail(int error);

    std::string reason_;
    bool serving_ = false;
};

}  // namespace vsoa::tools
