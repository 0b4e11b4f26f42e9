// Files of pre-shared keys, in the format of psktool(1): lines IDENTITY:KEY, the key in hexadecimal.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "sdk/vsoa/tls/session.hpp"

namespace vsoa::tls {
namespace {

constexpr size_t kMaxFile = 1024 * 1024;
constexpr size_t kMaxIdentity = 128, kMinSecret = 16, kMaxSecret = 64;  // bytes

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/// Empty when it is no hexadecimal.
std::vector<unsigned char> bytes_of(std::string_view text) {
    std::vector<unsigned char> out;
    if (text.size() % 2 != 0) return out;
    for (size_t i = 0; i < text.size(); i += 2) {
        const int high = digit(text[i]), low = digit(text[i + 1]);
        if (high < 0 || low < 0) return {};
        out.push_back(static_cast<unsigned char>(high << 4 | low));
    }
    return out;
}

bool read_file(const char* path, std::string& out, Trouble& trouble) {
    const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? 1 : -1;
    char part[4096];
    while (got > 0 && out.size() <= kMaxFile && (got = ::read(fd, part, sizeof part)) > 0) {
        out.append(part, static_cast<size_t>(got));
    }
    const int error = errno;
    if (fd >= 0) ::close(fd);
    if (got < 0) say(trouble, error, "%s: %s", path, std::strerror(error));
    if (out.size() > kMaxFile) say(trouble, EBADMSG, "%s: longer than %zu bytes", path, kMaxFile);
    return trouble.error == 0;
}

}  // namespace

Keys read_keys(const char* path, Trouble& trouble) {
    std::string text;
    if (!read_file(path, text, trouble)) return {};
    Keys keys;
    std::string_view left = text;
    for (size_t number = 1; !left.empty(); ++number) {
        std::string_view line = left.substr(0, left.find('\n'));
        left.remove_prefix(std::min(left.size(), line.size() + 1));
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.empty()) continue;
        const size_t colon = line.rfind(':');
        Key key;
        if (colon != line.npos) key = {std::string(line.substr(0, colon)), bytes_of(line.substr(colon + 1))};
        if (key.identity.empty() || key.identity.size() > kMaxIdentity || key.identity.find('\0') != line.npos ||
            key.secret.size() < kMinSecret || key.secret.size() > kMaxSecret) {
            say(trouble, EBADMSG, "%s: line %zu: expected IDENTITY:KEY, the key %zu to %zu bytes in hexadecimal", path,
                number, kMinSecret, kMaxSecret);
            return {};
        }
        keys.push_back(std::move(key));
    }
    if (keys.empty()) say(trouble, EBADMSG, "%s: expected lines IDENTITY:KEY, found none", path);
    return keys;
}

}  // namespace vsoa::tls
