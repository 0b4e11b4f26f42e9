// SPDX-License-Identifier: Apache-2.0
#include "plugins/runtime/image-store/layer.hpp"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <locale.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <gantry/status.hpp>
#include <memory>
#include <utility>

namespace image_store {
namespace {

using gantry::Code;
using gantry::Failure;

constexpr std::size_t kBlock = 1 << 17;
constexpr long long kTarBlock = 512;
constexpr std::size_t kMaxXattrBytes = 64 << 10;  // of one entry
constexpr std::size_t kMaxShown = 300;            // bytes of a path in a message

// libarchive turns the names of a pax header into the thread's character set.
class Utf8Names {
  public:
    Utf8Names() : locale_(::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr)) {
        if (locale_ != nullptr) before_ = ::uselocale(locale_);
    }
    ~Utf8Names() {
        if (locale_ == nullptr) return;
        ::uselocale(before_);
        ::freelocale(locale_);
    }
    Utf8Names(const Utf8Names&) = delete;
    Utf8Names& operator=(const Utf8Names&) = delete;

  private:
    locale_t locale_;
    locale_t before_ = nullptr;
};

using Reader = std::unique_ptr<archive, int (*)(archive*)>;

Reader new_reader() {
    Reader reader(archive_read_new(), &archive_read_free);
    if (!reader) throw Failure(Code::kFailed, "libarchive: out of memory");
    return reader;
}

std::string words(archive* reader) {
    const char* text = archive_error_string(reader);
    return text == nullptr ? "unreadable" : text;
}

// The bytes of the tar: takes the compression off, counts and hashes what comes out.
class TarStream {
  public:
    TarStream(int blob, std::string name, long long max_bytes, const Cancelled& cancelled)
        : name_(std::move(name)), max_bytes_(max_bytes), cancelled_(cancelled), outer_(new_reader()) {
        archive_read_support_format_raw(outer_.get());
        archive_read_support_filter_gzip(outer_.get());
        archive_read_support_filter_zstd(outer_.get());
        archive_entry* entry = nullptr;
        if (archive_read_open_fd(outer_.get(), blob, kBlock) != ARCHIVE_OK) broken();
        const int status = archive_read_next_header(outer_.get(), &entry);
        if (status != ARCHIVE_OK) broken();
    }

    // Up to kBlock bytes, valid until the next call; 0 at the end. Never throws through libarchive: see error().
    la_ssize_t next(const void** data) noexcept {
        try {
            if (cancelled_ && cancelled_()) throw Failure(Code::kCancelled, name_ + ": cancelled");
            const la_ssize_t n = archive_read_data(outer_.get(), buffer_.get(), kBlock);
            if (n < 0) broken();
            total_ += n;
            if (total_ > max_bytes_) {
                throw Failure(Code::kInvalid,
                              name_ + ": unpacks to more than " + std::to_string(max_bytes_) + " bytes; refused");
            }
            hash_.add(buffer_.get(), static_cast<std::size_t>(n));
            *data = buffer_.get();
            return n > 0 ? n : pad();
        } catch (...) {
            error_ = std::current_exception();
            return -1;
        }
    }

    void rethrow() const {
        if (error_) std::rethrow_exception(error_);
    }
    Digest finish() {
        const void* rest = nullptr;
        while (next(&rest) > 0) {
        }
        rethrow();
        return hash_.finish();
    }

  private:
    // Some tools (umoci insert) leave out what fills the last block. The content is known to be the author's by its
    // digest, so that is forgiven; anything longer that is missing is not.
    la_ssize_t pad() {
        const long long missing = (kTarBlock - total_ % kTarBlock) % kTarBlock;
        if (std::exchange(padded_, true) || missing == 0) return 0;
        std::memset(buffer_.get(), 0, static_cast<std::size_t>(missing));
        return static_cast<la_ssize_t>(missing);
    }
    [[noreturn]] void broken() const {
        throw Failure(Code::kInvalid, name_ + ": cannot be decompressed: " + words(outer_.get()));
    }

