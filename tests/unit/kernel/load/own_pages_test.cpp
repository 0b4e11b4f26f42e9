// SPDX-License-Identifier: Apache-2.0
#include "kernel/load/own_pages.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdio>
#include <string>

#include "tests/unit/kernel/control/folder.hpp"

using namespace gantry;

namespace {

constexpr std::size_t kSize = 256 * 1024;

// A file of which every page was read, and perhaps the first one written to by this process alone.
struct Mapped {
    Mapped(const test::Folder& folder, bool own) {
        folder.write("file", std::string(kSize, 'f'));
        const int file = ::open((folder.path / "file").c_str(), O_RDONLY);
        void* at = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
        ::close(file);
        REQUIRE(at != MAP_FAILED);
        bytes = static_cast<char*>(at);
        if (own) bytes[0] = 'o';
        ::mprotect(at, kSize, PROT_READ);
        CHECK(std::count(bytes, bytes + kSize, 'f') == std::ptrdiff_t(kSize) - own);
    }
    ~Mapped() { ::munmap(bytes, kSize); }
    Mapped(const Mapped&) = delete;

    std::string state() const {
        std::ifstream smaps("/proc/self/smaps");
        char head[32];
        std::snprintf(head, sizeof(head), "%08lx-", reinterpret_cast<unsigned long>(bytes));
        std::string line;
        while (std::getline(smaps, line) && !line.starts_with(head)) {
        }
        while (std::getline(smaps, line) && !line.starts_with("Rss:")) {
        }
        return line.substr(line.find_first_not_of(' ', 4));
    }

    char* bytes = nullptr;
};

}  // namespace

TEST_CASE("pages that were only read are given back, and are there again when they are read") {
    const test::Folder folder;
    const Mapped file(folder, false);
    REQUIRE(file.state() == "256 kB");
    CHECK(load::drop_unused_pages() >= kSize);
    CHECK(file.state() == "0 kB");
    CHECK(std::count(file.bytes, file.bytes + kSize, 'f') == kSize);
}

TEST_CASE("a mapping with a page of the process's own stays whole") {
    const test::Folder folder;
    const Mapped file(folder, true);
    load::drop_unused_pages();
    CHECK(file.state() == "256 kB");
    CHECK(file.bytes[0] == 'o');
}
