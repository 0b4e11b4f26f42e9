// SPDX-License-Identifier: Apache-2.0
//
// The database on a disk of its own, in a private mount namespace, that is filled up.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>

#include "plugins/store/sqlite/database.hpp"
#include "tests/support/own_namespaces.hpp"
#include "tests/unit/plugins/store/sqlite/temporary_folder.hpp"

using gantry::Code;
using gantry::Failure;
using gantry::sqlite::Database;

namespace {

class SmallDisk {
  public:
    SmallDisk() {
        static const bool once = (gantry::own_namespaces(CLONE_NEWNS), true);
        REQUIRE(once);
        if (mount("none", folder_.path().c_str(), "tmpfs", 0, "size=12m") != 0) gantry::skip_test("no tmpfs");
    }
    ~SmallDisk() { umount2(folder_.path().c_str(), MNT_DETACH); }

    std::string operator/(const std::string& name) const { return folder_ / name; }

    // Takes all room that is left.
    void fill() const {
        const int fd = open((folder_ / "filler").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        REQUIRE(fd >= 0);
        const std::string block(4096, 'x');
        while (write(fd, block.data(), block.size()) > 0) continue;
        REQUIRE(errno == ENOSPC);
        close(fd);
    }
    void free() const { unlink((folder_ / "filler").c_str()); }
    // Takes all but so much.
    void fill_but(off_t bytes) const {
        fill();
        struct stat filler {};
        REQUIRE(stat((folder_ / "filler").c_str(), &filler) == 0);
        REQUIRE(truncate((folder_ / "filler").c_str(), filler.st_size - bytes) == 0);
    }

  private:
    TemporaryFolder folder_;
};

Code commit(Database& database, const std::string& key, std::size_t bytes, bool use_reserve) {
    try {
        database.commit({{key, std::string(bytes, 'v'), gantry::kRevisionAny, false}}, use_reserve);
    } catch (const Failure& failure) {
        INFO(failure.what());
        return failure.code();
    }
    database.tidy();
    return Code::kOk;
}

bool reserve_is_there(const std::string& path) { return access((path + ".reserve").c_str(), F_OK) == 0; }

}  // namespace

TEST_CASE("on a full disk a commit answers full and nothing of it is written") {
    const SmallDisk disk;
    const std::string path = disk / "state.db";
    std::uint64_t before = 0;
    {
        Database database(path, 0);
        REQUIRE(commit(database, "first", 100, false) == Code::kOk);
        disk.fill();
        CHECK(commit(database, "large", 3 << 20, false) == Code::kFull);
        const auto all = database.load("");
        REQUIRE(all.entries.size() == 1);
        before = all.revision;
        disk.free();
        CHECK(commit(database, "second", 3 << 20, false) == Code::kOk);
    }
    Database database(path, 0);
    CHECK(database.load("").entries.size() == 2);
    CHECK(database.load("").revision == before + 1);
}

TEST_CASE("the reserve is for moves: it is given up for them and taken again when there is room") {
    const SmallDisk disk;
    const std::string path = disk / "state.db";
    Database database(path, 4 << 20);
    REQUIRE(reserve_is_there(path));
    REQUIRE(commit(database, "service/a", 100, false) == Code::kOk);
    disk.fill();

    CHECK(commit(database, "service/b", 1 << 20, false) == Code::kFull);
    CHECK(reserve_is_there(path));
    CHECK(commit(database, "move/a", 1 << 20, true) == Code::kOk);
    CHECK_FALSE(reserve_is_there(path));

    CHECK(commit(database, "service/c", 10, false) == Code::kFull);
    CHECK(commit(database, "move/b", 10, true) == Code::kOk);

    disk.free();
    CHECK(commit(database, "service/c", 10, false) == Code::kOk);
    CHECK(reserve_is_there(path));
    CHECK(database.load("").entries.size() == 4);
}

TEST_CASE("a database that cannot be made for want of room leaves none behind") {
    const SmallDisk disk;
    const std::string path = disk / "state.db";
    disk.fill();
    try {
        Database database(path, 0);
        FAIL("expected a failure");
    } catch (const Failure& failure) {
        CHECK(failure.code() == Code::kFull);
    }
    CHECK(access(path.c_str(), F_OK) != 0);
    disk.free();
    Database database(path, 0);
    CHECK(database.load("").entries.empty());
}

TEST_CASE("however little room there is, a new database is whole or not there") {
    for (off_t room = 0; room <= 128 << 10; room += 4096) {
        INFO(room << " bytes of room");
        const SmallDisk disk;
        const std::string path = disk / "state.db";
        disk.fill_but(room);
        try {
            (void)Database(path, 0).load("");
        } catch (const Failure& failure) {
            INFO(failure.what());
            CHECK(failure.code() == Code::kFull);
        }
        disk.free();
        CHECK(Database(path, 0).load("").entries.empty());
    }
}
