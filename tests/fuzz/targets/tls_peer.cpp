// The old way to choose where random numbers come from is the short one.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "tests/fuzz/targets/tls_peer.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "sdk/vsoa/src/tls.hpp"

namespace fuzz {
namespace {

constexpr char kIdentity[] = "fuzzed";
constexpr size_t kSecret = 32;
constexpr int kMostUpdates = 64;

uint64_t state;

int next_bytes(unsigned char* to, int count) {
    for (int i = 0; i < count; ++i) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        to[i] = static_cast<unsigned char>(state >> 56);
    }
    return 1;
}
int always() { return 1; }

/// A file without a name, which lasts as long as the process.
std::string file_of(BIO* text) {
    const int fd = memfd_create("fuzz", MFD_CLOEXEC);
    char* bytes = nullptr;
    const long length = BIO_get_mem_data(text, &bytes);
    demand(fd >= 0 && pwrite(fd, bytes, static_cast<size_t>(length), 0) == length, "a file in memory");
    BIO_free(text);
    return "/proc/self/fd/" + std::to_string(fd);
}

struct Files {
    std::string certificate, private_key, keys;

    Files() {
        fixed_random();
        EVP_PKEY* const pair = EVP_EC_gen("P-256");
        X509* const made = X509_new();
        X509_set_version(made, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(made), 1);
        X509_gmtime_adj(X509_getm_notBefore(made), -86400);
        X509_gmtime_adj(X509_getm_notAfter(made), 365 * 86400);
        X509_set_pubkey(made, pair);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC,
                                   reinterpret_cast<const unsigned char*>(kIdentity), -1, -1, 0);
        X509_set_issuer_name(made, X509_get_subject_name(made));
        for (const auto& [name, value] :
             {std::pair(NID_basic_constraints, "critical,CA:TRUE"), std::pair(NID_subject_alt_name, "IP:127.0.0.1")}) {
            X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, name, value);
            demand(extension != nullptr && X509_add_ext(made, extension, -1) == 1, "a certificate");
            X509_EXTENSION_free(extension);
        }
        demand(X509_sign(made, pair, EVP_sha256()) > 0, "a certificate");
        BIO *certificate_text = BIO_new(BIO_s_mem()), *key_text = BIO_new(BIO_s_mem()),
            *keys_text = BIO_new(BIO_s_mem());
        PEM_write_bio_X509(certificate_text, made);
        PEM_write_bio_PrivateKey(key_text, pair, nullptr, nullptr, 0, nullptr, nullptr);
        BIO_printf(keys_text, "%s:%s\n", kIdentity, std::string(2 * kSecret, '1').c_str());
        certificate = file_of(certificate_text);
        private_key = file_of(key_text);
        keys = file_of(keys_text);
        X509_free(made);
        EVP_PKEY_free(pair);
    }
};

const Files& files() {
    static const Files all;
    return all;
}

unsigned put_secret(unsigned char* secret, unsigned room) {
    demand(room >= kSecret, "room for the key");
    std::fill_n(secret, kSecret, uint8_t{0x11});
    return kSecret;
}

unsigned show_key(SSL*, const char*, char* identity, unsigned room, unsigned char* secret, unsigned secret_room) {
    demand(room >= sizeof kIdentity, "room for the name");
    std::memcpy(identity, kIdentity, sizeof kIdentity);
    return put_secret(secret, secret_room);
}

unsigned find_key(SSL*, const char*, unsigned char* secret, unsigned room) { return put_secret(secret, room); }

SSL_CTX* context_of(bool server, bool key) {
    static SSL_CTX* all[2][2];
    SSL_CTX*& made = all[server][key];
    if (made != nullptr) return made;
    made = SSL_CTX_new(TLS_method());
    demand(made != nullptr && SSL_CTX_set_ciphersuites(made, "TLS_AES_128_GCM_SHA256") == 1, "a context");
    if (key) {
        SSL_CTX_set_cipher_list(made, "PSK:ALL");
        SSL_CTX_set_psk_client_callback(made, show_key);
        SSL_CTX_set_psk_server_callback(made, find_key);
    } else if (server) {
        demand(SSL_CTX_use_certificate_file(made, files().certificate.c_str(), SSL_FILETYPE_PEM) == 1 &&
                   SSL_CTX_use_PrivateKey_file(made, files().private_key.c_str(), SSL_FILETYPE_PEM) == 1,
               "a certificate");
    }
    return made;
}

}  // namespace

void fixed_random() {
    static const RAND_METHOD method = {nullptr, next_bytes, nullptr, nullptr, next_bytes, always};
    static const bool set = RAND_set_rand_method(&method) == 1;
    demand(set, "numbers that are not random");
    state = 1;
}

vsoa_tls_t tls_files(bool key, bool server) {
    vsoa_tls_t tls = VSOA_TLS_INITIALIZER;
    if (key) {
        tls.psk_file = files().keys.c_str();
    } else if (server) {
        tls.cert_file = files().certificate.c_str();
        tls.key_file = files().private_key.c_str();
    } else {
        tls.ca_file = files().certificate.c_str();
    }
    tls.onfail = [](void*, const sockaddr*, socklen_t, int error, const char* reason) {
        demand(error != 0 && reason != nullptr && *reason != '\0', "a failure has its error and its sentence");
    };
    return tls;
}

