// TLS of a connection, as libvsoa sees it. What is behind these interfaces is libvsoa-tls.so, which is loaded when the
// program first asks for TLS: libvsoa itself knows nothing of OpenSSL, and a plain connection has no Session.
//
// Both libraries come from one build; the version in tls::Library says so. Nothing of the standard library crosses the
// border but as opaque memory of its own side, and no exception does.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "sdk/vsoa/include/vsoa_tls.h"

namespace vsoa {

struct Address;

namespace tls {

/// Why a connection, or a file, is no good; error 0: it is.
struct Trouble {
    int error = 0;
    char reason[256] = "";
};

/// One connection. read and write may come from different threads at once. The descriptor is the owner's.
class Session {
  public:
    virtual ~Session() = default;

    enum class Step { kDone, kReadable, kWritable, kFailed };
    /// Goes on with the handshake. kReadable, kWritable: again when the descriptor is.
    virtual Step handshake() noexcept = 0;
    virtual bool ready() const noexcept = 0;

    /// As recv on a descriptor that does not block. errno of a broken connection is that of trouble().
    virtual ssize_t read(void* to, size_t room) noexcept = 0;
    /// Bytes taken; 0: none now, and the next call must begin with the same bytes; -1 with errno: broken.
    virtual ssize_t write(const void* from, size_t length) noexcept = 0;
    /// Bytes may wait here that the descriptor does not tell of.
    virtual bool pending() noexcept = 0;
    /// Tells the peer that nothing follows, when that is possible at once.
    virtual void goodbye() noexcept = 0;
    virtual const Trouble& trouble() const noexcept = 0;
};

/// What all connections of a client or server share: authorities, certificate, keys.
class Context {
  public:
    virtual ~Context() = default;
    /// name: what the server's certificate must be for; null on a server. Null: no memory.
    virtual Session* session(int fd, const char* name) noexcept = 0;
    /// Carries bytes between a connected session and the descriptor that is returned, until both ends are closed. Takes
    /// fd and session, also when it fails: -1 with errno.
    virtual int tunnel(int fd, Session* session) noexcept = 0;
};

/// What libvsoa-tls.so exports under the name kLibrarySymbol.
struct Library {
    const char* version;
    /// Reads the files. Null with trouble.
    Context* (*open)(const vsoa_tls_t& tls, bool server, Trouble& trouble) noexcept;
};

inline constexpr const char* kLibraryFile = "libvsoa-tls.so.1";
inline constexpr const char* kLibrarySymbol = "vsoa_tls_library";

/// TLS of a client or server as its program wants it.
class Setup {
  public:
    /// Null with errno as vsoa_tls.h says.
    static std::shared_ptr<const Setup> make(const vsoa_tls_t& tls, bool server);

    /// name: used when the program named no server. Null with errno ENOMEM.
    std::unique_ptr<Session> session(int fd, const std::string& name = {}) const;
    /// Makes the handshake; waits. False with errno, told to the program when it is the peer's doing.
    bool shake_hands(int fd, Session& session, const Address& peer, int64_t deadline, int stop_fd = -1) const;
    /// The program's end of a stream, blocking; -1 with errno. Takes fd.
    int stream(int fd, const Address& peer, int64_t deadline, const std::string& name = {}) const;
    /// Tells the program what is the matter with this peer, if anything.
    void report(const Address& peer, const Session& session) const;

  private:
    Setup() = default;

    std::unique_ptr<Context> context_;
    bool server_ = false;
    std::string name_;
    vsoa_tls_fail_func_t on_fail_ = nullptr;
    void* arg_ = nullptr;
};

using SetupPtr = std::shared_ptr<const Setup>;

}  // namespace tls
}  // namespace vsoa
