// SPDX-License-Identifier: Apache-2.0
#include "plugins/store/sqlite/datafile.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <gantry/status.hpp>

namespace gantry::sqlite {

namespace {

// Offsets of SQLite's file header (https://www.sqlite.org/fileformat2.html, section 1.3).
constexpr std::size_t kHeaderBytes = 100;
constexpr std::size_t kUserVersion = 60;
constexpr std::size_t kApplication = 68;
constexpr std::string_view kMagic("SQLite format 3\0", 16);

[[noreturn]] void refuse(const std::string& path, const std::string& why) {
    throw Failure(Code::kFailed, "database " + path + " " + why + "; it was left untouched");
}

[[noreturn]] void failed(const std::string& what, int error) {
    const Code code = error == ENOSPC || error == EDQUOT ? Code::kFull : Code::kFailed;
    throw Failure(code, what + ": " + std::strerror(error));
}

std::uint32_t big_endian(const unsigned char* at) {
    return std::uint32_t{at[0]} << 24 | std::uint32_t{at[1]} << 16 | std::uint32_t{at[2]} << 8 | at[3];
}

}  // namespace

void make_folder(const std::string& path) {
    const auto folder = std::filesystem::path(path).parent_path();
    if (folder.empty() || mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) return;
    if (errno != ENOENT) failed("cannot make the folder " + folder.string(), errno);
    make_folder(folder);
    if (mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) failed("cannot make the folder " + folder.string(), errno);
}

Fd lock(const std::string& path) {
    for (int tries = 0; tries < 100; ++tries) {
        Fd file(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!file) failed("cannot open the lock file " + path, errno);
        if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno != EWOULDBLOCK) failed("cannot lock " + path, errno);
            break;
        }
        // Who refuses a database removes the lock file that he made, so ours must still be the one of that name.
        struct stat mine {};
        struct stat named {};
        if (fstat(file.get(), &mine) == 0 && stat(path.c_str(), &named) == 0 && mine.st_ino == named.st_ino)
            return file;
    }
    throw Failure(Code::kConflict, "another process has " + path +
                                       " locked: is a second gantryd running on this database? Stop one or give it "
                                       "another path");
}

std::vector<std::string> absent_beside(const std::string& path) {
    std::vector<std::string> out;
    for (const char* ending : {"-wal", ".lock"})
        if (access((path + ending).c_str(), F_OK) != 0) out.push_back(path + ending);
    return out;
}

void remove_empty(const std::vector<std::string>& files) {
    struct stat have {};
    for (const auto& file : files)
        if (stat(file.c_str(), &have) == 0 && have.st_size == 0) unlink(file.c_str());
}

void check_identity(const std::string& path, std::uint32_t application, std::uint32_t schema) {
    if (application != kApplicationId)
        refuse(path, "belongs to another program (its application id is not Gantry's): give the store another path");
    if (schema > kSchema)
        refuse(path, "was written by a newer version of Gantry (schema " + std::to_string(schema) +
                         ", this version knows up to " + std::to_string(kSchema) +
                         "): run that version or restore an older copy");
    if (schema == 0) refuse(path, "has no schema version, so it is damaged: restore it from a copy");
}

bool inspect(const std::string& path) {
    const Fd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file) {
        if (errno != ENOENT) failed("cannot open the database " + path, errno);
        struct stat log {};
        // A log without its database would be replayed into the new one.
        if (stat((path + "-wal").c_str(), &log) == 0 && log.st_size > 0)
            refuse(path,
                   "is missing but its log " + path + "-wal is there: restore the database, or move the log away");
        return false;
    }
    struct stat have {};
    if (fstat(file.get(), &have) != 0) failed("cannot examine the database " + path, errno);
    if (!S_ISREG(have.st_mode)) refuse(path, "is no regular file");
    std::array<unsigned char, kHeaderBytes> header{};
    const ssize_t got = pread(file.get(), header.data(), header.size(), 0);
    if (got < 0) failed("cannot read the database " + path, errno);
    if (got == 0) refuse(path, "is empty: restore it from a copy, or move it away to begin with no state");
    if (got < static_cast<ssize_t>(header.size()) || std::memcmp(header.data(), kMagic.data(), kMagic.size()) != 0)
        refuse(path,
               "is damaged or no SQLite database: restore it from a copy, or move it away to begin with no state");
    check_identity(path, big_endian(&header[kApplication]), big_endian(&header[kUserVersion]));
    return true;
}

void sync_folder(const std::string& path) {
    auto folder = std::filesystem::path(path).parent_path();
    if (folder.empty()) folder = ".";
    const Fd file(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!file || fsync(file.get()) != 0) failed("cannot write the folder " + folder.string(), errno);
}

}  // namespace gantry::sqlite
