// SPDX-License-Identifier: Apache-2.0
#include "plugins/store/sqlite/database.hpp"

#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

namespace gantry::sqlite {

namespace {

// The log is emptied from 1 MiB on, and a log that one large commit made longer is cut back to that.
constexpr int kLogPages = 256;

constexpr const char* kCreate =
    "PRAGMA locking_mode=EXCLUSIVE;"
    "PRAGMA journal_mode=WAL;"
    "PRAGMA synchronous=FULL;"
    "BEGIN;"
    "CREATE TABLE state(key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE meta(name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL) WITHOUT ROWID;"
    "INSERT INTO meta VALUES('schema', 1), ('revision', 0);"
    "PRAGMA application_id=0x474e5452;"
    "PRAGMA user_version=1;"
    "COMMIT;";

// An exclusive lock needs no shared memory file; the cache is small because everything lives in the controller's
// memory anyway.
constexpr const char* kSettings =
    "PRAGMA locking_mode=EXCLUSIVE;"
    "PRAGMA synchronous=FULL;"
    "PRAGMA cache_size=-256;"
    "PRAGMA temp_store=MEMORY;"
    "PRAGMA trusted_schema=OFF;"
    "PRAGMA wal_autocheckpoint=0;"
    "PRAGMA journal_size_limit=1048576;";

int count_log_pages(void* pages, sqlite3*, const char*, int count) {
    *static_cast<int*>(pages) = count;
    return SQLITE_OK;
}

void bind(sqlite3_stmt* statement, int index, std::string_view text) {
    sqlite3_bind_text64(statement, index, text.empty() ? "" : text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
}

std::string_view column(sqlite3_stmt* statement, int index) {
    const void* data = sqlite3_column_blob(statement, index);
    return {static_cast<const char*>(data), static_cast<std::size_t>(sqlite3_column_bytes(statement, index))};
}

// The smallest text above every text that begins with prefix; empty if there is none.
std::string after_prefix(std::string_view prefix) {
    std::string end(prefix);
    while (!end.empty() && end.back() == '\xff') end.pop_back();
    if (!end.empty()) ++end.back();
    return end;
}

// Ends a statement's use however it is left.
struct Use {
    explicit Use(sqlite3_stmt* s) : statement(s) {}
    ~Use() {
        sqlite3_reset(statement);
        sqlite3_clear_bindings(statement);
    }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;
    sqlite3_stmt* statement;
};

// SQLite knows ENOSPC as "full" but not a quota.
bool no_room(sqlite3* db) {
    const int code = sqlite3_errcode(db) & 0xff;
    return code == SQLITE_FULL || (code == SQLITE_IOERR && sqlite3_system_errno(db) == EDQUOT);
}

// The log as well, into the database: closing would not say that there is no room for it.
bool write_all(sqlite3* db, const char* sql) {
    return sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK &&
           sqlite3_wal_checkpoint_v2(db, nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr) == SQLITE_OK;
}

}  // namespace

void Database::Close::operator()(sqlite3* db) const { sqlite3_close_v2(db); }
void Database::Close::operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }

std::int64_t version_number(const char* version) {
    int major = 0, minor = 0, patch = 0;
    if (std::sscanf(version, "%d.%d.%d", &major, &minor, &patch) != 3) return 0;
    return (std::int64_t{major} * 1000 + minor) * 1000 + patch;
}

Database::Database(const std::string& path, std::int64_t reserve_bytes, std::int64_t writer)
    : path_(path), reserve_(path + ".reserve", reserve_bytes) {
    make_folder(path_);
    const auto absent = absent_beside(path_);
    lock_ = lock(path_ + ".lock");
    try {
        if (!inspect(path_)) create();
        connect();
        keep_copy(writer);
    } catch (...) {
        remove_empty(absent);  // what is refused stays as it was found, and so does its folder
        throw;
    }
    reserve_.keep();
}

Database::~Database() { disconnect(); }

// The way back to the version that wrote this: it may not read what this one is about to write.
void Database::keep_copy(std::int64_t writer) {
    {
        const Statement read = prepare("SELECT value FROM meta WHERE name = 'writer'");
        if (sqlite3_step(read.get()) == SQLITE_ROW && sqlite3_column_int64(read.get(), 0) == writer) return;
    }
    const std::string file = path_ + ".before-upgrade";
    try {
        if (newest() != 0) copy_to(file);  // nothing was written yet: nothing to go back to
        const Statement note =
            prepare("INSERT INTO meta VALUES('writer', ?1) ON CONFLICT(name) DO UPDATE SET value = ?1");
        sqlite3_bind_int64(note.get(), 1, writer);
        if (sqlite3_step(note.get()) != SQLITE_DONE) fail("cannot note the version in the database");
    } catch (const Failure& failure) {  // a full disk, say: no reason to leave a cluster without its controller
        no_copy_ = std::string("there is no way back to the version that ran before: ") + failure.what();
    }
}

void Database::copy_to(const std::string& file) const {
    const std::string fresh = file + ".new";
    for (const char* part : {"", "-wal", "-shm", "-journal"}) unlink((fresh + part).c_str());
    Fd(open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)).reset();
    sqlite3* raw = nullptr;
    const int opened = sqlite3_open_v2(fresh.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    Connection target(raw);
    sqlite3_backup* backup = opened == SQLITE_OK ? sqlite3_backup_init(raw, "main", db_.get(), "main") : nullptr;
    if (backup != nullptr) sqlite3_backup_step(backup, -1);
    const bool copied = backup != nullptr && sqlite3_backup_finish(backup) == SQLITE_OK;
    const std::string detail = copied ? "" : raw != nullptr ? sqlite3_errmsg(raw) : "out of memory";
    target.reset();
    if (copied && rename(fresh.c_str(), file.c_str()) == 0) return sync_folder(file);
    const std::string why = copied ? std::strerror(errno) : detail;
    unlink(fresh.c_str());
    throw Failure(Code::kFailed, "cannot copy the database to " + file + ": " + why);
}

void Database::fail(const std::string& what) const {
    const int code = sqlite3_errcode(db_.get()) & 0xff;
    const std::string detail = sqlite3_errmsg(db_.get());
    if (code == SQLITE_BUSY || code == SQLITE_LOCKED)
        throw Failure(Code::kConflict, what + ": another process has " + path_ + " open; close it");
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        throw Failure(Code::kFailed, what + ": " + path_ + " is damaged (" + detail +
                                         "); it was left untouched: restore it from a copy, or move it away to begin "
                                         "with no state");
    if (no_room(db_.get())) throw Failure(Code::kFull, what + ": no room on the disk of " + path_);
    throw Failure(Code::kFailed, what + ": " + path_ + ": " + detail);
}

Database::Statement Database::prepare(const char* sql) const {
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v3(db_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr) != SQLITE_OK)
        fail("cannot read the database");
    return Statement(raw);
}

