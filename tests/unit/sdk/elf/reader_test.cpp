// SPDX-License-Identifier: Apache-2.0
#include <elf.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <gantry/elf/reader.hpp>
#include <iterator>

using namespace gantry::elf;

namespace {

std::vector<std::uint8_t> file_bytes(const char* path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

const ConfigKey& key(const Note& note, std::string_view name) {
    auto it = std::ranges::find(note.config, name, &ConfigKey::name);
    REQUIRE(it != note.config.end());
    return *it;
}

// A shared object of `symbols` exports that all bear the name at the start of `strings`, in a DT_HASH or, as the second
// hash table to disagree with it, a GNU one.
std::vector<std::uint8_t> crafted(std::uint32_t symbols, const std::string& strings, bool gnu_hash = false) {
    std::vector<std::uint8_t> out;
    const auto put = [&](const auto& value) {
        const auto* bytes = reinterpret_cast<const std::uint8_t*>(&value);
        out.insert(out.end(), bytes, bytes + sizeof(value));
    };
    constexpr std::uint64_t kDynamic = sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr), kEntries = 6;
    const std::uint64_t at_hash = kDynamic + kEntries * sizeof(Elf64_Dyn), at_gnu = at_hash + 8;
    const std::uint64_t at_symbols = at_gnu + (gnu_hash ? 16 + 8 + 4 + symbols * 4 : 0);
    const std::uint64_t at_strings = at_symbols + symbols * sizeof(Elf64_Sym);
    Elf64_Ehdr head{};
    std::memcpy(head.e_ident, ELFMAG, SELFMAG);
    head.e_ident[EI_CLASS] = ELFCLASS64;
    head.e_ident[EI_DATA] = ELFDATA2LSB;
    head.e_type = ET_DYN;
    head.e_machine = own_machine();
    head.e_phoff = sizeof(head);
    head.e_phentsize = sizeof(Elf64_Phdr);
    head.e_phnum = 2;
    put(head);
    const std::uint64_t all = at_strings + strings.size(), dynamic = kEntries * sizeof(Elf64_Dyn);
    put(Elf64_Phdr{PT_LOAD, PF_R, 0, 0, 0, all, all, 8});
    put(Elf64_Phdr{PT_DYNAMIC, PF_R, kDynamic, kDynamic, kDynamic, dynamic, dynamic, 8});
    for (const auto& [tag, value] : {std::pair<Elf64_Sxword, std::uint64_t>{DT_STRTAB, at_strings},
                                     {DT_STRSZ, strings.size()},
                                     {DT_SYMTAB, at_symbols},
                                     {DT_HASH, at_hash},
                                     {gnu_hash ? DT_GNU_HASH : DT_NULL, at_gnu},
                                     {DT_NULL, 0}}) {
        Elf64_Dyn entry{};
        entry.d_tag = tag;
        entry.d_un.d_val = value;
        put(entry);
    }
    put(std::uint32_t{1});
    put(gnu_hash ? std::uint32_t{1} : symbols);  // chains: one symbol each
    if (gnu_hash) {
        for (std::uint32_t word : {1u, 0u, 1u, 0u, 0u, 0u, 0u}) put(word);  // one bucket, from symbol 0 on
        for (std::uint32_t i = 0; i < symbols; ++i) put(std::uint32_t{i + 1 == symbols});
    }
    Elf64_Sym symbol{};
    symbol.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT);
    symbol.st_shndx = 1;
    for (std::uint32_t i = 0; i < symbols; ++i) put(symbol);
    out.insert(out.end(), strings.begin(), strings.end());
    return out;
}

long peak_kib() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

}  // namespace