Script::Step Script::next() {
    Step step;
    step.kind = left_.front();
    const size_t wanted = left_.size() > 1 ? left_[1] : 0;
    left_ = left_.subspan(std::min<size_t>(left_.size(), 2));
    step.bytes = left_.first(std::min(wanted, left_.size()));
    left_ = left_.subspan(step.bytes.size());
    return step;
}

TlsPeer::TlsPeer(SocketPtr socket, bool server, bool key, bool old)
    : socket_(std::move(socket)),
      server_(server),
      ssl_(SSL_new(context_of(server, key))),
      from_(BIO_new(BIO_s_mem())),
      to_(BIO_new(BIO_s_mem())) {
    demand(ssl_ && from_ != nullptr && to_ != nullptr, "memory");
    SSL_set_bio(ssl_.get(), from_, to_);
    if (old) SSL_set_max_proto_version(ssl_.get(), TLS1_2_VERSION);
    server ? SSL_set_accept_state(ssl_.get()) : SSL_set_connect_state(ssl_.get());
}

void TlsPeer::hear() {
    if (!socket_->out.empty()) BIO_write(from_, socket_->out.data(), static_cast<int>(socket_->out.size()));
    socket_->out.clear();
}

std::vector<uint8_t> TlsPeer::written() {
    std::vector<uint8_t> bytes(BIO_ctrl_pending(to_));
    if (!bytes.empty()) BIO_read(to_, bytes.data(), static_cast<int>(bytes.size()));
    ERR_clear_error();
    return bytes;
}

std::vector<uint8_t> TlsPeer::turn() {
    hear();
    SSL_do_handshake(ssl_.get());
    return written();
}

bool TlsPeer::shake_hands() {
    const bool done = ready();
    const std::vector<uint8_t> bytes = turn();
    socket_->give(bytes);
    return !bytes.empty() || done != ready();
}

void TlsPeer::say(std::span<const uint8_t> bytes) {
    SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
    socket_->give(written());
}

size_t TlsPeer::receive() {
    hear();
    size_t count = 0;
    for (;;) {
        const auto space = receiver_.space();
        const int got = SSL_read(ssl_.get(), space.at, static_cast<int>(space.room));
        socket_->give(written());  // it may have been told to change its keys
        if (got <= 0) return count;
        receiver_.commit(static_cast<size_t>(got));
        vsoa_header_t* header = nullptr;
        for (auto next = receiver_.next(header); next != vsoa::Receiver::Next::kMore; next = receiver_.next(header)) {
            demand(next == vsoa::Receiver::Next::kPacket, "the other side sends packets");
            ++count;
        }
    }
}

void TlsPeer::play(const Script::Step& step) {
    const std::span<const uint8_t> bytes = step.bytes;
    switch (step.kind % 8) {
        case 0:
            shake_hands();
            break;
        case 1:
            socket_->give(bytes);
            break;
        case 2: {
            std::vector<uint8_t> changed = turn();
            for (size_t i = 0; i + 2 < bytes.size() && !changed.empty(); i += 3)
                changed[(size_t{bytes[i]} << 8 | bytes[i + 1]) % changed.size()] ^= bytes[i + 2];
            socket_->give(changed);
            break;
        }
        case 3: {
            const std::vector<uint8_t> whole = turn();
            // The beginning, and once more the end.
            const size_t part = bytes.empty() ? whole.size() / 2 : whole.size() * bytes[0] / 256;
            socket_->give(std::span(whole).first(part));
            if (bytes.size() > 1) socket_->give(std::span(whole).last(whole.size() * bytes[1] / 256));
            break;
        }
        case 4:
            say(bytes);
            break;
        case 5:
            for (int i = 0; i <= (bytes.empty() ? 0 : bytes[0] % kMostUpdates); ++i) {
                if (SSL_version(ssl_.get()) == TLS1_3_VERSION)
                    SSL_key_update(ssl_.get(),
                                   bytes.size() % 2 == 0 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
                else
                    SSL_renegotiate(ssl_.get());
                socket_->give(turn());
            }
            break;
        case 6:
            SSL_shutdown(ssl_.get());
            socket_->give(written());
            break;
        default:
            if (server_) SSL_new_session_ticket(ssl_.get());
            say(bytes);
            receive();
    }
    ERR_clear_error();
}

std::vector<uint8_t> packet_of(uint8_t type, uint8_t flags, uint32_t seqno, std::string_view param,
                               std::string_view data) {
    vsoa::Frame frame(type, flags, 0, seqno);
    const vsoa_payload_t payload = {const_cast<char*>(param.data()), param.size(), const_cast<char*>(data.data()),
                                    data.size()};
    demand(frame.body(nullptr, &payload), "a packet of our own");
    std::vector<uint8_t> out;
    frame.append_to(out);
    return out;
}

}  // namespace fuzz

/// Where libvsoa would load its other half, which is part of this program.
extern "C" const vsoa::tls::Library vsoa_tls_library;
extern "C" void* libvsoa_load(const char*, const char*, bool* found) noexcept {
    *found = true;
    return const_cast<vsoa::tls::Library*>(&vsoa_tls_library);
}