    std::string name_;
    long long max_bytes_;
    const Cancelled& cancelled_;
    Reader outer_;
    std::unique_ptr<char[]> buffer_ = std::make_unique<char[]>(kBlock);
    Sha256 hash_;
    long long total_ = 0;
    bool padded_ = false;
    std::exception_ptr error_;
};

la_ssize_t read_tar(archive*, void* stream, const void** data) { return static_cast<TarStream*>(stream)->next(data); }

TreeEntry describe(archive_entry* from, const std::string& name) {
    TreeEntry out;
    const char* path = archive_entry_pathname(from);
    if (path == nullptr) throw Failure(Code::kInvalid, name + ": an entry has no readable name");
    out.path = path;
    if (const char* link = archive_entry_hardlink(from)) {
        out.hard_link = true;
        out.link = link;
    } else if (const char* target = archive_entry_symlink(from)) {
        out.link = target;
    }
    out.type = archive_entry_filetype(from);
    out.permissions = archive_entry_perm(from);
    out.uid = static_cast<uid_t>(archive_entry_uid(from));
    out.gid = static_cast<gid_t>(archive_entry_gid(from));
    out.device = archive_entry_rdev(from);
    out.size = archive_entry_size(from);
    out.mtime = {archive_entry_mtime(from), archive_entry_mtime_nsec(from)};
    std::size_t bytes = 0;
    archive_entry_xattr_reset(from);
    const char* key = nullptr;
    const void* value = nullptr;
    std::size_t len = 0;
    while (archive_entry_xattr_next(from, &key, &value, &len) == ARCHIVE_OK) {
        if ((bytes += len) > kMaxXattrBytes) {
            throw Failure(Code::kInvalid,
                          name + ": entry \"" + out.path.substr(0, kMaxShown) + "\" has too many attributes; refused");
        }
        out.xattrs.emplace_back(key, std::string(static_cast<const char*>(value), len));
    }
    return out;
}

class Unpacker {
  public:
    Unpacker(TarStream& stream, std::string name, long long max_bytes)
        : stream_(stream), name_(std::move(name)), max_bytes_(max_bytes), reader_(new_reader()) {
        archive_read_support_format_tar(reader_.get());
        if (archive_read_open(reader_.get(), &stream_, nullptr, &read_tar, nullptr) != ARCHIVE_OK) broken("");
    }

    void run(TreeWriter& tree) {
        std::string last;
        for (;;) {
            archive_entry* raw = nullptr;
            const int status = archive_read_next_header(reader_.get(), &raw);
            if (status == ARCHIVE_EOF) return;
            if (status != ARCHIVE_OK && status != ARCHIVE_WARN) broken(last);
            const TreeEntry entry = describe(raw, name_);
            last = entry.path;
            if (entry.size > max_bytes_) {
                throw Failure(Code::kInvalid, name_ + ": entry \"" + entry.path.substr(0, kMaxShown) +
                                                  "\" is larger than " + std::to_string(max_bytes_) +
                                                  " bytes; refused");
            }
            tree.add(entry, [&](const auto& write) { content(entry, write); });
        }
    }

  private:
    void content(const TreeEntry& entry, const std::function<void(const void*, std::size_t, std::int64_t)>& write) {
        for (;;) {
            const void* data = nullptr;
            std::size_t len = 0;
            la_int64_t offset = 0;
            const int status = archive_read_data_block(reader_.get(), &data, &len, &offset);
            if (status == ARCHIVE_EOF) return;
            if (status != ARCHIVE_OK && status != ARCHIVE_WARN) broken(entry.path);
            write(data, len, offset);
        }
    }

    [[noreturn]] void broken(const std::string& entry) const {
        stream_.rethrow();
        throw Failure(Code::kInvalid, name_ + ": broken tar" +
                                          (entry.empty() ? "" : " at entry \"" + entry.substr(0, kMaxShown) + "\"") +
                                          ": " + words(reader_.get()));
    }

    TarStream& stream_;
    std::string name_;
    long long max_bytes_;
    Reader reader_;
};

}  // namespace

void unpack_layer(const UnpackJob& job, const Cancelled& cancelled) {
    const Utf8Names utf8;
    const std::string name = "layer " + job.layer.digest.text();
    gantry::Fd root(::fcntl(job.root, F_DUPFD_CLOEXEC, 0));
    if (!root) throw Failure(Code::kFailed, name + ": cannot open its folder: " + std::strerror(errno));
    TreeWriter tree(std::move(root), job.form, job.keep_owners);
    TarStream stream(job.blob, name, job.max_bytes, cancelled);
    tree.begin_layer(name);
    Unpacker(stream, name, job.max_bytes).run(tree);
    tree.finish_layer();
    const Digest found = stream.finish();
    if (found != job.layer.diff_id) {
        throw Failure(Code::kInvalid, name + ": its tar has digest " + found.text() +
                                          ", the image's configuration says " + job.layer.diff_id.text());
    }
}

}  // namespace image_store