// A database is made under another name and then moved into place whole: a crash leaves none, never half of one.
void Database::create() const {
    const std::string fresh = path_ + ".new";
    for (const char* part : {"", "-wal", "-shm", "-journal"}) unlink((fresh + part).c_str());
    // Secrets are among the values; SQLite gives its log the permissions of the database.
    Fd(open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)).reset();
    sqlite3* raw = nullptr;
    const int opened =
        sqlite3_open_v2(fresh.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
    Connection db(raw);
    if (opened != SQLITE_OK || !write_all(raw, kCreate)) {
        const std::string what = "cannot make the database " + path_ + ": ";
        if (raw && no_room(raw)) throw Failure(Code::kFull, what + "no room on its disk; free some space");
        throw Failure(Code::kFailed, what + (raw ? sqlite3_errmsg(raw) : "out of memory"));
    }
    db.reset();
    if (rename(fresh.c_str(), path_.c_str()) != 0)
        throw Failure(Code::kFailed, "cannot name the new database " + path_ + ": " + std::strerror(errno));
    sync_folder(path_);
}

void Database::connect() {
    sqlite3* raw = nullptr;
    const int opened = sqlite3_open_v2(path_.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
    db_.reset(raw);
    try {
        if (opened != SQLITE_OK) fail("cannot open the database");
        sqlite3_extended_result_codes(raw, 1);
        // Until it is known to be sound, closing must not write what the log holds into it.
        sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
        if (sqlite3_exec(raw, kSettings, nullptr, nullptr, nullptr) != SQLITE_OK) fail("cannot open the database");
        verify();
        sqlite3_wal_hook(raw, count_log_pages, &log_pages_);
        sql_ = {
            prepare("SELECT key, value, revision FROM state WHERE key >= ?1 AND (?2 = '' OR key < ?2) ORDER BY key"),
            prepare("SELECT revision FROM state WHERE key = ?1"),
            prepare("INSERT INTO state VALUES(?1, ?2, ?3) ON CONFLICT(key) DO UPDATE SET value = ?2, revision = ?3"),
            prepare("DELETE FROM state WHERE key = ?1"),
            prepare("SELECT value FROM meta WHERE name = 'revision'"),
            prepare("UPDATE meta SET value = ?1 WHERE name = 'revision'"),
            prepare("BEGIN IMMEDIATE"),
            prepare("COMMIT"),
            prepare("ROLLBACK")};
        newest();
    } catch (...) {
        disconnect();
        throw;
    }
    sqlite3_db_config(raw, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, nullptr);
}

void Database::disconnect() {
    sql_ = {};
    db_.reset();
}

void Database::verify() {
    const auto answer = [&](const char* sql, std::string_view expected) {
        const Statement statement = prepare(sql);
        if (sqlite3_step(statement.get()) != SQLITE_ROW) fail("cannot open the database");
        const std::string got(column(statement.get(), 0));
        if (got != expected)
            throw Failure(Code::kFailed, "cannot open the database: " + path_ + " is damaged (" + got +
                                             "); it was left untouched: restore it from a copy, or move it away to "
                                             "begin with no state");
    };
    const auto number = [&](const char* sql) {
        const Statement statement = prepare(sql);
        if (sqlite3_step(statement.get()) != SQLITE_ROW) fail("cannot open the database");
        return static_cast<std::uint32_t>(sqlite3_column_int64(statement.get(), 0));
    };
    // A log that was not emptied yet may hold a newer version's first commits.
    check_identity(path_, number("PRAGMA application_id"), number("PRAGMA user_version"));
    answer("PRAGMA quick_check(1)", "ok");
    answer("PRAGMA journal_mode", "wal");
}

// After a commit whose end is not known: what the disk has decides, and then it is written for good.
void Database::settle() {
    if (settled_ && db_) return;
    if (db_) sqlite3_db_config(db_.get(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
    disconnect();
    connect();
    const int settled = sqlite3_wal_checkpoint_v2(db_.get(), nullptr, SQLITE_CHECKPOINT_TRUNCATE, nullptr, nullptr);
    // The log is synchronised before anything is moved out of it, so a disk too full for the move settles it, too.
    if (settled != SQLITE_OK && !no_room(db_.get())) fail("cannot settle an interrupted commit");
    settled_ = true;
}

std::uint64_t Database::newest() {
    const Use use(sql_.newest.get());
    if (sqlite3_step(use.statement) != SQLITE_ROW) fail("cannot read the database's revision");
    return static_cast<std::uint64_t>(sqlite3_column_int64(use.statement, 0));
}

StoreEntries Database::load(std::string_view prefix) {
    settle();
    const std::string end = after_prefix(prefix);
    StoreEntries out;
    const Use use(sql_.load.get());
    bind(use.statement, 1, prefix);
    bind(use.statement, 2, end);
    int step = 0;
    while ((step = sqlite3_step(use.statement)) == SQLITE_ROW)
        out.entries.push_back({std::string(column(use.statement, 0)), std::string(column(use.statement, 1)),
                               static_cast<std::uint64_t>(sqlite3_column_int64(use.statement, 2))});
    if (step != SQLITE_DONE) fail("cannot read the state");
    out.revision = newest();
    return out;
}

std::uint64_t Database::commit(const std::vector<StoreChange>& changes, bool use_reserve) {
    settle();
    const bool reserved = reserve_.keep();
    if (!reserved && !use_reserve)
        throw Failure(Code::kFull, "the disk of " + path_ +
                                       " is almost full: what is left is kept for moving instances; "
                                       "free some space");
    try {
        return write(changes);
    } catch (const Failure& failure) {
        if (failure.code() != Code::kFull || !use_reserve || !reserve_.give_up()) throw;
        return write(changes);
    }
}

std::uint64_t Database::write(const std::vector<StoreChange>& changes) {
    if (sqlite3_step(Use(sql_.begin.get()).statement) != SQLITE_DONE) fail("cannot begin a commit");
    std::uint64_t revision = 0;
    try {
        revision = newest() + 1;
        for (const StoreChange& change : changes) apply(change, revision);
        const Use use(sql_.bump.get());
        sqlite3_bind_int64(use.statement, 1, static_cast<sqlite3_int64>(revision));
        if (sqlite3_step(use.statement) != SQLITE_DONE) fail("cannot write a commit");
    } catch (...) {
        roll_back();
        throw;
    }
    if (sqlite3_step(Use(sql_.commit.get()).statement) == SQLITE_DONE) return revision;

    // "Full" comes before the record that makes a commit count was written; anything else may come after it.
    const bool full = no_room(db_.get());
    const std::string detail = sqlite3_errmsg(db_.get());
    roll_back();
    if (full) throw Failure(Code::kFull, "no room on the disk of " + path_);
    settled_ = false;
    throw Failure(Code::kUnknown, "a commit to " + path_ + " was interrupted: " + detail);
}

void Database::apply(const StoreChange& change, std::uint64_t revision) {
    if (change.expected != GANTRY_REVISION_ANY) {
        const Use use(sql_.revision.get());
        bind(use.statement, 1, change.key);
        const int step = sqlite3_step(use.statement);
        if (step != SQLITE_ROW && step != SQLITE_DONE) fail("cannot read the state");
        const auto have = step == SQLITE_ROW ? static_cast<std::uint64_t>(sqlite3_column_int64(use.statement, 0)) : 0;
        if (have != change.expected)
            throw Failure(Code::kConflict, "\"" + change.key + "\" has revision " + std::to_string(have) +
                                               ", expected " + std::to_string(change.expected));
    }
    const Use use(change.remove ? sql_.remove.get() : sql_.put.get());
    bind(use.statement, 1, change.key);
    if (!change.remove) {
        sqlite3_bind_blob64(use.statement, 2, change.value.empty() ? "" : change.value.data(), change.value.size(),
                            SQLITE_STATIC);
        sqlite3_bind_int64(use.statement, 3, static_cast<sqlite3_int64>(revision));
    }
    if (sqlite3_step(use.statement) != SQLITE_DONE) fail("cannot write \"" + change.key + "\"");
}

void Database::roll_back() {
    // SQLite has rolled back by itself after some errors.
    if (!sqlite3_get_autocommit(db_.get())) sqlite3_step(Use(sql_.rollback.get()).statement);
}

void Database::tidy() {
    if (log_pages_ < kLogPages || !db_ || !settled_) return;
    // A full disk can refuse this; the log is then emptied after a later commit.
    int left = 0;
    int done = 0;
    if (sqlite3_wal_checkpoint_v2(db_.get(), nullptr, SQLITE_CHECKPOINT_PASSIVE, &left, &done) == SQLITE_OK &&
        left == done)
        log_pages_ = 0;
}

}  // namespace gantry::sqlite
