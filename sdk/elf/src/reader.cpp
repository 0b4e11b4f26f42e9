// SPDX-License-Identifier: Apache-2.0
#include <elf.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <gantry/elf/reader.hpp>
#include <set>

namespace gantry::elf {
namespace {

constexpr std::size_t kProgramHeadersMax = 256;
constexpr std::size_t kDynamicMax = 4'096;
constexpr std::size_t kSymbolsMax = 65'536;
constexpr std::size_t kStringsMax = 4 << 20;
constexpr std::size_t kNoteSegmentMax = 256 << 10;
constexpr std::size_t kVersionsMax = 512;
constexpr std::size_t kNeededMax = 256;

// Either a descriptor or bytes in memory; reads all that was asked for or nothing.
class Source {
  public:
    explicit Source(int fd, std::uint64_t size) : fd_(fd), size_(size) {}
    explicit Source(std::span<const std::uint8_t> bytes) : bytes_(bytes), size_(bytes.size()) {}

    bool read(std::uint64_t offset, void* out, std::size_t len) const {
        if (offset > size_ || len > size_ - offset) return false;
        if (fd_ < 0) {
            if (len > 0) std::memcpy(out, bytes_.data() + offset, len);
            return true;
        }
        for (std::size_t have = 0; have < len;) {
            const ssize_t n =
                ::pread(fd_, static_cast<char*>(out) + have, len - have, static_cast<off_t>(offset + have));
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return false;
            have += static_cast<std::size_t>(n);
        }
        return true;
    }

  private:
    int fd_ = -1;
    std::span<const std::uint8_t> bytes_;
    std::uint64_t size_ = 0;
};

struct Broken {
    Fault fault;
    std::string text;
};

// Thrown inside this file only.
[[noreturn]] void broken(std::string text) { throw Broken{Fault::kBroken, std::move(text)}; }

class Reader {
  public:
    Reader(const Source& source, Reading& out) : source_(source), out_(out) {}

    void read() {
        header();
        segments();
        dynamic();
        symbols();
        versions();
        note();
    }

  private:
    template <class T>
    T at(std::uint64_t offset, const char* what) const {
        T value;
        if (!source_.read(offset, &value, sizeof(value))) broken(std::string(what) + " lies outside the file");
        return value;
    }

    std::uint64_t file_offset(std::uint64_t address, const char* what) const {
        for (const Elf64_Phdr& p : loads_) {
            if (address >= p.p_vaddr && address - p.p_vaddr < p.p_filesz) return p.p_offset + (address - p.p_vaddr);
        }
        broken(std::string(what) + " lies in no segment");
    }

    void header() {
        unsigned char ident[EI_NIDENT];
        if (!source_.read(0, ident, sizeof(ident)) || std::memcmp(ident, ELFMAG, SELFMAG) != 0) {
            throw Broken{Fault::kNotElf, "not an ELF file"};
        }
        if (ident[EI_CLASS] != ELFCLASS64 || ident[EI_DATA] != ELFDATA2LSB) {
            throw Broken{Fault::kForeign, "not a 64-bit little-endian ELF file"};
        }
        header_ = at<Elf64_Ehdr>(0, "the ELF header");
        if (header_.e_type != ET_DYN) throw Broken{Fault::kForeign, "an ELF file, but no shared object"};
        if (header_.e_phentsize != sizeof(Elf64_Phdr)) broken("its program headers have an unknown size");
        if (header_.e_phnum > kProgramHeadersMax) broken("more than 256 program headers");
        out_.facts.machine = header_.e_machine;
    }

    void segments() {
        bool stack_seen = false;
        for (std::size_t i = 0; i < header_.e_phnum; ++i) {
            if (header_.e_phoff > UINT64_MAX / 2) broken("its program headers lie outside the file");
            const auto p = at<Elf64_Phdr>(header_.e_phoff + i * sizeof(Elf64_Phdr), "a program header");
            if (p.p_type == PT_LOAD) {
                if (p.p_offset > UINT64_MAX / 2 || p.p_filesz > UINT64_MAX / 2) broken("a segment is too large");
                loads_.push_back(p);
            }
            if (p.p_type == PT_NOTE) notes_.push_back(p);
            if (p.p_type == PT_DYNAMIC) dynamic_ = p;
            if (p.p_type == PT_GNU_STACK) {
                stack_seen = true;
                out_.facts.executable_stack = (p.p_flags & PF_X) != 0;
            }
        }
        // Without that header the loader makes the stack executable.
        if (!stack_seen) out_.facts.executable_stack = true;
    }

