// SPDX-License-Identifier: Apache-2.0
#include "plugins/store/sqlite/database.hpp"

#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <optional>

#include "tests/unit/plugins/store/sqlite/temporary_folder.hpp"

using Catch::Matchers::Contains;
using gantry::Code;
using gantry::Failure;
using gantry::kRevisionAny;
using gantry::kRevisionNone;
using gantry::StoreChange;
using gantry::sqlite::Database;
using gantry::sqlite::version_number;

namespace {

StoreChange put(std::string key, std::string value, std::uint64_t expected = kRevisionAny) {
    return {std::move(key), std::move(value), expected, false};
}
StoreChange drop(std::string key, std::uint64_t expected = kRevisionAny) {
    return {std::move(key), {}, expected, true};
}

template <class F>
Failure failure_of(F&& call) {
    try {
        call();
    } catch (const Failure& failure) {
        return failure;
    }
    FAIL("expected a failure");
    throw 0;
}

void sql(const std::string& path, const char* text) {
    sqlite3* db = nullptr;
    REQUIRE(sqlite3_open(path.c_str(), &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, text, nullptr, nullptr, nullptr) == SQLITE_OK);
    sqlite3_close(db);
}

// The files of a folder with their sizes.
std::map<std::string, std::uintmax_t> files_beside(const std::string& path) {
    std::map<std::string, std::uintmax_t> out;
    for (const auto& file : std::filesystem::directory_iterator(std::filesystem::path(path).parent_path()))
        out[file.path().filename().string()] = file.file_size();
    return out;
}

// Opening `path` is refused, with these words; its bytes stay as they are, and no file beside it comes or goes.
void refused_untouched(const std::string& path, const std::string& words) {
    for (const char* part : {".lock", "-wal"}) std::filesystem::remove(path + part);
    const std::string before = content(path);
    const auto files = files_beside(path);
    const Failure failure = failure_of([&] { Database database(path, 0); });
    CHECK_THAT(failure.what(), Contains(words) && Contains("untouched"));
    CHECK(failure.code() == Code::kFailed);
    CHECK((content(path) == before));
    CHECK(files_beside(path) == files);
}

std::int64_t size_of(const std::string& path) {
    struct stat have {};
    return stat(path.c_str(), &have) == 0 ? static_cast<std::int64_t>(have.st_size) : -1;
}

}  // namespace

TEST_CASE("what another version wrote is copied before anything is written, and the copy is a database") {
    TemporaryFolder folder;
    const std::string path = folder / "state.db", copy = path + ".before-upgrade";
    {
        Database older(path, 0, version_number("0.9.0"));
        older.commit({put("meta", "as 0.9.0 wrote it")}, false);
    }
    CHECK(size_of(copy) == -1);  // a new database has no way back
    {
        Database newer(path, 0, version_number("0.9.1"));
        CHECK(newer.no_copy() == "");
        newer.commit({put("meta", "as 0.9.1 wrote it")}, false);
    }
    struct stat have {};
    REQUIRE(stat(copy.c_str(), &have) == 0);
    CHECK((have.st_mode & 0777) == 0600);
    const auto noted = have.st_mtim;
    {
        Database same(path, 0, version_number("0.9.1"));
        CHECK(same.load("").entries.at(0).value == "as 0.9.1 wrote it");
    }
    REQUIRE(stat(copy.c_str(), &have) == 0);
    CHECK(have.st_mtim.tv_nsec == noted.tv_nsec);  // not again

    std::filesystem::rename(copy, path);
    Database back(path, 0, version_number("0.9.0"));
    CHECK(back.load("").entries.at(0).value == "as 0.9.0 wrote it");
    CHECK(back.load("").revision == 1);
    CHECK(size_of(copy) == -1);  // it is its own
}

TEST_CASE("a copy that cannot be made keeps no controller from its state") {
    TemporaryFolder folder;
    const std::string path = folder / "state.db";
    {
        Database older(path, 0, 1);
        older.commit({put("a", "1")}, false);
    }
    std::filesystem::create_directories(path + ".before-upgrade/in the way");
    Database newer(path, 0, 2);
    CHECK_THAT(newer.no_copy(), Contains("cannot copy the database to " + path + ".before-upgrade"));
    CHECK(newer.load("").entries.at(0).value == "1");
    CHECK(newer.commit({put("a", "2")}, false) == 2);
}