TEST_CASE("thousands of names that share one long string cost no memory") {
    const std::vector<std::uint8_t> endless = crafted(1'500, std::string(300'000, 'x') + std::string(1, '\0'));
    const std::vector<std::uint8_t> many = crafted(60'000, std::string(4'000, 'x') + std::string(1, '\0'));
    const long before = peak_kib();
    const Reading refused = read_plugin(endless);
    CHECK(refused.fault == Fault::kBroken);
    CHECK(refused.text == "a name is longer than 4,096 bytes");
    const Reading counted = read_plugin(many);
    CHECK(counted.fault == Fault::kNoNote);
    CHECK(counted.facts.exported_count == 60'000);
    REQUIRE(counted.facts.exported.size() == kExportsKept);
    CHECK(counted.facts.exported.front() == std::string(4'000, 'x'));
    CHECK(peak_kib() - before < 16 << 10);
}

TEST_CASE("symbols that only one of two hash tables knows are seen") {
    CHECK(read_plugin(crafted(20, std::string("a\0", 2), true)).facts.exported_count == 20);
}

TEST_CASE("the versions that a loaded library offers are known") {
    const std::vector<std::string> have = loaded_versions("libstdc++.so.6");
    CHECK(std::ranges::count(have, "GLIBCXX_3.4") == 1);
    CHECK(std::ranges::count(have, "GLIBCXX_3.4.999") == 0);
    CHECK(loaded_versions("libnone.so.6").empty());
    const Reading plugin = read_plugin(file_bytes(GANTRY_PLUGIN_FILE));
    for (const std::string& version : plugin.facts.versions) {
        if (version.starts_with("GLIBCXX_")) CHECK(std::ranges::count(have, version) == 1);
    }
}

TEST_CASE("a plugin's note says what its plugin.toml says") {
    const int fd = ::open(GANTRY_PLUGIN_FILE, O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    const Reading reading = read_plugin(fd);
    ::close(fd);
    CHECK(reading.text == "");
    REQUIRE(reading.fault == Fault::kNone);
    const Note& note = reading.note;
    CHECK(note.id == "org.gantry.test.everything");
    CHECK(note.name == "Everything \"quoted\" \\ 陀螺仪");
    CHECK(note.version == "1.2.3");
    CHECK(note.role == "placement/1");
    CHECK(note.abi_major == 1);
    CHECK(note.abi_minor == 1);
    CHECK(note.kernel.empty());
    CHECK(note.permissions == std::vector<std::string>{"network", "root"});
    CHECK(note.config.size() == 10);
    CHECK(note.config.front().name == "text");
    CHECK(key(note, "text").default_value == "one\ntwo");
    CHECK(key(note, "mode").choices == std::vector<std::string>{"fast", "safe"});
    CHECK(key(note, "count").min == "-1");
    CHECK(key(note, "ratio").default_value == "0.5");
    CHECK(key(note, "wait").default_value == "1500000000");
    CHECK(key(note, "room").default_value == "67108864");
    CHECK(key(note, "on").default_value == "true");
    CHECK(key(note, "names").default_list == std::vector<std::string>{"a", "b"});
    CHECK(key(note, "none").default_list == std::vector<std::string>{});
    CHECK(key(note, "token").required);
    CHECK(key(note, "token").secret);
}

TEST_CASE("a plugin exports its entry alone and asks for nothing dangerous") {
    const Reading reading = read_plugin(file_bytes(GANTRY_PLUGIN_FILE));
    REQUIRE(reading.fault == Fault::kNone);
    CHECK(reading.facts.machine == own_machine());
    CHECK(reading.facts.exported == std::vector<std::string>{"gantry_plugin_entry"});
    CHECK(reading.facts.exported_count == 1);
    CHECK(reading.facts.run_path == "");
    CHECK_FALSE(reading.facts.text_relocations);
    CHECK_FALSE(reading.facts.executable_stack);
    CHECK(std::ranges::count(reading.facts.needed, "libc.so.6") == 1);
    CHECK(std::ranges::any_of(reading.facts.versions, [](const auto& v) { return v.starts_with("GLIBCXX_"); }));
    const auto of_libstdcxx = reading.facts.versions_of.find("libstdc++.so.6");
    REQUIRE(of_libstdcxx != reading.facts.versions_of.end());
    CHECK(std::ranges::is_sorted(of_libstdcxx->second));
    CHECK(std::ranges::any_of(of_libstdcxx->second, [](const auto& v) { return v.starts_with("GLIBCXX_"); }));
    CHECK(std::ranges::none_of(of_libstdcxx->second, [](const auto& v) { return v.starts_with("GLIBC_"); }));
}

TEST_CASE("what is no plugin is told apart") {
    const auto fault = [](const std::vector<std::uint8_t>& bytes) { return read_plugin(bytes).fault; };
    CHECK(fault({}) == Fault::kNotElf);
    CHECK(fault(std::vector<std::uint8_t>{'#', '!', '/', 'b', 'i', 'n'}) == Fault::kNotElf);
    CHECK(fault({0x7f, 'E', 'L', 'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}) == Fault::kForeign);
    CHECK(fault(file_bytes("/lib/x86_64-linux-gnu/libm.so.6")) == Fault::kNoNote);
    CHECK(read_plugin(-1).fault == Fault::kUnreadable);
    const int folder = ::open("/", O_RDONLY | O_CLOEXEC);
    CHECK(read_plugin(folder).fault == Fault::kUnreadable);
    ::close(folder);
}

TEST_CASE("a truncated plugin never crashes the reader") {
    const std::vector<std::uint8_t> whole = file_bytes(GANTRY_PLUGIN_FILE);
    std::vector<std::size_t> lengths;
    for (std::size_t n = 0; n < 1'024; ++n) lengths.push_back(n);
    for (std::size_t n = 1'024; n < whole.size(); n += whole.size() / 300 + 1) lengths.push_back(n);
    std::size_t broken = 0;
    for (std::size_t n : lengths) {
        // Exactly n bytes of its own, so that a sanitizer sees a read behind them.
        const std::vector<std::uint8_t> part(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(n));
        broken += read_plugin(part).fault != Fault::kNone;
    }
    CHECK(broken > 0);
}