    void dynamic() {
        if (dynamic_.p_type != PT_DYNAMIC) broken("no dynamic section");
        std::vector<std::uint64_t> needed;
        std::uint64_t strings = 0, strings_size = 0, run_path = 0;
        bool has_run_path = false;
        const std::size_t count = std::min<std::uint64_t>(dynamic_.p_filesz / sizeof(Elf64_Dyn), kDynamicMax);
        if (dynamic_.p_offset > UINT64_MAX / 2) broken("the dynamic section lies outside the file");
        for (std::size_t i = 0; i < count; ++i) {
            const auto d = at<Elf64_Dyn>(dynamic_.p_offset + i * sizeof(Elf64_Dyn), "the dynamic section");
            const std::uint64_t value = d.d_un.d_val;
            if (d.d_tag == DT_NULL) break;
            if (d.d_tag == DT_NEEDED) needed.push_back(value);
            if (needed.size() > kNeededMax) broken("it needs more than 256 libraries");
            if (d.d_tag == DT_STRTAB) strings = value;
            if (d.d_tag == DT_STRSZ) strings_size = value;
            if (d.d_tag == DT_SYMTAB) symtab_ = value;
            if (d.d_tag == DT_HASH) hash_ = value;
            if (d.d_tag == DT_GNU_HASH) gnu_hash_ = value;
            if (d.d_tag == DT_VERNEED) verneed_ = value;
            if (d.d_tag == DT_VERNEEDNUM) verneed_count_ = value;
            if (d.d_tag == DT_TEXTREL || (d.d_tag == DT_FLAGS && (value & DF_TEXTREL) != 0)) {
                out_.facts.text_relocations = true;
            }
            if (d.d_tag == DT_RPATH || d.d_tag == DT_RUNPATH) {
                has_run_path = true;
                run_path = value;
            }
        }
        if (strings_size > kStringsMax) broken("its string table is larger than 4 MiB");
        strings_.resize(strings_size);
        if (strings_size > 0 &&
            !source_.read(file_offset(strings, "the string table"), strings_.data(), strings_size)) {
            broken("the string table lies outside the file");
        }
        for (std::uint64_t name : needed) out_.facts.needed.push_back(string(name));
        if (has_run_path) out_.facts.run_path = string(run_path);
    }

    std::string string(std::uint64_t index) const {
        if (index >= strings_.size()) broken("a name lies outside the string table");
        // Many may point at one string: what is copied of each must be short.
        const std::size_t most = std::min(strings_.size() - index, kSymbolNameMax + 1);
        const void* const end = std::memchr(strings_.data() + index, '\0', most);
        if (end == nullptr) broken(most > kSymbolNameMax ? "a name is longer than 4,096 bytes" : "a name has no end");
        return strings_.data() + index;
    }

    // The dynamic section does not say how many symbols there are; the hash tables do.
    // A file may have both, and hide symbols from a reader of one.
    std::size_t symbol_count() const {
        std::size_t count = 0;
        if (hash_ != 0) count = at<Elf64_Word>(file_offset(hash_, "the hash table") + 4, "the hash table");
        return std::max(count, gnu_hash_ == 0 ? 0 : gnu_symbol_count());
    }

    std::size_t gnu_symbol_count() const {
        const std::uint64_t base = file_offset(gnu_hash_, "the hash table");
        const auto buckets = at<std::uint32_t>(base, "the hash table");
        const auto first = at<std::uint32_t>(base + 4, "the hash table");
        const auto bloom = at<std::uint32_t>(base + 8, "the hash table");
        if (buckets > kSymbolsMax || bloom > kSymbolsMax) broken("the hash table is too large");
        const std::uint64_t bucket_base = base + 16 + std::uint64_t{bloom} * 8;
        std::uint32_t last = 0;
        for (std::uint32_t i = 0; i < buckets; ++i) {
            last = std::max(last, at<std::uint32_t>(bucket_base + std::uint64_t{i} * 4, "the hash table"));
        }
        if (last < first) return first;
        const std::uint64_t chain_base = bucket_base + std::uint64_t{buckets} * 4;
        while (last < kSymbolsMax) {
            const auto link = at<std::uint32_t>(chain_base + std::uint64_t{last - first} * 4, "the hash table");
            ++last;
            if ((link & 1u) != 0) return last;
        }
        broken("more than 65,536 symbols");
    }

    void symbols() {
        const std::size_t count = symbol_count();
        if (count > kSymbolsMax) broken("more than 65,536 symbols");
        if (count == 0 || symtab_ == 0) return;
        std::vector<Elf64_Sym> table(count);
        if (!source_.read(file_offset(symtab_, "the symbol table"), table.data(), count * sizeof(Elf64_Sym))) {
            broken("the symbol table lies outside the file");
        }
        for (const Elf64_Sym& s : table) {
            const unsigned bind = ELF64_ST_BIND(s.st_info), visibility = ELF64_ST_VISIBILITY(s.st_other);
            if (s.st_shndx == SHN_UNDEF || bind == STB_LOCAL) continue;
            if (visibility == STV_HIDDEN || visibility == STV_INTERNAL) continue;
            if (++out_.facts.exported_count <= kExportsKept) out_.facts.exported.push_back(string(s.st_name));
        }
    }