TEST_CASE("a new database is empty, and what is committed is there after it was opened again") {
    const TemporaryFolder folder;
    const std::string path = folder / "a/b/state.db";
    {
        Database database(path, 0);
        CHECK(database.load("").entries.empty());
        CHECK(database.load("").revision == 0);
        CHECK(database.commit({put("node/a", "1"), put("node/b", std::string("\0\xff", 2))}, false) == 1);
        CHECK(database.commit({put("empty", "")}, false) == 2);
    }
    Database database(path, 0);
    const auto all = database.load("");
    CHECK(all.revision == 2);
    REQUIRE(all.entries.size() == 3);
    CHECK(all.entries[0].key == "empty");
    CHECK(all.entries[0].value.empty());
    CHECK(all.entries[2].value == std::string("\0\xff", 2));
    CHECK(all.entries[2].revision == 1);
    struct stat made {};
    REQUIRE(stat((folder / "a").c_str(), &made) == 0);
    CHECK((made.st_mode & 0777) == 0700);
    for (const char* suffix : {"", "-wal", ".lock"}) {
        REQUIRE(stat((path + suffix).c_str(), &made) == 0);
        CHECK((made.st_mode & 0777) == 0600);
    }
}

TEST_CASE("load gives the keys that begin with the prefix, in order of their bytes") {
    const TemporaryFolder folder;
    Database database(folder / "state.db", 0);
    database.commit({put("service/陀螺仪", "3"), put("service/b", "2"), put("service/a", "1"), put("servicf", "x"),
                     put("s\xff\xff", "y"), put("servic", "z")},
                    false);
    const auto found = database.load("service/");
    REQUIRE(found.entries.size() == 3);
    CHECK(found.entries[0].key == "service/a");
    CHECK(found.entries[2].key == "service/陀螺仪");
    CHECK(database.load("s\xff").entries.size() == 1);
    CHECK(database.load("\xff").entries.empty());
    CHECK(database.load("").entries.size() == 6);
}

TEST_CASE("a batch is committed whole or not at all") {
    const TemporaryFolder folder;
    Database database(folder / "state.db", 0);
    const auto first = database.commit({put("a", "1", kRevisionNone)}, false);
    const Failure failure = failure_of([&] { database.commit({put("b", "1"), drop("a"), put("c", "1", 7)}, false); });
    CHECK(failure.code() == Code::kConflict);
    CHECK_THAT(failure.what(), Contains("\"c\" has revision 0, expected 7"));
    const auto all = database.load("");
    REQUIRE(all.entries.size() == 1);
    CHECK(all.entries[0].key == "a");
    CHECK(all.revision == first);
}

TEST_CASE("a change whose expected revision differs is a conflict") {
    const TemporaryFolder folder;
    Database database(folder / "state.db", 0);
    const auto code = [&](const StoreChange& change) {
        return failure_of([&] { database.commit({change}, true); }).code();
    };
    const auto first = database.commit({put("a", "1", kRevisionNone)}, false);
    CHECK(code(put("a", "2", kRevisionNone)) == Code::kConflict);
    CHECK(code(put("a", "2", first + 1)) == Code::kConflict);
    CHECK(code(drop("a", first + 1)) == Code::kConflict);
    const auto second = database.commit({put("a", "2", first)}, false);
    CHECK(second > first);
    CHECK(code(put("a", "3", first)) == Code::kConflict);
    const auto third = database.commit({drop("a", second)}, false);
    CHECK(third > second);
    CHECK(database.load("").entries.empty());
    CHECK(database.load("").revision == third);
    CHECK(database.commit({put("a", "4", kRevisionNone)}, false) > third);
}

TEST_CASE("a second opener is refused while the first has the database") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.db";
    std::optional<Database> first(std::in_place, path, 0);
    const Failure failure = failure_of([&] { Database second(path, 0); });
    CHECK(failure.code() == Code::kConflict);
    CHECK_THAT(failure.what(), Contains("second gantryd"));
    first->commit({put("a", "1")}, false);
    first.reset();
    CHECK(Database(path, 0).load("").entries.size() == 1);
}

TEST_CASE("a database of a newer version, of another program or without a version is refused and left untouched") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.db";
    Database(path, 0).commit({put("a", "1")}, false);
    SECTION("newer") {
        sql(path, "PRAGMA user_version=2");
        refused_untouched(path, "newer version of Gantry (schema 2");
    }
    SECTION("foreign") {
        sql(path, "PRAGMA application_id=5");
        refused_untouched(path, "another program");
    }
    SECTION("no version") {
        sql(path, "PRAGMA user_version=0");
        refused_untouched(path, "no schema version");
    }
}

TEST_CASE(
    "a newer version or another program that is only in the log is refused, and database and log stay untouched") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.db";
    Database(path, 0).commit({put("a", "1")}, false);
    const std::string change = GENERATE("PRAGMA user_version=2", "PRAGMA application_id=5");
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        // A process that dies before its log was moved into the database.
        sqlite3* db = nullptr;
        const bool written = sqlite3_open(path.c_str(), &db) == SQLITE_OK &&
                             sqlite3_exec(db, change.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK;
        _exit(written ? 0 : 1);
    }
    int status = -1;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(status == 0);
    const std::string before = content(path), log = content(path + "-wal");
    REQUIRE_FALSE(log.empty());
    CHECK_THROWS_WITH(Database(path, 0), Contains("left untouched"));
    CHECK(content(path) == before);
    CHECK(content(path + "-wal") == log);
}

