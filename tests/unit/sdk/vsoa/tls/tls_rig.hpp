// What the tests of TLS share: certificates and keys made for this run, and who complained of what.
#pragma once

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "sdk/vsoa/include/vsoa_tls.h"
#include "tests/unit/sdk/vsoa/rig.hpp"

namespace rig {

/// The folder of tests/support/certificates, made once and removed at the end.
inline const std::string& certificates() {
    static const struct Folder {
        Folder() : path((std::filesystem::temp_directory_path() / "vsoa-tls-XXXXXX").string()) {
            REQUIRE(mkdtemp(path.data()) != nullptr);
            REQUIRE(std::system((GANTRY_CERTIFICATES " " + path).c_str()) == 0);
        }
        ~Folder() { std::filesystem::remove_all(path); }
        std::string path;
    } folder;
    return folder.path;
}

struct Fail {
    int error;
    std::string reason;
    bool has_peer;
};

/// A vsoa_tls_t with its texts, and what onfail was told.
struct Tls {
    Tls& ca(const char* name) { return set(ca_, config.ca_file, name); }
    Tls& cert(const std::string& name) {
        set(cert_, config.cert_file, name + ".pem");
        return set(key_, config.key_file, name + ".key");
    }
    Tls& psk(const char* name) { return set(psk_, config.psk_file, name); }
    Tls& name(const char* text) {
        config.server_name = text;
        return *this;
    }
    Tls& flags(uint32_t value) {
        config.flags = value;
        return *this;
    }
    Tls() {
        config.arg = this;
        config.onfail = [](void* arg, const sockaddr* peer, socklen_t length, int error, const char* reason) {
            static_cast<Tls*>(arg)->fails.put({error, reason, peer != nullptr && length > 0});
        };
    }
    Tls(const Tls&) = delete;
    Tls& operator=(const Tls&) = delete;

    vsoa_tls_t config = VSOA_TLS_INITIALIZER;
    Inbox<Fail> fails;

  private:
    Tls& set(std::string& text, const char*& member, const std::string& file) {
        text = certificates() + '/' + file;
        member = text.c_str();
        return *this;
    }
    std::string ca_, cert_, key_, psk_;
};

/// A server that speaks TLS and answers every call with what it was sent.
struct SecureServer : RunningServer {
    explicit SecureServer(const Tls& tls, const vsoa::Address& where = loopback(), const char* password = nullptr)
        : RunningServer(password) {
        REQUIRE(vsoa_server_tls(handle, &tls.config));
        const vsoa_url_t all = url("/");
        const auto echo = [](void*, vsoa_server_t* server, vsoa_cli_id_t id, vsoa_header_t* header, vsoa_url_t*,
                             vsoa_payload_t* p) {
            vsoa_server_cli_reply(server, id, 0, vsoa_parser_get_seqno(header), 0, p);
        };
        REQUIRE(vsoa_server_add_listener(handle, &all, echo, nullptr));
        vsoa_server_on_datagram(
            handle,
            [](void* arg, vsoa_server_t*, vsoa_cli_id_t, vsoa_url_t* u, vsoa_payload_t* p, bool quick) {
                static_cast<SecureServer*>(arg)->datagrams.put({text(u), param(p), data(p), quick});
            },
            this);
        start(where);
    }
    ~SecureServer() { close(); }  // before the inbox that its callbacks fill
    bool publish(const char* topic, std::string_view p, std::string_view d = {}) {
        const vsoa_url_t u = url(topic);
        const vsoa_payload_t both = payload(p, d);
        return vsoa_server_publish(handle, &u, &both);
    }
    Inbox<Message> datagrams;
};

struct SecureClient : RunningClient {
    explicit SecureClient(const Tls& tls) { REQUIRE(vsoa_client_tls(handle, &tls.config)); }
    /// errno of connect, 0: connected.
    int connects(const vsoa::Address& to, const char* password = nullptr) { return connect(to, password) ? 0 : errno; }
    /// What /echo answers; the client's thread turns its loop.
    std::string echo(const std::string& d) {
        vsoa_client_sync_call_t* sync = vsoa_client_sync_create(true);
        vsoa_header_t* reply = nullptr;
        const vsoa_url_t u = url("/echo");
        const vsoa_payload_t p = payload("{}", d);
        vsoa_payload_t answer{};
        const bool good = vsoa_client_sync_call(handle, 0, &u, &p, sync, &reply, nullptr) && reply != nullptr &&
                          vsoa_parser_get_payload(reply, &answer);
        std::string out = good ? data(&answer) : "no answer";
        vsoa_client_sync_delete(sync);
        return out;
    }
};

}  // namespace rig
