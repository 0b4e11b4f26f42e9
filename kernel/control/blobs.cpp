// SPDX-License-Identifier: Apache-2.0
#include "kernel/control/blobs.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>

#include "kernel/control/files.hpp"

namespace gantry::control {
namespace {

constexpr std::size_t kDocumentMax = 4 << 20;
constexpr std::size_t kIndexDepth = 3;
constexpr std::string_view kPrefix = "sha256:";
constexpr std::string_view kUpload = ".upload-";
constexpr std::chrono::hours kPartKept{24};

class Sha256 {
  public:
    Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
    void update(const void* bytes, std::size_t count) { EVP_DigestUpdate(context_.get(), bytes, count); }
    std::string text() {
        std::array<unsigned char, EVP_MAX_MD_SIZE> raw{};
        unsigned length = 0;
        EVP_DigestFinal_ex(context_.get(), raw.data(), &length);
        constexpr std::string_view kHex = "0123456789abcdef";
        std::string out(kPrefix);
        for (unsigned i = 0; i < length; ++i) {
            out += kHex[raw[i] >> 4];
            out += kHex[raw[i] & 15];
        }
        return out;
    }

  private:
    std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

Result<std::string> digest_of(int fd) {
    Sha256 sha;
    std::array<char, 64 << 10> buffer;
    for (off_t at = 0;;) {
        const auto n = pread(fd, buffer.data(), buffer.size(), at);
        if (n < 0) return fail_errno("cannot read a blob");
        if (n == 0) return sha.text();
        sha.update(buffer.data(), static_cast<std::size_t>(n));
        at += n;
    }
}

Result<BlobRef> parse_ref(const json::value& value, const std::string& path) {
    Fields fields(&value, path);
    GANTRY_TRY(digest, fields.text("digest"));
    GANTRY_TRY(size, fields.integer("size", -1, 0, INT64_MAX));
    GANTRY_CHECK(check_digest(digest));
    return BlobRef{digest, static_cast<std::uint64_t>(size)};
}

bool fits_this_machine(const json::value& manifest, std::string_view architecture) {
    const auto* platform = manifest.as_object().if_contains("platform");
    if (!platform || !platform->is_object()) return true;
    Fields fields(platform, "platform");
    const auto arch = fields.text("architecture", std::string(architecture));
    return arch && *arch == architecture;
}

void remove_files(const std::filesystem::path& dir,
                  const std::function<bool(const std::string& name, const std::filesystem::directory_entry&)>& which) {
    std::error_code failed;
    for (std::filesystem::directory_iterator at(dir / "blobs" / "sha256", failed), end; !failed && at != end;
         at.increment(failed)) {
        if (which(at->path().filename().string(), *at)) unlink(at->path().c_str());
    }
}

}  // namespace

std::string_view own_architecture() {
#if defined(__x86_64__)
    return "amd64";
#elif defined(__aarch64__)
    return "arm64";
#else
#error "no name for this architecture yet"
#endif
}

Status check_digest(std::string_view digest) {
    const auto hex = digest.substr(std::min(kPrefix.size(), digest.size()));
    if (digest.starts_with(kPrefix) && hex.size() == 64 && hex.find_first_not_of("0123456789abcdef") == hex.npos) {
        return {};
    }
    return fail(Code::kInvalid, "expected a digest as sha256: and 64 hexadecimal digits, got \"" +
                                    std::string(digest.substr(0, 100)) + "\"");
}

Result<ManifestRefs> parse_manifest(std::string_view text, std::string_view architecture) {
    GANTRY_TRY(document, parse_json(text, kDocumentMax));
    if (!document.is_object()) return fail(Code::kInvalid, "an image manifest must be a JSON object");
    Fields fields(&document, "manifest");
    ManifestRefs out;
    GANTRY_TRY(manifests, fields.list("manifests"));
    if (!manifests.empty()) {
        out.is_index = true;
        for (std::size_t i = 0; i < manifests.size(); ++i) {
            if (!manifests[i]->is_object() || !fits_this_machine(*manifests[i], architecture)) continue;
            GANTRY_TRY(ref, parse_ref(*manifests[i], "manifests[" + std::to_string(i) + "]"));
            out.refs.push_back(ref);
            return out;  // the first that fits, as everybody does
        }
        return fail(Code::kInvalid, "the image has nothing for " + std::string(architecture));
    }
    const auto* config = fields.member("config");
    if (!config) return fail(Code::kInvalid, "the image manifest has no config");
    GANTRY_TRY(config_ref, parse_ref(*config, "config"));
    out.refs.push_back(config_ref);
    GANTRY_TRY(layers, fields.list("layers"));
    for (std::size_t i = 0; i < layers.size(); ++i) {
        GANTRY_TRY(ref, parse_ref(*layers[i], "layers[" + std::to_string(i) + "]"));
        out.refs.push_back(ref);
    }
    return out;
}

BlobStore::BlobStore(std::filesystem::path dir) : dir_(std::move(dir)) {}

Status BlobStore::open() {
    std::error_code failed;
    std::filesystem::create_directories(dir_ / "blobs" / "sha256", failed);
    if (failed) return fail(Code::kFailed, "cannot make " + dir_.string() + ": " + failed.message());
    const auto stale = std::filesystem::file_time_type::clock::now() - kPartKept;
    remove_files(dir_, [&](const std::string& name, const std::filesystem::directory_entry& file) {
        std::error_code ignored;
        return name.find(kUpload) != name.npos || (name.ends_with(".part") && file.last_write_time(ignored) < stale);
    });
    // Images are found by digest, so the index is there only because a layout must have one.
    if (!std::filesystem::exists(dir_ / "index.json")) {
        GANTRY_CHECK(write_file(dir_ / "index.json", R"({"schemaVersion":2,"manifests":[]})"));
    }
    if (std::filesystem::exists(dir_ / "oci-layout")) return {};
    return write_file(dir_ / "oci-layout", R"({"imageLayoutVersion":"1.0.0"})");
}

std::filesystem::path BlobStore::path(std::string_view digest) const {
    return dir_ / "blobs" / "sha256" / std::string(digest.substr(kPrefix.size()));
}

std::filesystem::path BlobStore::part(std::string_view digest) const {
    auto out = path(digest);
    out += ".part";
    return out;
}

bool BlobStore::has(const std::string& digest) const {
    std::error_code ignored;
    return check_digest(digest) && std::filesystem::is_regular_file(path(digest), ignored);
}

Result<std::uint64_t> BlobStore::size(const std::string& digest) const {
    GANTRY_CHECK(check_digest(digest));
    std::error_code failed;
    const auto bytes = std::filesystem::file_size(path(digest), failed);
    if (failed) return fail(Code::kNotFound, "no blob " + digest);
    return bytes;
}

Result<std::string> BlobStore::read(const std::string& digest, std::uint64_t offset, std::size_t length) const {
    GANTRY_CHECK(check_digest(digest));
    const FileDescriptor fd(::open(path(digest).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) return fail(Code::kNotFound, "no blob " + digest);
    std::string out(length, '\0');
    std::size_t got = 0;
    while (got < length) {
        const auto n = pread(fd.get(), out.data() + got, length - got, static_cast<off_t>(offset + got));
        if (n < 0) return fail_errno("cannot read blob " + digest);
        if (n == 0) break;
        got += static_cast<std::size_t>(n);
    }
    out.resize(got);
    return out;
}

Result<std::string> BlobStore::read_all(const std::string& digest) const {
    GANTRY_TRY(bytes, size(digest));
    if (bytes > kDocumentMax) return fail(Code::kInvalid, "blob " + digest + " is too long for a manifest");
    return read(digest, 0, bytes);
}

std::uint64_t BlobStore::partial_size(const std::string& digest) const {
    std::error_code failed;
    const auto bytes = std::filesystem::file_size(part(digest), failed);
    return failed ? 0 : bytes;
}

Status BlobStore::append(const std::string& digest, std::uint64_t offset, std::string_view bytes) {
    GANTRY_CHECK(check_digest(digest));
    const FileDescriptor fd(::open(part(digest).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd) return fail_errno("cannot write " + part(digest).string());
    struct stat info {};
    fstat(fd.get(), &info);
    if (static_cast<std::uint64_t>(info.st_size) != offset) {
        return fail(Code::kConflict, "blob " + digest + " has " + std::to_string(info.st_size) + " bytes, got offset " +
                                         std::to_string(offset));
    }
    return write_all(fd.get(), bytes, static_cast<off_t>(offset), part(digest).string());
}

Status BlobStore::finish(const std::string& digest) {
    GANTRY_CHECK(check_digest(digest));
    {
        const FileDescriptor fd(::open(part(digest).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!fd) return fail_errno("cannot open " + part(digest).string());
        GANTRY_TRY(got, digest_of(fd.get()));
        if (got != digest) {
            unlink(part(digest).c_str());
            return fail(Code::kInvalid, "blob: expected " + digest + ", got " + got + "; the copy was dropped");
        }
        if (fsync(fd.get()) != 0) return fail_errno("cannot sync " + part(digest).string());
    }
    if (rename(part(digest).c_str(), path(digest).c_str()) != 0) return fail_errno("cannot name blob " + digest);
    return sync_folder(path(digest).parent_path());
}

Status BlobStore::take(const std::string& digest, int fd) {
    GANTRY_CHECK(check_digest(digest));
    // A name of its own: two uploads of one blob do not mix, and a transfer from a controller keeps its part.
    auto temporary = path(digest);
    temporary += std::string(kUpload) + random_name();
    const FileDescriptor out(::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!out) return fail_errno("cannot write " + temporary.string());
    const auto taken = [&]() -> Status {
        Sha256 sha;
        std::array<char, 64 << 10> buffer;
        for (off_t at = 0;;) {
            const auto n = ::read(fd, buffer.data(), buffer.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return fail_errno("the upload broke");
            if (n == 0) break;
            const std::string_view bytes(buffer.data(), static_cast<std::size_t>(n));
            sha.update(bytes.data(), bytes.size());
            GANTRY_CHECK(write_all(out.get(), bytes, at, temporary.string()));
            at += n;
        }
        if (const auto got = sha.text(); got != digest) {
            return fail(Code::kInvalid, "blob: expected " + digest + ", got " + got + "; nothing was stored");
        }
        if (fsync(out.get()) != 0) return fail_errno("cannot sync " + temporary.string());
        if (rename(temporary.c_str(), path(digest).c_str()) != 0) return fail_errno("cannot name blob " + digest);
        return sync_folder(path(digest).parent_path());
    }();
    if (!taken) unlink(temporary.c_str());
    return taken;
}

Status BlobStore::give(const std::string& digest, int fd) const {
    GANTRY_TRY(bytes, size(digest));
    for (std::uint64_t at = 0; at < bytes;) {
        GANTRY_TRY(chunk, read(digest, at, 64 << 10));
        if (chunk.empty()) return fail(Code::kFailed, "blob " + digest + " became shorter");
        for (std::string_view rest = chunk; !rest.empty();) {
            const auto n = ::write(fd, rest.data(), rest.size());
            if (n < 0 && errno == EINTR) continue;
            if (n < 0) return fail_errno("the reader left");
            rest.remove_prefix(static_cast<std::size_t>(n));
        }
        at += chunk.size();
    }
    return {};
}

// `see` is called with each digest before anything of that blob is believed.
Result<std::vector<BlobRef>> BlobStore::walk(const std::string& manifest,
                                             const std::function<Status(const std::string&)>& see) const {
    GANTRY_CHECK(see(manifest));
    std::vector<BlobRef> out{{manifest, size(manifest).value_or(0)}};
    for (std::string at = manifest; has(at);) {
        if (out.size() > kIndexDepth) return fail(Code::kInvalid, "image " + manifest + ": too many nested indexes");
        GANTRY_TRY(text, read_all(at));
        GANTRY_TRY(refs, parse_manifest(text, own_architecture()));
        for (const auto& ref : refs.refs) GANTRY_CHECK(see(ref.digest));
        out.insert(out.end(), refs.refs.begin(), refs.refs.end());
        if (!refs.is_index) break;
        at = refs.refs.front().digest;
    }
    return out;
}

Result<std::vector<BlobRef>> BlobStore::contents(const std::string& manifest) const {
    return walk(manifest, check_digest);
}

Result<std::vector<std::string>> BlobStore::missing(const std::string& manifest) const {
    GANTRY_TRY(all, contents(manifest));
    std::vector<std::string> out;
    for (const auto& ref : all) {
        if (!has(ref.digest)) out.push_back(ref.digest);
    }
    return out;
}

Result<bool> BlobStore::drop_damaged(const std::string& manifest) {
    bool dropped = false;
    const auto walked = walk(manifest, [&](const std::string& digest) -> Status {
        GANTRY_CHECK(check_digest(digest));
        const FileDescriptor fd(::open(path(digest).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
        if (!fd) return {};
        GANTRY_TRY(got, digest_of(fd.get()));
        if (got == digest) return {};
        if (unlink(path(digest).c_str()) != 0) return fail_errno("cannot remove the damaged blob " + digest);
        dropped = true;
        return {};
    });
    if (!walked) return std::unexpected(walked.error());
    return dropped;
}

std::set<std::string> BlobStore::names_of(const std::vector<std::string>& manifests) const {
    std::set<std::string> out;
    for (const auto& manifest : manifests) {
        if (!check_digest(manifest)) continue;
        out.insert(manifest.substr(kPrefix.size()));
        const auto all = contents(manifest);
        for (const auto& ref : all ? *all : std::vector<BlobRef>{}) out.insert(ref.digest.substr(kPrefix.size()));
    }
    return out;
}

void BlobStore::keep(const std::vector<std::string>& manifests, std::chrono::seconds older_than) {
    const auto wanted = names_of(manifests);
    const auto limit = std::filesystem::file_time_type::clock::now() - older_than;
    remove_files(dir_, [&](const std::string& name, const std::filesystem::directory_entry& file) {
        std::error_code failed;
        return name.find(kUpload) == name.npos && !wanted.contains(name.substr(0, name.find('.'))) &&
               file.last_write_time(failed) <= limit && !failed;
    });
}

void BlobStore::remove(const std::string& manifest, const std::vector<std::string>& others) {
    const auto wanted = names_of(others);
    for (const auto& name : names_of({manifest})) {
        if (!wanted.contains(name)) unlink((dir_ / "blobs" / "sha256" / name).c_str());
    }
}

}  // namespace gantry::control
