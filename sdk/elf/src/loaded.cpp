// SPDX-License-Identifier: Apache-2.0
#include <link.h>

#include <gantry/elf/reader.hpp>

namespace gantry::elf {
namespace {

struct Search {
    std::string_view library;
    std::vector<std::string> versions;
};

// The loader mapped and checked these tables: they are read as they are.
void read_versions(const dl_phdr_info& info, const ElfW(Dyn) * dynamic, std::vector<std::string>& out) {
    const char* strings = nullptr;
    ElfW(Addr) definitions = 0;
    std::size_t count = 0;
    for (; dynamic->d_tag != DT_NULL; ++dynamic) {
        if (dynamic->d_tag == DT_STRTAB) strings = reinterpret_cast<const char*>(dynamic->d_un.d_ptr);
        if (dynamic->d_tag == DT_VERDEF) definitions = dynamic->d_un.d_ptr;
        if (dynamic->d_tag == DT_VERDEFNUM) count = dynamic->d_un.d_val;
    }
    if (strings == nullptr || definitions == 0) return;
    // glibc has added the load address to what it keeps of these; other loaders have not.
    if (definitions < info.dlpi_addr) definitions += info.dlpi_addr;
    if (reinterpret_cast<ElfW(Addr)>(strings) < info.dlpi_addr) strings += info.dlpi_addr;
    for (std::size_t i = 0; i < count; ++i) {
        const auto* const definition = reinterpret_cast<const ElfW(Verdef)*>(definitions);
        const auto* const name = reinterpret_cast<const ElfW(Verdaux)*>(definitions + definition->vd_aux);
        out.emplace_back(strings + name->vda_name);
        if (definition->vd_next == 0) return;
        definitions += definition->vd_next;
    }
}

int look(dl_phdr_info* info, std::size_t, void* arg) {
    auto& search = *static_cast<Search*>(arg);
    const std::string_view path = info->dlpi_name == nullptr ? "" : info->dlpi_name;
    if (path.substr(path.rfind('/') + 1) != search.library) return 0;
    for (std::size_t i = 0; i < info->dlpi_phnum; ++i) {
        const auto& header = info->dlpi_phdr[i];
        if (header.p_type != PT_DYNAMIC) continue;
        read_versions(*info, reinterpret_cast<const ElfW(Dyn)*>(info->dlpi_addr + header.p_vaddr), search.versions);
    }
    return 1;
}

}  // namespace

std::vector<std::string> loaded_versions(std::string_view library) {
    Search search{library, {}};
    ::dl_iterate_phdr(&look, &search);
    return std::move(search.versions);
}

}  // namespace gantry::elf