    void versions() {
        if (verneed_ == 0) return;
        std::set<std::string> found;
        std::uint64_t offset = file_offset(verneed_, "the version table");
        std::size_t steps = 0;
        for (std::uint64_t i = 0; i < verneed_count_; ++i) {
            const auto need = at<Elf64_Verneed>(offset, "the version table");
            std::vector<std::string>& of_library = out_.facts.versions_of[string(need.vn_file)];
            std::uint64_t aux_offset = offset + need.vn_aux;
            for (std::uint16_t k = 0; k < need.vn_cnt; ++k) {
                if (++steps > kVersionsMax) broken("more than 512 symbol versions");
                const auto aux = at<Elf64_Vernaux>(aux_offset, "the version table");
                of_library.push_back(string(aux.vna_name));
                found.insert(of_library.back());
                if (aux.vna_next == 0) break;
                aux_offset += aux.vna_next;
            }
            std::ranges::sort(of_library);
            if (need.vn_next == 0 || ++steps > kVersionsMax) break;
            offset += need.vn_next;
        }
        out_.facts.versions.assign(found.begin(), found.end());
    }

    void note() {
        for (const Elf64_Phdr& p : notes_) {
            if (p.p_filesz > kNoteSegmentMax) throw Broken{Fault::kBadNote, "its notes are longer than 256 KiB"};
            std::vector<char> data(p.p_filesz);
            if (!source_.read(p.p_offset, data.data(), data.size())) broken("its notes lie outside the file");
            if (notes_of(data, p.p_align == 8 ? 8 : 4)) return;
        }
        throw Broken{Fault::kNoNote, "no note of Gantry in it: it was not built by gantry_add_plugin()"};
    }

    // True if our note was among them.
    bool notes_of(const std::vector<char>& data, std::size_t align) {
        const auto padded = [align](std::size_t n) { return (n + align - 1) / align * align; };
        std::size_t at = 0;
        while (data.size() - at >= sizeof(Elf64_Nhdr)) {
            Elf64_Nhdr head;
            std::memcpy(&head, data.data() + at, sizeof(head));
            at += sizeof(head);
            const std::size_t left = data.size() - at;
            if (head.n_namesz > left || padded(head.n_namesz) > left) break;
            const std::string_view name(data.data() + at, head.n_namesz);
            at += padded(head.n_namesz);
            if (head.n_descsz > data.size() - at) break;
            if (name == std::string_view("GANTRY\0", 7) && head.n_type == 1) {
                take_text(std::string_view(data.data() + at, head.n_descsz));
                return true;
            }
            if (padded(head.n_descsz) > data.size() - at) break;
            at += padded(head.n_descsz);
        }
        return false;
    }

    void take_text(std::string_view text) {
        while (text.ends_with('\0')) text.remove_suffix(1);
        std::string error;
        if (!parse_note(text, out_.note, error)) throw Broken{Fault::kBadNote, "its note cannot be read: " + error};
    }

    const Source& source_;
    Reading& out_;
    Elf64_Ehdr header_{};
    Elf64_Phdr dynamic_{};
    std::vector<Elf64_Phdr> loads_, notes_;
    std::string strings_;
    std::uint64_t symtab_ = 0, hash_ = 0, gnu_hash_ = 0, verneed_ = 0, verneed_count_ = 0;
};

Reading read_source(const Source& source) {
    Reading out;
    try {
        Reader(source, out).read();
    } catch (Broken& e) {
        out.fault = e.fault;
        out.text = std::move(e.text);
    }
    return out;
}

}  // namespace

Reading read_plugin(int fd) {
    struct stat info {};
    if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        Reading out;
        out.fault = Fault::kUnreadable;
        out.text = "not a regular file that can be read";
        return out;
    }
    return read_source(Source(fd, static_cast<std::uint64_t>(info.st_size)));
}

Reading read_plugin(std::span<const std::uint8_t> bytes) { return read_source(Source(bytes)); }

std::string machine_name(std::uint16_t machine) {
    if (machine == EM_X86_64) return "x86-64";
    if (machine == EM_AARCH64) return "aarch64";
    return "machine " + std::to_string(machine);
}

std::uint16_t own_machine() {
#if defined(__x86_64__)
    return EM_X86_64;
#elif defined(__aarch64__)
    return EM_AARCH64;
#else
    return EM_NONE;
#endif
}

}  // namespace gantry::elf
