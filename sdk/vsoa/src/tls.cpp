#include "sdk/vsoa/src/tls.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <string_view>

#include "sdk/vsoa/src/socket.hpp"

#ifndef GANTRY_VERSION
#error "the version that libvsoa-tls must have"
#endif

/// In tls_loader.cpp, when that is linked.
extern "C" [[gnu::weak]] void* libvsoa_load(const char* file, const char* symbol, bool* found) noexcept;

namespace vsoa::tls {
namespace {

constexpr size_t kFirstSize = offsetof(vsoa_tls_t, psk_file);  // of the first version of the structure

/// Null with errno ELIBACC or ELIBBAD. Asked again until it is there: a package may be installed later.
const Library* library() {
    static std::mutex lock;
    static const Library* loaded = nullptr;
    const std::lock_guard guard(lock);
    if (loaded != nullptr) return loaded;
    errno = ELIBACC;
    bool there = false;
    if (libvsoa_load == nullptr) return nullptr;
    const auto* found = static_cast<const Library*>(libvsoa_load(kLibraryFile, kLibrarySymbol, &there));
    errno = there ? ELIBBAD : ELIBACC;
    if (found == nullptr || std::string_view(found->version) != GANTRY_VERSION) return nullptr;
    return loaded = found;
}

/// What the program filled in, in the size that this library knows. False with errno EINVAL.
bool read(const vsoa_tls_t& given, bool server, vsoa_tls_t& out) {
    errno = EINVAL;
    if (given.size < kFirstSize) return false;
    out = {};
    // A newer program may have more members; those that mean something here are refused rather than passed over.
    const auto* bytes = reinterpret_cast<const unsigned char*>(&given);
    for (size_t i = sizeof out; i < given.size; ++i) {
        if (bytes[i] != 0) return false;
    }
    std::memcpy(&out, &given, std::min(given.size, sizeof out));
    if ((out.flags & ~VSOA_TLS_NO_VERIFY) != 0) return false;
    if ((out.cert_file == nullptr) != (out.key_file == nullptr)) return false;
    if (!server) return true;
    return (out.flags & VSOA_TLS_NO_VERIFY) == 0 && (out.cert_file != nullptr || out.psk_file != nullptr);
}

}  // namespace

SetupPtr Setup::make(const vsoa_tls_t& given, bool server) {
    vsoa_tls_t tls;
    if (!read(given, server, tls)) return nullptr;
    const Library* const from = library();
    if (from == nullptr) return nullptr;
    const std::shared_ptr<Setup> setup(new Setup);
    setup->server_ = server;
    if (tls.server_name != nullptr) setup->name_ = tls.server_name;
    setup->on_fail_ = tls.onfail;
    setup->arg_ = tls.arg;
    Trouble trouble;
    setup->context_.reset(from->open(tls, server, trouble));
    if (setup->context_) return setup;
    if (tls.onfail != nullptr) tls.onfail(tls.arg, nullptr, 0, trouble.error, trouble.reason);
    errno = trouble.error;
    return nullptr;
}

std::unique_ptr<Session> Setup::session(int fd, const std::string& name) const {
    const std::string& wanted = name_.empty() ? name : name_;
    std::unique_ptr<Session> session(context_->session(fd, server_ ? nullptr : wanted.c_str()));
    if (!session) errno = ENOMEM;
    return session;
}

bool Setup::shake_hands(int fd, Session& session, const Address& peer, int64_t deadline, int stop_fd) const {
    for (;;) {
        const Session::Step step = session.handshake();
        if (step == Session::Step::kDone) return true;
        if (step == Session::Step::kFailed) {
            report(peer, session);
            errno = session.trouble().error;
            return false;
        }
        if (now_ns() >= deadline) {
            errno = ETIMEDOUT;
            return false;
        }
        if (!wait_for(fd, step == Session::Step::kReadable ? POLLIN : POLLOUT, deadline, stop_fd)) return false;
    }
}

int Setup::stream(int fd, const Address& peer, int64_t deadline, const std::string& name) const {
    Fd owned(fd);
    std::unique_ptr<Session> made = session(fd, name);
    if (!made || !shake_hands(fd, *made, peer, deadline)) return -1;
    return context_->tunnel(owned.release(), made.release());
}

void Setup::report(const Address& peer, const Session& session) const {
    const Trouble& trouble = session.trouble();
    if (trouble.error != 0 && on_fail_ != nullptr) {
        on_fail_(arg_, peer.raw(), peer.length, trouble.error, trouble.reason);
    }
}

}  // namespace vsoa::tls