TEST_CASE("a lock file that its maker removes meanwhile locks nobody in or out") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.db";
    write(path, "no database");
    for (int i = 0; i < 3; ++i) refused_untouched(path, "no SQLite database");
    std::filesystem::remove(path);
    const Database database(path, 0);
    CHECK(std::filesystem::exists(path + ".lock"));
    CHECK(failure_of([&] { Database second(path, 0); }).code() == Code::kConflict);
    CHECK(std::filesystem::exists(path + ".lock"));
}

TEST_CASE("a damaged file is refused with words and left untouched") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.db";
    {
        Database database(path, 0);
        std::vector<StoreChange> changes;
        for (int i = 0; i < 500; ++i) changes.push_back(put("key/" + std::to_string(i), std::string(300, 'v')));
        database.commit(changes, false);
    }
    const std::string sound = content(path);
    REQUIRE(sound.size() > 100'000);
    SECTION("text") {
        write(path,
              "this is not a database, but it is more than one hundred bytes long, which is what a header takes..");
        refused_untouched(path, "no SQLite database");
    }
    SECTION("empty") {
        write(path, "");
        refused_untouched(path, "is empty");
    }
    SECTION("cut short") {
        write(path, sound.substr(0, sound.size() / 2));
        refused_untouched(path, "is damaged");
    }
    SECTION("header only") {
        write(path, sound.substr(0, 100));
        refused_untouched(path, "is damaged");
    }
    SECTION("overwritten in the middle") {
        std::string bad = sound;
        bad.replace(bad.size() / 2 / 4096 * 4096, 4096, std::string(4096, '\x5a'));
        write(path, bad);
        refused_untouched(path, "is damaged");
    }
    SECTION("a table is gone") {
        sql(path, "DROP TABLE meta");
        std::filesystem::remove(path + ".lock");
        const auto files = files_beside(path);
        CHECK_THAT(failure_of([&] { Database database(path, 0); }).what(), Contains("no such table: meta"));
        CHECK(files_beside(path) == files);
    }
    SECTION("the log is there, the database is not") {
        std::filesystem::remove(path);
        write(path + "-wal", "something");
        std::filesystem::remove(path + ".lock");
        const auto files = files_beside(path);
        const Failure failure = failure_of([&] { Database database(path, 0); });
        CHECK_THAT(failure.what(), Contains("is missing but its log"));
        CHECK(files_beside(path) == files);
        CHECK(content(path + "-wal") == "something");
        CHECK_FALSE(std::filesystem::exists(path));
    }
}

TEST_CASE("the log does not grow with the number of commits") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.db";
    Database database(path, 0);
    std::int64_t largest = 0;
    for (int i = 0; i < 400; ++i) {
        database.commit({put("key/" + std::to_string(i % 50), std::string(20'000, 'v'))}, false);
        database.tidy();
        largest = std::max(largest, size_of(path + "-wal"));
    }
    CHECK(largest < 2 << 20);
    // One large commit makes it longer; the next ones cut it back.
    database.commit({put("large", std::string(8 << 20, 'v'))}, false);
    database.tidy();
    database.commit({put("small", "v")}, false);
    CHECK(size_of(path + "-wal") <= 1 << 20);
}

TEST_CASE("the reserve is allocated and survives the process") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.db";
    for (int i = 0; i < 2; ++i) {
        Database database(path, 1 << 20);
        struct stat have {};
        REQUIRE(stat((path + ".reserve").c_str(), &have) == 0);
        CHECK(have.st_blocks * 512 >= 1 << 20);
    }
}

TEST_CASE("a commit cut off by an I/O error is unknown, and the disk decides what it was") {
    const TemporaryFolder folder;
    const std::string path = folder / "state.db";
    Database database(path, 0);
    const auto first = database.commit({put("a", "1")}, false);

    // Writes beyond this size fail with EFBIG, which SQLite takes for a broken disk.
    signal(SIGXFSZ, SIG_IGN);
    rlimit before{};
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    rlimit small = before;
    small.rlim_cur = 40'000;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    const Failure failure = failure_of([&] { database.commit({put("b", std::string(100'000, 'v'))}, false); });
    REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);

    CHECK(failure.code() == Code::kUnknown);
    CHECK_THAT(failure.what(), Contains("interrupted"));
    CHECK(database.load("").revision == first);
    CHECK(database.commit({put("c", "1", kRevisionNone)}, false) == first + 1);
    CHECK(database.load("").entries.size() == 2);
}
