// SPDX-License-Identifier: Apache-2.0
//
// Database: keys, values and revisions in one SQLite file. Blocking; owned and used by one thread at a time.
//
// Every failure is a gantry::Failure. The codes of commit(): kConflict (an expected revision differs) and kFull,
// kFailed (nothing was written); kUnknown (it may have been: the next call opens the file again and finds out).
#pragma once

#include <cstdint>
#include <gantry/store.hpp>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/store/sqlite/datafile.hpp"
#include "plugins/store/sqlite/reserve.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace gantry::sqlite {

// "0.9.1" as a number that a database can hold: 9001. What is no such version is 0.
std::int64_t version_number(const char* version);

class Database {
  public:
    // Opens the file, or makes it. Throws with the text an operator needs; a file that is refused is not changed. What
    // another `writer` (a version, see version_number) wrote is copied to PATH.before-upgrade first.
    Database(const std::string& path, std::int64_t reserve_bytes, std::int64_t writer = 0);
    ~Database();
    Database(const Database&) = delete;
    Database& operator=(const Database&) = delete;

    // Every key that begins with prefix, ordered by key.
    StoreEntries load(std::string_view prefix);
    // All changes or none; on disk when it returns the revision.
    std::uint64_t commit(const std::vector<StoreChange>& changes, bool use_reserve);
    // Moves the log's content into the database once there is enough of it. Call it when nobody waits.
    void tidy();
    // Why there is no copy of what another version wrote; empty if there is one, or none was wanted.
    const std::string& no_copy() const { return no_copy_; }

  private:
    struct Close {
        void operator()(sqlite3* db) const;
        void operator()(sqlite3_stmt* statement) const;
    };
    using Connection = std::unique_ptr<sqlite3, Close>;
    using Statement = std::unique_ptr<sqlite3_stmt, Close>;
    struct Statements {
        Statement load, revision, put, remove, newest, bump, begin, commit, rollback;
    };

    void create() const;
    void connect();
    void disconnect();
    void verify();
    void keep_copy(std::int64_t writer);
    void copy_to(const std::string& file) const;
    void settle();
    std::uint64_t write(const std::vector<StoreChange>& changes);
    void apply(const StoreChange& change, std::uint64_t revision);
    std::uint64_t newest();
    void roll_back();
    Statement prepare(const char* sql) const;
    [[noreturn]] void fail(const std::string& what) const;

    const std::string path_;
    Fd lock_;
    Reserve reserve_;
    Connection db_;
    Statements sql_;
    std::string no_copy_;
    int log_pages_ = 0;
    bool settled_ = true;  // false: it is not known whether the last commit is on disk
};

}  // namespace gantry::sqlite
